"""One question to an address of which nothing is known, against servers of every behaviour."""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.link.knock import Heard, Outcome, Patience, _outcome_of, knock

Listen = Callable[[Any], Awaitable[int]]
QUICK = Patience(connect_s=0.3, answer_s=0.3, limit_bytes=1000)


async def put(port: int, patience: Patience = QUICK) -> Heard:
    return await knock("127.0.0.1", port, b"who?\n", lambda reply: b"\0" in reply, patience)


async def test_an_answer_ends_where_it_is_whole_and_need_not_be_closed(listen: Listen) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"who?\n"
        writer.write(b"half ")
        await asyncio.sleep(0.02)
        writer.write(b"whole\0")
        await asyncio.sleep(5)

    heard = await put(await listen(serve), Patience(connect_s=1.0, answer_s=2.0))
    assert heard == Heard(outcome=Outcome.ANSWERED, reply=b"half whole\0")


async def test_what_came_before_the_time_ran_out_or_the_close_is_the_answer(listen: Listen) -> None:
    async def halting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half")
        await asyncio.sleep(5)

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"short")
        await writer.drain()
        writer.close()

    assert (await put(await listen(halting))).reply == b"half"
    assert (await put(await listen(closing))).reply == b"short"


async def test_silence_a_close_and_a_refusal_are_told_apart(listen: Listen) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    assert (await put(await listen(silent))).outcome is Outcome.SILENT
    assert (await put(await listen(closing))).outcome is Outcome.CLOSED
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert (await put(port)).outcome is Outcome.REFUSED


async def test_a_host_that_drops_what_arrives_costs_no_more_than_the_time_to_connect() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        filling = [socket.socket() for _ in range(4)]  # nobody accepts, so that the queue is full
        try:
            for one in filling:
                one.setblocking(False)
                one.connect_ex(address)
            await asyncio.sleep(0.05)
            started_s = asyncio.get_running_loop().time()
            heard = await put(address[1])
            assert heard.outcome is Outcome.DROPPED
            assert asyncio.get_running_loop().time() - started_s < 1.0
        finally:
            for one in filling:
                one.close()


async def test_an_endless_answer_is_cut_at_the_limit(listen: Listen) -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    heard = await put(await listen(flood), Patience(limit_bytes=1000))
    assert (heard.outcome, len(heard.reply)) == (Outcome.ANSWERED, 1000)


async def test_the_connection_is_gone_when_the_answer_is_there(listen: Listen) -> None:
    served: list[int] = []
    now = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now
        now += 1
        served.append(now)
        await reader.readline()
        writer.write(b"yes\0")
        assert await reader.read() == b""  # the caller has hung up
        now -= 1

    port = await listen(serve)
    for _ in range(20):
        assert (await put(port)).outcome is Outcome.ANSWERED
    await asyncio.sleep(0.05)
    assert served == [1] * 20


async def test_not_even_its_socket_is_left_when_the_call_returns() -> None:
    def sockets() -> int:
        links = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
        return sum("socket:" in one for one in links)

    with socket.create_server(("127.0.0.1", 0)) as server:  # the system answers for it
        before = sockets()
        assert (await put(server.getsockname()[1])).outcome is Outcome.SILENT
        assert sockets() == before


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.EHOSTUNREACH, Outcome.NOBODY),
        (errno.ENETUNREACH, Outcome.NOBODY),
        (errno.EMFILE, Outcome.OWN_FAULT),
        (errno.EADDRNOTAVAIL, Outcome.OWN_FAULT),
        (errno.ECONNREFUSED, Outcome.REFUSED),
    ],
)
def test_the_systems_reasons_tell_nobody_and_our_own_want_apart(
    number: int, outcome: Outcome
) -> None:
    assert _outcome_of(OSError(number, "")) is outcome


async def test_a_call_that_is_given_up_leaves_no_connection_behind(listen: Listen) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    port = await listen(silent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await put(port, Patience(answer_s=30.0))
    async with asyncio.timeout(2.0):
        await ended.wait()
