"""A DLMS meter of another project in its own process, and a line to it that fails as told."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("gurux_meter.py")
PASSWORD = "12345678"
SERIAL = "10203040"
IMPORT, EXPORT, CLOCK = "1.0.1.8.0.255", "1.0.2.8.0.255", "0.0.1.0.0.255"
OBJECTS: dict[str, list[Any]] = {
    "0.0.96.1.0.255": [1, "0.0.96.1.0.255", SERIAL, 0, 0],
    IMPORT: [3, IMPORT, 1_234_567, 0, 30],
    EXPORT: [3, EXPORT, 7, 0, 30],
    CLOCK: [8, CLOCK, "2026-03-01T14:00:05", 0, 0],
}
_NAMES = {"imported": IMPORT, "exported": EXPORT, "clock": CLOCK, "serial": "0.0.96.1.0.255"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where it listens, and the folder by which it is told what it holds."""

    port: int
    folder: Path

    def hold(self, *, password: str | None = PASSWORD, **changed: list[Any] | None) -> None:
        """The usual objects with other rows, or without those that are None."""
        rows = OBJECTS | {_NAMES[name]: row for name, row in changed.items()}
        held = [row for row in rows.values() if row is not None]
        half = self.folder / "half.json"
        half.write_text(json.dumps({"objects": held, "password": password}))
        half.replace(self.folder / "given.json")

    def questions(self) -> bytes:
        """The first byte of every APDU since this was asked last."""
        asked = self.folder / "asked"
        tags = asked.read_bytes() if asked.exists() else b""
        asked.unlink(missing_ok=True)
        return tags


@contextmanager
def started_peer(folder: Path) -> Iterator[Peer]:
    with subprocess.Popen(
        [sys.executable, SERVER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield Peer(port=int(process.stdout.readline()), folder=folder)
        process.communicate()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    """The port of a server whose conversations are over when it is."""
    under_way: set[asyncio.Task[None]] = set()

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with suppress(ConnectionError):
            await talk(reader, writer)
        await closed(writer)

    server = await asyncio.start_server(whole, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if under_way:
            await asyncio.wait(under_way, timeout=5)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def line_to(
    port: int, change: Callable[[int, bytes], tuple[bytes, bool]]
) -> AsyncIterator[int]:
    """A port that leads to another one; ``change`` is given each answer and its number, from 1.

    It says what comes instead, and whether the line is cut behind it.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        count, is_cut = 0, False
        try:
            while not is_cut and (asked := await reader.read(4096)):
                ours.write(asked)
                head = await theirs.readexactly(8)
                answer = head + await theirs.readexactly(int.from_bytes(head[6:], "big"))
                count += 1
                changed, is_cut = change(count, answer)
                writer.write(changed)
        finally:
            await closed(ours)

    async with serving(talk) as own:
        yield own
