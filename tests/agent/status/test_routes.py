"""Tags, pages and the stream of ticks, over real sockets."""

import asyncio
import json
from contextlib import AsyncExitStack

import aiohttp
import pytest

from agent.status.routes import STREAMS_MAX
from agent.status.server import StatusServer, open_status_server
from agent.status.view import SiteView

ANSWER_S = 5


async def fetched(
    server: StatusServer, path: str, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        asyncio.timeout(ANSWER_S),
        aiohttp.ClientSession() as session,
        session.get(server.url + path.removeprefix("/"), headers=named) as answer,
    ):
        said = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, said, await answer.read()


async def test_a_document_that_has_not_changed_is_not_sent_again(server: StatusServer) -> None:
    status, headers, body = await fetched(server, "/api/v1/miners")
    assert (status, body[:1]) == (200, b"[")
    status, headers, body = await fetched(server, "/api/v1/miners", If_None_Match=headers["etag"])
    assert (status, body) == (304, b"")
    assert (await fetched(server, "/api/v1/miners", If_None_Match='"else"'))[0] == 200


async def test_a_list_can_be_had_in_pages(server: StatusServer, site: SiteView) -> None:
    pages, total = [], len(site.miners)
    for offset in range(0, total, 7):
        path = f"/api/v1/miners?limit=7&offset={offset}"
        status, headers, body = await fetched(server, path)
        assert (status, headers["x-total-count"]) == (200, str(total))
        pages += json.loads(body)
    assert [row["miner_id"] for row in pages] == [row.miner_id for row in site.miners]
    _, _, body = await fetched(server, f"/api/v1/miners?offset={total}")
    assert body == b"[]"


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "offset=1e3", "limit=99999"])
async def test_a_page_that_is_none_is_one_sentence(server: StatusServer, query: str) -> None:
    status, _, body = await fetched(server, f"/api/v1/miners?{query}")
    assert status == 400
    assert "must be a whole number" in json.loads(body)["error"]


async def test_ready_is_more_than_healthy(server: StatusServer, source) -> None:
    assert (await fetched(server, "/readyz"))[0] == 200
    source.current = None
    assert (await fetched(server, "/healthz"))[0] == 200
    assert (await fetched(server, "/readyz"))[0] == 503


async def test_every_tick_is_told_to_those_who_listen(
    server: StatusServer, source, site: SiteView
) -> None:
    async with (
        asyncio.timeout(ANSWER_S),
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}api/v1/stream") as answer,
    ):
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert "Content-Security-Policy" in answer.headers
        told = await next_tick(answer)
        assert told == site.status.model_dump()
        later = site.status.model_copy(update={"at_ms": site.status.at_ms + 1000})
        source.current = site.model_copy(update={"status": later})
        assert (await next_tick(answer))["at_ms"] == later.at_ms


async def test_so_many_may_listen_and_the_others_poll(server: StatusServer) -> None:
    async with asyncio.timeout(ANSWER_S), AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        url = f"{server.url}api/v1/stream"
        for _ in range(STREAMS_MAX):
            answer = await stack.enter_async_context(session.get(url))
            assert answer.status == 200
        async with session.get(url) as refused:
            assert refused.status == 503
            assert "poll" in (await refused.json())["error"]
        assert (await fetched(server, "/api/v1/status"))[0] == 200


async def test_a_listener_does_not_hold_up_the_end(source) -> None:
    started_s = asyncio.get_running_loop().time()
    async with aiohttp.ClientSession() as session:
        async with open_status_server(source, "127.0.0.1", 0) as server:
            answer = await session.get(f"{server.url}api/v1/stream")
            await next_tick(answer)
        assert asyncio.get_running_loop().time() - started_s < 2.0
        answer.close()


async def next_tick(answer: aiohttp.ClientResponse) -> dict[str, object]:
    while True:
        line = await answer.content.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            document: dict[str, object] = json.loads(line[6:])
            return document


async def test_a_listener_that_leaves_while_it_is_told_something_is_no_error(
    server: StatusServer, source, site: SiteView, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{server.url}api/v1/stream")
        await next_tick(answer)
        answer.close()
    for more in range(1, 4):
        later = site.status.model_copy(update={"at_ms": site.status.at_ms + more})
        source.current = site.model_copy(update={"status": later})
        await asyncio.sleep(0.25)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("mac", ["62f75eb71046", "62:F7:5E:B7:10:46", "62-f7-5e-b7-10-46"])
async def test_the_link_of_a_machine_is_the_page_in_any_spelling(
    server: StatusServer, mac: str
) -> None:
    status, headers, body = await fetched(server, f"/m/{mac}")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in headers["content-security-policy"]
    assert b'id="machine"' in body


@pytest.mark.parametrize("path", ["/m/", "/m/62f75eb7104", "/m/62f75eb71046/x", "/m/%3Cscript%3E"])
async def test_what_is_no_address_of_a_machine_is_not_there(
    server: StatusServer, path: str
) -> None:
    assert (await fetched(server, path))[0] == 404


async def test_the_history_is_served_oldest_first(server: StatusServer, site: SiteView) -> None:
    _, headers, body = await fetched(server, "/api/v1/history?limit=3&offset=1")
    assert headers["x-total-count"] == str(len(site.history))
    assert json.loads(body) == [row.model_dump() for row in site.history[1:4]]
