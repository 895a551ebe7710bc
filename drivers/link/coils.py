"""What else than registers is asked of a unit: coils read and written, one register written.

Modbus Application Protocol V1.1b3, sections 6.1, 6.5, 6.6 and 6.11. A request sends itself and says
why a reply is none of its own. Writes are absolute: 0x5500, by which some boards toggle a coil, is
nowhere here, since a write whose answer got lost could not be repeated.
"""

import struct
from dataclasses import dataclass
from typing import ClassVar

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

READ_COILS, WRITE_COIL, WRITE_REGISTER, WRITE_COILS = 1, 5, 6, 15
COIL_LIMIT = 2000
_ADDRESS_END = 0x10000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The reply to a request, and when. ``requested_at_s`` is before the first byte left."""

    requested_at_s: float
    replied_at_s: float
    pdu: ModbusPDU


@dataclass(frozen=True, slots=True, kw_only=True)
class CoilsRead:
    """Coils of one unit, for function 1."""

    function: ClassVar[int] = READ_COILS
    is_write: ClassVar[bool] = False
    unit: int
    address: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= COIL_LIMIT or not 0 <= self.address <= _ADDRESS_END - self.count:
            raise ValueError(f"not a read of coils: {self}")

    @property
    def reply_bytes(self) -> int:
        """How long a right reply is, from the function on."""
        return 2 + (self.count + 7) // 8

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"coils {self.address} to {self.address + self.count - 1}"

    async def send(self, client: AsyncModbusTcpClient) -> ModbusPDU:
        """Ask, and wait for the reply."""
        return await client.read_coils(self.address, count=self.count, device_id=self.unit)

    def complaint(self, pdu: ModbusPDU, raw: bytes) -> str:
        """Why a reply of this function and unit is not the one to this; empty where it is."""
        del raw
        wanted = 8 * (self.reply_bytes - 2)
        return "" if len(pdu.bits) == wanted else f"{len(pdu.bits)} coils instead of {wanted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoilWrite:
    """One coil on or off, for function 5, or for boards that know only it, function 15."""

    is_write: ClassVar[bool] = True
    unit: int
    address: int
    is_on: bool
    function: int = WRITE_COIL

    def __post_init__(self) -> None:
        if self.function not in {WRITE_COIL, WRITE_COILS} or not 0 <= self.address < _ADDRESS_END:
            raise ValueError(f"not a write of a coil: {self}")

    @property
    def reply_bytes(self) -> int:
        """How long a right reply is, from the function on."""
        return 5

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"coil {self.address} {'on' if self.is_on else 'off'}"

    async def send(self, client: AsyncModbusTcpClient) -> ModbusPDU:
        """Ask, and wait for the reply."""
        if self.function == WRITE_COILS:
            return await client.write_coils(self.address, [self.is_on], device_id=self.unit)
        return await client.write_coil(self.address, self.is_on, device_id=self.unit)

    def complaint(self, pdu: ModbusPDU, raw: bytes) -> str:
        """Why a reply of this function and unit is not the one to this; empty where it is."""
        del pdu  # takes any value but 0 for "on"
        second = 1 if self.function == WRITE_COILS else 0xFF00 * self.is_on
        return _not_echoed(raw, self.unit, self.function, self.address, second)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterWrite:
    """One holding register, for function 6."""

    function: ClassVar[int] = WRITE_REGISTER
    is_write: ClassVar[bool] = True
    unit: int
    address: int
    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 0xFFFF or not 0 <= self.address < _ADDRESS_END:
            raise ValueError(f"not a write of a register: {self}")

    @property
    def reply_bytes(self) -> int:
        """How long a right reply is, from the function on."""
        return 5

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"register {self.address} = {self.value}"

    async def send(self, client: AsyncModbusTcpClient) -> ModbusPDU:
        """Ask, and wait for the reply."""
        return await client.write_register(self.address, self.value, device_id=self.unit)

    def complaint(self, pdu: ModbusPDU, raw: bytes) -> str:
        """Why a reply of this function and unit is not the one to this; empty where it is."""
        del pdu
        return _not_echoed(raw, self.unit, self.function, self.address, self.value)


def _not_echoed(raw: bytes, unit: int, function: int, address: int, second: int) -> str:
    """A write is answered with its own address and value."""
    echo = struct.pack(">BBHH", unit, function, address, second)
    return "" if echo in raw else "another address or value than was written"
