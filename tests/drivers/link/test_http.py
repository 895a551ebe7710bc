"""The HTTP link against servers that answer, stall, break off and talk too much."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from aiohttp import web

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.http import HttpLink, Login
from drivers.link.tcp import NoAnswerError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[[Handler], Awaitable[int]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def says(reply: bytes) -> Handler:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()

    return answer


@pytest_asyncio.fixture
async def link_to() -> AsyncIterator[Callable[..., HttpLink]]:
    links: list[HttpLink] = []

    def make(port: int, **options: object) -> HttpLink:
        links.append(HttpLink(host="127.0.0.1", port=port, **{"answer_s": 0.4, **options}))  # type: ignore[arg-type]
        return links[-1]

    yield make
    for link in links:
        await link.close()


async def test_an_answer_has_status_headers_body_and_its_times(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    link = link_to(await listen(says(b"HTTP/1.1 403 No\r\nX-A: b\r\nContent-Length: 2\r\n\r\nno")))
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    reply = await link.get("/a?b=c")
    assert (reply.status, reply.body, reply.headers["x-a"], reply.is_ok) == (403, b"no", "b", False)
    assert before_s <= reply.requested_at_s <= reply.replied_at_s


async def test_where_nothing_listens_nothing_was_sent(link_to: Callable[..., HttpLink]) -> None:
    with pytest.raises(UnreachableError, match="check power, cable and address") as caught:
        await link_to(1).send("POST", "/x", body=b"1")
    assert not isinstance(caught.value, NoAnswerError)


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"], ids=["nothing", "half"]
)
async def test_a_request_that_left_without_a_whole_answer_is_told_apart(
    listen: Listen, link_to: Callable[..., HttpLink], reply: bytes
) -> None:
    link = link_to(await listen(says(reply)))
    with pytest.raises(NoAnswerError, match="without a whole answer"):
        await link.send("POST", "/x", body=b"1")


async def test_silence_ends_with_the_limit_and_the_next_request_is_not_harmed(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    seen: list[bytes] = []

    async def first_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if len(seen) == 1:
            await asyncio.sleep(0.6)
        writer.write(OK)
        await writer.drain()

    link = link_to(await listen(first_silent), connect_s=0.1)
    with pytest.raises(NoAnswerError, match=r"within 0\.4 s"):
        await link.send("POST", "/slow")
    reply = await link.get("/next")
    assert reply.body == b"ok"
    assert b"GET /next" in seen[1]


async def test_what_is_not_http_is_a_bad_reply(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    with pytest.raises(BadReplyError, match="not HTTP"):
        await link_to(await listen(says(b'{"STATUS":"E"}\0'))).get("/")


async def test_too_much_is_cut_off(listen: Listen, link_to: Callable[..., HttpLink]) -> None:
    flood = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    with pytest.raises(BadReplyError, match="more than 1000 bytes"):
        await link_to(await listen(says(flood)), limit_bytes=1000).get("/")


async def test_redirects_are_answers(listen: Listen, link_to: Callable[..., HttpLink]) -> None:
    away = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    assert (await link_to(await listen(says(away))).get("/")).status == 307


async def test_two_requests_wait_for_each_other(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    busy = 0

    async def one_at_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal busy
        await reader.readuntil(b"\r\n\r\n")
        busy += 1
        assert busy == 1
        await asyncio.sleep(0.05)
        busy -= 1
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await writer.drain()

    link = link_to(await listen(one_at_a_time), answer_s=2.0)
    replies = await asyncio.gather(*(link.get(f"/{n}") for n in range(4)))
    assert [reply.body for reply in replies] == [b"ok"] * 4


class Doors:
    """Answers with the number of the connection, ``closes_after`` times on each; the last answer
    says so, if ``is_said``. Then it takes ``hangs_up`` requests more and answers none of them."""

    def __init__(self, *, closes_after: int = 99, is_said: bool = True, hangs_up: int = 0) -> None:
        self.opened = 0
        self.asked = 0
        self._closes_after = closes_after
        self._is_said = is_said
        self._hangs_up = hangs_up

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        body = b"%d" % self.opened
        for left in reversed(range(self._closes_after)):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            end = b"Connection: close\r\n" if self._is_said and not left else b""
            size = b"Content-Length: %d\r\n" % len(body)
            writer.write(b"HTTP/1.1 200 OK\r\n" + end + size + b"\r\n" + body)
            await writer.drain()
        for _ in range(self._hangs_up):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1


async def test_answers_on_a_kept_connection_have_its_number(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    doors = Doors()
    link = link_to(await listen(doors), answer_s=2.0)
    replies = [await link.get(f"/{n}") for n in range(3)]
    assert [(reply.body, reply.connection) for reply in replies] == [(b"1", 1)] * 3
    await link.close()
    reply = await link.get("/after")
    assert (reply.body, reply.connection, doors.opened) == (b"2", 2, 2)


@pytest.mark.parametrize("is_said", [True, False], ids=["said before", "while idle"])
async def test_a_connection_that_the_machine_closed_is_followed_by_another(
    listen: Listen, link_to: Callable[..., HttpLink], is_said: bool
) -> None:
    link = link_to(await listen(Doors(closes_after=1, is_said=is_said)), answer_s=2.0)
    replies = []
    for n in range(3):
        replies.append(await link.get(f"/{n}"))
        await asyncio.sleep(0.02)
    assert [(reply.body, reply.connection) for reply in replies] == [
        (b"1", 1),
        (b"2", 2),
        (b"3", 3),
    ]


async def test_what_is_asked_again_has_the_number_of_the_connection_that_answered(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    doors = Doors(closes_after=1, is_said=False, hangs_up=1)
    link = link_to(await listen(doors), answer_s=2.0)
    replies = [await link.get("/first"), await link.get("/second")]
    assert [(reply.body, reply.connection) for reply in replies] == [(b"1", 1), (b"2", 2)]
    assert doors.asked == 3  # the second was taken by both


async def test_a_machine_that_comes_back_is_on_another_connection(
    listen: Listen, link_to: Callable[..., HttpLink]
) -> None:
    doors = Doors()
    is_gone = False

    async def at_times(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not is_gone:
            await doors(reader, writer)

    link = link_to(await listen(at_times), answer_s=2.0)
    first = await link.get("/")
    await link.close()
    is_gone = True
    with pytest.raises(NoAnswerError):
        await link.get("/")
    is_gone = False
    assert (await link.get("/")).connection > first.connection


async def test_a_name_with_several_addresses_is_found_at_the_one_that_listens(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every socket is of the family and kind of its address."""
    port = await listen(Doors())

    async def both(*_args: object, **_kind: object) -> list[tuple[object, ...]]:
        tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [
            (socket.AF_INET6, *tcp, ("::1", port, 0, 0)),
            (socket.AF_INET, *tcp, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    link = HttpLink(host="machine.farm", port=port)
    replies = [await link.get("/"), await link.get("/")]
    await link.close()
    assert [reply.body for reply in replies] == [b"1", b"1"]
    assert replies[0].connection == replies[1].connection


async def test_digest_is_given_when_it_is_asked_for(link_to: Callable[..., HttpLink]) -> None:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.headers.get("Authorization", ""))
        if asked[-1].startswith("Digest "):
            return web.Response(text="in")
        wants = 'Digest realm="antMiner Configuration", nonce="abc", qop="auth"'
        return web.Response(status=401, headers={"WWW-Authenticate": wants})

    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        link = link_to(port, digest=Login(user="root", password="farm-pass"), answer_s=2.0)
        assert (await link.get("/cgi-bin/x.cgi")).body == b"in"
        assert 'username="root"' in asked[-1]
        assert (await link.get("/cgi-bin/y.cgi")).body == b"in"
        assert (len(asked), "nc=00000002" in asked[-1]) == (3, True)  # the nonce is used again
        assert "farm-pass" not in repr(Login(user="root", password="farm-pass")) + asked[-1]
        assert (await link_to(port, answer_s=2.0).get("/")).status == 401
        await link.close()
        await server.shutdown(0.1)
