"""What Whatsminer's API v3 says, in the units of readings.py.

Keys, units and codes of MicroBT's API v3 (3.0.0 to 3.0.5) as its own clients use them, and of an
answer recorded from an M50. Hashrates are TH/s. Numbers come as numbers or as text, by firmware.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from drivers.errors import BadReplyError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    PoolReading,
    PowerProvenance,
    Profile,
)
from drivers.wire.cgminer import Row
from drivers.wire.whatsminer_field import (
    has,
    is_on,
    not_negative,
    number_of,
    number_or_none,
)
from drivers.wire.whatsminer_info import DeviceInfo
from drivers.wire.whatsminer_reply import Reply

TH = 1e12
HASHRATE_MARGIN = 1.5  # a wrong unit is a factor of 1000

_PERCENTS = tuple(range(60, 101, 5))
_FULL_PERCENT = 100
# No vendor says how much less efficient a throttled machine is, only that it is: an assumption.
_THROTTLE_LOSS = 0.06
_WARMTH = "board-temperature"


class MinerStatus(NamedTuple):
    """What ``get.miner.status`` says: its summary, and a row for each board that it lists."""

    summary: Row
    boards: tuple[Row, ...]
    answer: Reply


def status_of(answer: Reply) -> MinerStatus:
    """``get.miner.status``, accepted."""
    return MinerStatus(answer.part("summary"), answer.parts("edevs"), answer)


def boards_of(status: MinerStatus, info: DeviceInfo) -> tuple[BoardReading, ...]:
    """Every board that the machine has, by slot; one that ``edevs`` leaves out hashes nothing.

    The family has no command for single boards, so each counts as switched on. The temperature is
    the board's own where ``summary`` lists it, else that of its hottest chip.
    """
    is_ramping = info.is_working and not _is_tuned(status.summary)
    rows = {_slot_of(row): row for row in status.boards}
    strange = rows.keys() - range(info.board_count)
    if strange:
        raise BadReplyError(f"The machine has no board {min(strange)}.", reply=status.answer.reply)
    warmth = status.summary.values.get(_WARMTH)
    serials = info.board_serials
    return tuple(
        [
            BoardReading(
                board=slot,
                is_enabled=True,
                is_ramping=is_ramping,
                hashrate_hs=_hashrate(rows[slot], "hash-realtime") if slot in rows else 0.0,
                temperature_c=_temperature(rows.get(slot), warmth, slot),
                serial=serials[slot] or None,
            )
            for slot in range(info.board_count)
        ]
    )


def chip_temperatures_of(status: MinerStatus) -> tuple[ChipTemperatures, ...]:
    """``edevs``, by slot, as far as it tells the hottest chip."""
    found = [
        ChipTemperatures(
            board=_slot_of(row),
            min_c=number_or_none(row, "chip-temp-min"),
            mean_c=number_or_none(row, "chip-temp-avg"),
            max_c=number_of(row, "chip-temp-max"),
        )
        for row in status.boards
        if has(row, "chip-temp-max")
    ]
    return tuple(sorted(found, key=lambda one: one.board))


def nameplate_of(status: MinerStatus) -> float | None:
    """H/s that the factory measured; None where this firmware does not say."""
    summary = status.summary
    if not has(summary, "factory-hash"):
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


def power_of(status: MinerStatus, info: DeviceInfo) -> tuple[float, PowerProvenance]:
    """Watts: what the PSU measures at its input, else the firmware's own figure."""
    told_w, input_w = not_negative(status.summary, "power-realtime"), info.input_power_w
    if input_w is None or (input_w <= 0 < told_w):
        return told_w, PowerProvenance.FIRMWARE_ESTIMATE
    return input_w, PowerProvenance.METERED_PSU


def power_limit_of(status: MinerStatus) -> float | None:
    """The ceiling in W that rules now; None where it is not set, or says 0 during a restart."""
    summary = status.summary
    return (not_negative(summary, "power-limit") if has(summary, "power-limit") else 0.0) or None


def activity_of(status: MinerStatus, info: DeviceInfo, hashrate_hs: float) -> Activity:
    """What the machine is doing, the strongest sign first."""
    if not info.is_working:
        return Activity.SLEEPING
    if not _is_tuned(status.summary):
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


def pools_of(status: MinerStatus) -> tuple[PoolReading, ...]:
    """``pools``, fallbacks included. API v3 counts no shares for a pool, only a rate: the counters
    come from the older reads of the same firmware, where it answers them."""
    return tuple(
        [
            PoolReading(
                slot=row.whole("id"),
                url=row.text("url"),
                user=row.text("account"),
                is_active=is_on(row, "stratum-active"),
                is_alive=row.text("status").lower() == "alive",
                accepted=None,
                rejected=None,
            )
            for row in status.answer.parts("pools")
        ]
    )


def counted(pools: Sequence[PoolReading], older: Sequence[PoolReading]) -> tuple[PoolReading, ...]:
    """Pools with the counters that the older reads have for the same URL and user."""
    counts = {(_bare(pool.url), pool.user): pool for pool in older}
    return tuple(
        [
            pool
            if (own := counts.get((_bare(pool.url), pool.user))) is None
            else replace(pool, accepted=own.accepted, rejected=own.rejected)
            for pool in pools
        ]
    )


def _bare(url: str) -> str:
    return url.rpartition("://")[2].rstrip("/")


def fan_speeds_of(status: MinerStatus) -> tuple[int, ...]:
    """RPM of the fans in and out; a machine cooled by a liquid has none."""
    summary = status.summary
    keys = [key for key in ("fan-speed-in", "fan-speed-out") if has(summary, key)]
    return tuple([round(number_of(summary, key)) for key in keys])


def uptime_of(status: MinerStatus) -> int | None:
    """Seconds since the mining program started; None where this firmware does not say."""
    summary = status.summary
    return round(number_of(summary, "elapsed")) if has(summary, "elapsed") else None


def start_delay_of(system: Reply) -> float:
    """``get.system.setting``: the random delay of starts and stops, at most, in s."""
    delay = system.message.values.get("time-randomized")
    if not isinstance(delay, dict):
        return 0.0
    row = Row(section="time-randomized", values=delay)
    return max(number_or_none(row, key) or 0.0 for key in ("start", "stop"))


def _slot_of(row: Row) -> int:
    slot = row.values.get("slot")
    if type(slot) is int:
        return slot
    return row.whole("slot" if has(row, "slot") else "id")


def _percent_name(percent: int) -> str:
    return f"{percent}%"


def _hash_share(share: float) -> float:
    return share - _THROTTLE_LOSS * (1.0 - share)


def _is_tuned(summary: Row) -> bool:
    return not has(summary, "up-freq-finish") or is_on(summary, "up-freq-finish")


def _temperature(row: Row | None, warmth: object, slot: int) -> float | None:
    if isinstance(warmth, list) and slot < len(warmth):
        value = warmth[slot]
        if isinstance(value, float):
            return value
        return number_of(Row(section="summary", values={_WARMTH: value}), _WARMTH)
    return None if row is None else number_or_none(row, "chip-temp-max")


def _hashrate(row: Row, key: str) -> float:
    return not_negative(row, key) * TH


def rated_power_w(limit_w: float | None, nameplate_w: float | None) -> float | None:
    """What the whole machine draws at 100 %: its nameplate, unless its own limit is lower."""
    known: Mapping[str, float | None] = {"limit": limit_w, "nameplate": nameplate_w}
    return min((watts for watts in known.values() if watts is not None), default=None)
