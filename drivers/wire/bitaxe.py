"""What ESP-Miner (Bitaxe) and its kin (NerdAxe, NerdQAxe) say, in the units of readings.py.

Keys of ESP-Miner's openapi.yaml and http_server.c (to 2.14) and of ESP-Miner-NerdQAxePlus'
handler_system.cpp. Hashrates are GH/s, frequencies MHz, core voltages mV; small cores count one
hash per cycle each. Yes and no come as booleans or as 1 and 0, by firmware.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re
from dataclasses import dataclass

import orjson

from drivers.errors import BadReplyError
from drivers.readings import (
    Activity,
    BoardReading,
    ChipTemperatures,
    MinerFault,
    PoolReading,
    Profile,
)
from drivers.wire.cgminer import Row
from drivers.wire.web_table import amount

GH = 1e9
MARGIN = 1.5  # a wrong unit is a factor of 1000
_MHZ_HS = 1e6
_CHIP = re.compile(r"BM[0-9]{4}\Z")
_FREQUENCIES_MHZ = (50, 2_000)
_VOLTAGES_MV = (500, 2_000)
_OPTIONS_MAX = 64
_CHIPS_MAX = 64
_WORDS_MAX = 200
# What runs beside the chips; no vendor publishes it, an assumption.
_STANDING_W = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chips:
    """``/api/system/asic``: what the board carries and its maker's own settings.

    ``eco`` is a further pair of MHz and mV that a NerdQAxe names.
    """

    chip: str
    device: str
    chip_count: int
    default_mhz: int
    default_mv: int
    options_mhz: tuple[int, ...]
    eco: tuple[int, int] | None

    @property
    def model(self) -> str:
        """The name of the model in the table: a NerdQAxe names itself, a Bitaxe only its kind."""
        return self.device if "axe" in self.device.lower() else f"Bitaxe {self.device}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A frequency and the core voltage that belongs to it."""

    frequency_mhz: int
    core_voltage_mv: int

    @property
    def name(self) -> str:
        """As a profile."""
        return f"{self.frequency_mhz}MHz"


def is_esp_miner(info: Row) -> bool:
    """Whether this is ESP-Miner's answer: its chip and its firmware's version."""
    chip = info.values.get("ASICModel")
    return (
        isinstance(chip, str)
        and _CHIP.match(chip) is not None
        and isinstance(info.values.get("version"), str)
    )


def mac_of(info: Row) -> str:
    """The MAC in lower case; "" where this firmware does not tell it."""
    return info.text_or_empty("macAddr").lower()


def chips_of(table: Row) -> Chips:
    """``/api/system/asic``."""
    count = table.whole("asicCount")
    if not 1 <= count <= _CHIPS_MAX:
        raise BadReplyError(f"The machine says that it has {count} chips.")
    has_eco = table.has("ecoFrequency") and table.has("ecoVoltage")
    return Chips(
        chip=table.text("ASICModel"),
        device=table.text("deviceModel").strip(),
        chip_count=count,
        default_mhz=_within(table, "defaultFrequency", _FREQUENCIES_MHZ),
        default_mv=_within(table, "defaultVoltage", _VOLTAGES_MV),
        options_mhz=_options(table, "frequencyOptions"),
        eco=(
            (
                _within(table, "ecoFrequency", _FREQUENCIES_MHZ),
                _within(table, "ecoVoltage", _VOLTAGES_MV),
            )
            if has_eco
            else None
        ),
    )


def points_of(chips: Chips) -> tuple[Point, ...]:
    """What a plan may choose, rising: the maker's own frequencies up to the default.

    The voltage is the default, or up to the maker's eco frequency the eco voltage where that is
    lower: less frequency at a voltage that is enough for more. Nothing lies above the defaults.
    """
    offered = {mhz for mhz in (*chips.options_mhz, chips.default_mhz) if mhz <= chips.default_mhz}
    eco = chips.eco
    if eco is None or eco[0] > chips.default_mhz or eco[1] > chips.default_mv:
        return tuple([_point(mhz, chips.default_mv) for mhz in sorted(offered)])
    offered.add(eco[0])
    return tuple(
        [_point(mhz, eco[1] if mhz <= eco[0] else chips.default_mv) for mhz in sorted(offered)]
    )


def point_named(name: str, chips: Chips) -> Point | None:
    """The point behind a profile's name; None where it is not offered."""
    return next((point for point in points_of(chips) if point.name == name), None)


def profile_of(info: Row, chips: Chips) -> str | None:
    """The point that it is set to; None for settings of somebody's own."""
    frequency_mhz, core_voltage_mv = info.number("frequency"), info.number("coreVoltage")
    for point in points_of(chips):
        if (point.frequency_mhz, point.core_voltage_mv) == (frequency_mhz, core_voltage_mv):
            return point.name
    return None


def profiles_of(info: Row, chips: Chips, rated_power_w: float | None) -> tuple[Profile, ...]:
    """The points as profiles; none where nobody says what the default draws."""
    whole_hs = nameplate_of(info, chips)
    if rated_power_w is None or whole_hs is None:
        return ()
    points = points_of(chips)
    whole = (chips.default_mhz, chips.default_mv)
    return tuple(
        [
            Profile(
                name=point.name,
                step=place - len(points) + 1,
                power_w=_share_of_power(point, whole) * (rated_power_w - _STANDING_W) + _STANDING_W,
                hashrate_hs=whole_hs * point.frequency_mhz / chips.default_mhz,
                is_tuned=True,
            )
            for place, point in enumerate(points)
        ]
    )


def nameplate_of(info: Row, chips: Chips) -> float | None:
    """H/s at the default frequency; None where this firmware does not count its cores."""
    if not info.has("smallCoreCount"):
        return None
    cores = amount(info, "smallCoreCount") * chips.chip_count
    return cores * chips.default_mhz * _MHZ_HS or None


def hashrate_of(info: Row, nameplate_hashrate_hs: float | None) -> float:
    """H/s, if it lies within 0…1.5 × nameplate. Raises BadReplyError."""
    hashrate_hs = amount(info, "hashRate") * GH
    if nameplate_hashrate_hs and hashrate_hs > MARGIN * nameplate_hashrate_hs:
        raise BadReplyError(
            f"The machine says {hashrate_hs / GH:.0f} GH/s, more than 1.5 times its nameplate of "
            f"{nameplate_hashrate_hs / GH:.0f} GH/s: its firmware may use another unit."
        )
    return hashrate_hs


def power_of(info: Row) -> float:
    """W as its regulator measures them, if they lie within 0…1.5 × what the board can take."""
    watts = amount(info, "power")
    most_w = max_power_of(info)
    if most_w is not None and watts > MARGIN * most_w:
        raise BadReplyError(
            f"The machine says {watts:.0f} W, more than 1.5 times the {most_w:.0f} W of its board: "
            "its firmware may use another unit."
        )
    return watts


def max_power_of(info: Row) -> float | None:
    """W that the board can take; None where this firmware does not say."""
    return (amount(info, "maxPower") or None) if info.has("maxPower") else None


def can_pause(info: Row) -> bool:
    """Whether this firmware pauses (ESP-Miner from 2.14 on): it then says whether it does."""
    return info.has("miningPaused")


def is_asleep(info: Row) -> bool:
    """Paused, or shut down by its owner (NerdQAxe)."""
    return any(info.has(key) and is_on(info, key) for key in ("miningPaused", "shutdown"))


def is_shut_down(info: Row) -> bool:
    """Shut down by its owner (NerdQAxe): only a restart brings it back."""
    return info.has("shutdown") and is_on(info, "shutdown")


def wants_one_time_password(info: Row) -> bool:
    """Whether writes need a one-time password (NerdQAxe)."""
    return info.has("otp") and is_on(info, "otp")


def is_overheated(info: Row) -> bool:
    """Whether it runs in its safe mode."""
    return info.has("overheat_mode") and is_on(info, "overheat_mode")


def activity_of(info: Row, hashrate_hs: float) -> Activity:
    """What it is doing. Without hashes it counts as on its way, unless something is broken."""
    if is_asleep(info):
        return Activity.SLEEPING
    if hashrate_hs > 0:
        return Activity.HASHING
    return Activity.FAULT if faults_of(info) else Activity.RAMPING


def board_of(info: Row, hashrate_hs: float) -> BoardReading:
    """Its one board; the temperature is that of the chips."""
    return BoardReading(
        board=0,
        is_enabled=True,
        is_ramping=activity_of(info, hashrate_hs) is Activity.RAMPING,
        hashrate_hs=hashrate_hs,
        temperature_c=_temperature(info),
        serial=None,
    )


def pools_of(info: Row, hashrate_hs: float) -> tuple[PoolReading, ...]:
    """The pool and its fallback. Shares are counted for both together: they stand at the one in
    use, which counts as alive while hashes come."""
    is_fallback = info.has("isUsingFallbackStratum") and is_on(info, "isUsingFallbackStratum")
    pools = []
    for slot, prefix in enumerate(("stratum", "fallbackStratum")):
        if not info.has(f"{prefix}URL") or not info.text(f"{prefix}URL"):
            continue
        is_active = bool(slot) == is_fallback
        pools.append(
            PoolReading(
                slot=slot,
                url=f"{info.text(f'{prefix}URL')}:{info.whole(f'{prefix}Port')}",
                user=info.text(f"{prefix}User"),
                is_active=is_active,
                is_alive=is_active and hashrate_hs > 0,
                accepted=info.whole("sharesAccepted") if is_active else None,
                rejected=info.whole("sharesRejected") if is_active else None,
            )
        )
    return tuple(pools)


def fan_speeds_of(info: Row) -> tuple[int, ...]:
    """RPM of its fans; the second stands only where it turns."""
    speeds = [info.whole("fanrpm")] if info.has("fanrpm") else []
    speeds += [info.whole(key) for key in ("fan2rpm", "fanrpm2") if info.has(key)]
    return tuple([speed for place, speed in enumerate(speeds) if place == 0 or speed > 0])


def uptime_of(info: Row) -> int | None:
    """Seconds since it started; None where this firmware does not say."""
    return info.whole("uptimeSeconds") if info.has("uptimeSeconds") else None


def faults_of(info: Row) -> tuple[MinerFault, ...]:
    """What it complains of."""
    found = []
    if is_overheated(info):
        words = "It was too hot and runs slowed down: check fan and air, then restart it."
        found.append(MinerFault(code="overheat_mode", words=words))
    reason = info.text_or_empty("power_fault").strip()
    if reason:
        words = f"Its voltage regulator has failed ({reason[:_WORDS_MAX]})."
        found.append(MinerFault(code="power_fault", words=words))
    return tuple(found)


def encode_point(point: Point) -> bytes:
    """The body of a change of frequency: both settings together, as whole numbers."""
    return orjson.dumps({"frequency": point.frequency_mhz, "coreVoltage": point.core_voltage_mv})


def is_on(info: Row, key: str) -> bool:
    """Yes or no, as these firmwares write it: true or 1."""
    value = info.values.get(key)
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise BadReplyError(
        f"The machine's {info.section} has {key!r} that is not yes or no: "
        "its firmware may be a version that kwota does not know."
    )


def _point(frequency_mhz: int, core_voltage_mv: int) -> Point:
    return Point(frequency_mhz=frequency_mhz, core_voltage_mv=core_voltage_mv)


def _share_of_power(point: Point, whole: tuple[int, int]) -> float:
    """Of what the chips draw at the default: in proportion to frequency and to voltage squared."""
    default_mhz, default_mv = whole
    return point.frequency_mhz / default_mhz * (point.core_voltage_mv / default_mv) ** 2


def chip_temperatures_of(info: Row) -> tuple[ChipTemperatures, ...]:
    """That of its few chips together; none while nothing was measured."""
    told_c = _temperature(info)
    if told_c is None:
        return ()
    return (ChipTemperatures(board=0, min_c=None, mean_c=None, max_c=told_c),)


def _temperature(info: Row) -> float | None:
    """Degrees of the chips; -1 and 0 are written where nothing was measured."""
    told = info.number("temp") if info.has("temp") else 0.0
    return None if told in (0.0, -1.0) else told


def _within(table: Row, key: str, bounds: tuple[int, int]) -> int:
    value = table.whole(key)
    least, most = bounds
    if not least <= value <= most:
        raise BadReplyError(f"The machine says that its {key} is {value}.")
    return value


def _options(table: Row, key: str) -> tuple[int, ...]:
    listed = table.values.get(key)
    if not isinstance(listed, list) or len(listed) > _OPTIONS_MAX:
        raise BadReplyError(f"The machine's {key} is not a list of settings.")
    return tuple(
        [_within(Row(section=key, values={key: one}), key, _FREQUENCIES_MHZ) for one in listed]
    )
