import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.frames import FramedLink
from drivers.link.line import WATCHER
from drivers.link.switchboard import switchboard
from drivers.link.tcp import NoAnswerError, TcpExchange

Listen = Callable[[Any], Awaitable[int]]
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


async def test_a_long_request_is_sent_whole_to_a_peer_that_reads_slowly(listen: Listen) -> None:
    request = os.urandom(6_000_000)
    received = bytearray()

    async def slow(reader: Reader, writer: Writer) -> None:
        while len(received) < len(request):
            received.extend(await reader.read(400_000))
            await asyncio.sleep(0.001)
        writer.write(b"done\0")

    link = TcpExchange(host="127.0.0.1", port=await listen(slow), answer_s=10.0)
    assert (await link.ask(request)).reply == b"done\0"
    assert bytes(received) == request


async def test_a_long_answer_in_one_go_is_read_to_the_end(listen: Listen) -> None:
    for size in (32_767, 32_768, 32_769, 65_536, 900_000):
        body = b"x" * size

        async def answers(reader: Reader, writer: Writer, body: bytes = body) -> None:
            await reader.readline()
            writer.write(body)
            writer.close()

        link = TcpExchange(host="127.0.0.1", port=await listen(answers))
        assert (await link.ask(b"?\n")).reply == body


async def test_frames_of_any_size_and_in_any_pieces_are_put_together(listen: Listen) -> None:
    bodies = [b"a" * size for size in (1, 100, 32_764, 32_768, 70_000)]

    async def answers(reader: Reader, writer: Writer) -> None:
        for body in bodies:
            await reader.readexactly(5)
            whole = frame(b"") + frame(body)
            cut = len(whole) // 3
            for piece in (whole[:3], whole[3:cut], whole[cut:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.002)

    link = FramedLink(host="127.0.0.1", port=await listen(answers))
    async with link.conversation() as talk:
        assert [(await talk.ask(b"?")).reply for _ in bodies] == bodies


async def test_an_answer_that_came_with_the_close_is_still_taken(listen: Listen) -> None:
    async def last_words(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(5)
        writer.write(frame(b"bye"))
        writer.close()

    link = FramedLink(host="127.0.0.1", port=await listen(last_words))
    async with link.conversation() as talk:
        assert (await talk.ask(b"?")).reply == b"bye"
        await asyncio.sleep(0.05)
        with pytest.raises(NoAnswerError, match="closed the connection"):
            await talk.ask(b"?")


async def test_each_line_has_its_own_limit_whoever_was_first(listen: Listen) -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read()

    port, loop = await listen(silent), asyncio.get_running_loop()
    limits_s = [1.2, 0.4, 0.8, 0.05]
    began_s = loop.time()

    async def waited_s(limit_s: float) -> float:
        with pytest.raises(NoAnswerError):
            await TcpExchange(host="127.0.0.1", port=port, answer_s=limit_s).ask(b"?\n")
        return loop.time() - began_s

    waits_s = await asyncio.gather(*map(waited_s, limits_s))
    for wait_s, limit_s in zip(waits_s, limits_s, strict=True):
        assert limit_s <= wait_s < limit_s + 0.35


async def test_a_reset_is_no_answer_and_names_its_cause(listen: Listen) -> None:
    async def resets(reader: Reader, writer: Writer) -> None:
        await reader.readline()
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.write(b"half")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    with pytest.raises(NoAnswerError) as caught:
        await TcpExchange(host="127.0.0.1", port=await listen(resets)).ask(b"?\n")
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert caught.value.reply == b"half"


async def test_whoever_floods_a_conversation_is_stopped(listen: Listen) -> None:
    async def floods(reader: Reader, writer: Writer) -> None:
        while True:
            writer.write(frame(b"x" * 60_000))
            await writer.drain()

    link = FramedLink(host="127.0.0.1", port=await listen(floods))
    async with link.conversation() as talk:
        await talk.ask(b"?")
        with pytest.raises(BadReplyError, match="nobody asked for"):  # noqa: PT012
            for _ in range(100):
                await asyncio.sleep(0.01)
                for _ in range(20):
                    await talk.ask(b"?")
                await asyncio.sleep(0.3)


async def test_a_conversation_ends_at_its_own_limit_however_patient_each_question_is(
    listen: Listen,
) -> None:
    async def slow(reader: Reader, writer: Writer) -> None:
        while True:
            await reader.readexactly(5)
            await asyncio.sleep(0.15)
            writer.write(frame(b"!"))

    link = FramedLink(host="127.0.0.1", port=await listen(slow))
    async with link.conversation(0.4) as talk:
        await talk.ask(b"?")
        await talk.ask(b"?")
        with pytest.raises(NoAnswerError, match=r"everything within 0\.4 s"):
            await talk.ask(b"?")


async def test_a_name_is_looked_up_and_a_nonsense_one_is_unreachable(listen: Listen) -> None:
    async def echo(reader: Reader, writer: Writer) -> None:
        writer.write(await reader.readline() + b"\0")

    port = await listen(echo)
    assert (await TcpExchange(host="localhost", port=port).ask(b"?\n")).reply == b"?\n\0"
    for name in ("no-such-name.invalid", "a..b", "x" * 80):
        with pytest.raises(UnreachableError):
            await TcpExchange(host=name, port=port).ask(b"?\n")


async def test_no_file_is_left_open_by_good_bad_and_cancelled_exchanges(listen: Listen) -> None:
    async def moody(reader: Reader, writer: Writer) -> None:
        word = await reader.readline()
        if word == b"hang\n":
            await reader.read()
        elif word == b"good\n":
            writer.write(b"yes\0")
        writer.close()

    good = TcpExchange(host="127.0.0.1", port=await listen(moody), answer_s=0.05)
    nobody = TcpExchange(host="127.0.0.1", port=1)
    await good.ask(b"good\n")
    before = open_files()
    for word in (b"good\n", b"bad\n", b"hang\n") * 3:
        with contextlib.suppress(NoAnswerError):
            await good.ask(word)
        with pytest.raises(UnreachableError):
            await nobody.ask(word)
        job = asyncio.ensure_future(good.ask(b"hang\n"))
        await asyncio.sleep(0.01)
        job.cancel()
        await asyncio.wait([job])
    await asyncio.sleep(0.05)
    assert open_files() <= before
    assert switchboard(asyncio.get_running_loop())._rings == {}


def test_a_loop_that_is_over_leaves_no_file_open() -> None:
    async def exchange() -> None:
        async def answers(reader: Reader, writer: Writer) -> None:
            await reader.readline()
            writer.write(b"yes\0")
            writer.close()

        async with await asyncio.start_server(answers, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await TcpExchange(host="127.0.0.1", port=port).ask(b"?\n")

    asyncio.run(exchange())
    before = open_files()
    for _ in range(3):
        asyncio.run(exchange())
    assert open_files() <= before


async def test_a_watcher_sees_every_byte_of_every_line(listen: Listen) -> None:
    seen: list[tuple[int, str, bytes, bool]] = []

    def watch(connection: int, peer: str, data: bytes, *, is_sent: bool) -> None:
        seen.append((connection, peer, data, is_sent))

    async def echo(reader: Reader, writer: Writer) -> None:
        writer.write(await reader.readline() + b"\0")

    port = await listen(echo)
    WATCHER.set(watch)
    await TcpExchange(host="127.0.0.1", port=port).ask(b"hello\n")
    peer = f"127.0.0.1:{port}"
    assert {(place, data, is_sent) for _, place, data, is_sent in seen if data} == {
        (peer, b"hello\n", True),
        (peer, b"hello\n\0", False),
    }
    assert len({connection for connection, *_ in seen}) == 1
