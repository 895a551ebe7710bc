import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.tcp import NoAnswerError, TcpExchange

Listen = Callable[[Any], Awaitable[int]]


def exchange(port: int, **limits: float) -> TcpExchange:
    return TcpExchange(host="127.0.0.1", port=port, **limits)  # type: ignore[arg-type]  # mixed limits


async def test_the_end_is_the_peers_close(listen: Listen) -> None:
    async def parts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        for part in (b"one ", b"two ", b"three"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.close()

    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    timed = await exchange(await listen(parts)).ask(b"?\n")
    assert timed.reply == b"one two three"
    assert before_s <= timed.requested_at_s <= timed.replied_at_s - 0.04


async def test_a_nul_ends_an_answer_of_a_peer_that_stays_open(listen: Listen) -> None:
    async def stays(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"answer\0")
        await asyncio.sleep(15)

    assert (await exchange(await listen(stays)).ask(b"?\n")).reply == b"answer\0"


async def test_what_never_ends_is_cut_at_the_limit(listen: Listen) -> None:
    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 4096)
            await writer.drain()

    with pytest.raises(BadReplyError, match="more than 10000 bytes"):
        await exchange(await listen(floods), limit_bytes=10_000).ask(b"?\n")


async def test_silence_after_the_request_keeps_what_came(listen: Listen) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half")
        await asyncio.sleep(15)

    began_s = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"did not answer within 0\.2 s") as caught:
        await exchange(await listen(half), answer_s=0.2).ask(b"?\n")
    assert caught.value.reply == b"half"
    assert time.monotonic() - began_s < 1.0


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="No connection to"):
        await TcpExchange(host="", port=1).ask(b"?\n")
    with pytest.raises(UnreachableError, match="No connection to"):
        await TcpExchange(host="127.0.0.1", port=1).ask(b"?\n")


async def test_a_connection_that_is_not_accepted_in_time_is_unreachable() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # nobody accepts: once the queue is full, whoever knocks is not heard
        for _ in range(4):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(full.getsockname())
        with pytest.raises(UnreachableError, match=r"within 0\.1 s"):
            await exchange(full.getsockname()[1], connect_s=0.1).ask(b"?\n")


async def test_a_cancelled_exchange_closes_its_connection_and_frees_the_way(
    listen: Listen,
) -> None:
    closed, arrived = asyncio.Event(), asyncio.Event()
    served = 0

    async def first_hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await reader.readline()
        if served > 1:
            writer.write(b"second\0")
            return
        arrived.set()
        try:
            await reader.read()
        finally:
            closed.set()

    link = exchange(await listen(first_hangs))
    job = asyncio.ensure_future(link.ask(b"?\n"))
    await arrived.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    async with asyncio.timeout(1):
        await closed.wait()
    assert (await link.ask(b"?\n")).reply == b"second\0"


async def test_many_exchanges_leave_no_sockets_behind(listen: Listen) -> None:
    open_now = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        writer.write(await reader.readline() + b"\0")
        await reader.read()
        open_now -= 1

    link = exchange(await listen(counts))
    for number in range(50):
        assert (await link.ask(b"%d\n" % number)).reply == b"%d\n\0" % number
    await asyncio.sleep(0.05)
    assert open_now == 0
