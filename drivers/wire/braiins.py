"""What Braiins OS says over REST, in the units of readings.py.

Keys and units of the vendor's OpenAPI document 1.7.0 and of answers recorded from an S19 XP with
25.07. Hashrates are GH/s, watts whole numbers, boards have names that are numbers. Where the vendor
allows null (a mean not yet measured, a sensor that is not there) it is taken for what it says;
everything else that is missing or of another kind is a BadReplyError.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from drivers.errors import BadReplyError, UnsupportedError, WrongDeviceError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    MinerFault,
    PoolReading,
    PowerProvenance,
)
from drivers.wire.braiins_reply import document_of, list_of, number_of, part_of, text_of
from drivers.wire.cgminer import Row

GH = 1e9
MARGIN = 1.5  # a wrong unit is a factor of 1000
FIRST_REST = (25, 7)

BOARDS_MAX = 16
_RISEN_SHARE = 0.9
_FAULTS_MAX = 20
_WORDS_MAX = 200
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_FIRMWARE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]+-[0-9a-f]{6,40}-([0-9]{2})\.([0-9]{2})(?:\.[0-9]+)?(?:-[a-z]+)*\Z"
)


class Status(IntEnum):
    """``status`` of miner/details (bos-plus-api, miner.proto)."""

    NOT_STARTED = 1
    NORMAL = 2
    PAUSED = 3
    SUSPENDED = 4
    RESTRICTED = 5


class Tuner(IntEnum):
    """``overall_tuner_state`` of performance/tuner-state."""

    ERROR = 4
    TUNING = 3
    PREHEATING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDetails:
    """What ``miner/details`` says. ``release`` is year and month, None for no Braiins OS."""

    firmware: str
    release: tuple[int, int] | None
    model: str
    mac: str
    serial: str
    status: int
    uptime_s: int
    nameplate_hs: float | None
    power_supply_serial: str | None

    @property
    def may_hash(self) -> bool:
        """Whether the mining program runs and nobody holds it; an unknown status counts as yes."""
        return self.status not in {Status.NOT_STARTED, Status.PAUSED, Status.SUSPENDED}


def api_of(version: Row) -> str:
    """The version of the API, as people write it."""
    return ".".join(str(version.whole(part)) for part in ("major", "minor", "patch"))


def details_of(details: Row) -> DeviceDetails:
    """``miner/details``."""
    bos, identity = part_of(details, "bos_version"), part_of(details, "miner_identity")
    supply = part_of(details, "psu_info")
    firmware = "" if bos is None else bos.text("current")
    match = _FIRMWARE.match(firmware)
    sticker_ghs = number_of(details, "sticker_hashrate", "gigahash_per_second")
    return DeviceDetails(
        firmware=firmware,
        release=None if match is None else (int(match[1]), int(match[2])),
        model="" if identity is None else identity.text("miner_model").strip(),
        mac=details.text("mac_address").lower(),
        serial=text_of(details, "serial_number"),
        status=details.whole("status"),
        uptime_s=details.whole("system_uptime_s"),
        nameplate_hs=None if sticker_ghs is None or sticker_ghs <= 0 else sticker_ghs * GH,
        power_supply_serial=None if supply is None else text_of(supply, "serial_number") or None,
    )


def pinned(
    details: DeviceDetails, *, mac: str | None, miner_id: str, address: str
) -> DeviceDetails:
    """These details, if they are those of the machine meant. Raises for any other, and for one
    whose firmware is older than the REST API."""
    if details.release is None:
        raise WrongDeviceError(
            f"What answers at {address} does not name a version of Braiins OS: "
            "check the address and the family of the configuration."
        )
    if mac is not None and details.mac != mac:
        raise WrongDeviceError(
            f"Machine {miner_id} should have the MAC {mac}, but "
            f"{details.mac or 'a machine without one'} answers at {address}: "
            "check the address, or pin the new MAC if the machine was exchanged."
        )
    if details.release < FIRST_REST:
        raise UnsupportedError(
            f"Machine {miner_id} runs Braiins OS {details.firmware}: "
            "upgrade its firmware to 25.07 or later."
        )
    return details


def mac_of(network: Row) -> str:
    """The MAC that ``network`` names; "" where it names none."""
    return text_of(network, "mac_address").lower()


def is_mac(text: str) -> bool:
    """Whether this is a whole MAC."""
    return _MAC.match(text) is not None


def boards_of(hashboards: Row) -> tuple[BoardReading, ...]:
    """``miner/hw/hashboards``, by number; whether they are on a ramp they do not say."""
    boards: dict[int, BoardReading] = {}
    for row in list_of(hashboards, "hashboards"):
        number = row.whole("id")
        if number < 0 or number in boards or len(boards) == BOARDS_MAX:
            raise BadReplyError(f"The machine cannot have a board {number} here.")
        boards[number] = BoardReading(
            board=number,
            is_enabled=row.flag("enabled"),
            is_ramping=False,
            hashrate_hs=_rate_hs(row),
            temperature_c=number_of(row, "board_temp", "degree_c"),
            serial=text_of(row, "serial_number") or None,
        )
    return tuple([boards[number] for number in sorted(boards)])


def chip_temperatures_of(hashboards: Row) -> tuple[ChipTemperatures, ...]:
    """The hottest chip of each board that tells of one."""
    found = []
    for row in list_of(hashboards, "hashboards"):
        max_c = number_of(row, "highest_chip_temp", "temperature", "degree_c")
        if max_c is not None:
            board = row.whole("id")
            found.append(ChipTemperatures(board=board, min_c=None, mean_c=None, max_c=max_c))
    return tuple(sorted(found, key=lambda one: one.board))


def _rate_hs(row: Row) -> float:
    """The mean of the last five seconds; nothing where there is none yet."""
    ghs = number_of(row, "stats", "real_hashrate", "last_5s", "gigahash_per_second")
    return _not_negative(ghs or 0.0, "hashrate") * GH


def believed_hashrate_hs(boards: Sequence[BoardReading], nameplate_hs: float | None) -> float:
    """Sum of the boards, if it lies within 0…1.5 × nameplate. Raises BadReplyError."""
    hashrate_hs = sum(board.hashrate_hs for board in boards)
    if nameplate_hs is not None and hashrate_hs > MARGIN * nameplate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / 1e12:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hs / 1e12:.0f} TH/s: its firmware may use another unit."
        )
    return hashrate_hs


def power_of(stats: Row) -> tuple[float | None, PowerProvenance]:
    """Watts of ``miner/stats``: an estimate, by the vendor's own word for it."""
    watts = number_of(stats, "power_stats", "approximated_consumption", "watt")
    if watts is None:
        return None, PowerProvenance.ABSENT
    return _not_negative(watts, "consumption"), PowerProvenance.FIRMWARE_ESTIMATE


def believe_power(power_w: float | None, *known_w: float | None) -> None:
    """Raise BadReplyError for watts above 1.5 times whatever is known of the machine."""
    most_w = max((watts for watts in known_w if watts is not None), default=math.inf)
    if power_w is not None and power_w > MARGIN * most_w:
        raise BadReplyError(
            f"The machine says {power_w:.0f} W, more than 1.5 times the {most_w:.0f} W it is made "
            "or set for: its firmware may use another unit."
        )


def tuner_state_of(tuner: Row) -> int:
    """``overall_tuner_state``."""
    return tuner.whole("overall_tuner_state")


def is_risen(boards: Sequence[BoardReading], power_w: float | None, target_w: int | None) -> bool:
    """Whether every board that is on hashes and the watts of the target are there.

    Then the machine hashes and is on no ramp, whatever its tuner does: tuning goes on for hours at
    full power, and a machine that preheats or has failed draws and hashes less.
    """
    enabled = [board for board in boards if board.is_enabled]
    if not enabled or not all(board.hashrate_hs > 0 for board in enabled):
        return False
    return _is_there(boards, power_w, target_w)


def with_ramps(
    boards: tuple[BoardReading, ...], state: int, power_w: float | None, target_w: int | None
) -> tuple[BoardReading, ...]:
    """The boards, marked where watts are still to come."""
    is_rising = state == Tuner.PREHEATING
    if state == Tuner.TUNING and power_w is not None and target_w is not None:
        is_rising = not _is_there(boards, power_w, target_w)
    return tuple([replace(board, is_ramping=is_rising and board.is_enabled) for board in boards])


def _is_there(boards: Sequence[BoardReading], power_w: float | None, target_w: int | None) -> bool:
    """Whether the watts are those of the target, as far as boards are on; unknown ones are not."""
    if power_w is None or target_w is None:
        return False
    share = sum(board.is_enabled for board in boards) / max(len(boards), 1)
    return power_w >= _RISEN_SHARE * target_w * share


def activity_of(
    details: DeviceDetails, state: int | None, boards: Sequence[BoardReading]
) -> Activity:
    """What the machine is doing, the strongest sign first.

    A suspended one waits for its pools or to cool down and goes on by itself.
    """
    if details.status == Status.PAUSED:
        return Activity.SLEEPING
    if details.status == Status.SUSPENDED:
        return Activity.FAULT
    enabled = [board for board in boards if board.is_enabled]
    if details.status == Status.NOT_STARTED or not enabled:
        return Activity.STOPPED
    is_hashing = any(board.hashrate_hs > 0 for board in enabled)
    if state == Tuner.ERROR and not is_hashing:
        return Activity.FAULT
    if not is_hashing or any(board.is_ramping for board in enabled):
        return Activity.RAMPING
    return Activity.HASHING


def pools_of(groups: Sequence[Row]) -> tuple[PoolReading, ...]:
    """``pools``: the pools of every group, in their order."""
    rows = [row for group in groups for row in list_of(group, "pools")]
    return tuple(
        [
            PoolReading(
                slot=slot,
                url=row.text("url"),
                user=row.text("user"),
                is_active=row.flag("active"),
                is_alive=row.flag("alive"),
                accepted=_count(row, "accepted_shares"),
                rejected=_count(row, "rejected_shares"),
            )
            for slot, row in enumerate(rows)
        ]
    )


def _count(row: Row, name: str) -> int | None:
    stats = part_of(row, "stats")
    return None if stats is None else stats.whole(name)


def fan_speeds_of(cooling: Row) -> tuple[int, ...]:
    """RPM of the fans that turn and are measured, by position."""
    rows = [row for row in list_of(cooling, "fans") if row.has("rpm")]
    return tuple([row.whole("rpm") for row in sorted(rows, key=lambda row: row.whole("position"))])


def faults_of(errors: Row) -> tuple[MinerFault, ...]:
    """``miner/errors``, the latest of each kind. It is a log: the words say when it was written."""
    found: dict[tuple[str, str], MinerFault] = {}
    for row in list_of(errors, "errors"):
        said, when = row.text("message")[:_WORDS_MAX], text_of(row, "timestamp")[:_WORDS_MAX]
        codes = list_of(row, "error_codes")
        code = ", ".join(one.text("code")[:_WORDS_MAX] for one in codes) or "error"
        reasons = "; ".join(one.text("reason")[:_WORDS_MAX] for one in codes)
        words = f"The machine wrote: {said}{f' ({reasons})' if reasons else ''}; its clock: {when}."
        found.pop((code, said), None)
        found[code, said] = MinerFault(code=code, words=words)
    return tuple(found.values())[-_FAULTS_MAX:]


def licence_faults(licence: Row) -> tuple[MinerFault, ...]:
    """``license/license``: nothing to say of a valid one, and nothing where no state is told."""
    state = part_of(licence, "state")
    if state is None or state.has("valid"):
        return ()
    kind = next((name for name in ("none", "limited", "expired") if name in state.values), "")
    if not kind:
        raise BadReplyError("The machine's licence is in a state that kwota does not know.")
    words = (
        f"The licence of Braiins OS is not valid ({kind}): the machine may restrict its mining; "
        "renew the licence."
    )
    return (MinerFault(code=f"license-{kind}", words=words),)


def _not_negative(number: float, what: str) -> float:
    if number < 0:
        raise BadReplyError(f"The machine says that its {what} is negative.")
    return number


def board_states_of(answer: Row) -> dict[int, bool]:
    """What a machine says of its boards after switching them."""
    return {row.whole("id"): row.flag("is_enabled") for row in list_of(answer, "hashboards")}


def is_yes_or_no(body: bytes) -> bool:
    """Whether this answers a pause or a resume: each says whether it was so already."""
    return isinstance(document_of(body, "answer"), bool)
