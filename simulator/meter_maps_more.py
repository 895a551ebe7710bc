"""The other meters that farms have: kin of those in meter_maps, and those whose papers contradict.

Transcribed by hand from the vendors' register lists, as the comments say; nothing is taken from
what reads them. Where sources contradict each other, these follow the vendor's own.
"""

import math
import struct
from collections.abc import Mapping

from simulator.meter import Meter
from simulator.meter_maps import METER_MAPS, as_float, as_s32, counted_s32, now_of
from simulator.register_map import Cells, RegisterMap

_HOLDING, _INPUT = 3, 4
_NAN = struct.pack(">f", math.nan)
_MOST_S32, _MOST_LOW_FIRST = b"\x7f\xff\xff\xff", b"\xff\xff\x7f\xff"
_DTSU_CT = 40


def _low_first(value: float) -> bytes:
    raw = as_s32(value)
    return raw[2:] + raw[:2]


def _sdm72(meter: Meter) -> Cells:
    """Eastron SDM72D-M-2: the family's floats, kWh; a prefix and an order as the V2.0 papers."""
    now = now_of(meter)
    inputs = {
        0x002A: as_float(now.volts),
        0x0034: as_float(now.watts),
        0x0046: as_float(now.hertz),
        0x0048: as_float(meter.energy_kwh),
        0x004A: as_float(0.0),
        0x0156: as_float(meter.energy_kwh),
    }
    for phase in range(3):
        inputs[0x0000 + 2 * phase] = as_float(now.volts)
        inputs[0x0006 + 2 * phase] = as_float(now.amps)
        inputs[0x000C + 2 * phase] = as_float(now.watts / 3.0)
    serial = {0xFC00: struct.pack(">I", meter.serial)}
    return {_INPUT: inputs, _HOLDING: serial | {0x001E: as_float(0.0)}}


def _em24_is(meter: Meter) -> Cells:
    """Carlo Gavazzi EM24 with RS-485: integers, low word first, both functions, kWh at 0x42."""
    now = now_of(meter)
    kwh = counted_s32(now.wh // 100)
    cells = {
        0x0028: _low_first(now.watts * 10.0),
        **{at: struct.pack(">h", 980) for at in (0x0032, 0x0033, 0x0034, 0x0035)},
        0x0037: struct.pack(">h", math.floor(now.hertz * 10.0)),
        0x0042: kwh[2:] + kwh[:2],
    }
    for phase in range(3):
        cells[0x0000 + 2 * phase] = _low_first(now.volts * 10.0)
        cells[0x000C + 2 * phase] = _low_first(now.amps * 1000.0)
        cells[0x0012 + 2 * phase] = _low_first(now.watts * 10.0 / 3.0)
        cells[0x0046 + 2 * phase] = _low_first(now.wh // 300)
    return {_HOLDING: cells, _INPUT: cells}


def _em5x0(meter: Meter) -> Cells:
    """Carlo Gavazzi EM530, EM540 and EM24-E1: the map of the EM340, and the ratio of the CTs."""
    cells = dict(METER_MAPS["em340"].cells(meter)[_HOLDING]) | {0x1003: b"\0\x0a\0\0"}
    return {_HOLDING: cells, _INPUT: cells}


def _m4m(meter: Meter) -> Cells:
    """ABB M4M: voltages from 0x5B00 with the system's first, power in whole W at 0xCB1A."""
    now = now_of(meter)
    lines = now.volts * math.sqrt(3.0)
    volts = {0x5B00: lines, 0x5B02: now.volts, 0x5B04: now.volts, 0x5B06: now.volts}
    volts |= {0x5B08: lines, 0x5B0A: lines, 0x5B0C: lines}
    cells = {at: struct.pack(">I", math.floor(value * 10.0)) for at, value in volts.items()}
    for at in (0x5B0E, 0x5B10, 0x5B12, 0x5B14):
        cells[at] = struct.pack(">I", math.floor(now.amps * 100.0))
    return {
        _HOLDING: cells
        | {
            0x5000: struct.pack(">Q", now.wh // 10),
            0x5004: struct.pack(">Q", 0),
            0x5B32: struct.pack(">H", math.floor(now.hertz * 100.0)),
            0xCB1A: as_s32(now.watts),
            0xCB22: as_s32(now.watts * 0.2),
        }
    }


def _dtsu666(meter: Meter) -> Cells:
    """Chint DTSU666 by manual ZTW0.464.0104: floats times ten, all of the secondary side."""
    now = now_of(meter)
    watts, amps = now.watts / _DTSU_CT, now.amps / _DTSU_CT
    block = [now.volts * 10.0 * math.sqrt(3.0)] * 3 + [now.volts * 10.0] * 3
    block += [amps * 1000.0] * 3 + [watts * 10.0] + [watts * 10.0 / 3.0] * 3
    block += [watts * 2.0] + [watts * 2.0 / 3.0] * 3 + [0.0] * 4
    block += [980.0] * 4 + [0.0] * 9 + [now.hertz * 100.0]
    cells = {0x2000 + 2 * at: as_float(value) for at, value in enumerate(block)}
    cells |= {0x0006: struct.pack(">H", _DTSU_CT), 0x0007: struct.pack(">H", 10)}
    kwh = now.wh / 1000.0 / _DTSU_CT
    energies = [kwh] + [kwh / 3.0] * 3 + [0.0] * 5
    cells |= {0x101E + 2 * at: as_float(value) for at, value in enumerate(energies)}
    return {_HOLDING: cells}


def _adw300(meter: Meter) -> Cells:
    """Acrel ADW300: 16 bits of volts and amperes, 32 of watts and of 0.01 kWh."""
    now = now_of(meter)
    cells = {36: as_s32(now.watts), 62: counted_s32(now.wh // 10), 64: as_s32(0)}
    for phase in range(3):
        cells[20 + phase] = struct.pack(">H", math.floor(now.volts * 10.0))
        cells[26 + phase] = struct.pack(">H", min(math.floor(now.amps * 100.0), 0xFFFE))
    return {_HOLDING: cells}


def _pro380(meter: Meter) -> Cells:
    """Inepro PRO380: floats, kW and kWh."""
    now = now_of(meter)
    values = {0x5012: now.watts / 1e3, 0x600C: meter.energy_kwh, 0x6018: 0.0}
    return {_HOLDING: {at: as_float(value) for at, value in values.items()}}


def _diris_b30(meter: Meter) -> Cells:
    """Socomec Diris B-30: whole kWh, and beside them what is left in 0.1 Wh."""
    now = now_of(meter)
    whole_kwh, rest_wh = divmod(now.wh, 1000)
    return {
        _HOLDING: {
            0x482C: as_s32(now.watts),
            0x4D83: struct.pack(">I", whole_kwh),
            0x4D85: struct.pack(">H", rest_wh * 10),
            0x4D86: struct.pack(">I", 0),
            0x4D88: struct.pack(">H", 0),
        }
    }


def _satec(meter: Meter) -> Cells:
    """Satec PM130E PLUS by guide BG0427: 32-bit integers, low word first, at low resolution.

    Volts, amperes and kilowatts are whole ones, of the primary side; so are kilowatt-hours.
    """
    now = now_of(meter)
    row = [now.volts] * 3 + [now.amps] * 3 + [now.watts / 3e3] * 3
    row += [now.watts * 0.2 / 3e3] * 3 + [now.voltamperes / 3e3] * 3 + [980.0] * 3
    totals = [now.watts / 1e3, now.watts * 0.2 / 1e3, now.voltamperes / 1e3, 980.0]
    others = [0.0, 0.0, now.hertz * 100.0]
    energies = [now.wh // 1000, 0.0, 0.0, 0.0, now.wh // 5000, 0.0]
    tables = ((13952, row), (14336, totals), (14464, others), (14720, energies))
    cells = {
        start + 2 * at: _low_first(value)
        for start, values in tables
        for at, value in enumerate(values)
    }
    cells |= {at: struct.pack(">H", 0) for at in (246, 2390)}
    serial = struct.pack(">I", meter.serial)
    cells |= {46080: serial[2:] + serial[:2], 46082: _low_first(13020)}
    return {_HOLDING: cells, _INPUT: cells}


def _em(code: int) -> RegisterMap:
    return RegisterMap(
        cells=_em5x0,
        register_limit=20,
        lost={0x0028: _MOST_LOW_FIRST, 0x0034: _MOST_LOW_FIRST},
        alone={0x000B: struct.pack(">H", code)},
    )


MORE_METER_MAPS: Mapping[str, RegisterMap] = {
    "sdm72d-m-2": RegisterMap(
        cells=_sdm72,
        register_limit=60,
        lost={0x0034: _NAN, 0x0048: _NAN},
        is_even=True,
        filled=range(0x0158),
    ),
    "pac2200": METER_MAPS["pac3200"],
    "em530": _em(1744),
    "em24-e1": _em(1648),
    "em24-is": RegisterMap(
        cells=_em24_is,
        register_limit=11,
        lost={0x0028: _MOST_LOW_FIRST, 0x0042: _MOST_LOW_FIRST},
    ),
    "abb-m4m": RegisterMap(
        cells=_m4m,
        register_limit=125,
        lost={0x5000: b"\xff" * 8, 0xCB1A: _MOST_S32},
    ),
    "dtsu666": RegisterMap(
        cells=_dtsu666,
        register_limit=125,
        lost={0x101E: _NAN, 0x2012: _NAN},
    ),
    "adw300": RegisterMap(
        cells=_adw300,
        register_limit=125,
        lost={36: _MOST_S32, 62: _MOST_S32},
    ),
    "pro380": RegisterMap(
        cells=_pro380,
        register_limit=125,
        lost={0x5012: _NAN, 0x600C: _NAN},
    ),
    "satec-pm130": RegisterMap(
        cells=_satec,
        register_limit=125,
        lost={14336: _MOST_LOW_FIRST, 14720: b"\xff" * 4},
    ),
    "diris-b30": RegisterMap(
        cells=_diris_b30,
        register_limit=125,
        lost={0x482C: _MOST_S32, 0x4D83: b"\xff" * 4},
    ),
}
