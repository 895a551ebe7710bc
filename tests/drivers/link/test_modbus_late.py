"""Late replies: the fault that turns into wrong values where nobody compares and waits."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import DriverError
from drivers.link.modbus import Endpoint, ModbusBus, ReadRequest, Timing

KINDS = ("tcp", "id-0", "rtu")


@pytest.fixture
async def bus_to(
    listen: Callable[[Any], Awaitable[int]],
) -> AsyncIterator[Callable[..., Awaitable[ModbusBus]]]:
    opened: list[ModbusBus] = []

    async def open_bus(handler: Any, *, is_rtu: bool = False) -> ModbusBus:
        endpoint = Endpoint(host="127.0.0.1", port=await listen(handler), is_rtu=is_rtu)
        opened.append(ModbusBus(endpoint))
        return opened[-1]

    yield open_bus
    for bus in opened:
        bus.close()


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


class LateServer:
    """Answers 30 % of the requests late, to whoever is connected then, as a serial gateway does.

    ``kind``: replies carry their transaction id, or 0 which says nothing, or are RTU frames.
    Each register holds the number of the request, so that a mixed-up reply shows.
    """

    def __init__(self, kind: str, late_s: tuple[float, float] = (0.04, 0.1)) -> None:
        self.kind = kind
        self.late_s = late_s
        self.random = random.Random(7)
        self.late = 0
        self.writer: asyncio.StreamWriter | None = None
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        size = 8 if self.kind == "rtu" else 12
        while len(head := await reader.read(size)) == size:
            tid = 0 if self.kind == "rtu" else int.from_bytes(head[:2], "big")
            at = 0 if self.kind == "rtu" else 6
            unit, function, address, count = struct.unpack_from(">BBHH", head, at)
            self.arrived.set()
            words = struct.pack(f">{count}H", *[address] * count)
            reply = self.framed(tid, unit, struct.pack(">BB", function, 2 * count) + words)
            if self.random.random() < 0.3:
                self.late += 1
                late_s = self.random.uniform(*self.late_s)
                asyncio.get_running_loop().call_later(late_s, self.send, reply)
            else:
                self.send(reply)

    def framed(self, tid: int, unit: int, pdu: bytes) -> bytes:
        if self.kind == "rtu":
            frame = bytes((unit,)) + pdu
            return frame + crc(frame)
        tid = tid if self.kind == "tcp" else 0
        return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu

    def send(self, reply: bytes) -> None:
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(reply)


async def torture(bus: ModbusBus, server: LateServer, timing: Timing, reads: int) -> None:
    """So many reads, none of them put off because of the ones before."""
    right_ones = lost = 0
    for number in range(reads):
        request = ReadRequest(unit=1, function=4, address=number, count=2)
        try:
            read = await bus.read(request, timing)
        except DriverError:
            lost += 1
            bus._units[1].misses = 0
        else:
            assert read.registers == (number, number)
            right_ones += 1
    assert server.late >= reads / 5
    assert right_ones >= reads / 2
    assert lost >= server.late


@pytest.mark.parametrize("kind", KINDS)
async def test_sixty_reads_with_a_third_of_the_replies_late_give_no_wrong_value(
    bus_to: Any, kind: str
) -> None:
    server = LateServer(kind)
    bus = await bus_to(server.serve, is_rtu=kind == "rtu")
    await torture(bus, server, Timing(connect_s=1.0, answer_s=0.03, quiet_s=0.09), 60)


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
async def test_six_thousand_reads_with_a_third_of_the_replies_late_give_no_wrong_value(
    bus_to: Any, kind: str
) -> None:
    server = LateServer(kind, late_s=(0.012, 0.03))
    bus = await bus_to(server.serve, is_rtu=kind == "rtu")
    await torture(bus, server, Timing(connect_s=1.0, answer_s=0.01, quiet_s=0.03), 6000)


async def test_the_torture_shows_wrong_values_where_nobody_waits(bus_to: Any) -> None:
    server = LateServer("rtu")
    bus = await bus_to(server.serve, is_rtu=True)
    with pytest.raises(AssertionError, match=r"\d, .* == \("):
        await torture(bus, server, Timing(connect_s=1.0, answer_s=0.03, quiet_s=0.0), 60)


@pytest.mark.parametrize("kind", ["id-0", "rtu"])
async def test_a_cancelled_read_leaves_nothing_for_the_next_one(bus_to: Any, kind: str) -> None:
    server = LateServer(kind)
    bus = await bus_to(server.serve, is_rtu=kind == "rtu")
    server.random.random = lambda: 0.0  # type: ignore[method-assign]  # all are late
    # The reply comes within the answer time, so that quiet_s alone would not keep it away.
    timing = Timing(connect_s=1.0, answer_s=0.15, quiet_s=0.02)
    for number in range(4):
        request = ReadRequest(unit=1, function=4, address=2 * number, count=2)
        server.late_s = (0.04, 0.05)
        job = asyncio.ensure_future(bus.read(request, timing))
        server.arrived.clear()
        await server.arrived.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        server.late_s = (0.09, 0.1)  # so that the late one could come first
        following = ReadRequest(unit=1, function=4, address=2 * number + 1, count=2)
        assert (await bus.read(following, timing)).registers == (2 * number + 1,) * 2
