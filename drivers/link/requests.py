"""What is asked of a Modbus unit and what comes back, and how patient to be meanwhile."""

from dataclasses import dataclass

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.wire.adu import Question

HOLDING = 3
INPUT = 4
REGISTER_LIMIT = 125


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How patient to be with one unit.

    ``answer_s``: a reply is late after it. ``quiet_s``: how late a late reply may be.
    ``gap_s``: pause between two requests to it, for units that need one. ``unit_gap_s``: pause on
    an RTU line when it is another unit's turn; Eastron asked for 60 ms of some of its meters.
    """

    connect_s: float = 2.0
    answer_s: float = 0.8
    quiet_s: float = 0.7
    gap_s: float = 0.0
    unit_gap_s: float = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """Registers of one unit. ``function`` is 3 (holding) or 4 (input)."""

    unit: int
    function: int
    address: int
    count: int

    def __post_init__(self) -> None:
        if self.function not in {HOLDING, INPUT} or not 1 <= self.count <= REGISTER_LIMIT:
            raise ValueError(f"not a read of registers: {self}")

    def question(self) -> Question:
        """The bytes that ask, and what the right reply looks like."""
        kind = ReadHoldingRegistersRequest
        if self.function == INPUT:
            kind = ReadInputRegistersRequest
        pdu = kind(address=self.address, count=self.count, dev_id=self.unit)
        return Question(
            unit=self.unit,
            pdu=bytes((self.function,)) + pdu.encode(),
            opening=bytes((self.function, 2 * self.count)),
            reply_bytes=2 + 2 * self.count,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistersRead:
    """The reply to a request, and when. ``requested_at_s`` is before the first byte left."""

    requested_at_s: float
    replied_at_s: float
    registers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply's PDU without exception, and when."""

    requested_at_s: float
    replied_at_s: float
    pdu: ModbusPDU
