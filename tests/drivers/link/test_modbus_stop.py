"""Whoever is told to stop while a reply arrives stops, and the turn goes on to the next."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.link.busline import Inbox
from drivers.link.modbus import Endpoint, ModbusBus, ReadRequest, Timing

QUICK = Timing(connect_s=1.0, answer_s=0.2, quiet_s=0.05)
FOUR = ReadRequest(unit=1, function=4, address=10, count=4)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each register holds its own address."""
    while len(head := await reader.read(12)) == 12:
        tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
        words = struct.pack(f">{count}H", *range(address, address + count))
        pdu = struct.pack(">BB", function, len(words)) + words
        writer.write(struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu)
        await writer.drain()


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_that_comes_with_the_answer_is_not_forgotten(
    listen: Callable[[Any], Awaitable[int]], monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """The cancellation arrives so many turns of the loop after the reply's bytes."""
    bus = ModbusBus(Endpoint(host="127.0.0.1", port=await listen(serve)))
    await bus.read(FOUR, QUICK)
    reading = asyncio.ensure_future(bus.read(FOUR, QUICK))
    take = Inbox.take

    def cancel_after(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(cancel_after, left - 1)
        else:
            reading.cancel()

    def note(inbox: Inbox, data: bytes) -> None:
        cancel_after(turns)
        take(inbox, data)

    monkeypatch.setattr(Inbox, "take", note)
    await asyncio.wait({reading}, timeout=2)
    if turns == 0:
        assert reading.cancelled()
    else:
        assert reading.cancelled() or reading.result().registers == (10, 11, 12, 13)
    monkeypatch.undo()
    bus.close()
    assert (await bus.read(FOUR, QUICK)).registers == (10, 11, 12, 13)
    bus.close()


async def test_one_who_is_told_to_stop_while_waiting_gives_the_turn_on(
    listen: Callable[[Any], Awaitable[int]],
) -> None:
    bus = ModbusBus(Endpoint(host="127.0.0.1", port=await listen(serve)))
    jobs = [asyncio.ensure_future(bus.read(FOUR, QUICK)) for _ in range(6)]
    await asyncio.sleep(0)
    for job in jobs[1::2]:
        job.cancel()
    done = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [False, True] * 3
    bus.close()
