"""A connection that is kept between reads: used again where it is fit for it, else replaced."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import RefusedError, UnreachableError
from drivers.link import frames
from drivers.link.frames import FramedLink
from drivers.link.line import WATCHER
from drivers.link.switchboard import switchboard
from drivers.link.tcp import NoAnswerError

Listen = Callable[[Any], Awaitable[int]]
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Act = Callable[[int, Writer], Awaitable[None]]


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


class Peer:
    """Answers each question of each connection with its numbers, and then does what it is told."""

    def __init__(self) -> None:
        self.connections = 0
        self.before: Act | None = None
        self.after: Act | None = None

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        number, asked = self.connections, 0
        while await reader.read(100):
            asked += 1
            if self.before is not None:
                await self.before(number, writer)
            if writer.is_closing():
                return
            writer.write(frame(f"{number}.{asked}".encode()))
            if self.after is not None:
                await self.after(number, writer)


@pytest_asyncio.fixture
async def peer() -> Peer:
    return Peer()


@pytest_asyncio.fixture
async def link(peer: Peer, listen: Listen) -> AsyncIterator[FramedLink]:
    one = FramedLink(host="127.0.0.1", port=await listen(peer.serve), answer_s=0.3)
    yield one
    await one.close()


async def ask(link: FramedLink) -> bytes:
    async with link.conversation(2.0, is_kept=True) as talk:
        return (await talk.ask(b"?")).reply


async def test_the_next_conversation_goes_on_where_the_last_one_ended(link: FramedLink) -> None:
    assert [await ask(link) for _ in range(3)] == [b"1.1", b"1.2", b"1.3"]


async def test_a_conversation_that_is_not_to_be_kept_has_a_connection_of_its_own(
    link: FramedLink, peer: Peer
) -> None:
    assert await ask(link) == b"1.1"
    async with link.conversation() as talk:
        assert (await talk.ask(b"?")).reply == b"2.1"
    assert await ask(link) == b"1.2"
    assert peer.connections == 2


async def test_a_peer_that_closed_meanwhile_is_called_again(link: FramedLink, peer: Peer) -> None:
    async def close(_: int, writer: Writer) -> None:
        writer.close()

    peer.after = close
    for number in (1, 2, 3):
        assert await ask(link) == f"{number}.1".encode()
        await asyncio.sleep(0.02)


async def test_a_peer_that_closes_at_the_question_is_asked_again_once(
    link: FramedLink, peer: Peer
) -> None:
    assert await ask(link) == b"1.1"

    async def close_the_first(number: int, writer: Writer) -> None:
        if number == 1:
            writer.close()

    peer.before = close_the_first
    async with link.conversation(2.0, is_kept=True) as talk:
        assert [(await talk.ask(b"?")).reply for _ in "ab"] == [b"2.1", b"2.2"]

    async def close_all(_: int, writer: Writer) -> None:
        writer.close()

    peer.before = close_all
    with pytest.raises(NoAnswerError, match="closed the connection"):
        await ask(link)
    assert peer.connections == 3


async def test_a_peer_that_says_nothing_is_not_asked_again_until_the_next_conversation(
    link: FramedLink, peer: Peer
) -> None:
    assert await ask(link) == b"1.1"

    async def hang_in_the_first(number: int, _: Writer) -> None:
        if number == 1:
            await asyncio.sleep(0.4)

    peer.before = hang_in_the_first
    with pytest.raises(NoAnswerError, match="did not answer within"):
        await ask(link)
    assert peer.connections == 1
    assert await ask(link) == b"2.1"  # and not what the first one says late


async def test_what_nobody_asked_for_answers_no_question(link: FramedLink, peer: Peer) -> None:
    async def say_more(number: int, writer: Writer) -> None:
        if number == 1:
            writer.write(frame(b"stray") if peer.connections == 1 else b"\x05")

    peer.after = say_more
    assert await ask(link) == b"1.1"
    await asyncio.sleep(0.02)
    assert await ask(link) == b"2.1"


async def test_heartbeats_between_conversations_do_no_harm(link: FramedLink, peer: Peer) -> None:
    async def beat(_: int, writer: Writer) -> None:
        writer.write(bytes(4 * 3))

    peer.after = beat
    for number in (1, 2, 3):
        assert await ask(link) == f"1.{number}".encode()
        await asyncio.sleep(0.02)


async def test_a_caller_that_fails_leaves_no_connection_behind(
    link: FramedLink, peer: Peer
) -> None:
    async def fail() -> None:
        async with link.conversation(2.0, is_kept=True) as talk:
            await talk.ask(b"?")
            raise RefusedError("no")

    with pytest.raises(RefusedError):
        await fail()
    assert await ask(link) == b"2.1"
    assert peer.connections == 2


async def test_an_old_connection_is_not_trusted(
    link: FramedLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "KEPT_S", 0.0)
    assert [await ask(link), await ask(link)] == [b"1.1", b"2.1"]


async def test_a_closed_link_keeps_nothing_even_if_it_was_in_use(link: FramedLink) -> None:
    async with link.conversation(2.0, is_kept=True) as talk:
        await link.close()
        assert (await talk.ask(b"?")).reply == b"1.1"
    assert await ask(link) == b"2.1"
    assert not switchboard(asyncio.get_running_loop())._rings  # nothing is left open


async def test_nothing_is_kept_where_connections_are_scarce(peer: Peer, listen: Listen) -> None:
    port = await listen(peer.serve)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        board = switchboard(asyncio.get_running_loop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    links = [FramedLink(host="127.0.0.1", port=port, answer_s=2.0) for _ in range(40)]
    for one in links:
        await ask(one)
    assert board.is_crowded is False
    assert len(board._rings) == 31
    for one in links:
        await one.close()


async def test_whoever_watches_sees_a_kept_connection_as_well(link: FramedLink) -> None:
    seen: list[bytes] = []

    def watch(_: int, __: str, data: bytes, *, is_sent: bool) -> None:
        seen.append(data)
        assert is_sent == (data == frame(b"?"))

    await ask(link)
    token = WATCHER.set(watch)
    try:
        await ask(link)
    finally:
        WATCHER.reset(token)
    assert seen == [frame(b"?"), frame(b"1.2")]


async def test_a_peer_that_is_gone_for_good_is_unreachable(peer: Peer) -> None:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    one = FramedLink(host="127.0.0.1", port=server.sockets[0].getsockname()[1], answer_s=0.3)

    async def close(_: int, writer: Writer) -> None:
        writer.close()

    peer.after = close
    assert await ask(one) == b"1.1"
    server.close()
    await server.wait_closed()
    with pytest.raises(UnreachableError, match="No connection"):
        await ask(one)


async def test_questions_in_turn_wait_for_each_other_and_begin_again_together(
    link: FramedLink, peer: Peer
) -> None:
    async def close_at_the_second(number: int, writer: Writer) -> None:
        if number == 1:
            peer.before = close_the_first

    async def close_the_first(number: int, writer: Writer) -> None:
        if number == 1:
            writer.close()

    assert await ask(link) == b"1.1"
    peer.before = close_at_the_second
    replies: list[bytes] = []
    async with link.conversation(2.0, is_kept=True) as talk:
        await talk.ask_in_turn((b"a", b"b", b"c"), replies)
    assert replies == [b"2.1", b"2.2", b"2.3"]


async def test_what_came_before_a_failure_is_handed_over(link: FramedLink, peer: Peer) -> None:
    async def close(_: int, writer: Writer) -> None:
        writer.close()

    peer.after = close
    replies: list[bytes] = []

    async def fail() -> None:
        async with link.conversation(2.0, is_kept=True) as talk:
            await talk.ask_in_turn((b"a", b"b"), replies)

    with pytest.raises(NoAnswerError, match="closed"):
        await fail()
    assert replies == [b"1.1"]
