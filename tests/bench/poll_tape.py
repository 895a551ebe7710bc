"""The bytes of one fast read, recorded on their way, and exchanged again with asyncio's streams.

A raw exchange connects, sends the recorded requests and reads the answers, with asyncio's own
streams and nothing else. That is the yardstick of the benchmark. It asks the same machines where an
answer's end can be known without understanding it (the close, or a length before it), and else a
tape server that plays the recorded answers.
"""

import asyncio
import base64
import json
import socket
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Passage:
    """One connection: what was asked and answered by turns, and how it began and ended."""

    door: int
    is_new: bool
    turns: list[tuple[bytearray, bytearray]] = field(default_factory=list)
    is_closed_by_machine: bool = False

    def sent(self, data: bytes) -> None:
        if not self.turns or self.turns[-1][1]:
            self.turns.append((bytearray(), bytearray()))
        self.turns[-1][0].extend(data)

    def answered(self, data: bytes) -> None:
        self.turns[-1][1].extend(data)


@dataclass
class Recorder:
    """A relay before one machine's ports."""

    host: str
    passages: list[Passage] = field(default_factory=list)
    is_recording: bool = False
    _open: list[Passage] = field(default_factory=list)
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def relay(self, door: int, port: int) -> int:
        """A port in place of the machine's; its first door is number 0.

        Where the machine has none, neither has this.
        """
        try:
            _, probe = await asyncio.open_connection(self.host, port)
        except ConnectionRefusedError:
            return _closed_port()
        probe.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._serving.add(task)
            passage = Passage(door=door, is_new=self.is_recording)
            self._open.append(passage)
            behind = await asyncio.open_connection(self.host, port)
            await asyncio.gather(
                self._pass(reader, behind[1], passage, is_request=True),
                self._pass(behind[0], writer, passage, is_request=False),
            )

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._stack.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    def begin(self) -> None:
        """Forget what has passed; connections that are open stay open."""
        self.is_recording = True
        for passage in self._open:
            passage.turns.clear()
            passage.is_new = False

    def tape(self) -> list[Passage]:
        """What has passed since ``begin``."""
        return [passage for passage in self._open if passage.turns]

    async def close(self) -> None:
        """Both ends of every connection are closed by now, or soon."""
        await self._stack.aclose()
        if self._serving:
            await asyncio.wait(self._serving, timeout=2.0)

    async def _pass(
        self,
        source: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        passage: Passage,
        *,
        is_request: bool,
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                (passage.sent if is_request else passage.answered)(data)
                to.write(data)
        if not is_request and source.at_eof():
            passage.is_closed_by_machine = True
        to.close()


def _closed_port() -> int:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return int(nobody.getsockname()[1])


def packed(passages: list[Passage]) -> list[dict[str, Any]]:
    """As JSON."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return [
        {
            "door": one.door,
            "is_new": one.is_new,
            "closes": one.is_closed_by_machine,
            "turns": [[text(asked), text(said)] for asked, said in one.turns],
        }
        for one in passages
    ]


def unpacked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From JSON."""
    whole = [
        {**row, "turns": [tuple(base64.b64decode(part) for part in turn) for turn in row["turns"]]}
        for row in rows
    ]
    return [{**row, "is_framed": all(is_framed(said) for _, said in row["turns"])} for row in whole]


async def _play(
    row: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            for asked, said in row["turns"]:
                await reader.readexactly(len(asked))
                writer.write(said)
            if row["closes"]:
                break
    writer.close()


async def _serve(rows: list[dict[str, Any]]) -> None:
    """One port for each connection of the tape; the ports are the first line of the output."""
    ports = []
    for row in rows:

        async def play(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            row: dict[str, Any] = row,
        ) -> None:
            await _play(row, reader, writer)

        server = await asyncio.start_server(play, "127.0.0.1", 0, backlog=512)
        ports.append(server.sockets[0].getsockname()[1])
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)  # until the one who started us is gone


def is_framed(said: bytes) -> bool:
    """Whether an answer is one frame: its length in four bytes, and so many more."""
    return len(said) > 4 and int.from_bytes(said[:4], "little") == len(said) - 4


def knows_its_end(row: dict[str, Any]) -> bool:
    """Whether a machine itself can be asked instead of the tape."""
    is_single = row["is_new"] and row["closes"] and len(row["turns"]) == 1
    return bool(is_single or row["is_framed"])


class RawExchange:
    """The same bytes as one fast read of one machine, with asyncio's streams."""

    def __init__(
        self, rows: list[dict[str, Any]], tape_ports: list[int], machine: dict[str, Any]
    ) -> None:
        doors = (machine["port"], machine["second_port"])
        self._rows = [
            (row, machine["address"], doors[row["door"]])
            if knows_its_end(row)
            else (row, "127.0.0.1", port)
            for row, port in zip(rows, tape_ports, strict=True)
        ]
        self._kept: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def read(self) -> None:
        for row, host, port in self._rows:
            if row["is_new"]:
                reader, writer = await asyncio.open_connection(host, port)
            else:
                reader, writer = await self._keep(host, port)
            is_single = row["closes"] and len(row["turns"]) == 1
            for asked, said in row["turns"]:
                writer.write(asked)
                if is_single:
                    await reader.read()
                elif row["is_framed"]:
                    head = await reader.readexactly(4)
                    await reader.readexactly(int.from_bytes(head, "little"))
                else:
                    await reader.readexactly(len(said))
            if row["is_new"]:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def _keep(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port not in self._kept:
            self._kept[port] = await asyncio.open_connection(host, port)
        return self._kept[port]


if __name__ == "__main__":
    asyncio.run(_serve(unpacked(json.loads(sys.stdin.readline()))))
