"""Modbus registers to values: types, word order, and the patterns that mean "no value".

Bytes inside a register are always big-endian (Modbus Application Protocol V1.1b3, 4.2); the order
of registers is the vendor's choice. A pattern that means "not available" is a BadReplyError, never
a number: read as a counter it would look like an enormous or a zero energy.
"""

import math
import struct
from collections.abc import Collection, Sequence
from enum import StrEnum

from drivers.errors import BadReplyError


class RegisterType(StrEnum):
    """How a value is laid out in its registers."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def register_count(self) -> int:
        """How many registers one value takes."""
        return struct.calcsize(_FORMATS[self]) // 2

    @property
    def is_float(self) -> bool:
        """Whether the steps between neighbouring values grow with the value."""
        return self in {RegisterType.FLOAT32, RegisterType.FLOAT64}

    @property
    def modulus(self) -> int | None:
        """Where an integer counter of this type starts again at zero; floats do not."""
        if self.is_float:
            return None
        bits = 16 * self.register_count
        return 1 << (bits if _FORMATS[self].isupper() else bits - 1)


class WordOrder(StrEnum):
    """Which register of a value comes first."""

    BIG = "big"
    LITTLE = "little"


_FORMATS = {
    RegisterType.INT16: ">h",
    RegisterType.UINT16: ">H",
    RegisterType.INT32: ">i",
    RegisterType.UINT32: ">I",
    RegisterType.INT64: ">q",
    RegisterType.UINT64: ">Q",
    RegisterType.FLOAT32: ">f",
    RegisterType.FLOAT64: ">d",
}


def decode_registers(
    registers: Sequence[int],
    kind: RegisterType,
    order: WordOrder,
    sentinels: Collection[int] = (),
) -> int | float:
    """One value from exactly its registers. Raises BadReplyError.

    Refused as "not available": NaN and infinities, all bits set in an unsigned value, and the
    smallest and the largest signed value (SunSpec Information Model, 'unimplemented values';
    ABB EQ meters use the largest). ``sentinels`` are further patterns with that meaning, as the
    unsigned number that all bits of the value make, most significant register first.
    """
    if len(registers) != kind.register_count:
        raise BadReplyError(
            f"The meter sent {len(registers)} registers for a {kind} value, "
            f"which takes {kind.register_count}."
        )
    words = registers if order is WordOrder.BIG else tuple(reversed(registers))
    try:
        raw = struct.pack(f">{len(words)}H", *words)
    except struct.error as error:
        raise BadReplyError("The meter sent a register outside 0…65535.") from error
    value: int | float
    (value,) = struct.unpack(_FORMATS[kind], raw)
    if int.from_bytes(raw, "big") in sentinels or _means_nothing(value, kind):
        raise BadReplyError(
            "The meter says that it has no value: it may be starting or faulty.", reply=raw
        )
    return value


def decode_text(registers: Sequence[int]) -> str:
    """Text with two characters in a register, without the blanks and zeros around it.

    Raises BadReplyError where a byte is no printable ASCII character.
    """
    try:
        raw = struct.pack(f">{len(registers)}H", *registers)
    except struct.error as error:
        raise BadReplyError("The meter sent a register outside 0…65535.") from error
    text = raw.rstrip(b"\0 ").lstrip(b" ")
    if not (text.isascii() and text.decode("ascii").isprintable()):
        raise BadReplyError("The meter sent something else where its text is.", reply=raw)
    return text.decode("ascii")


def _means_nothing(value: float, kind: RegisterType) -> bool:
    if kind.modulus is None:
        return not math.isfinite(value)
    if _FORMATS[kind].isupper():
        return value == kind.modulus - 1
    return value in {kind.modulus - 1, -kind.modulus}


def float_spacing(value: float, kind: RegisterType) -> float:
    """Distance from ``value`` to the next larger number of a float type: its resolution there.

    Raises ValueError for types that are not floats and for values that the type cannot hold.
    """
    if kind is RegisterType.FLOAT64:
        return math.ulp(value)
    if kind is not RegisterType.FLOAT32:
        raise ValueError(f"{kind} is not a float type")
    try:
        (bits,) = struct.unpack(">I", struct.pack(">f", abs(value)))
    except OverflowError as error:
        raise ValueError(f"{value} does not fit into float32") from error
    low, high = struct.unpack(">ff", struct.pack(">II", bits, bits + 1))
    return float(high - low)
