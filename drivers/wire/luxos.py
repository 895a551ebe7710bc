"""What LuxOS answers mean: sections of the cgminer API to readings, in the units of readings.py.

Units and keys as recorded from an Antminer S19k Pro on LuxOS 2025.4.8; command semantics from the
vendor's API documentation (docs.luxor.tech, LuxOS API). Board numbers are the "ID" of ``devs``,
which ``disableboard`` takes; the order of the rows means nothing.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.readings import Activity, BoardReading, PoolReading, PowerProvenance, Profile
from drivers.wire.cgminer import BUSY_CODE, Answer, Row, Status

MH = 1e6
TH = 1e12

# A wrong unit is a factor of 1000; a machine tuned to the limit stays below 1.5.
HASHRATE_MARGIN = 1.5

_NUMBER_OF = operator.attrgetter("board")
_AWAKE_MODES = frozenset({"none", "wakeup", "wake-up", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class LuxosConfig:
    """The part of ``config`` that kwota acts on. ``nameplate_hashrate_hs`` is None where unset."""

    model: str
    mac: str
    serial: str
    board_count: int
    nameplate_hashrate_hs: float | None
    profile: str
    is_asleep: bool
    is_power_supply_on: bool
    is_atm_enabled: bool


def config_of(answer: Answer) -> LuxosConfig:
    """``config``: identity and mode of the machine."""
    row = answer.row("CONFIG")
    nameplate_ths = row.number_or_none("NameplateTHS") or 0.0
    return LuxosConfig(
        model=row.text("Model"),
        mac=row.text_or_empty("MACAddr").lower(),
        serial=row.text_or_empty("SerialNumber"),
        board_count=row.whole("ASC Count"),
        nameplate_hashrate_hs=nameplate_ths * TH if nameplate_ths > 0 else None,
        profile=row.text("Profile"),
        is_asleep=_is_asleep(row, answer.reply),
        is_power_supply_on=row.flag("IsPowerSupplyOn"),
        # Absent in firmware from before ATM: there is nothing to override a profile.
        is_atm_enabled=row.flag_or_no("IsAtmEnabled"),
    )


def _is_asleep(row: Row, reply: bytes) -> bool:
    mode = row.text("CurtailMode").lower()
    if mode == "sleep":
        return True
    if mode in _AWAKE_MODES:
        return False
    raise BadReplyError(
        f"The machine is in a curtail mode that kwota does not know ({mode[:40]}).", reply=reply
    )


def is_luxos(answer: Answer) -> bool:
    """Whether ``config`` names LuxOS; other firmwares answer ``config`` too, without a system."""
    row = answer.row("CONFIG")
    return row.has("OS") and row.text("OS").lower() == "luxos"


def luxminer_version_of(answer: Answer) -> str | None:
    """The LUXminer version from ``version``, None where another program answers."""
    row = answer.row("VERSION")
    return row.text("LUXminer") if row.has("LUXminer") else None


def boards_of(answer: Answer) -> tuple[BoardReading, ...]:
    """``devs`` by board number. Raises BadReplyError where a board stands twice."""
    boards = sorted([_board(row) for row in answer.rows("DEVS")], key=_NUMBER_OF)
    if len(set(map(_NUMBER_OF, boards))) != len(boards):
        raise BadReplyError("The machine lists a hashboard twice.", reply=answer.reply)
    return tuple(boards)


def _board(row: Row) -> BoardReading:
    is_user_shutdown = row.flag_or_no("IsUserShutdown")
    serial = row.text_or_empty("SerialNumber")
    hashrate_hs = row.number("MHS 5s") * MH
    if hashrate_hs < 0:
        raise BadReplyError("The machine says that a hashboard's hashrate is negative.")
    return BoardReading(
        board=row.whole("ID"),
        is_enabled=row.flag("Enabled") and not is_user_shutdown,
        is_ramping=row.flag_or_no("IsRamping"),
        hashrate_hs=hashrate_hs,
        temperature_c=row.number_or_none("Temperature"),
        serial=serial or None,
    )


def dead_boards_of(answer: Answer) -> frozenset[int]:
    """Boards that the firmware calls something other than alive, though they should be on."""
    return frozenset(
        [
            row.whole("ID")
            for row in answer.rows("DEVS")
            if row.has("Status") and row.text("Status").lower() != "alive"
        ]
    )


def power_of(answer: Answer) -> tuple[float, PowerProvenance]:
    """``power``: watts, and whether a PSU with a meter of its own says so."""
    row = answer.row("POWER")
    power_w = row.number("Watts")
    if power_w < 0:
        raise BadReplyError("The machine says that its power is negative.", reply=answer.reply)
    if row.flag("PSU"):
        return power_w, PowerProvenance.METERED_PSU
    return power_w, PowerProvenance.FIRMWARE_ESTIMATE


def believed_hashrate_hs(
    boards: Sequence[BoardReading], nameplate_hashrate_hs: float | None
) -> float:
    """Sum of the boards, if it lies within 0…1.5 × nameplate. Raises BadReplyError.

    ``summary`` says the same ("GHS 5s" is the sum of "MHS 5s"), so it need not be asked.
    """
    hashrate_hs = sum([board.hashrate_hs for board in boards])
    if nameplate_hashrate_hs and hashrate_hs > HASHRATE_MARGIN * nameplate_hashrate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hashrate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    return hashrate_hs


def activity_of(config: LuxosConfig, boards: Sequence[BoardReading], devs: Answer) -> Activity:
    """What the machine is doing, the strongest sign first; ``boards`` are those of ``devs``."""
    enabled = [board for board in boards if board.is_enabled]
    if config.is_asleep:
        return Activity.SLEEPING
    if not config.is_power_supply_on or not enabled:
        return Activity.STOPPED
    if any(board.is_ramping for board in enabled):
        return Activity.RAMPING
    if any(board.hashrate_hs > 0 for board in enabled):
        return Activity.HASHING
    dead = dead_boards_of(devs)
    return Activity.FAULT if all(board.board in dead for board in enabled) else Activity.STOPPED


def profiles_of(answer: Answer) -> tuple[Profile, ...]:
    """``profiles``, from the weakest step to the strongest. Hashrate is TH/s on the wire."""
    profiles = (
        Profile(
            name=row.text("Profile Name"),
            step=row.whole("Step"),
            power_w=row.number("Watts"),
            hashrate_hs=row.number("Hashrate") * TH,
            is_tuned=row.flag("IsTuned"),
        )
        for row in answer.rows("PROFILES")
    )
    return tuple(sorted(profiles, key=lambda profile: profile.step))


def pools_of(answer: Answer) -> tuple[PoolReading, ...]:
    """``pools``, fallbacks included."""
    return tuple(
        PoolReading(
            slot=row.whole("POOL"),
            url=row.text("URL"),
            user=row.text("User"),
            is_active=row.flag("Stratum Active"),
            is_alive=row.text("Status").lower() == "alive",
            accepted=row.whole("Accepted"),
            rejected=row.whole("Rejected"),
        )
        for row in answer.rows("POOLS")
    )


def fan_speeds_of(answer: Answer) -> tuple[int, ...]:
    """``fans``: RPM in the order of the fans' numbers."""
    speeds = sorted((row.whole("ID"), row.whole("RPM")) for row in answer.rows("FANS"))
    return tuple(rpm for _, rpm in speeds)


def uptime_of(answer: Answer) -> int:
    """``summary``: seconds since the mining program started."""
    return answer.row("SUMMARY").whole("Elapsed")


def session_id_of(answer: Answer) -> str:
    """``logon``: the id that the next writes carry."""
    session_id = answer.row("SESSION").text("SessionID")
    if not session_id or "," in session_id:
        raise BadReplyError(
            "The machine granted a session without a usable id.", reply=answer.reply
        )
    return session_id


def is_session_lost(status: Status) -> bool:
    """Whether a refusal says that our session is gone: it ends after 60 s without use."""
    return status.is_refusal and status.code != BUSY_CODE and "session" in status.message.lower()
