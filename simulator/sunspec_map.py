"""A meter that speaks SunSpec: the mark, the common model, one nobody asks for, the meter, the end.

Transcribed from the published models 1, 201 to 204 (integers with scale factors) and 211 to 214
(floats): one phase, split phase, wye, delta. Nothing is taken from what reads them. As devices do,
the integer meter changes the scale of its power with its size, and an accumulator that has counted
nothing holds 0. What a wiring has not (other phases, a neutral) is not implemented.
"""

import math
import struct
from collections.abc import Callable, Iterator
from functools import partial

from simulator.meter import Meter
from simulator.register_map import Cells, RegisterMap

START = 40000
_HOLDING = 3
_COMMON_LENGTH, _STRANGE, _STRANGE_LENGTH = 66, 64001, 20
_INTEGERS_LENGTH, _FLOATS_LENGTH = 105, 124
# The last digit of the model is the wiring: how many phases it has, and whether a neutral.
_PHASES = {1: 1, 2: 2, 3: 3, 4: 3}
_DELTA = 4
_FLOATS_FROM = 210
_NOT_THERE = b"\x80\x00"
_NAN = struct.pack(">f", math.nan)

# What a model's registers hold, by their offset from its ID.
_Rows = Callable[[Meter, int], Iterator[tuple[int, bytes]]]


def _u16(value: int) -> bytes:
    return struct.pack(">H", value)


def _s16(value: float) -> bytes:
    return struct.pack(">h", math.floor(value))


def _volts(meter: Meter) -> float:
    return 229.0 + 1.1 * math.sin(meter.refreshes / 33.0)


def _hertz(meter: Meter) -> float:
    return 50.0 + 0.03 * math.sin(meter.refreshes / 21.0)


def _amps(meter: Meter, wiring: int) -> float:
    return abs(meter.power_w) / 0.98 / _PHASES[wiring] / _volts(meter)


def _each(wiring: int, first: int, width: int = 1) -> Iterator[int]:
    """Where the value of each phase is."""
    return (first + width * phase for phase in range(_PHASES[wiring]))


def scale_of(value: float, least: int = 0) -> int:
    """The least power of ten by which a value fits into a signed 16-bit register."""
    scale = least
    while abs(value) / 10.0**scale > 32_000:
        scale += 1
    return scale


def _integers(meter: Meter, wiring: int) -> Iterator[tuple[int, bytes]]:
    amps, watts, phases = _amps(meter, wiring), meter.power_w, _PHASES[wiring]
    scale, amps_scale = scale_of(watts / 0.9), scale_of(phases * amps, -1)
    wh = math.floor(meter.energy_kwh * 1000.0 + 1e-6) % 2**32
    yield from ((at, _s16(amps / 10.0**amps_scale)) for at in _each(wiring, 3))
    yield 2, _s16(phases * amps / 10.0**amps_scale)
    yield 6, _s16(amps_scale)
    if wiring != _DELTA:
        yield from ((at, _s16(_volts(meter) * 10.0)) for at in (7, *_each(wiring, 8)))
    if phases > 1:
        lines = _s16(_volts(meter) * 10.0 * math.sqrt(3.0))
        yield from ((at, lines) for at in (11, *_each(wiring, 12)))
    yield 15, _s16(-1)
    yield 16, _s16(_hertz(meter) * 100.0)
    yield 17, _s16(-2)
    yield 18, _s16(watts / 10.0**scale)
    yield from ((at, _s16(watts / phases / 10.0**scale)) for at in _each(wiring, 19))
    yield 22, _s16(scale)
    yield 23, _s16(watts / 0.98 / 10.0**scale)
    yield 27, _s16(scale)
    yield 28, _s16(watts * 0.2 / 10.0**scale)
    yield 32, _s16(scale)
    yield 38, struct.pack(">I", 0)
    yield 46, struct.pack(">I", wh)
    yield 54, _s16(0)


def _floats(meter: Meter, wiring: int) -> Iterator[tuple[int, bytes]]:
    watts, phases, volts = meter.power_w, _PHASES[wiring], _volts(meter)
    values = {2: phases * _amps(meter, wiring), 26: _hertz(meter), 28: watts}
    values |= {36: watts / 0.98, 44: watts * 0.2, 60: 0.0, 68: meter.energy_kwh * 1000.0}
    values |= dict.fromkeys(_each(wiring, 4, 2), _amps(meter, wiring))
    values |= dict.fromkeys(_each(wiring, 30, 2), watts / phases)
    if wiring != _DELTA:
        values |= dict.fromkeys((10, *_each(wiring, 12, 2)), volts)
    if phases > 1:
        values |= dict.fromkeys((18, *_each(wiring, 20, 2)), volts * math.sqrt(3.0))
    yield from ((at, struct.pack(">f", value)) for at, value in values.items())


def _chain(meter: Meter, model: int) -> Cells:
    """Everything from the mark to the end; what a model has and this meter has not is blank."""
    is_float, wiring = model > _FLOATS_FROM, model % 10
    length = _FLOATS_LENGTH if is_float else _INTEGERS_LENGTH
    rows: _Rows = _floats if is_float else _integers
    blank = _NAN if is_float else _NOT_THERE
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
    own = {0: _u16(model), 1: _u16(length), **dict(rows(meter, wiring))}
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


def _map(model: int) -> RegisterMap:
    lost = {_METER_AT + 18: _NOT_THERE, _METER_AT + 46: bytes(4)}
    if model > _FLOATS_FROM:
        lost = {_METER_AT + 28: _NAN, _METER_AT + 68: _NAN}
    return RegisterMap(cells=partial(_chain, model=model), register_limit=125, lost=lost)


SUNSPEC_MAPS = {
    f"sunspec-{model}": _map(model) for model in (201, 202, 203, 204, 211, 212, 213, 214)
}
