"""What a command sends and receives is shown as it was on the wire, and without its secrets."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.wiretap import Passage, Tap, masked, run_tapped, shown
from drivers.errors import UnreachableError
from drivers.link.frames import FramedLink
from drivers.link.http import HttpLink, Login
from drivers.link.tcp import TcpExchange


def tapped(asking: Coroutine[Any, Any, Any], *secrets: str) -> list[Passage]:
    tap = Tap(secrets=secrets)

    async def whole() -> None:
        await asking
        await asyncio.sleep(0.05)  # the servers of the test hear that the caller has left

    run_tapped(whole(), tap)
    return tap.passages()


def told(passages: list[Passage]) -> list[tuple[bool, bytes]]:
    return [(one.is_sent, one.data) for one in passages]


async def serving(handler: Any) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    for piece in (b'{"STATUS":', b'"S"}\0'):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    writer.close()


def test_an_exchange_is_one_passage_each_way() -> None:
    async def ask() -> None:
        server, port = await serving(answering)
        async with server:
            link = TcpExchange(host="127.0.0.1", port=port)
            assert (await link.ask(b"who?\n")).reply == b'{"STATUS":"S"}\0'

    passages = tapped(ask())
    assert told(passages) == [(True, b"who?\n"), (False, b'{"STATUS":"S"}\0')]
    assert passages[0].peer.startswith("127.0.0.1:")
    assert [one.size for one in passages] == [5, 15]
    assert 0.0 <= passages[0].after_s < passages[1].after_s


def test_frames_have_their_length_in_front() -> None:
    async def frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x02\0\0\0{}")
        await reader.read()
        writer.close()

    async def ask() -> None:
        server, port = await serving(frame)
        async with server:
            link = FramedLink(host="127.0.0.1", port=port)
            async with link.conversation() as talk:
                assert (await talk.ask(b"hello")).reply == b"{}"

    assert told(tapped(ask())) == [(True, b"\x05\0\0\0hello"), (False, b"\x02\0\0\0{}")]


def test_what_came_before_a_fault_is_there() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b'{"half')
        await reader.read()
        writer.close()

    async def ask() -> None:
        server, port = await serving(half)
        async with server:
            link = TcpExchange(host="127.0.0.1", port=port, answer_s=0.2)
            with pytest.raises(UnreachableError):
                await link.ask(b"who?\n")

    assert told(tapped(ask())) == [(True, b"who?\n"), (False, b'{"half')]


def test_a_login_over_http_is_shown_without_password_token_and_cookie() -> None:
    async def login(request: web.BaseRequest) -> web.StreamResponse:
        assert await request.text() == '{"username":"root","password":"hunter2"}'
        answer = web.json_response({"token": "t0ken", "timeout_s": 60})
        answer.headers["Set-Cookie"] = "sid=c00kie"
        return answer

    async def ask() -> None:
        runner = web.ServerRunner(web.Server(login, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        link = HttpLink(host="127.0.0.1", port=port, digest=Login(user="root", password="hunter2"))
        body = b'{"username":"root","password":"hunter2"}'
        headers = {"Authorization": "Bearer s3cret", "X-Api-Key": "k3y", "Accept": "*/*"}
        reply = await link.send("POST", "/login?pw=hunter2&x=1", body=body, headers=headers)
        assert b"t0ken" in reply.body
        await link.close()
        await runner.cleanup()

    passages = tapped(ask(), "hunter2")
    assert [one.is_sent for one in passages] == [True, False]
    sent, received = (one.data for one in passages)
    assert sent.startswith(b"POST /login?pw=***&x=1 HTTP/1.1\r\n")
    assert b"\r\nAccept: */*\r\n" in sent
    assert b"Authorization: ***\r\n" in sent
    assert sent.endswith(b'{"username":"root","password":"***"}')
    assert b'{"token": "***", "timeout_s": 60}' in received
    for secret in (b"hunter2", b"s3cret", b"k3y", b"t0ken", b"c00kie"):
        assert secret not in sent + received


@pytest.mark.parametrize(
    ("plain", "shown_as"),
    [
        (b'{"cmd":"x","token":"abc","ts":1}', b'{"cmd":"x","token":"***","ts":1}'),
        (b'{"pw" : "a\\"b"}', b'{"pw" : "***"}'),
        (b'{"param":true,"password":"letmein"}', b'{"param":true,"password":"***"}'),
        (b'{"SESSION":[{"SessionID":"abc"}]}', b'{"SESSION":[{"SessionID":"***"}]}'),
        (b'{"stratumPassword":"x","pool":"y"}', b'{"stratumPassword":"***","pool":"y"}'),
        (b"password=abc&user=root", b"password=***&user=root"),
        (b"GET / HTTP/1.1\r\nToken: abc\r\n\r\n", b"GET / HTTP/1.1\r\nToken: ***\r\n\r\n"),
        (b'{"command":"version"}\n', b'{"command":"version"}\n'),
        (b'{"salt":"BQ5hoXV9","power":"3500"}', b'{"salt":"BQ5hoXV9","power":"3500"}'),
        (b'WWW-Authenticate: Digest realm="a"\r\n', b'WWW-Authenticate: Digest realm="a"\r\n'),
    ],
)
def test_only_what_is_secret_is_masked(plain: bytes, shown_as: bytes) -> None:
    assert masked(plain, ()) == shown_as


def test_a_known_password_is_masked_however_it_is_spelt() -> None:
    assert (
        masked(b'x my "pw" x my \\"pw\\" x my%20%22pw%22 x', ['my "pw"']) == b"x *** x *** x *** x"
    )
    assert masked(b"abc", [""]) == b"abc"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a":1}\n\0', '{"a":1}\\n\n\\x00'),
        (b"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\\r\\n\n\\r\\n"),
        (b'{"a":"b\\nc"}', '{"a":"b\\\\nc"}'),
        (b"\x00\x01\x00\x00\x00\x06\x01\x04", "00 01 00 00 00 06 01 04"),
        (bytes(33), " ".join(["00"] * 32) + "\n00"),
        (b"", ""),
    ],
)
def test_text_is_escaped_and_other_bytes_are_hexadecimal(data: bytes, text: str) -> None:
    assert shown(data) == text


@given(data=st.binary(max_size=300))
def test_whatever_is_shown_cannot_steer_a_terminal(data: bytes) -> None:
    assert all(char == "\n" or 32 <= ord(char) < 127 for char in shown(data))
    assert isinstance(masked(data, ["x"]), bytes)
