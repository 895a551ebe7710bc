"""What Whatsminer's API v2 on TCP 4028 says to reads, in the units of readings.py.

Keys, units and codes of MicroBT's API manuals V1.3.8 and V2.2, of a recorded machine with API
v1.4.0, and as public clients use them. Hashrates are MH/s, ``Factory GHS`` is GH/s. Two shapes of
answers: cgminer's lists, and one object with ``Msg``. Firmware with API v3 answers here as well, in
other shapes and partly in TH/s; it is recognised, not read.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    MinerFault,
    PoolReading,
    PowerProvenance,
    Profile,
)
from drivers.wire.cgminer import Answer, Row, decode_answer
from drivers.wire.whatsminer_field import (
    has,
    is_on,
    not_negative,
    number_of,
    number_or_none,
    text_of,
)
from drivers.wire.whatsminer_info import BOARDS_MAX, fault_of
from drivers.wire.whatsminer_v3 import HASHRATE_MARGIN, TH, profiles_of, rated_power_w
from drivers.wire.whatsminer_who import message_of

MH = 1e6
GH = 1e9

# Five seconds are too few shares to believe, and "HS RT" is the mean of five minutes (recorded).
_RATES = ("MHS 1m", "MHS 5s", "HS RT", "MHS av")
_ODD_FAULTS = re.compile(rb'"error_code"\s*+:\s*+\[\s*+("[^"\[\]]{1,80}+"\s*+:[^\[\]{}]*+)\]')
_FAULTS_MAX = 256
_PERCENT_MAX = 200
_NO_MINER = b"socket connect failed"
# The PSU's figure is believed where it is not far off the firmware's: the unit differs by model.
_PSU_LEAST_SHARE = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What ``status`` says. ``percent`` is None for firmware that does not tell it."""

    is_off: bool
    percent: int | None


def decode_read(reply: bytes) -> Answer:
    """The answer in these bytes. Line feeds inside of texts and a list of faults written like a
    table (API 2.0.4) are mended on top of what cgminer's kin break."""
    body = reply.replace(b"\n", b"").replace(b"\r", b"")
    place = body.find(b'"error_code"')
    odd = None if place < 0 else _ODD_FAULTS.match(body, place)
    if odd is not None:
        body = body[: odd.start()] + b'"error_code":[{' + odd[1] + b"}]" + body[odd.end() :]
    return decode_answer(body)


def is_without_miner(reply: bytes) -> bool:
    """Whether the mining program, which answers cgminer's commands, is not there."""
    return reply[: len(_NO_MINER)].lower() == _NO_MINER


def joined_of(answer: Answer, question: str) -> tuple[Answer, ...]:
    """The accepted answers of a question of several commands with a plus between, in their order.

    Raises RefusedError where the machine takes no such question, BadReplyError for half of one.
    """
    parts, commands = answer.parts, question.split("+")
    if not parts.keys() >= set(commands):
        raise BadReplyError(
            f"The machine's answer to {question} leaves something out.",
            reply=answer.accepted(question).reply,
        )
    return tuple([parts[command].accepted(command) for command in commands])


def is_flat(answer: Answer) -> bool:
    """Whether ``summary`` comes as firmware with API v3 writes it: no list, all in ``Msg``."""
    return "SUMMARY" not in answer.sections and isinstance(answer.fields.values.get("Msg"), dict)


def status_of(answer: Answer) -> Status:
    """``status``, accepted. The percent 0 is taken for none in force, as API v3 says of its own."""
    row = message_of(answer)
    percent = number_or_none(row, "power_pct")
    if percent is not None and not 0 <= percent <= _PERCENT_MAX:
        raise BadReplyError(f"The machine says {percent} % of its power.", reply=answer.reply)
    is_off = is_on(row, "mineroff" if row.has("mineroff") else "btmineroff")
    return Status(is_off=is_off, percent=None if percent is None else round(percent) or 100)


def boards_of(devs: Answer | None, *, is_off: bool, count: int = 0) -> tuple[BoardReading, ...]:
    """Every board of ``edevs`` or ``devs`` by slot. The family has no command for single boards, so
    each counts as switched on. A stopped machine that lists none still has those it had."""
    found: dict[int, BoardReading] = {}
    for row in () if devs is None else devs.rows("DEVS"):
        slot = _slot_of(row)
        if not 0 <= slot < BOARDS_MAX or slot in found:
            raise BadReplyError(f"The machine tells of a board {slot} too many.")
        is_tuned = not has(row, "Upfreq Complete") or is_on(row, "Upfreq Complete")
        found[slot] = BoardReading(
            board=slot,
            is_enabled=True,
            is_ramping=not is_off and not is_tuned,
            hashrate_hs=0.0 if is_off else _rate(row),
            temperature_c=number_or_none(row, "Temperature"),
            serial=text_of(row, "PCB SN") or None,
        )
    for slot in range(count if is_off else 0):
        found.setdefault(slot, _still_board(slot))
    return tuple([found[slot] for slot in sorted(found)])


def chip_temperatures_of(devs: Answer | None) -> tuple[ChipTemperatures, ...]:
    """By slot, as far as it tells the hottest chip; firmware with API v3 does not."""
    found = []
    for row in () if devs is None else devs.rows("DEVS"):
        hottest_c = number_or_none(row, "Chip Temp Max")
        if hottest_c is not None:
            found.append(
                ChipTemperatures(
                    board=_slot_of(row),
                    min_c=number_or_none(row, "Chip Temp Min"),
                    mean_c=number_or_none(row, "Chip Temp Avg"),
                    max_c=hottest_c,
                )
            )
    return tuple(sorted(found, key=lambda one: one.board))


def _slot_of(row: Row) -> int:
    for key in ("Slot", "ASC"):
        if row.has(key):
            return row.whole(key)
    return row.whole("ID")


def _still_board(slot: int) -> BoardReading:
    return BoardReading(
        board=slot,
        is_enabled=True,
        is_ramping=False,
        hashrate_hs=0.0,
        temperature_c=None,
        serial=None,
    )


def nameplate_of(summary: Row) -> float | None:
    """H/s that the factory measured; None where this firmware does not say."""
    rate = number_or_none(summary, "Factory GHS")
    return None if rate is None or rate <= 0 else rate * GH


def require_believable(
    boards: Sequence[BoardReading], summary: Row, nameplate_hashrate_hs: float | None
) -> float:
    """H/s of all boards, where they lie within 0…1.5 × nameplate and in the summary's unit."""
    hashrate_hs = sum([board.hashrate_hs for board in boards])
    if nameplate_hashrate_hs and hashrate_hs > HASHRATE_MARGIN * nameplate_hashrate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hashrate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    told_hs = _rate(summary)
    if 0 < hashrate_hs < told_hs / 1e4:
        raise BadReplyError(
            f"The machine says {told_hs / TH:.0f} TH/s and its boards next to nothing: "
            "its firmware may use another unit for them."
        )
    return hashrate_hs


def activity_of(
    summary: Row | None, status: Status, boards: Sequence[BoardReading], hashrate_hs: float
) -> Activity:
    """What the machine is doing, the strongest sign first."""
    if status.is_off or summary is None:
        return Activity.SLEEPING
    is_ramping = any(board.is_ramping for board in boards)
    if is_ramping or (hashrate_hs <= 0 and not _is_stable(summary)):
        return Activity.RAMPING
    if hashrate_hs > 0:
        return Activity.HASHING
    return Activity.FAULT if faults_in(summary) else Activity.STOPPED


def power_of(
    summary: Row | None, supply: Row | None, nameplate_w: float | None
) -> tuple[float | None, PowerProvenance]:
    """Watts: what the power supply measures at its input where that can be watts, else the
    firmware's own figure. None where the machine, asleep, tells neither."""
    told_w = None if summary is None else not_negative(summary, "Power")
    if told_w is not None and nameplate_w is not None and told_w > HASHRATE_MARGIN * nameplate_w:
        raise BadReplyError(
            f"The machine says {told_w:.0f} W, more than 1.5 times its nameplate of "
            f"{nameplate_w:.0f} W: its firmware may use another unit."
        )
    pin_w = None if supply is None else number_or_none(supply, "pin")
    if pin_w is not None and _is_believable(pin_w, told_w, nameplate_w):
        return pin_w, PowerProvenance.METERED_PSU
    if told_w is None:
        return None, PowerProvenance.ABSENT
    return told_w, PowerProvenance.FIRMWARE_ESTIMATE


def _is_believable(pin_w: float, told_w: float | None, nameplate_w: float | None) -> bool:
    known_w = max(told_w or 0.0, 100.0)
    most_w = known_w / _PSU_LEAST_SHARE if nameplate_w is None else HASHRATE_MARGIN * nameplate_w
    return 0 < pin_w <= most_w and pin_w >= _PSU_LEAST_SHARE * (told_w or 0.0)


def power_limit_of(summary: Row) -> float | None:
    """The ceiling in W; None where it is not told, or says 0 during a restart."""
    return number_or_none(summary, "Power Limit") or None


def profiles_at(
    summary: Row | None,
    status: Status,
    nameplate_w: float | None,
    nameplate_hashrate_hs: float | None,
) -> tuple[Profile, ...]:
    """The percents that a plan may choose: only the whole without Fast Boot, or where no percent
    would be read back. None at all where nobody says what the whole draws."""
    rated_w = rated_power_w(None if summary is None else power_limit_of(summary), nameplate_w)
    if rated_w is None or nameplate_hashrate_hs is None:
        return ()
    is_offered = summary is not None and is_fast_boot(summary) and status.percent is not None
    return profiles_of(rated_w, nameplate_hashrate_hs, is_fast_boot=is_offered)


def is_fast_boot(summary: Row) -> bool:
    """Whether a percent changes the power without a restart of mining."""
    return has(summary, "Btminer Fast Boot") and is_on(summary, "Btminer Fast Boot")


def supply_of(answer: Answer) -> Row:
    """``get_psu``, accepted."""
    return message_of(answer)


def has_wattmeter(supply: Row) -> bool:
    """Whether the power supply tells what it measures at its input."""
    return has(supply, "pin")


def pools_of(answer: Answer) -> tuple[PoolReading, ...]:
    """``pools``, fallbacks included."""
    return tuple(
        [
            PoolReading(
                slot=row.whole("POOL"),
                url=row.text("URL"),
                user=row.text("User"),
                is_active=is_on(row, "Stratum Active"),
                is_alive=row.text("Status").lower() == "alive",
                accepted=row.whole("Accepted"),
                rejected=row.whole("Rejected"),
            )
            for row in answer.rows("POOLS")
        ]
    )


def fan_speeds_of(summary: Row) -> tuple[int, ...]:
    """RPM of the fans in and out; a machine cooled by a liquid says nothing or 0."""
    keys = [key for key in ("Fan Speed In", "Fan Speed Out") if has(summary, key)]
    return tuple([round(number_of(summary, key)) for key in keys])


def uptime_of(summary: Row) -> int | None:
    """Seconds since the system started, else since the mining program did."""
    key = next((key for key in ("Uptime", "Elapsed") if has(summary, key)), None)
    return None if key is None else round(number_of(summary, key))


def elapsed_of(summary: Row) -> float | None:
    """Seconds since the mining program started; None where it does not say."""
    return number_or_none(summary, "Elapsed")


def faults_told(listed: Answer | None, summary: Row | None) -> tuple[MinerFault, ...]:
    """Of ``get_error_code``, or of ``summary`` where older firmware has them."""
    if listed is not None:
        return faults_of(listed)
    return () if summary is None else faults_in(summary)


def faults_of(answer: Answer) -> tuple[MinerFault, ...]:
    """``get_error_code``, accepted: a list of codes with times, or of codes alone."""
    listed = message_of(answer).values.get("error_code")
    if not isinstance(listed, list) or len(listed) > _FAULTS_MAX:
        raise BadReplyError("The machine's list of faults is none.", reply=answer.reply)
    codes: list[str] = []
    for entry in listed:
        codes += [str(key) for key in (entry if isinstance(entry, dict) else [entry])]
    return _faults(codes)


def faults_in(summary: Row) -> tuple[MinerFault, ...]:
    """Older firmware counts and numbers its faults in ``summary``."""
    count = summary.whole("Error Code Count") if has(summary, "Error Code Count") else 0
    keys = [f"Error Code {number}" for number in range(min(count, _FAULTS_MAX))]
    return _faults([str(summary.whole(key)) for key in keys if has(summary, key)])


def _faults(codes: Sequence[str]) -> tuple[MinerFault, ...]:
    kept = [code for code in codes if code.isascii() and code.isdigit() and len(code) < 9]
    return tuple([fault_of(code) for code in kept])


def _is_stable(summary: Row) -> bool:
    return not has(summary, "Hash Stable") or is_on(summary, "Hash Stable")


def _rate(row: Row) -> float:
    for key in _RATES:
        if has(row, key):
            return not_negative(row, key) * MH
    return row.number(_RATES[-1])  # raises: there is none
