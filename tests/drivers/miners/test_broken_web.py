"""ePIC and Bitaxe drivers against servers that answer halves, strangers' words and no verdict."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import (
    BadReplyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink
from drivers.link.tcp import NoAnswerError
from drivers.miners.bitaxe import BitaxeMiner
from drivers.miners.epic import EpicMiner

ANSWERS = Path(__file__).parents[1] / "answers"
EPIC, AXE = "epic-s19xp", "bitaxe-gamma"
PASSWORD = "hunter2"

Miner = EpicMiner | BitaxeMiner
Listen = Callable[[Any], Awaitable[int]]
Connect = Callable[[str, int], Miner]


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes drivers for a port of this machine and closes their links at the end."""
    async with AsyncExitStack() as stack:

        def make(kind: str, port: int) -> Miner:
            link = HttpLink(host="127.0.0.1", port=port, answer_s=0.4, connect_s=0.3)
            stack.push_async_callback(link.close)
            if kind == EPIC:
                return EpicMiner(miner_id="m", link=link, mac=None, password=PASSWORD)
            return BitaxeMiner(miner_id="m", link=link, mac=None)

        yield make


def answer_of(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


HALVES: list[tuple[bytes, type[DriverError]]] = [
    (b"", NoAnswerError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", NoAnswerError),
    (b"\x02\x00\x00\x00[]", BadReplyError),
    (b'{"STATUS":[{"STATUS":"E"}]}\0', BadReplyError),
    (answer_of(200, b"[]"), BadReplyError),
    (answer_of(200, b"<html>502</html>"), BadReplyError),
    (answer_of(503, b""), BadReplyError),
    (answer_of(200, b"{}"), WrongDeviceError),
    (answer_of(200, b'{"Status": 1, "ASICModel": "BM1370"}'), WrongDeviceError),
    (answer_of(404, b"{}"), WrongDeviceError),
    (answer_of(200, b"{" + b" " * (1 << 20)), BadReplyError),
]


@pytest.mark.parametrize("kind", [EPIC, AXE])
@pytest.mark.parametrize(("reply", "expected"), HALVES, ids=range(len(HALVES)))
async def test_half_answers_and_strangers_are_driver_errors_in_bounded_time(
    listen: Listen, connect: Connect, kind: str, reply: bytes, expected: type[DriverError]
) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.write(reply)
        await writer.drain()

    miner = connect(kind, await listen(answer))
    started_s = time.monotonic()
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(expected) as caught:
            await verb()
        assert len(caught.value.reply) <= 1000
    assert time.monotonic() - started_s < 8.0
    assert all(request.startswith(b"GET ") for request in asked)


class SampleMachine:
    """Answers reads as the machine does, and a write with the bytes given. ``asked`` has it all."""

    def __init__(self, kind: str, last: bytes) -> None:
        prefix = "/" if kind == EPIC else "/api/system/"
        paths = (ANSWERS / kind).glob("*.json")
        self.bodies = {prefix + path.stem: path.read_bytes() for path in paths}
        self.last = last
        self.asked: list[tuple[str, str, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            method, path, _ = head.decode().split(" ", 2)
            size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.asked.append((method, path, await reader.readexactly(int(size or 0))))
            writer.write(self.last if method != "GET" else answer_of(200, self.bodies[path]))
            await writer.drain()
            if method != "GET" and not self.last.startswith(b"HTTP/1.1 200"):
                return


LAST: list[tuple[str, bytes, type[DriverError]]] = [
    (EPIC, b"", UnknownOutcomeError),
    (EPIC, answer_of(200, b""), UnknownOutcomeError),
    (EPIC, answer_of(200, b"[]"), UnknownOutcomeError),
    (EPIC, answer_of(200, b'{"result": true'), UnknownOutcomeError),
    (EPIC, answer_of(200, b'{"result": 1}'), UnknownOutcomeError),
    (EPIC, answer_of(200, b'{"result": false, "error": "RebootFailed"}'), RefusedError),
    (EPIC, answer_of(500, b""), UnknownOutcomeError),
    (EPIC, answer_of(404, b""), UnsupportedError),
    (AXE, b"", UnknownOutcomeError),
    (AXE, b"\xff\xfe", UnknownOutcomeError),
    (AXE, answer_of(500, b""), UnknownOutcomeError),
    (AXE, answer_of(404, b""), UnsupportedError),
    (AXE, answer_of(400, b"Invalid JSON"), RefusedError),
    (AXE, answer_of(401, b"OTP/Session required"), RefusedError),
]


@pytest.mark.parametrize(("kind", "last", "expected"), LAST, ids=range(len(LAST)))
async def test_a_write_without_a_yes_is_told_apart_and_sent_once(
    listen: Listen, connect: Connect, kind: str, last: bytes, expected: type[DriverError]
) -> None:
    machine = SampleMachine(kind, last)
    miner = connect(kind, await listen(machine.serve))
    with pytest.raises(expected) as caught:
        await miner.sleep()
    assert PASSWORD not in str(caught.value)
    sent = [(path, body) for method, path, body in machine.asked if method != "GET"]
    assert [path for path, _ in sent] == ["/miner" if kind == EPIC else "/api/system/pause"]
    if kind == EPIC:
        assert json.loads(sent[0][1]) == {"param": "Stop", "password": PASSWORD}


@pytest.mark.parametrize(
    ("kind", "checked"),
    [
        (EPIC, ["/summary", "/network", "/miner"]),
        (AXE, ["/api/system/info", "/api/system/asic", "/api/system/pause"]),
    ],
)
async def test_nothing_comes_between_the_check_of_a_machine_and_the_write(
    listen: Listen, connect: Connect, kind: str, checked: list[str]
) -> None:
    machine = SampleMachine(kind, answer_of(200, b'{"result": true}'))
    miner = connect(kind, await listen(machine.serve))
    verbs = [miner.read, miner.identify, miner.sleep, miner.read_details, miner.read]
    await asyncio.gather(*(verb() for verb in verbs))
    paths = [path for _, path, _ in machine.asked]
    at = paths.index(checked[-1])
    assert paths[at - 2 : at + 1] == checked
