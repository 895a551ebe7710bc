"""Late replies: the fault that turns into wrong values with pymodbus alone."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import DriverError
from drivers.link.modbus import Endpoint, ModbusBus, ReadRequest, Timing


@pytest.fixture
async def bus_to(
    listen: Callable[[Any], Awaitable[int]],
) -> AsyncIterator[Callable[[Any], Awaitable[ModbusBus]]]:
    opened: list[ModbusBus] = []

    async def open_bus(handler: Any) -> ModbusBus:
        opened.append(ModbusBus(Endpoint(host="127.0.0.1", port=await listen(handler))))
        return opened[-1]

    yield open_bus
    for bus in opened:
        bus.close()


class LateServer:
    """Answers 30 % of the requests late, to whoever is connected then, as a serial gateway does.

    With ``keeps_tid`` false all replies carry transaction id 0, which pymodbus takes for anything.
    Each register holds the number of the request, so that a mixed-up reply shows.
    """

    def __init__(self, *, keeps_tid: bool) -> None:
        self.keeps_tid = keeps_tid
        self.random = random.Random(7)
        self.served = 0
        self.late = 0
        self.writer: asyncio.StreamWriter | None = None
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        while len(head := await reader.read(12)) == 12:
            tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
            self.served += 1
            self.arrived.set()
            words = struct.pack(f">{count}H", *[address] * count)
            pdu = struct.pack(">BB", function, 2 * count) + words
            head = struct.pack(">HHHB", tid if self.keeps_tid else 0, 0, len(pdu) + 1, unit)
            reply = head + pdu
            if self.random.random() < 0.3:
                self.late += 1
                asyncio.get_running_loop().call_later(
                    self.random.uniform(0.04, 0.1), self.send, reply
                )
            else:
                self.send(reply)

    def send(self, reply: bytes) -> None:
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(reply)


@pytest.mark.parametrize("keeps_tid", [True, False])
async def test_sixty_reads_with_a_third_of_the_replies_late_give_no_wrong_value(
    bus_to: Any, keeps_tid: bool
) -> None:
    server = LateServer(keeps_tid=keeps_tid)
    bus = await bus_to(server.serve)
    timing = Timing(connect_s=1.0, answer_s=0.03, quiet_s=0.09)
    right_ones = lost = 0
    for number in range(60):
        request = ReadRequest(unit=1, function=4, address=number, count=2)
        try:
            read = await bus.read(request, timing)
        except DriverError:
            lost += 1
        else:
            assert read.registers == (number, number)
            right_ones += 1
    assert server.late >= 10
    assert right_ones >= 30
    assert lost >= server.late


async def test_a_cancelled_read_leaves_nothing_for_the_next_one(bus_to: Any) -> None:
    server = LateServer(keeps_tid=False)
    bus = await bus_to(server.serve)
    timing = Timing(connect_s=1.0, answer_s=0.5, quiet_s=0.15)
    for number in range(4):
        request = ReadRequest(unit=1, function=4, address=2 * number, count=2)
        server.random = random.Random()
        server.random.random = lambda: 0.0  # type: ignore[method-assign]  # this one is late
        job = asyncio.ensure_future(bus.read(request, timing))
        server.arrived.clear()
        await server.arrived.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        server.random.random = lambda: 1.0  # type: ignore[method-assign]  # this one is not
        following = ReadRequest(unit=1, function=4, address=2 * number + 1, count=2)
        assert (await bus.read(following, timing)).registers == (2 * number + 1,) * 2
