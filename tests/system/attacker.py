"""Attacks a status endpoint in every way at once, and says what came back.

A program of its own, so that what it costs is not the agent's: ``attacker.py HOST PORT SECONDS``.
Each attack comes from an address of its own, and so does somebody who only wants to look. Prints
one object: for each of them how often it was tried and which statuses answered it.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

GIGABYTE = 1_000_000_000
CONNECTIONS = 10_000
HELD_MAX = 400
PATIENCE_S = 3.0
ATTACKS = ["visitor", "foreign name", "path", "smuggling", "gigabyte", "slowloris", "connection"]

Heads = Counter[str]


class Endpoint:
    """Who is attacked, until when, and what it has answered."""

    def __init__(self, host: str, port: int, for_s: float) -> None:
        self.host, self.port = host, port
        self.ends_s = time.monotonic() + for_s
        self.answers: dict[str, Heads] = {}

    @property
    def is_on(self) -> bool:
        return time.monotonic() < self.ends_s

    def note(self, attack: str, received: bytes) -> None:
        found = re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)
        heads = self.answers.setdefault(attack, Counter())
        heads.update([one.decode() for one in found] or ["none"])

    async def connect(self, attack: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        own = (f"127.0.0.{2 + ATTACKS.index(attack)}", 0)
        return await asyncio.open_connection(self.host, self.port, local_addr=own)

    def head(self, path: str, *lines: str, host: str = "") -> bytes:
        name = host or f"{self.host}:{self.port}"
        return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {name}", *lines, "", ""]).encode()

    async def talk(self, attack: str, sent: bytes) -> None:
        """Send something, and take what comes back before anybody's patience ends."""
        received = b""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await self.connect(attack)
                try:
                    writer.write(sent)
                    received = await reader.read(65_536)
                finally:
                    writer.close()
        self.note(attack, received)


async def visits(at: Endpoint) -> None:
    """Nobody's enemy: somebody with the page open."""
    await at.talk("visitor", at.head("/api/v1/status"))
    await asyncio.sleep(0.5)


async def foreign_names(at: Endpoint) -> None:
    await at.talk("foreign name", at.head("/api/v1/status", host="evil.example"))


async def paths(at: Endpoint) -> None:
    for path in ("/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/control/v1/journal"):
        await at.talk("path", at.head(path))


async def smuggling(at: Endpoint) -> None:
    hidden = at.head("/api/v1/miners")
    for line in ("Transfer-Encoding: xchunked", "Content-Length: +0", "X\0: a"):
        await at.talk("smuggling", at.head("/healthz", line) + hidden)


async def bodies(at: Endpoint) -> None:
    """A gigabyte, for as long as anybody takes it."""
    head = at.head("/api/v1/status", f"Content-Length: {GIGABYTE}")
    await at.talk("gigabyte", head + bytes(200_000))


async def letters(at: Endpoint) -> None:
    """A request that never ends, a letter at a time."""
    sent = b""
    with suppress(OSError):
        reader, writer = await at.connect("slowloris")
        try:
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            while at.is_on and sent == b"":
                writer.write(b"a")
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        sent = await reader.read(1000) or b"closed"
        finally:
            writer.close()
    at.note("slowloris", sent)
    await asyncio.sleep(0.2)


async def repeated(at: Endpoint, attack: Callable[[Endpoint], Awaitable[None]]) -> None:
    while at.is_on:
        await attack(at)
        await asyncio.sleep(0.02)


async def flood(at: Endpoint) -> None:
    """Ten thousand connections, hundreds of them at once, each with a request for everything."""
    left = asyncio.Semaphore(HELD_MAX)

    async def one() -> None:
        async with left:
            if at.is_on:
                await at.talk("connection", at.head("/api/v1/miners"))

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one())


async def attacked(at: Endpoint) -> None:
    async with asyncio.TaskGroup() as group:
        for attack in (visits, foreign_names, paths, smuggling, bodies, *[letters] * 8):
            group.create_task(repeated(at, attack))
        group.create_task(flood(at))


def main() -> None:
    host, port, for_s = sys.argv[1:]
    at = Endpoint(host, int(port), float(for_s))
    asyncio.run(attacked(at))
    sys.stdout.write(json.dumps(at.answers) + "\n")


if __name__ == "__main__":
    main()
