"""Registers as bytes at addresses, and what a meter answers to a read that does not fit them.

Written from the Modbus application protocol V1.1b3 and from what vendors say of odd reads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from simulator.meter import Meter

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
DEVICE_BUSY = 6

# Function code, then address, then the bytes of the value that begins there.
Cells = Mapping[int, Mapping[int, bytes]]


class RegisterError(Exception):
    """A read that the meter refuses with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterMap:
    """One model of meter.

    ``filler`` is one register of what stands in ``filled`` where no value is; elsewhere nothing is.
    ``alone`` is what single registers hold when they are read one by one. ``lost`` is what power
    and energy read as when the meter has no value for them. ``is_even``: addresses and counts are.
    """

    cells: Callable[[Meter], Cells]
    register_limit: int
    lost: Mapping[int, bytes]
    is_even: bool = False
    filled: range = range(0)
    filler: bytes = b"\0\0"
    alone: Mapping[int, bytes] = field(default_factory=dict)

    def read(
        self, meter: Meter, function: int, address: int, count: int, *, is_lost: bool
    ) -> bytes:
        """Bytes of registers. Raises RegisterError."""
        cells = self.cells(meter).get(function)
        if cells is None:
            raise RegisterError(ILLEGAL_FUNCTION)
        if not 1 <= count <= self.register_limit or (self.is_even and count > 1 and count % 2):
            raise RegisterError(ILLEGAL_VALUE)
        asked = range(address, address + count)
        if self.is_even and count > 1 and address % 2:
            raise RegisterError(ILLEGAL_ADDRESS)
        if count == 1 and address in self.alone:
            return self.alone[address]
        if is_lost:
            cells = {at: self.lost.get(at, raw) for at, raw in cells.items()}
        return self._gathered(cells, asked)

    def _gathered(self, cells: Mapping[int, bytes], asked: range) -> bytes:
        inside = {inner for at, raw in cells.items() for inner in range(at + 1, at + len(raw) // 2)}
        parts, at = [], asked.start
        while at < asked.stop:
            is_filler = at in self.filled and at not in inside
            raw = cells.get(at, self.filler if is_filler else b"")
            at += len(raw) // 2
            if not raw or at > asked.stop:
                raise RegisterError(ILLEGAL_ADDRESS)
            parts.append(raw)
        return b"".join(parts)
