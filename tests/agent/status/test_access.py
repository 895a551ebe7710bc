"""Attacks on the status endpoint, each over real sockets, with the answer that it must give.

docs/access.md has the same rows; a test here compares the two.
"""

import asyncio
import base64
import json
import re
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from agent.status.access import CLIENTS_KEPT, Allowance
from agent.status.doorway import Bounds, client_of
from agent.status.server import Proof, StatusServer, open_status_server
from agent.status.view import SiteView

PAGE = Path(__file__).parents[3] / "docs" / "access.md"
TOKEN = b"0123456789abcdef0123456789abcdef"
ANSWER_S = 8.0


async def talk(server: StatusServer, sent: bytes, *, wait_s: float = ANSWER_S) -> bytes:
    """Everything that comes back until the other end hangs up, or for ``wait_s``."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    received = b""
    try:
        writer.write(sent)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(wait_s):
                while block := await reader.read(65_536):
                    received += block
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return received


def request(
    server: StatusServer, path: str = "/api/v1/status", *lines: str, host: str | None = None
) -> bytes:
    name = host if host is not None else f"127.0.0.1:{server.port}"
    head = [f"GET {path} HTTP/1.1", f"Host: {name}", *lines, "Connection: close", "", ""]
    return "\r\n".join(head).encode()


def statuses(received: bytes) -> list[int]:
    """The status of every answer on a connection."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def bearer(token: bytes) -> str:
    return f"Authorization: Bearer {token.decode()}"


@pytest.fixture
async def asking(source) -> AsyncIterator[StatusServer]:
    """An endpoint that asks for a token, as it would on the network."""
    proof = Proof(hosts=("kwota.farm.example",), token=TOKEN)
    async with open_status_server(source, "127.0.0.1", 0, proof=proof) as opened:
        yield opened


async def test_attack_dns_rebinding(server: StatusServer) -> None:
    for host in ("evil.example", f"evil.example:{server.port}", f"127.evil.com:{server.port}"):
        received = await talk(server, request(server, host=host))
        assert statuses(received) == [421]
        assert b"ekibastuz" not in received


async def test_attack_no_token(asking: StatusServer) -> None:
    for path in ("/", "/api/v1/status", "/metrics", "/openapi.json", "/nowhere", "/healthz/../"):
        received = await talk(asking, request(asking, path))
        assert statuses(received) == [401], path
        assert b"WWW-Authenticate: Basic" in received
        assert b"ekibastuz" not in received
    assert statuses(await talk(asking, request(asking, "/healthz"))) == [200]


async def test_attack_guessing_the_token(source) -> None:
    proof = Proof(hosts=(), token=TOKEN)
    bounds = Bounds(refusals_burst=3, refusal_rest_s=600.0)
    async with open_status_server(source, "127.0.0.1", 0, proof=proof, bounds=bounds) as opened:
        guesses = [TOKEN[:-1], TOKEN + b"0", b"x" * len(TOKEN), b"", b"y"]
        answers = [await talk(opened, request(opened, "/", bearer(guess))) for guess in guesses]
        assert [statuses(one)[0] for one in answers] == [401, 401, 401, 429, 429]
        # Not even the right one is compared now: nobody learns that the guess was right.
        assert statuses(await talk(opened, request(opened, "/", bearer(TOKEN)))) == [429]


async def test_the_token_opens_as_bearer_and_as_password(asking: StatusServer) -> None:
    password = base64.b64encode(b"anybody:" + TOKEN).decode()
    for line in (
        bearer(TOKEN),
        f"Authorization: Basic {password}",
        f"authorization: basic {password}",
    ):
        assert statuses(await talk(asking, request(asking, "/", line))) == [200]
    for line in ("Authorization: Basic %%%", f"Authorization: Digest {TOKEN.decode()}"):
        assert statuses(await talk(asking, request(asking, "/", line))) == [401]


async def test_a_listed_name_is_served_and_a_near_miss_is_not(asking: StatusServer) -> None:
    for host, status in (
        (f"kwota.farm.example:{asking.port}", 200),
        (f"KWOTA.farm.example:{asking.port}", 200),
        ("kwota.farm.example", 421),
        (f"kwota.farm.example.evil.example:{asking.port}", 421),
        (f"xkwota.farm.example:{asking.port}", 421),
    ):
        received = await talk(asking, request(asking, "/", bearer(TOKEN), host=host))
        assert statuses(received) == [status], host


async def test_attack_slowloris(source) -> None:
    async with open_status_server(source, "127.0.0.1", 0, patience_s=0.6) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        started_s = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        with suppress(ConnectionError, TimeoutError):
            while time.monotonic() - started_s < ANSWER_S:
                writer.write(b"a")
                await writer.drain()
                async with asyncio.timeout(0.05):
                    with suppress(TimeoutError):
                        if await reader.read(100) == b"":
                            break
                    continue
        spent_s = time.monotonic() - started_s
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    assert spent_s < ANSWER_S / 2, "a letter now and then kept the connection alive"


async def test_attack_a_body_of_one_gigabyte(server: StatusServer) -> None:
    for method in ("GET", "POST"):
        head = f"{method} /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        sent, received = await pour(server, f"{head}Content-Length: 1000000000\r\n\r\n".encode())
        assert statuses(received) == [413]
        assert sent < 64_000_000, "the endpoint went on reading"


async def pour(server: StatusServer, head: bytes) -> tuple[int, bytes]:
    """Send a body for as long as anybody takes it; how much went out, and what came back."""
    loop = asyncio.get_running_loop()
    sent, received = 0, b""
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, (server.host, server.port))
        await loop.sock_sendall(client, head)
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                received = await loop.sock_recv(client, 65_536)
                while sent < 1_000_000_000:
                    await loop.sock_sendall(client, bytes(1_000_000))
                    sent += 1_000_000
    return sent, received


async def test_attack_a_chunked_body_without_end(server: StatusServer) -> None:
    head = request(server, "/", "Transfer-Encoding: chunked").replace(b"close", b"keep-alive")
    received = await talk(server, head + b"ffffff\r\n" + bytes(100_000))
    assert statuses(received) == [413]


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/page.js/../server.py",
        "/page.js%00.txt",
        "/server.py",
        "/control/v1/journal",
        "/api/v1/miners/../../../control/v1/journal",
        "/api/v1//status",
        "/API/V1/STATUS",
        "/" + "%2e" * 2000,
        "/\\..\\..\\etc\\passwd",
    ],
)
async def test_attack_path_tricks(server: StatusServer, path: str) -> None:
    received = await talk(server, request(server, path))
    assert statuses(received) in ([404], [400]), received[:80]
    assert b"root:" not in received


SMUGGLED = "GET /api/v1/miners HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "X: a\r\n Host: evil.example\r\nContent-Length: 1\r\n\r\na",
        "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X\0: a\r\n\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\na",
    ],
)
async def test_attack_header_smuggling(server: StatusServer, lines: str) -> None:
    head = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{lines}"
    received = await talk(server, (head + SMUGGLED.format(port=server.port)).encode(), wait_s=2.0)
    assert statuses(received)[:1] in ([400], [413]), received[:200]
    assert len(statuses(received)) == 1, "what was hidden in the request was answered"
    assert b"miner_id" not in received


async def test_attack_a_script_in_a_workers_name(
    server: StatusServer, source, site: SiteView
) -> None:
    hostile = "</script><script>alert(1)</script>"
    row = site.miners[0]
    pool = row.pools[0].model_copy(update={"user": hostile})
    source.current = site.model_copy(update={"miners": [row.model_copy(update={"pools": [pool]})]})
    received = await talk(server, request(server, "/api/v1/miners"))
    head, _, body = received.partition(b"\r\n\r\n")
    assert json.loads(body)[0]["pools"][0]["user"] == hostile
    assert b"Content-Type: application/json" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"default-src 'none'; script-src 'self';" in head
    page = await talk(server, request(server, "/"))
    assert b"alert(1)" not in page


async def test_attack_a_flood_of_requests(source) -> None:
    bounds = Bounds(requests_burst=5, requests_per_s=0.001)
    async with open_status_server(source, "127.0.0.1", 0, bounds=bounds) as server:
        answers = [statuses(await talk(server, request(server, "/healthz"))) for _ in range(7)]
    assert answers == [[200]] * 5 + [[429]] * 2


async def test_attack_one_client_takes_all_places(source) -> None:
    bounds = Bounds(connections_per_client_max=3)
    async with open_status_server(source, "127.0.0.1", 0, bounds=bounds) as server:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                _, writer = await asyncio.open_connection(server.host, server.port)
                stack.callback(writer.close)
            assert statuses(await talk(server, b"")) == [503]
            # Another address of the loopback net is another client, and finds a place.
            with socket.socket() as other:
                other.bind(("127.0.0.2", 0))
                other.settimeout(0)
                await asyncio.get_running_loop().sock_connect(other, (server.host, server.port))
                reader, writer = await asyncio.open_connection(sock=other)
                writer.write(request(server, "/healthz"))
                async with asyncio.timeout(ANSWER_S):
                    assert statuses(await reader.read(65_536)) == [200]
                writer.close()
                await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert statuses(await talk(server, request(server, "/healthz"))) == [200]


async def lateness_s(for_s: float) -> float:
    """The most that the loop works off before it gives a turn which is wanted every 10 ms, as the
    tick wants its own. Processor time: what else this computer does is not the page's fault."""
    worst_s, ends_s = 0.0, time.monotonic() + for_s
    while time.monotonic() < ends_s:
        before_s = time.thread_time()
        await asyncio.sleep(0.01)
        worst_s = max(worst_s, time.thread_time() - before_s)
    return worst_s


FLOOD = """
import socket, sys, time
port, count, ends = int(sys.argv[1]), int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
held, tried = [], 0
while time.monotonic() < ends and tried < count:
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", port))
    try:
        one.send(b"GET /api/v1/miners HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n\\r\\n" % port)
    except OSError:
        pass
    held.append(one)
    tried += 1
    if len(held) > 500:
        held.pop(0).close()
print(tried)
"""


async def test_attack_ten_thousand_connections_leave_the_loop_its_pace(
    server: StatusServer,
) -> None:
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLOOD, str(server.port), "10000", "12",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    worst_s = 0.0
    async with asyncio.timeout(18):
        while flood.returncode is None:
            worst_s = max(worst_s, await lateness_s(0.2))
        assert flood.stdout is not None
        tried = int(await flood.stdout.read())
    assert tried >= 2_000, "that was no flood"
    assert worst_s < 0.5
    await asyncio.sleep(0.1)
    answered = [statuses(await talk(server, request(server, "/healthz"))) for _ in range(3)]
    assert [200] in answered or [429] in answered
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0


def test_an_allowance_comes_back_with_time_and_is_each_clients_own() -> None:
    allowance = Allowance(burst=2, per_s=0.5)
    assert [allowance.spend("a", 0.0) for _ in range(3)] == [True, True, False]
    assert allowance.spend("b", 0.0)
    assert not allowance.spend("a", 1.9)
    assert allowance.spend("a", 3.9)


def test_so_many_clients_are_remembered_and_no_more() -> None:
    allowance = Allowance(burst=1, per_s=0.0)
    for number in range(CLIENTS_KEPT + 10):
        allowance.spend(str(number), 0.0)
    assert len(allowance._left) == CLIENTS_KEPT
    assert not allowance.has(str(CLIENTS_KEPT + 9), 0.0)


def test_a_client_is_an_address_or_the_network_of_its_provider() -> None:
    assert client_of(("10.1.0.7", 4000)) == "10.1.0.7"
    assert client_of(("2001:db8:1:2:aaaa::1", 1, 0, 0)) == client_of(("2001:db8:1:2::9", 2, 0, 0))
    assert client_of(("::ffff:10.1.0.7", 1, 0, 0)) == "10.1.0.7"
    assert client_of(("fe80::1%eth0", 1, 0, 2)) == "fe80::/64"
    assert client_of("") == client_of(None) == "local"


def test_every_attack_of_the_page_is_tried_here() -> None:
    rows = re.findall(r"^\| .+ \| .+ \| `(test_\w+)` \|$", PAGE.read_text(), re.MULTILINE)
    tried = [name for name in globals() if name.startswith("test_attack_")]
    assert sorted(rows) == sorted(tried)
