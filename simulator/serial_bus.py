"""An RS-485 bus of meters with the time that bytes really take, on a pty or behind a gateway.

Written from Modbus over Serial Line V1.02. A request is whole when the line has been silent for 3.5
characters; the meter thinks, then its reply crawls over the line at the bus' speed. What a master
sends meanwhile is lost and counted. Nobody here knows how the master is made.
"""

import asyncio
import os
import random
import struct
import tty
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from simulator.register_map import RegisterError

_CHUNK_BYTES = 512
_EXCEPTION = 0x80

# Function, address, count to the registers' bytes. Raises RegisterError.
Registers = Callable[[int, int, int], bytes]


class Member(Protocol):
    """Whoever sits on a line and has an address there."""

    requests: int

    @property
    def turnaround_s(self) -> float:
        """How long it thinks."""

    @property
    def is_dead(self) -> bool:
        """Whether it gives no reply now."""

    def answer(self, pdu: bytes) -> bytes:
        """The reply's PDU, exceptions included."""

    def sent(self, asked: bytes, body: bytes) -> bytes:
        """What the line brings of a reply: ``body`` is unit and PDU, ``asked`` the request."""


@dataclass(slots=True, kw_only=True)
class BusUnit:
    """One meter on the line. ``noise`` goes in front of its replies; ``is_dead``: no reply."""

    registers: Registers
    turnaround_s: float = 0.04
    is_dead: bool = False
    noise: bytes = b""
    requests: int = 0

    def answer(self, pdu: bytes) -> bytes:
        """The reply's PDU, exceptions included."""
        self.requests += 1
        function = pdu[0]
        if function not in {3, 4} or len(pdu) != 5:
            return bytes((function | _EXCEPTION, 1))
        address, count = struct.unpack(">HH", pdu[1:])
        try:
            data = self.registers(function, address, count)
        except RegisterError as error:
            return bytes((function | _EXCEPTION, error.code))
        return bytes((function, len(data))) + data

    def sent(self, asked: bytes, body: bytes) -> bytes:
        """The frame, with the noise in front."""
        del asked
        return self.noise + body + checksum(body)


@dataclass(slots=True, kw_only=True)
class SerialBus:
    """The line and the units on it. ``receive`` gets a master's bytes, ``send`` brings replies."""

    units: Mapping[int, Member]
    baud: int = 9600
    bits: int = 10
    seed: int = 1
    has_echo: bool = False
    send: Callable[[bytes], None] = field(default=lambda _: None)
    collisions: int = 0
    _heard: bytearray = field(default_factory=bytearray)
    _whole: asyncio.TimerHandle | None = None
    _busy_until_s: float = 0.0

    def byte_s(self, count: float) -> float:
        """How long so many bytes are on the line."""
        return count * self.bits / self.baud

    def receive(self, data: bytes) -> None:
        """A master's bytes. They are on the line as long as the baud rate says."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._busy_until_s:
            self.collisions += 1
            return
        self._heard += data
        if self._whole is not None:
            self._whole.cancel()
        self._whole = loop.call_later(self.byte_s(len(self._heard) + 3.5), self._frame)

    def _frame(self) -> None:
        self._whole = None
        frame = bytes(self._heard)
        self._heard.clear()
        if self.has_echo:
            self.send(frame)
        if len(frame) < 4 or checksum(frame[:-2]) != frame[-2:]:
            return
        unit = self.units.get(frame[0])
        if unit is None:
            return
        if unit.is_dead:
            unit.requests += 1
            return
        body = frame[:1] + unit.answer(frame[1:-2])
        reply = unit.sent(frame, body)
        loop = asyncio.get_running_loop()
        begins_s = loop.time() + unit.turnaround_s
        self._busy_until_s = begins_s + self.byte_s(len(reply))
        # As a driver hands it over: in pieces, the last one when its last byte has passed.
        half = random.Random(self.seed + unit.requests).randrange(1, len(reply))
        loop.call_at(begins_s + self.byte_s(half), self._tell, reply[:half])
        loop.call_at(self._busy_until_s, self._tell, reply[half:])

    def _tell(self, data: bytes) -> None:
        self.send(data)


def checksum(data: bytes) -> bytes:
    """CRC of V1.02, 6.2.2, low byte first."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            carry = register & 1
            register >>= 1
            if carry:
                register ^= 0xA001
    return struct.pack("<H", register)


class PtyPort:
    """A bus on a pseudo terminal: ``path`` is what a master opens."""

    def __init__(self, bus: SerialBus) -> None:
        self._bus = bus
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)

    def open(self) -> None:
        """Begin to listen."""
        self._bus.send = self._write
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def close(self) -> None:
        """Unplug the adapter."""
        asyncio.get_running_loop().remove_reader(self._master)
        self._bus.send = lambda _: None
        os.close(self._master)
        os.close(self._slave)

    def _readable(self) -> None:
        self._bus.receive(os.read(self._master, _CHUNK_BYTES))

    def _write(self, data: bytes) -> None:
        os.write(self._master, data)


class Gateway(asyncio.Protocol):
    """A transparent gateway, RTU frames over TCP, for one client: the others are turned away."""

    def __init__(self, bus: SerialBus, taken: set["Gateway"]) -> None:
        self._bus = bus
        self._taken = taken
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first has the line."""
        assert isinstance(transport, asyncio.Transport)
        if self._taken:
            transport.abort()
            return
        self._taken.add(self)
        self._transport = transport
        self._bus.send = self._write

    def connection_lost(self, exc: Exception | None) -> None:
        """The line is free again."""
        del exc
        self._transport = None
        self._taken.discard(self)

    def abort(self) -> None:
        """Cut the client off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """A master's bytes."""
        if self._transport is not None:
            self._bus.receive(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def open_gateway(bus: SerialBus, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
    """Listen for one client at a time."""
    taken: set[Gateway] = set()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Gateway(bus, taken), host, port)
