"""What Whatsminer's API v3 says, in the units of readings.py.

Keys, units and codes of MicroBT's API v3 (3.0.0 to 3.0.5) as its own clients use them, and of an
answer recorded from an M50. Hashrates are TH/s. Numbers come as numbers or as text, by firmware.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.readings import (
    Activity,
    BoardReading,
    MinerFault,
    PoolReading,
    PowerProvenance,
    Profile,
)
from drivers.wire.cgminer import Row
from drivers.wire.whatsminer_reply import Reply

TH = 1e12
HASHRATE_MARGIN = 1.5  # a wrong unit is a factor of 1000

BOARDS_MAX = 16
_PERCENTS = tuple(range(60, 101, 5))
_FULL_PERCENT = 100
# No vendor says how much less efficient a throttled machine is, only that it is: an assumption.
_THROTTLE_LOSS = 0.06
_WORDS_MAX = 200
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_TYPE = re.compile(r"M[0-9]{2}[0-9A-Z+]*(?:_[0-9A-Z]+)?\Z")
_WARMTH = "board-temperature"
_IS_ON = {"true": True, "false": False, "enable": True, "disable": False, "1": True, "0": False}

# The class of a fault by the start of its code, the longest first (MicroBT's table of codes).
_FAULT_CLASSES = (
    ("20", 4, "The pool cannot be reached or refuses the worker"),
    ("23", 4, "The hashrate is too low"),
    ("50", 4, "Cooling water or the supply voltage is not as it should be"),
    ("51", 4, "The frequency of the chips is not as it should be"),
    ("1", 3, "A fan has failed"),
    ("2", 3, "The power supply has failed"),
    ("3", 3, "A temperature is too high or cannot be measured"),
    ("4", 3, "A hashboard's memory cannot be read"),
    ("5", 3, "A hashboard has failed"),
    ("6", 3, "The ambient temperature is too high"),
    ("7", 3, "The control board has failed"),
    ("8", 3, "The firmware or its checksum is wrong"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What ``get.device.info`` says of a machine. ``board_serials`` by slot; "" where unknown."""

    api: str
    platform: str
    firmware: str
    type_name: str
    mac: str
    serial: str
    salt: str
    board_count: int
    board_serials: tuple[str, ...]
    power_supply_serial: str | None
    input_power_w: float | None
    is_working: bool
    is_fast_boot: bool
    clock_s: int
    faults: tuple[MinerFault, ...]

    @property
    def is_api_v3(self) -> bool:
        """Whether API version and type are those of a Whatsminer with API v3."""
        return self.api.startswith("3.") and _TYPE.match(self.type_name) is not None

    @property
    def model(self) -> str:
        """The name of the model in the table, with the bin's letters left out."""
        return f"WhatsMiner {self.type_name.partition('_')[0]}"


def info_of(answer: Reply) -> DeviceInfo:
    """``get.device.info`` without a parameter."""
    network, miner = answer.part("network"), answer.part("miner")
    system, power = answer.part("system"), answer.part("power")
    if answer.when_s is None:
        raise BadReplyError("The machine's answer does not tell its clock.", reply=answer.reply)
    count = miner.whole("board-num")
    if not 1 <= count <= BOARDS_MAX:
        raise BadReplyError(f"The machine says that it has {count} boards.", reply=answer.reply)
    return DeviceInfo(
        api=system.text("api"),
        platform=_text(system, "platform"),
        firmware=system.text("fwversion"),
        type_name=miner.text("type"),
        mac=network.text("mac").lower(),
        serial=_text(miner, "miner-sn"),
        salt=answer.message.text("salt"),
        board_count=count,
        board_serials=tuple([_text(miner, f"pcbsn{slot}") for slot in range(count)]),
        power_supply_serial=_text(power, "sn") or None,
        input_power_w=_watts(power, "pin") if _has(power, "pin") else None,
        is_working=_is_on(miner, "working"),
        is_fast_boot=_has(miner, "fast-boot") and _is_on(miner, "fast-boot"),
        clock_s=answer.when_s,
        faults=_faults_of(answer),
    )


def has_mac(info: DeviceInfo) -> bool:
    """Whether the machine tells a whole MAC."""
    return _MAC.match(info.mac) is not None


def boards_of(status: Reply, info: DeviceInfo) -> tuple[BoardReading, ...]:
    """Every board that the machine has, by slot; one that ``edevs`` leaves out hashes nothing.

    The family has no command for single boards, so each counts as switched on. The temperature is
    the board's own where ``summary`` lists it, else that of its hottest chip.
    """
    summary = status.part("summary")
    is_ramping = info.is_working and not _is_tuned(summary)
    rows = {row.whole("slot" if _has(row, "slot") else "id"): row for row in status.parts("edevs")}
    strange = sorted(set(rows) - set(range(info.board_count)))
    if strange:
        raise BadReplyError(f"The machine has no board {strange[0]}.", reply=status.reply)
    warmth = summary.values.get(_WARMTH)
    return tuple(
        [
            BoardReading(
                board=slot,
                is_enabled=True,
                is_ramping=is_ramping,
                hashrate_hs=_hashrate(rows[slot], "hash-realtime") if slot in rows else 0.0,
                temperature_c=_temperature(rows.get(slot), warmth, slot),
                serial=info.board_serials[slot] or None,
            )
            for slot in range(info.board_count)
        ]
    )


def nameplate_of(status: Reply) -> float | None:
    """H/s that the factory measured; None where this firmware does not say."""
    summary = status.part("summary")
    if not _has(summary, "factory-hash"):
        return None
    return _hashrate(summary, "factory-hash") or None


def believed_hashrate_hs(
    boards: Sequence[BoardReading], nameplate_hashrate_hs: float | None
) -> float:
    """Sum of the boards, if it lies within 0…1.5 × nameplate. Raises BadReplyError."""
    hashrate_hs = sum([board.hashrate_hs for board in boards])
    if nameplate_hashrate_hs and hashrate_hs > HASHRATE_MARGIN * nameplate_hashrate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / TH:.0f} TH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hashrate_hs / TH:.0f} TH/s: its firmware may use another unit."
        )
    return hashrate_hs


def power_of(status: Reply, info: DeviceInfo) -> tuple[float, PowerProvenance]:
    """Watts: what the PSU measures at its input, else the firmware's own figure."""
    told_w = _watts(status.part("summary"), "power-realtime")
    if info.input_power_w is None or (info.input_power_w <= 0 < told_w):
        return told_w, PowerProvenance.FIRMWARE_ESTIMATE
    return info.input_power_w, PowerProvenance.METERED_PSU


def power_limit_of(status: Reply) -> float | None:
    """The ceiling in W that rules now; None where it is not set, or says 0 during a restart."""
    summary = status.part("summary")
    return (_watts(summary, "power-limit") if _has(summary, "power-limit") else 0.0) or None


def activity_of(status: Reply, info: DeviceInfo, hashrate_hs: float) -> Activity:
    """What the machine is doing, the strongest sign first."""
    if not info.is_working:
        return Activity.SLEEPING
    if not _is_tuned(status.part("summary")):
        return Activity.RAMPING
    if hashrate_hs > 0:
        return Activity.HASHING
    return Activity.FAULT if info.faults else Activity.STOPPED


def profile_of(setting: Reply, info: DeviceInfo) -> str:
    """The percent in force; that of a stopped machine is the whole, because a start forgets it."""
    if not info.is_working:
        return _percent_name(_FULL_PERCENT)
    percent = setting.message.whole("power-percent")
    if not 0 <= percent <= 2 * _FULL_PERCENT:
        raise BadReplyError(f"The machine says {percent} % of its power.", reply=setting.reply)
    return _percent_name(percent or _FULL_PERCENT)


def profiles_of(
    rated_power_w: float, nameplate_hashrate_hs: float, *, is_fast_boot: bool
) -> tuple[Profile, ...]:
    """The percents that a plan may choose; without Fast Boot only the whole."""
    return tuple(
        Profile(
            name=_percent_name(percent),
            step=(percent - _FULL_PERCENT) // 5,
            power_w=rated_power_w * percent / _FULL_PERCENT,
            hashrate_hs=nameplate_hashrate_hs * _hash_share(percent / _FULL_PERCENT),
            is_tuned=True,
        )
        for percent in (_PERCENTS if is_fast_boot else (_FULL_PERCENT,))
    )


def percent_of(name: str, *, is_fast_boot: bool) -> int | None:
    """The percent behind a profile's name; None where it is not offered."""
    offered = _PERCENTS if is_fast_boot else (_FULL_PERCENT,)
    return next((percent for percent in offered if _percent_name(percent) == name), None)


def pools_of(status: Reply) -> tuple[PoolReading, ...]:
    """``pools``, fallbacks included. API v3 counts no shares for a pool, only a rate."""
    return tuple(
        [
            PoolReading(
                slot=row.whole("id"),
                url=row.text("url"),
                user=row.text("account"),
                is_active=_is_on(row, "stratum-active"),
                is_alive=row.text("status").lower() == "alive",
                accepted=None,
                rejected=None,
            )
            for row in status.parts("pools")
        ]
    )


def fan_speeds_of(status: Reply) -> tuple[int, ...]:
    """RPM of the fans in and out; a machine cooled by a liquid has none."""
    summary = status.part("summary")
    keys = [key for key in ("fan-speed-in", "fan-speed-out") if _has(summary, key)]
    return tuple([round(_number(summary, key)) for key in keys])


def uptime_of(status: Reply) -> int | None:
    """Seconds since the mining program started; None where this firmware does not say."""
    summary = status.part("summary")
    return round(_number(summary, "elapsed")) if _has(summary, "elapsed") else None


def start_delay_of(system: Reply) -> float:
    """``get.system.setting``: the random delay of starts and stops, at most, in s."""
    delay = system.message.values.get("time-randomized")
    if not isinstance(delay, dict):
        return 0.0
    row = Row(section="time-randomized", values=delay)
    return max(_number(row, key) if _has(row, key) else 0.0 for key in ("start", "stop"))


def _faults_of(answer: Reply) -> tuple[MinerFault, ...]:
    found = []
    for row in answer.parts("error-code"):
        reason = _text(row, "reason")
        codes = [key for key in row.values if key.isascii() and key.isdigit()]
        if not codes and _has(row, "code"):
            codes = [str(row.values["code"])[:_WORDS_MAX]]
        found += [MinerFault(code=code, words=fault_words(code, reason)) for code in codes]
    return tuple(found)


def fault_words(code: str, reason: str) -> str:
    """Our words for a fault's class, with the machine's own reason behind them."""
    words = next(
        (
            words
            for start, digits, words in _FAULT_CLASSES
            if len(code) >= digits and len(code) - digits < 2 and code.startswith(start)
        ),
        "A fault that kwota does not know",
    )
    return f"{words} ({reason[:_WORDS_MAX]})." if reason else f"{words}."


def _percent_name(percent: int) -> str:
    return f"{percent}%"


def _hash_share(share: float) -> float:
    return share - _THROTTLE_LOSS * (1.0 - share)


def _is_tuned(summary: Row) -> bool:
    return not _has(summary, "up-freq-finish") or _is_on(summary, "up-freq-finish")


def _temperature(row: Row | None, warmth: object, slot: int) -> float | None:
    if isinstance(warmth, list) and slot < len(warmth):
        value = warmth[slot]
        if isinstance(value, float):
            return value
        return _number(Row(section="summary", values={_WARMTH: value}), _WARMTH)
    if row is not None and _has(row, "chip-temp-max"):
        return _number(row, "chip-temp-max")
    return None


def _has(row: Row, key: str) -> bool:
    """Whether there is a value; this firmware writes "" for none."""
    return row.values.get(key) not in (None, "")


def _text(row: Row, key: str) -> str:
    value = row.values.get(key)
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else row.text(key)


def _number(row: Row, key: str) -> float:
    """A finite number, also where the firmware writes it as text."""
    value = row.values.get(key)
    if isinstance(value, float):
        return value  # orjson yields finite ones only
    if isinstance(value, str) and _NUMBER.match(value):
        return float(value)
    return row.number(key)


def _watts(row: Row, key: str) -> float:
    return _not_negative(row, key)


def _hashrate(row: Row, key: str) -> float:
    return _not_negative(row, key) * TH


def _not_negative(row: Row, key: str) -> float:
    value = row.values.get(key)
    if not isinstance(value, float):
        value = _number(row, key)
    if value < 0:
        raise BadReplyError(f"The machine says that its {row.section} {key} is negative.")
    return value


def _is_on(row: Row, key: str) -> bool:
    """Yes or no, as this firmware writes it: true, "true", 1, "enable"."""
    value = row.values.get(key)
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, (int, str)) else ""
    if word not in _IS_ON:
        raise BadReplyError(
            f"The machine's {row.section} has {key!r} that is not yes or no: "
            "its firmware may be a version that kwota does not know."
        )
    return _IS_ON[word]


def rated_power_w(limit_w: float | None, nameplate_w: float | None) -> float | None:
    """What the whole machine draws at 100 %: its nameplate, unless its own limit is lower."""
    known: Mapping[str, float | None] = {"limit": limit_w, "nameplate": nameplate_w}
    return min((watts for watts in known.values() if watts is not None), default=None)
