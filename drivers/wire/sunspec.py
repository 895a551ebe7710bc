"""SunSpec: a chain of models in holding registers, and the meter models 201-204 and 211-214.

SunSpec Information Model Specification and the published models 1, 201-204 (integers with scale
factors) and 211-214 (floats). Offsets count from a model's ID register. A scale factor is read
together with its value, since devices change it while they run. An accumulator of 0 means that
nothing has been accumulated and is no reading.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.wire.registers import (
    RegisterType,
    WordOrder,
    decode_registers,
    decode_text,
    float_spacing,
)

BASES = (40000, 0, 50000)
MARKER = (0x5375, 0x6E53)  # "SunS"
MARKER_COUNT = HEADER_COUNT = 2
MODELS_MAX = 100
COMMON, END = 1, 0xFFFF
COMMON_COUNT = 66
_SCALE_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value; ``scale_at`` is the offset of its power of ten, None where it has none."""

    offset: int
    kind: RegisterType
    scale_at: int | None = None
    sentinels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """What a meter's model holds. ``count`` registers from its ID on bring all of ``points``."""

    length: int
    count: int
    points: Mapping[str, Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """ID and length of a model; ``end`` is how far behind its ID the next one begins."""

    model: int
    length: int

    @property
    def end(self) -> int:
        """The offset of the next model's ID."""
        return HEADER_COUNT + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The common model: who the device is."""

    manufacturer: str
    model: str
    version: str
    serial: str


def _integers() -> Mapping[str, Point]:
    def row(first: int, scale_at: int, *names: str) -> dict[str, Point]:
        return {
            name: Point(offset=first + at, kind=RegisterType.INT16, scale_at=scale_at)
            for at, name in enumerate(names)
        }

    def accumulator(offset: int) -> Point:
        return Point(offset=offset, kind=RegisterType.UINT32, scale_at=54, sentinels=(0,))

    return {
        "energy": accumulator(46),
        **row(18, 22, "power"),
        **row(7, 15, "voltage"),
        **row(16, 17, "frequency"),
        "energy_export": accumulator(38),
        **row(19, 22, "power_l1", "power_l2", "power_l3"),
        **row(28, 32, "power_reactive"),
        **row(23, 27, "power_apparent"),
        **row(8, 15, "voltage_l1", "voltage_l2", "voltage_l3"),
        **row(3, 6, "current_l1", "current_l2", "current_l3"),
    }


def _floats() -> Mapping[str, Point]:
    offsets = {"energy": 68, "power": 28, "voltage": 10, "frequency": 26, "energy_export": 60}
    offsets |= {"power_reactive": 44, "power_apparent": 36}
    for phase in (1, 2, 3):
        offsets[f"power_l{phase}"] = 28 + 2 * phase
        offsets[f"voltage_l{phase}"] = 10 + 2 * phase
        offsets[f"current_l{phase}"] = 2 + 2 * phase
    kind = RegisterType.FLOAT32
    return {name: Point(offset=offset, kind=kind) for name, offset in offsets.items()}


METER_MODELS: Mapping[int, MeterModel] = {
    **dict.fromkeys(range(201, 205), MeterModel(length=105, count=55, points=_integers())),
    **dict.fromkeys(range(211, 215), MeterModel(length=124, count=70, points=_floats())),
}


def header(registers: Sequence[int]) -> Header:
    """ID and length of a model. Raises BadReplyError for what begins no model."""
    model, length = registers[:HEADER_COUNT]
    if model == 0 or (length == 0 and model != END):
        raise BadReplyError("The chain of SunSpec models leads to where no model is.")
    return Header(model=model, length=length)


def common(registers: Sequence[int]) -> Common:
    """The common model from its first registers. Raises BadReplyError."""
    return Common(
        manufacturer=decode_text(registers[2:18]),
        model=decode_text(registers[18:34]),
        version=decode_text(registers[42:50]),
        serial=decode_text(registers[50:66]),
    )


def value_of(registers: Sequence[int], point: Point) -> float:
    """A point's value in the base unit. Raises BadReplyError where the meter has none."""
    words = registers[point.offset : point.offset + point.kind.register_count]
    number = decode_registers(words, point.kind, WordOrder.BIG, point.sentinels)
    return float(number * _scale(registers, point))


def step_of(registers: Sequence[int], point: Point) -> float:
    """By how much a point's value steps where it stands now. Raises BadReplyError."""
    if point.kind.is_float:
        return float_spacing(value_of(registers, point), point.kind)
    return _scale(registers, point)


def _scale(registers: Sequence[int], point: Point) -> float:
    if point.scale_at is None:
        return 1.0
    raw = registers[point.scale_at : point.scale_at + 1]
    power = int(decode_registers(raw, RegisterType.INT16, WordOrder.BIG))
    if abs(power) > _SCALE_MAX:
        raise BadReplyError(
            f"The meter scales a value by ten to the power of {power}, which no meter does.",
            reply=struct.pack(">H", *raw),
        )
    return float(10.0**power)
