"""A meter behind Modbus TCP: several clients, pipelined requests, split segments.

Written from the Modbus application protocol V1.1b3 and the Modbus messaging guide V1.0b.
"""

import asyncio
import math
import random
import struct
from dataclasses import dataclass, field, replace
from typing import Protocol

from simulator.farm import Farm
from simulator.farm_file import MeterTable
from simulator.faults import FaultKind
from simulator.meter_maps import METER_MAPS
from simulator.meter_maps_more import MORE_METER_MAPS
from simulator.meter_wire import Has, nothing, on_tcp
from simulator.register_map import DEVICE_BUSY, ILLEGAL_FUNCTION, ILLEGAL_VALUE, RegisterError
from simulator.sdm630_map import (
    READ_HOLDING,
    READ_INPUT,
    Reporting,
    holding_registers,
    input_registers,
)
from simulator.sunspec_map import SUNSPEC_MAPS

_HEADER_BYTES = 7
_MAX_LENGTH = 254
_WRITES = frozenset({5, 6, 15, 16, 22, 23})
_NO_SUCH_UNIT = 0x0B
_PIECE_S = 0.001
_NAN_WORDS = b"\x7f\xc0\x00\x00"
_NAN_AT = (0x0034, 0x0048)
_MAPS = {**METER_MAPS, **MORE_METER_MAPS, **SUNSPEC_MAPS}


@dataclass(slots=True, kw_only=True)
class MeterServer:
    """What one meter answers, and what was tried on it."""

    farm: Farm
    position: int
    table: MeterTable
    requests: int = field(init=False, default=0)
    refused: int = field(init=False, default=0)
    tampered: int = field(init=False, default=0)
    _rng: random.Random | None = field(init=False, default=None)

    @property
    def is_silent(self) -> bool:
        """Whether this meter gives no answer now."""
        return self.has(FaultKind.METER_SILENT) or self.has(FaultKind.METER_POWER_CUT)

    @property
    def delay_s(self) -> float:
        """How long this meter thinks, this time."""
        is_slow = self.has(FaultKind.METER_SLOW)
        delay_s = self.farm.faults.slow_s if is_slow else self.table.answer_delay_s
        if self.has(FaultKind.METER_JITTER):
            self._rng = self._rng or random.Random(f"{self.farm.faults.seed}-{self.position}")
            delay_s += self._rng.uniform(0.0, self.farm.faults.jitter_s)
        return delay_s

    def has(self, kind: FaultKind) -> bool:
        """Whether a fault is switched on for this meter."""
        return self.farm.faults.has_meter(kind, self.position)

    def reply(self, unit: int, pdu: bytes) -> bytes:
        """The answer to one request, exceptions included."""
        self.requests += 1
        function = pdu[0]
        if self.has(FaultKind.METER_BUSY):
            return bytes([function | 0x80, DEVICE_BUSY])
        if self.has(FaultKind.METER_CODE_ZERO):
            return bytes([function | 0x80, 0])
        if self.has(FaultKind.METER_EMPTY):
            return bytes([function, 0])
        try:
            return self._read(unit, function, pdu)
        except RegisterError as error:
            self.refused += 1
            return bytes([function | 0x80, error.code])

    def _read(self, unit: int, function: int, pdu: bytes) -> bytes:
        if unit != self.table.unit:
            raise RegisterError(_NO_SUCH_UNIT)
        if function in _WRITES:
            self.tampered += 1
        if function not in {READ_HOLDING, READ_INPUT}:
            raise RegisterError(ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            raise RegisterError(ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        self.farm.step(self.farm.clock.now_s())
        meter, reporting = self.farm.meters[self.position], self._reporting()
        meter.clock_ms = self.farm.meter_clock_ms(self.position)
        other = _MAPS.get(self.table.model)
        if other is not None:
            is_lost = self.farm.faults.has_meter(FaultKind.METER_NAN, self.position)
            data = other.read(meter, function, address, count, is_lost=is_lost)
        elif function == READ_HOLDING:
            data = holding_registers(meter, reporting, address, count)
        else:
            data = input_registers(meter, reporting, address, count)
            data = self._spoilt(data, address)
        return bytes([function, len(data)]) + data

    def _reporting(self) -> Reporting:
        has = self.farm.faults.has_meter
        configured = Reporting(
            is_mega=self.table.prefix == "M",
            is_low_word_first=self.table.word_order == "little",
            holes=self.table.holes,
            has_serial_low=self.table.paper == "V2.0",
        )
        if has(FaultKind.METER_MEGA, self.position):
            configured = replace(configured, is_mega=True)
        if has(FaultKind.METER_WORD_SWAP, self.position):
            configured = replace(configured, is_low_word_first=True)
        return configured

    def _spoilt(self, data: bytes, address: int) -> bytes:
        if not self.farm.faults.has_meter(FaultKind.METER_NAN, self.position):
            return data
        spoilt = bytearray(data)
        for at in _NAN_AT:
            offset = (at - address) * 2
            if 0 <= offset < len(spoilt):
                spoilt[offset : offset + 4] = _NAN_WORDS
        return bytes(spoilt)


class Unit(Protocol):
    """What stands behind a connection: it answers requests, late or never if it is so."""

    @property
    def is_silent(self) -> bool:
        """Whether it gives no answer now."""

    @property
    def delay_s(self) -> float:
        """How long it thinks."""

    def reply(self, unit: int, pdu: bytes) -> bytes:
        """The answer to one request."""


class MeterConnection(asyncio.Protocol):
    """One client. Requests are answered in their order; nonsense ends the connection."""

    def __init__(
        self, server: Unit, connections: set["MeterConnection"], has: Has = nothing
    ) -> None:
        self._server = server
        self._has = has
        self._connections = connections
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._free_s = -math.inf
        # The line may fail later for those who are connected; whoever comes then has a new way.
        self._is_after_cut = has(FaultKind.METER_HALF_OPEN)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        del exc
        self._transport = None
        self._connections.discard(self)

    def abort(self) -> None:
        """Cut the client off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take every whole request out of what has come so far."""
        self._received += data
        while self._transport is not None and len(self._received) >= _HEADER_BYTES:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", self._received)
            if protocol != 0 or not 2 <= length <= _MAX_LENGTH:
                self._transport.close()
                return
            if len(self._received) < 6 + length:
                return
            pdu = bytes(self._received[_HEADER_BYTES : 6 + length])
            del self._received[: 6 + length]
            self._answer(transaction, unit, pdu)

    def _answer(self, transaction: int, unit: int, pdu: bytes) -> None:
        is_cut = self._has(FaultKind.METER_HALF_OPEN) and not self._is_after_cut
        if self._server.is_silent or is_cut:
            return
        loop = asyncio.get_running_loop()
        delay_s = self._server.delay_s
        if delay_s <= 0.0 and loop.time() >= self._free_s:
            self._send(transaction, unit, pdu)
            return
        self._free_s = max(loop.time(), self._free_s) + delay_s
        loop.call_at(self._free_s, self._send, transaction, unit, pdu)

    def _send(self, transaction: int, unit: int, pdu: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._has(FaultKind.METER_RESET):
            self._transport.abort()
            return
        reply = self._server.reply(unit, pdu)
        for place, piece in enumerate(on_tcp(transaction, unit, reply, self._has)):
            if place == 0:
                self._transport.write(piece)
            else:
                loop = asyncio.get_running_loop()
                loop.call_later(place * _PIECE_S, self._transport.write, piece)
