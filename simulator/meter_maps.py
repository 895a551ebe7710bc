"""Meters of other makers: where each keeps its values, in what type, scale and order of words.

Transcribed by hand from the vendors' register lists, as the comments say; nothing is taken from
what reads them. The tariff of the Siemens changes by no clock here: 30 % of all energy counts in
the second one.
"""

import math
import struct
import time
from dataclasses import dataclass

from simulator.meter import Meter
from simulator.register_map import Cells, RegisterMap

_HOLDING, _INPUT = 3, 4
_TARIFF_2 = 0.3
_NAN = struct.pack(">f", math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What flows now. ``wh`` is whole watt-hours."""

    volts: float
    amps: float
    hertz: float
    watts: float
    wh: int

    @property
    def voltamperes(self) -> float:
        return 3.0 * self.volts * self.amps


def now_of(meter: Meter) -> Now:
    volts = 229.0 + 1.1 * math.sin(meter.refreshes / 33.0)
    return Now(
        volts=volts,
        amps=abs(meter.power_w) / 0.98 / 3.0 / volts,
        hertz=50.0 + 0.03 * math.sin(meter.refreshes / 21.0),
        watts=meter.power_w,
        wh=math.floor(meter.energy_kwh * 1000.0 + 1e-6),
    )


def as_float(value: float) -> bytes:
    return struct.pack(">f", value)


def as_s32(value: float) -> bytes:
    """Saturated at the ends of the type, as an ABB is above 21.47 MW."""
    return struct.pack(">i", min(max(math.floor(value), -(2**31)), 2**31 - 1))


def counted_s32(count: int) -> bytes:
    """A counter of 31 bits that begins again after its last value."""
    return struct.pack(">i", count % 2**31)


def counted_u32(count: int) -> bytes:
    """A counter of 32 bits that begins again after its last value."""
    return struct.pack(">I", count % 2**32)


def datetime4(clock_ms: int | None) -> bytes:
    """DATETIME of Schneider's papers: year since 2000, month and day, hour and minute, and ms."""
    if clock_ms is None:
        return bytes(8)
    seconds, ms = divmod(clock_ms, 1000)
    at = time.gmtime(seconds)
    day, minute = at.tm_mon << 8 | at.tm_mday, at.tm_hour << 8 | at.tm_min
    return struct.pack(">4H", at.tm_year - 2000, day, minute, at.tm_sec * 1000 + ms)


def _sdm120(meter: Meter) -> Cells:
    """Eastron SDM120 paper V2.5: floats among the inputs, kWh."""
    now = now_of(meter)
    amps = 3.0 * now.amps
    inputs = {
        0x0000: as_float(now.volts),
        0x0006: as_float(amps),
        0x000C: as_float(now.watts),
        0x0012: as_float(now.volts * amps),
        0x0018: as_float(now.volts * amps * 0.199),
        0x001E: as_float(0.98),
        0x0046: as_float(now.hertz),
        0x0048: as_float(meter.energy_kwh),
        0x004A: as_float(0.0),
        0x0156: as_float(meter.energy_kwh),
    }
    identity = {0xFC00: struct.pack(">I", meter.serial), 0xFC02: struct.pack(">H", 0x0020)}
    return {_INPUT: inputs, _HOLDING: identity}


def _iem3000(meter: Meter) -> Cells:
    """Schneider iEM3255: holding registers only, manual's number less one; kW and whole Wh."""
    now = now_of(meter)
    third_kw = now.watts / 3e3
    cells = {
        0x001D: b"kwota-sim".ljust(40, b"\0"),
        0x0031: b"iEM3255".ljust(40, b"\0"),
        0x0045: b"Schneider Electric".ljust(40, b"\0"),
        0x0081: struct.pack(">I", meter.serial),
        0x0734: datetime4(meter.clock_ms),
        0x0BDB: as_float(now.volts),
        0x0BC1: as_float(now.amps),
        0x0BF3: as_float(now.watts / 1e3),
        0x0BFB: as_float(now.watts * 0.2 / 1e3),
        0x0C03: as_float(now.voltamperes / 1e3),
        0x0C25: as_float(now.hertz),
        0x0C83: struct.pack(">q", now.wh),
        0x0C87: struct.pack(">q", 0),
        0x0C93: struct.pack(">q", now.wh // 5),
        0x0C97: struct.pack(">q", 0),
    }
    for phase in range(3):
        cells[0x0BB7 + 2 * phase] = as_float(now.amps)
        cells[0x0BD3 + 2 * phase] = as_float(now.volts)
        cells[0x0BED + 2 * phase] = as_float(third_kw)
    return {_HOLDING: cells}


def _em340(meter: Meter) -> Cells:
    """Carlo Gavazzi EM340 (EM300 protocol V2R9): integers, low word first, both functions."""
    now = now_of(meter)

    def low_first(value: float) -> bytes:
        raw = as_s32(value)
        return raw[2:] + raw[:2]

    kwh = counted_s32(now.wh // 100)
    kwh = kwh[2:] + kwh[:2]
    cells = {
        0x0024: low_first(now.volts * 10.0),
        0x0026: low_first(now.volts * 10.0 * math.sqrt(3.0)),
        0x0028: low_first(now.watts * 10.0),
        0x002A: low_first(now.voltamperes * 10.0),
        0x002C: low_first(now.watts * 2.0),
        **{at: struct.pack(">h", 980) for at in (0x002E, 0x002F, 0x0030, 0x0031)},
        0x0032: struct.pack(">h", 0),
        0x0033: struct.pack(">h", math.floor(now.hertz * 10.0)),
        0x0034: kwh,
        0x003C: kwh,
        0x004E: low_first(0),
    }
    for phase in range(3):
        cells[0x0000 + 2 * phase] = low_first(now.volts * 10.0)
        cells[0x0006 + 2 * phase] = low_first(now.volts * 10.0 * math.sqrt(3.0))
        cells[0x000C + 2 * phase] = low_first(now.amps * 1000.0)
        cells[0x0012 + 2 * phase] = low_first(now.watts * 10.0 / 3.0)
        cells[0x0018 + 2 * phase] = low_first(now.voltamperes * 10.0 / 3.0)
        cells[0x001E + 2 * phase] = low_first(now.watts * 2.0 / 3.0)
    return {_HOLDING: cells, _INPUT: cells}


def _abb_b23(meter: Meter) -> Cells:
    """ABB EQ B23: holding registers; 64 bits in 0.01 kWh, power in 0.01 W."""
    now = now_of(meter)
    cells = {
        0x5000: struct.pack(">Q", now.wh // 10),
        0x5004: struct.pack(">Q", 0),
        0x5008: struct.pack(">q", now.wh // 10),
        0x500C: struct.pack(">Q", now.wh // 50),
        0x5010: struct.pack(">Q", 0),
        0x5B14: as_s32(now.watts * 100.0),
        0x5B1C: as_s32(now.watts * 20.0),
        0x5B24: struct.pack(">I", math.floor(now.voltamperes * 100.0)),
        0x5B2C: struct.pack(">H", math.floor(now.hertz * 100.0)),
        0x5B3A: struct.pack(">h", 980),
        0x8900: struct.pack(">I", meter.serial),
        0x8960: b"B23 ",
    }
    for phase in range(3):
        cells[0x5B00 + 2 * phase] = struct.pack(">I", math.floor(now.volts * 10.0))
        cells[0x5B0C + 2 * phase] = struct.pack(">I", math.floor(now.amps * 100.0))
        cells[0x5B16 + 2 * phase] = as_s32(now.watts * 100.0 / 3.0)
    return {_HOLDING: cells}


def _pac3200(meter: Meter) -> Cells:
    """Siemens PAC3200 manual: floats from offset 1, doubles in Wh from 801, one per tariff."""
    now = now_of(meter)
    tariff_2 = math.floor(now.wh * _TARIFF_2)
    values = {55: now.hertz, 57: now.volts, 59: now.volts * math.sqrt(3.0), 61: now.amps}
    values |= {63: now.voltamperes, 65: now.watts, 67: now.watts * 0.2, 69: 0.98}
    for phase in range(3):
        values[1 + 2 * phase] = now.volts
        values[7 + 2 * phase] = now.volts * math.sqrt(3.0)
        values[13 + 2 * phase] = now.amps
        values[19 + 2 * phase] = now.voltamperes / 3.0
        values[25 + 2 * phase] = now.watts / 3.0
        values[31 + 2 * phase] = now.watts / 15.0
        values[37 + 2 * phase] = 0.98
    cells = {at: as_float(value) for at, value in values.items()}
    doubles = {801: now.wh - tariff_2, 805: tariff_2, 809: 0, 813: 0}
    cells |= {at: struct.pack(">d", wh) for at, wh in doubles.items()}
    return {_HOLDING: cells, _INPUT: cells}


def _pm5000(meter: Meter) -> Cells:
    """Schneider PM5xxx: manual's number less one; kW among the floats from 2999, whole Wh."""
    now = now_of(meter)
    cells = {
        1844: datetime4(meter.clock_ms),
        3059: as_float(now.watts / 1e3),
        3067: as_float(now.watts * 0.2 / 1e3),
        3075: as_float(now.voltamperes / 1e3),
        3109: as_float(now.hertz),
        3203: struct.pack(">q", now.wh),
        3207: struct.pack(">q", 0),
        3211: struct.pack(">q", now.wh),
        3215: struct.pack(">q", now.wh),
    }
    for phase in range(3):
        cells[2999 + 2 * phase] = as_float(now.amps)
        cells[3019 + 2 * phase] = as_float(now.volts * math.sqrt(3.0))
        cells[3027 + 2 * phase] = as_float(now.volts)
        cells[3053 + 2 * phase] = as_float(now.watts / 3e3)
    return {_HOLDING: cells}


def _umg96(meter: Meter) -> Cells:
    """Janitza UMG 96RM: one row of floats from 19000, Wh; the same with 32768 low word first."""
    now = now_of(meter)
    third_w, third_wh = now.watts / 3.0, now.wh / 3.0
    row = [now.volts] * 3 + [now.volts * math.sqrt(3.0)] * 3
    row += [now.amps] * 3 + [0.0] + [third_w] * 3 + [now.watts]
    row += [now.voltamperes / 3.0] * 3 + [now.voltamperes] + [third_w * 0.2] * 3
    row += [now.watts * 0.2] + [0.98] * 3 + [now.hertz, 1.0]
    row += [third_wh] * 3 + [now.wh] + [third_wh] * 3 + [now.wh] + [0.0] * 4
    cells = {19000 + 2 * at: as_float(value) for at, value in enumerate(row)}
    swapped = {at + 32768: raw[2:] + raw[:2] for at, raw in cells.items()}
    return {_HOLDING: cells | swapped}


def _countis(meter: Meter) -> Cells:
    """Socomec Countis E: holding registers; 32 bits in 10 Wh, power in 10 W."""
    now = now_of(meter)
    cells = {
        0xC350: b"\0S\0O\0C\0O",
        0xC568: as_s32(now.watts / 10.0),
        0xC702: counted_u32(now.wh // 10),
        0xC708: struct.pack(">I", 0),
    }
    for phase in range(3):
        cells[0xC558 + 2 * phase] = struct.pack(">I", math.floor(now.volts * 100.0))
        cells[0xC560 + 2 * phase] = struct.pack(">I", math.floor(now.amps * 1000.0))
    return {_HOLDING: cells}


_MOST_S32 = b"\xff\xff\x7f\xff"  # low word first

METER_MAPS = {
    "sdm120": RegisterMap(
        cells=_sdm120,
        register_limit=60,
        lost={0x000C: _NAN, 0x0048: _NAN},
        is_even=True,
        filled=range(0x0158),
    ),
    "iem3000": RegisterMap(
        cells=_iem3000,
        register_limit=125,
        lost={0x0BF3: b"\xff\xc0\0\0", 0x0C83: b"\x80" + bytes(7)},
    ),
    "em340": RegisterMap(
        cells=_em340,
        register_limit=20,
        lost={0x0028: _MOST_S32, 0x0034: _MOST_S32},
        alone={0x000B: struct.pack(">H", 341)},
    ),
    "abb-b23": RegisterMap(
        cells=_abb_b23,
        register_limit=125,
        lost={0x5000: b"\xff" * 8, 0x5B14: b"\x7f\xff\xff\xff"},
        filled=range(0x1000, 0x8F00),
        filler=b"\xff\xff",
    ),
    "pac3200": RegisterMap(
        cells=_pac3200,
        register_limit=125,
        lost={65: _NAN, 801: struct.pack(">d", math.nan)},
    ),
    "pm5000": RegisterMap(
        cells=_pm5000,
        register_limit=125,
        lost={3059: b"\xff\xc0\0\0", 3203: b"\x80" + bytes(7)},
        filled=range(2999, 3119),
    ),
    "umg96": RegisterMap(
        cells=_umg96,
        register_limit=125,
        lost={19026: _NAN, 19068: _NAN},
    ),
    "countis-e": RegisterMap(
        cells=_countis,
        register_limit=125,
        lost={0xC568: b"\x7f\xff\xff\xff", 0xC702: b"\xff" * 4},
    ),
}
