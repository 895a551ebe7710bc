"""The local endpoint over real sockets: what it serves, to whom, and what it refuses."""

import asyncio
import json
import socket
from contextlib import suppress

import aiohttp
import pytest
from pydantic import TypeAdapter

from agent.status.access import allowed_hosts
from agent.status.doorway import Bounds
from agent.status.server import StatusError, StatusServer, open_status_server
from agent.status.view import (
    AlarmView,
    DecisionRow,
    MeterRow,
    MinerRow,
    SiteView,
    StatusView,
    TransactionRow,
)

LISTS = ("miners", "meters", "transactions", "statements", "decisions", "history", "events")
API = ("status", *LISTS)
ANSWER_S = 5


async def exchange(server: StatusServer, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """One raw request on its own connection: status, headers in lower case, body."""
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        length = 0 if request.startswith(b"HEAD") else int(headers.get("content-length", "0"))
        body = await reader.readexactly(length)
        rest = b""
        if request.startswith(b"HEAD"):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    rest = await reader.read(1)
        writer.close()
        await writer.wait_closed()
    return int(head[0].split()[1]), headers, body + rest


def get(server: StatusServer, path: str, method: str = "GET", host: str | None = None) -> bytes:
    name = host if host is not None else f"127.0.0.1:{server.port}"
    return f"{method} {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


async def test_the_api_says_exactly_what_the_models_say(
    server: StatusServer, site: SiteView
) -> None:
    wanted = {
        "status": (TypeAdapter(StatusView), site.status),
        "miners": (TypeAdapter(list[MinerRow]), site.miners),
        "meters": (TypeAdapter(list[MeterRow]), site.meters),
        "transactions": (TypeAdapter(list[TransactionRow]), site.transactions),
        "decisions": (TypeAdapter(list[DecisionRow]), site.decisions),
        "events": (TypeAdapter(list[AlarmView]), site.status.alarms),
    }
    for name, (adapter, model) in wanted.items():
        status, headers, body = await exchange(server, get(server, f"/api/v1/{name}"))
        assert status == 200
        assert headers["content-type"].startswith("application/json")
        assert adapter.validate_json(body, strict=True) == model


async def test_a_tick_is_serialised_once_and_the_next_one_is_seen(
    server: StatusServer, source, site: SiteView, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumped = []
    original = MinerRow.model_dump
    monkeypatch.setattr(
        MinerRow, "model_dump", lambda self, **kw: dumped.append(1) or original(self, **kw)
    )
    bodies = [(await exchange(server, get(server, "/api/v1/miners")))[2] for _ in range(3)]
    assert len(dumped) == len(site.miners)
    assert bodies[0] == bodies[1] == bodies[2]
    source.current = site.model_copy(update={"miners": site.miners[:2]})
    _, _, body = await exchange(server, get(server, "/api/v1/miners"))
    assert len(json.loads(body)) == 2


async def test_before_the_first_tick_data_is_a_503_with_a_sentence(
    server: StatusServer, source
) -> None:
    source.current = None
    for name in API:
        status, headers, body = await exchange(server, get(server, f"/api/v1/{name}"))
        assert (status, headers["retry-after"]) == (503, "2")
        assert "first tick" in json.loads(body)["error"]
    status, _, body = await exchange(server, get(server, "/metrics"))
    assert status == 503
    assert b"first tick" in body
    assert (await exchange(server, get(server, "/")))[0] == 200


async def test_health_is_two_words_and_no_detail(server: StatusServer, source) -> None:
    assert (await exchange(server, get(server, "/healthz")))[::2] == (200, b"ok\n")
    source.healthy = False
    assert (await exchange(server, get(server, "/healthz")))[::2] == (503, b"unhealthy\n")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.evil.com:{port}",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1",
        "localhost",
        "127.0.0.2:{port}",
        "127.0.0.1:1",
        "127.0.0.1:{port}.evil.example",
        "localhost:{port}@evil.example",
        "[::1]",
        "",
    ],
)
async def test_a_foreign_host_is_misdirected(server: StatusServer, host: str) -> None:
    for path in ("/", "/api/v1/status", "/metrics", "/healthz", "/nowhere"):
        status, _, body = await exchange(
            server, get(server, path, host=host.format(port=server.port))
        )
        assert status in {400, 421}, path
        assert b"ekibastuz" not in body


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_its_own_names_are_served(server: StatusServer, name: str) -> None:
    answer = await exchange(server, get(server, "/", host=f"{name}:{server.port}"))
    assert answer[0] == 200


async def test_two_or_no_hosts_are_a_bad_request(server: StatusServer) -> None:
    own = f"Host: 127.0.0.1:{server.port}\r\n"
    two = f"GET / HTTP/1.1\r\n{own}Host: evil.example\r\n\r\n".encode()
    assert (await exchange(server, two))[0] == 400
    assert (await exchange(server, b"GET / HTTP/1.1\r\n\r\n"))[0] == 400


async def test_an_absolute_target_does_not_get_past_the_host_check(server: StatusServer) -> None:
    request = get(server, f"http://127.0.0.1:{server.port}/api/v1/status", host="evil.example")
    assert (await exchange(server, request))[0] == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_only_get_and_head_are_answered(server: StatusServer, method: str) -> None:
    for path in ("/", "/api/v1/status", "/nowhere"):
        status, headers, _ = await exchange(server, get(server, path, method))
        assert (status, headers["allow"]) == (405, "get, head")


async def test_head_answers_headers_without_a_body(server: StatusServer) -> None:
    for path in ("/", "/api/v1/status", "/metrics", "/healthz", "/page.js"):
        _, of_get, content = await exchange(server, get(server, path))
        status, of_head, body = await exchange(server, get(server, path, "HEAD"))
        assert (status, body) == (200, b"")
        assert of_head["content-length"] == of_get["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("path", "method", "host"),
    [
        ("/", "GET", None),
        ("/api/v1/status", "GET", None),
        ("/metrics", "GET", None),
        ("/nowhere", "GET", None),
        ("/", "POST", None),
        ("/", "GET", "evil.example"),
        ("/" + "a" * 9000, "GET", None),
    ],
)
async def test_every_answer_carries_the_security_headers(
    server: StatusServer, path: str, method: str, host: str | None
) -> None:
    _, headers, _ = await exchange(server, get(server, path, method, host))
    assert headers["server"] == "kwota"
    assert headers["cache-control"] == (
        "no-cache" if path == "/api/v1/status" and host is None else "no-store"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control-")]


async def test_nonsense_is_a_400_and_not_an_error_in_the_log(
    server: StatusServer, caplog: pytest.LogCaptureFixture
) -> None:
    for nonsense in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n"):
        status, _, body = await exchange(server, nonsense)
        assert (status, body) == (400, b"This is not a valid HTTP request.\n")
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_a_taken_port_is_one_sentence(source, server: StatusServer) -> None:
    with pytest.raises(StatusError, match=r"another program has that port: stop it or change"):
        async with open_status_server(source, server.host, server.port):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "status.example", ""])
async def test_it_listens_nowhere_but_on_loopback(source, host: str) -> None:
    with pytest.raises(StatusError, match=r"status page (does not|cannot) listen on"):
        async with open_status_server(source, host, 0):
            pass


async def test_an_impossible_port_is_one_sentence(source) -> None:
    with pytest.raises(StatusError, match="1 to 65535"):
        async with open_status_server(source, "127.0.0.1", 70_000):
            pass


async def test_the_port_is_free_again_after_the_block(source) -> None:
    async with open_status_server(source, "127.0.0.1", 0) as first:
        _, _, body = await exchange(first, get(first, "/healthz"))
    async with open_status_server(source, "127.0.0.1", first.port) as second:
        assert (await exchange(second, get(second, "/healthz")))[2] == body


async def test_leaving_the_block_does_not_wait_for_an_open_connection(source) -> None:
    async with asyncio.timeout(5):
        async with open_status_server(source, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(get(server, "/healthz"))
            await reader.readuntil(b"ok\n")
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("beginning", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: 127.0."])
async def test_a_client_that_never_finishes_its_request_is_dropped(
    source, beginning: bytes
) -> None:
    async with open_status_server(source, "127.0.0.1", 0, patience_s=0.3) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        if beginning:
            writer.write(beginning)
        async with asyncio.timeout(ANSWER_S):
            assert await reader.read() == b""
        writer.close()


async def test_an_idle_connection_is_dropped(source) -> None:
    async with open_status_server(source, "127.0.0.1", 0, patience_s=0.3) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(get(server, "/healthz"))
        async with asyncio.timeout(ANSWER_S):
            assert (await reader.read()).endswith(b"ok\n")
        writer.close()


async def test_a_client_that_does_not_read_is_dropped(source, site: SiteView) -> None:
    source.current = site.model_copy(update={"miners": site.miners * 200})
    loop = asyncio.get_running_loop()
    async with open_status_server(source, "127.0.0.1", 0, patience_s=0.5) as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            async with asyncio.timeout(15):
                await loop.sock_connect(client, (server.host, server.port))
                await loop.sock_sendall(client, get(server, "/api/v1/miners"))
                await asyncio.sleep(4)
                received = 0
                with suppress(ConnectionResetError):
                    while block := await loop.sock_recv(client, 65_536):
                        received += len(block)
    assert received < 1_000_000, "the whole document of 5 MB arrived: nobody hung up"


async def test_one_connection_too_many_is_turned_away(server: StatusServer) -> None:
    async with asyncio.timeout(10):
        writers = []
        for _ in range(Bounds().connections_per_client_max):
            _, writer = await asyncio.open_connection(server.host, server.port)
            writers.append(writer)
        status, headers, _ = await exchange(server, get(server, "/healthz"))
        assert (status, headers["retry-after"]) == (503, "5")
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
    assert (await exchange(server, get(server, "/healthz")))[0] == 200


async def test_another_projects_client_reads_a_thousand_machines(
    server: StatusServer, source, site: SiteView
) -> None:
    source.current = site.model_copy(update={"miners": (site.miners * 17)[:1000]})
    async with (
        asyncio.timeout(ANSWER_S),
        aiohttp.ClientSession() as session,
        session.get(server.url + "api/v1/miners") as answer,
    ):
        rows = await answer.json()
    assert len(rows) == 1000


async def test_the_openapi_document_describes_every_path_that_answers(
    server: StatusServer,
) -> None:
    _, _, body = await exchange(server, get(server, "/openapi.json"))
    document = json.loads(body)
    assert sorted(document["paths"]) == sorted(f"/api/v1/{name}" for name in (*API, "stream"))
    schemas = document["components"]["schemas"]
    assert schemas["StatusView"]["properties"].keys() == StatusView.model_fields.keys()
    assert schemas["MinerRow"]["properties"].keys() == MinerRow.model_fields.keys()
    named = {text.split('"')[0] for text in body.decode().split("#/components/schemas/")[1:]}
    assert named <= schemas.keys()


def test_the_allowed_hosts_carry_the_port_unless_it_is_the_default() -> None:
    assert allowed_hosts("127.0.0.1", 8480) == {
        "127.0.0.1:8480",
        "localhost:8480",
        "[::1]:8480",
    }
    assert "localhost" in allowed_hosts("127.0.0.1", 80)
    assert "127.5.0.1:8480" in allowed_hosts("127.5.0.1", 8480)
