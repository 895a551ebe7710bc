"""A relay board behind Modbus: coils, and for the WB-MR6 the settings of its watchdog.

Written from the Modbus application protocol V1.1b3 and Wiren Board's list of registers. A contactor
hangs on each channel that feeds machines; it drops a moment after its coil, or hangs if it is
welded. What a contactor feeds is the farm's business: the board says which one moves, and when.
The digital output of a PAC3200 is one channel more, by Siemens' list of registers.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.register_map import ILLEGAL_FUNCTION, ILLEGAL_VALUE, RegisterError
from simulator.relay_table import CHANNELS, RelayTable

_READ_COILS, _READ_HOLDING = 1, 3
_WRITE_COIL, _WRITE_REGISTER, _WRITE_COILS = 5, 6, 15
_ILLEGAL_ADDRESS, _NO_SUCH_UNIT = 0x02, 0x0B
_AFTER_POWER, _TIMEOUT, _SAFE_STATE, _ACTION = 6, 8, 930, 938
_ON, _OFF = 0xFF00, 0x0000
_PAC_STATUS, _PAC_SWITCH = 207, 60008


@dataclass(slots=True, kw_only=True)
class RelayBoard:
    """One board. ``move`` is called with a contactor's machines and whether they are fed now."""

    table: RelayTable
    now_s: Callable[[], float]
    move: Callable[[tuple[int, ...], bool], None]
    is_silent: bool = False
    is_welded: bool = False
    delay_s: float = 0.0
    writes: int = 0
    timeouts: int = 0
    coils: list[bool] = field(init=False)
    settings: dict[int, int] = field(init=False, default_factory=dict)
    _asked_s: float = field(init=False)
    _fed: dict[int, bool] = field(init=False)
    _due: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        count = CHANNELS[self.table.model]
        self.coils = [self.table.is_closed] * count
        self._fed = {one.channel: self.table.is_closed for one in self.table.contactors}
        self._asked_s = self.now_s()
        if self.table.model == "wb-mr6":
            self.settings = {_AFTER_POWER: 0, _TIMEOUT: self.table.watchdog_s}
            for place in range(count):
                self.settings |= {_SAFE_STATE + place: 0, _ACTION + place: 1}
        if not self.table.is_closed:
            for one in self.table.contactors:
                self.move(one.machines, False)

    @property
    def watchdog_s(self) -> int:
        """After how many seconds of silence it opens by itself; 0: never."""
        return self.settings.get(_TIMEOUT, 0)

    def step(self, now_s: float) -> None:
        """Let the watchdog and the contactors do what is due."""
        if self.watchdog_s and now_s - self._asked_s >= self.watchdog_s:
            self._asked_s = now_s
            self.timeouts += 1
            for place in range(len(self.coils)):
                if self.settings[_ACTION + place] == 1:
                    self._set(place, is_on=self.settings[_SAFE_STATE + place] == 1)
        for one in self.table.contactors:
            is_on = self.coils[one.channel - 1]
            if self._fed[one.channel] != is_on and now_s >= self._due.get(one.channel, 0.0):
                if self.is_welded and not is_on:
                    continue
                self._fed[one.channel] = is_on
                self.move(one.machines, is_on)

    def reply(self, unit: int, pdu: bytes) -> bytes:
        """The answer to one request, exceptions included."""
        if unit != self.table.unit:
            return bytes([pdu[0] | 0x80, _NO_SUCH_UNIT])
        self._asked_s = self.now_s()
        try:
            is_meter = self.table.model == "pac3200-output"
            answer = self._as_meter if is_meter else self._answer
            return bytes([pdu[0]]) + answer(pdu[0], pdu[1:])
        except RegisterError as error:
            return bytes([pdu[0] | 0x80, error.code])

    def _as_meter(self, function: int, body: bytes) -> bytes:
        """The output of a PAC3200: 32 bits that tell, one register that switches it."""
        if function not in (_READ_HOLDING, _WRITE_REGISTER) or len(body) != 4:
            raise RegisterError(ILLEGAL_FUNCTION)
        address, second = struct.unpack(">HH", body)
        if function == _READ_HOLDING and (address, second) == (_PAC_STATUS, 2):
            return bytes([4]) + struct.pack(">I", self.coils[0])
        if function != _WRITE_REGISTER or address != _PAC_SWITCH:
            raise RegisterError(_ILLEGAL_ADDRESS)
        if second not in (0x0000, 0x0001):
            raise RegisterError(ILLEGAL_VALUE)
        self._write(0, is_on=bool(second))
        return body

    def _answer(self, function: int, body: bytes) -> bytes:
        if function == _READ_COILS and len(body) == 4:
            return self._coils(*struct.unpack(">HH", body))
        if function == _READ_HOLDING and len(body) == 4:
            return self._registers(*struct.unpack(">HH", body))
        if function == _WRITE_COIL and len(body) == 4:
            address, value = struct.unpack(">HH", body)
            if value not in (_ON, _OFF):
                raise RegisterError(ILLEGAL_VALUE)
            self._write(self._place(address, 1), is_on=value == _ON)
            return body
        if function == _WRITE_COILS and len(body) >= 6:
            address, count, size = struct.unpack(">HHB", body[:5])
            place = self._place(address, count)
            if size != (count + 7) // 8 or len(body) != 5 + size:
                raise RegisterError(ILLEGAL_VALUE)
            for at in range(count):
                self._write(place + at, is_on=bool(body[5 + at // 8] >> at % 8 & 1))
            return body[:4]
        if function == _WRITE_REGISTER and len(body) == 4 and self.settings:
            address, value = struct.unpack(">HH", body)
            if address not in self.settings:
                raise RegisterError(_ILLEGAL_ADDRESS)
            self.settings[address] = value
            self.writes += 1
            return body
        raise RegisterError(ILLEGAL_FUNCTION)

    def _coils(self, address: int, count: int) -> bytes:
        place = self._place(address, count)
        packed = bytearray((count + 7) // 8)
        for at, is_on in enumerate(self.coils[place : place + count]):
            packed[at // 8] |= is_on << at % 8
        return bytes([len(packed)]) + bytes(packed)

    def _registers(self, address: int, count: int) -> bytes:
        wanted = range(address, address + count)
        if not 1 <= count <= 125 or any(one not in self.settings for one in wanted):
            raise RegisterError(_ILLEGAL_ADDRESS)
        words = [self.settings[one] for one in wanted]
        return bytes([2 * count]) + struct.pack(f">{count}H", *words)

    def _place(self, address: int, count: int) -> int:
        place = address - (16 if self.table.model == "generic-16" else 0)
        if count < 1 or not 0 <= place <= len(self.coils) - count:
            raise RegisterError(_ILLEGAL_ADDRESS)
        return place

    def _write(self, place: int, *, is_on: bool) -> None:
        self.writes += 1
        self._set(place, is_on=is_on)

    def _set(self, place: int, *, is_on: bool) -> None:
        if self.coils[place] != is_on:
            self.coils[place] = is_on
            self._due[place + 1] = self.now_s() + self.table.drop_s
