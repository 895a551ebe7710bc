"""A meter that speaks SunSpec: the mark, the common model, one nobody asks for, the meter, the end.

Transcribed from the published models 1, 203 (integers with scale factors), 213 (floats); nothing is
taken from what reads them. As devices do, the integer meter changes the scale of its power with its
size, and an accumulator that has counted nothing holds 0.
"""

import math
import struct
from collections.abc import Callable, Iterator

from simulator.meter import Meter
from simulator.register_map import Cells, RegisterMap

START = 40000
_HOLDING = 3
_COMMON_LENGTH, _STRANGE, _STRANGE_LENGTH = 66, 64001, 20
_INTEGERS, _INTEGERS_LENGTH = 203, 105
_FLOATS, _FLOATS_LENGTH = 213, 124
_NOT_THERE = b"\x80\x00"
_NAN = struct.pack(">f", math.nan)

# What a model's registers hold, by their offset from its ID.
_Rows = Callable[[Meter], Iterator[tuple[int, bytes]]]


def _u16(value: int) -> bytes:
    return struct.pack(">H", value)


def _s16(value: float) -> bytes:
    return struct.pack(">h", math.floor(value))


def _volts(meter: Meter) -> float:
    return 229.0 + 1.1 * math.sin(meter.refreshes / 33.0)


def _hertz(meter: Meter) -> float:
    return 50.0 + 0.03 * math.sin(meter.refreshes / 21.0)


def _amps(meter: Meter) -> float:
    return abs(meter.power_w) / 0.98 / 3.0 / _volts(meter)


def scale_of(value: float, least: int = 0) -> int:
    """The least power of ten by which a value fits into a signed 16-bit register."""
    scale = least
    while abs(value) / 10.0**scale > 32_000:
        scale += 1
    return scale


def _integers(meter: Meter) -> Iterator[tuple[int, bytes]]:
    amps, watts = _amps(meter), meter.power_w
    scale, amps_scale = scale_of(watts / 0.9), scale_of(3.0 * amps, -1)
    wh = math.floor(meter.energy_kwh * 1000.0 + 1e-6) % 2**32
    yield from ((at, _s16(amps / 10.0**amps_scale)) for at in (3, 4, 5))
    yield 2, _s16(3.0 * amps / 10.0**amps_scale)
    yield 6, _s16(amps_scale)
    yield from ((at, _s16(_volts(meter) * 10.0)) for at in (7, 8, 9, 10))
    yield from ((at, _s16(_volts(meter) * 10.0 * math.sqrt(3.0))) for at in (11, 12, 13, 14))
    yield 15, _s16(-1)
    yield 16, _s16(_hertz(meter) * 100.0)
    yield 17, _s16(-2)
    yield 18, _s16(watts / 10.0**scale)
    yield from ((at, _s16(watts / 3.0 / 10.0**scale)) for at in (19, 20, 21))
    yield 22, _s16(scale)
    yield 23, _s16(watts / 0.98 / 10.0**scale)
    yield 27, _s16(scale)
    yield 28, _s16(watts * 0.2 / 10.0**scale)
    yield 32, _s16(scale)
    yield 38, struct.pack(">I", 0)
    yield 46, struct.pack(">I", wh)
    yield 54, _s16(0)


def _floats(meter: Meter) -> Iterator[tuple[int, bytes]]:
    watts = meter.power_w
    values = {2: 3.0 * _amps(meter), 10: _volts(meter), 26: _hertz(meter), 28: watts}
    values |= {36: watts / 0.98, 44: watts * 0.2, 60: 0.0, 68: meter.energy_kwh * 1000.0}
    for phase in range(3):
        values[4 + 2 * phase] = _amps(meter)
        values[12 + 2 * phase] = _volts(meter)
        values[18 + 2 * phase] = _volts(meter) * math.sqrt(3.0)
        values[30 + 2 * phase] = watts / 3.0
    yield from ((at, struct.pack(">f", value)) for at, value in values.items())


def _chain(meter: Meter, model: int, length: int, rows: _Rows, blank: bytes) -> Cells:
    """Everything from the mark to the end; what a model has and this meter has not is blank."""
    cells: dict[int, bytes] = {START: b"Su", START + 1: b"nS"}
    texts = {2: (16, b"kwota-sim"), 18: (16, b"SunSpec %d" % model), 34: (8, b""), 42: (8, b"1.0")}
    texts[50] = (16, b"%d" % meter.serial)
    at = START + 2
    cells |= {at: _u16(1), at + 1: _u16(_COMMON_LENGTH), at + 66: _u16(1), at + 67: _u16(0x8000)}
    for offset, (count, text) in texts.items():
        cells[at + offset] = text.ljust(2 * count, b"\0")
    at += 2 + _COMMON_LENGTH
    cells |= {at: _u16(_STRANGE), at + 1: _u16(_STRANGE_LENGTH)}
    cells |= {at + 2 + n: _u16(0) for n in range(_STRANGE_LENGTH)}
    at += 2 + _STRANGE_LENGTH
    own = {0: _u16(model), 1: _u16(length), **dict(rows(meter))}
    inside = {
        inner for offset, raw in own.items() for inner in range(offset, offset + len(raw) // 2)
    }
    width = len(blank) // 2
    for offset in range(2, 2 + length):
        if offset not in inside and (width == 1 or offset % 2 == 0):
            own[offset] = blank
    cells |= {at + offset: raw for offset, raw in own.items()}
    at += 2 + length
    return {_HOLDING: cells | {at: _u16(0xFFFF), at + 1: _u16(0)}}


_METER_AT = START + 2 + 2 + _COMMON_LENGTH + 2 + _STRANGE_LENGTH

SUNSPEC_MAPS = {
    "sunspec-203": RegisterMap(
        cells=lambda meter: _chain(meter, _INTEGERS, _INTEGERS_LENGTH, _integers, _NOT_THERE),
        register_limit=125,
        lost={_METER_AT + 18: _NOT_THERE, _METER_AT + 46: bytes(4)},
    ),
    "sunspec-213": RegisterMap(
        cells=lambda meter: _chain(meter, _FLOATS, _FLOATS_LENGTH, _floats, _NAN),
        register_limit=125,
        lost={_METER_AT + 28: _NAN, _METER_AT + 68: _NAN},
    ),
}
