"""What else than registers is asked of a unit: coils read and written, one register written.

Modbus Application Protocol V1.1b3, sections 6.1, 6.5, 6.6 and 6.11. Writes are absolute: 0x5500, by
which some boards toggle a coil, is nowhere here, since a write whose answer got lost could not be
repeated.
"""

import struct
from dataclasses import dataclass

from drivers.wire.adu import Question

READ_COILS, WRITE_COIL, WRITE_REGISTER, WRITE_COILS = 1, 5, 6, 15
COIL_LIMIT = 2000
_ADDRESS_END = 0x10000
_ECHO_BYTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CoilsRead:
    """Coils of one unit, for function 1."""

    unit: int
    address: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= COIL_LIMIT or not 0 <= self.address <= _ADDRESS_END - self.count:
            raise ValueError(f"not a read of coils: {self}")

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"coils {self.address} to {self.address + self.count - 1}"

    def question(self) -> Question:
        """The bytes that ask, and what the right reply looks like."""
        size = (self.count + 7) // 8
        return Question(
            unit=self.unit,
            pdu=struct.pack(">BHH", READ_COILS, self.address, self.count),
            opening=bytes((READ_COILS, size)),
            reply_bytes=2 + size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoilWrite:
    """One coil on or off, for function 5, or for boards that know only it, function 15."""

    unit: int
    address: int
    is_on: bool
    function: int = WRITE_COIL

    def __post_init__(self) -> None:
        if self.function not in {WRITE_COIL, WRITE_COILS} or not 0 <= self.address < _ADDRESS_END:
            raise ValueError(f"not a write of a coil: {self}")

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"coil {self.address} {'on' if self.is_on else 'off'}"

    def question(self) -> Question:
        """The bytes that write, and what the right reply repeats of them."""
        if self.function == WRITE_COILS:
            head = struct.pack(">BHH", self.function, self.address, 1)
            return Question(
                unit=self.unit,
                pdu=head + bytes((1, self.is_on)),
                opening=head,
                reply_bytes=_ECHO_BYTES,
            )
        pdu = struct.pack(">BHH", self.function, self.address, 0xFF00 * self.is_on)
        return Question(unit=self.unit, pdu=pdu, opening=pdu, reply_bytes=_ECHO_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterWrite:
    """One holding register, for function 6."""

    unit: int
    address: int
    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 0xFFFF or not 0 <= self.address < _ADDRESS_END:
            raise ValueError(f"not a write of a register: {self}")

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"register {self.address} = {self.value}"

    def question(self) -> Question:
        """The bytes that write, and what the right reply repeats of them."""
        pdu = struct.pack(">BHH", WRITE_REGISTER, self.address, self.value)
        return Question(unit=self.unit, pdu=pdu, opening=pdu, reply_bytes=_ECHO_BYTES)
