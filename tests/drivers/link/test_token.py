"""A token is kept while it serves and renewed once, whoever asks at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web

from drivers.errors import RefusedError
from drivers.link.http import HttpLink
from drivers.link.token import TokenLink


@dataclass
class Door:
    """A server that knows one token at a time, and counts logins and questions."""

    valid: str = ""
    logins: int = 0
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    links: list[TokenLink] = field(default_factory=list)
    is_shut: bool = False

    async def log_in(self) -> str:
        await asyncio.sleep(0.01)
        if self.is_shut:
            raise RefusedError("no")
        self.logins += 1
        self.valid = f"t{self.logins}"
        return self.valid

    async def answer(self, request: web.BaseRequest) -> web.Response:
        token = request.headers.get("Authorization", "")
        kind = request.headers.get("Content-Type", "")
        self.asked.append((request.method, request.path, token, kind))
        return web.Response(status=200 if token == self.valid else 401, text="x")


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    """A server with two links to it: ``links[0]`` logs in, ``links[1]`` never does."""
    found = Door()
    server = web.Server(found.answer)
    async with AsyncExitStack() as stack:
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        await stack.enter_async_context(listening)
        for log_in in (found.log_in, None):
            link = HttpLink(host="127.0.0.1", port=listening.sockets[0].getsockname()[1])
            stack.push_async_callback(link.close)
            found.links.append(TokenLink(link=link, prefix="/api/", log_in=log_in))
        yield found
        await server.shutdown(0.1)


async def test_one_login_serves_many_questions(door: Door) -> None:
    for _ in range(3):
        assert (await door.links[0].get("a")).status == 200
    assert door.logins == 1
    assert door.asked == [("GET", "/api/a", "t1", "")] * 3


async def test_a_token_that_is_not_known_any_more_is_renewed_once(door: Door) -> None:
    await door.links[0].get("a")
    door.valid = "another's"
    assert (await door.links[0].get("b")).status == 200
    assert door.logins == 2
    assert [token for _, _, token, _ in door.asked] == ["t1", "t1", "t2"]


async def test_a_machine_that_never_takes_the_token_is_not_asked_for_ever(door: Door) -> None:
    async def useless() -> str:
        door.logins += 1
        return "useless"

    door.links[0]._log_in = useless
    assert (await door.links[0].get("a")).status == 401
    assert (door.logins, len(door.asked)) == (2, 2)


async def test_two_who_lose_the_token_together_log_in_once(door: Door) -> None:
    await door.links[0].get("a")
    door.valid = "another's"
    replies = await asyncio.gather(door.links[0].get("b"), door.links[0].get("c"))
    assert [reply.status for reply in replies] == [200, 200]
    assert door.logins == 2


async def test_a_failed_login_leaves_no_token_behind(door: Door) -> None:
    await door.links[0].get("a")
    door.valid, door.is_shut = "another's", True
    with pytest.raises(RefusedError):
        await door.links[0].get("b")
    door.is_shut = False
    assert (await door.links[0].get("c")).status == 200
    assert [token for _, _, token, _ in door.asked] == ["t1", "t1", "t2"]


async def test_who_has_no_password_asks_without_a_token(door: Door) -> None:
    door.valid = "t9"
    assert (await door.links[1].get("a")).status == 401
    assert door.asked == [("GET", "/api/a", "", "")]
    assert door.logins == 0


async def test_a_body_is_json_and_a_token_stands_alone(door: Door) -> None:
    await door.links[1].once("PUT", "a", token="t9", body=b"true")
    assert door.asked == [("PUT", "/api/a", "t9", "application/json")]
