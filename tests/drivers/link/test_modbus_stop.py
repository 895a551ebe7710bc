"""Whoever is told to stop while a reply arrives stops."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.link.modbus import Endpoint, ModbusBus, ReadRequest, Timing, _Traffic

QUICK = Timing(connect_s=1.0, answer_s=0.5, quiet_s=0.05)
FOUR = ReadRequest(unit=1, function=4, address=10, count=4)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each register holds its own address."""
    while len(head := await reader.read(12)) == 12:
        tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
        words = struct.pack(f">{count}H", *range(address, address + count))
        pdu = struct.pack(">BB", function, len(words)) + words
        writer.write(struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu)
        await writer.drain()


@pytest.mark.parametrize("turns", range(5))
async def test_a_stop_that_comes_with_the_answer_is_not_forgotten(
    listen: Callable[[Any], Awaitable[int]], monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """The cancellation arrives so many turns of the loop after the reply's bytes."""
    bus = ModbusBus(Endpoint(host="127.0.0.1", port=await listen(serve)))
    await bus.read(FOUR, QUICK)
    reading = asyncio.ensure_future(bus.read(FOUR, QUICK))
    trace = _Traffic.trace

    def cancel_after(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(cancel_after, left - 1)
        else:
            reading.cancel()

    def note(traffic: _Traffic, is_sending: bool, data: bytes) -> bytes:
        if not is_sending:
            cancel_after(turns)
        return trace(traffic, is_sending, data)

    monkeypatch.setattr(_Traffic, "trace", note)
    bus._client.ctx.trace_packet = bus._traffic.trace
    await asyncio.wait({reading}, timeout=2)
    if turns < 3:
        assert reading.cancelled()
    else:
        assert reading.cancelled() or reading.result().registers == (10, 11, 12, 13)
    monkeypatch.undo()
    bus.close()
    assert (await bus.read(FOUR, QUICK)).registers == (10, 11, 12, 13)
    bus.close()
