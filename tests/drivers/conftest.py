"""Small stand-ins on loopback sockets, and the answers that they give."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ANSWERS = Path(__file__).with_name("answers")
CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def captures() -> Path:
    if not CAPTURES.is_dir():
        pytest.skip(f"NOT TESTED: the recordings of real devices are not at {CAPTURES}")
    return CAPTURES


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """A TCP server with this handler; connections still open at the end are cut."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writers.discard(writer)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in tuple(writers):
            writer.transport.abort()


@pytest.fixture
async def listen() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """Start servers that end with the test; gives the port."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> int:
            return await stack.enter_async_context(listening(handler))

        yield start


class Machine:
    """A LuxOS machine of the kind a test needs: recorded answers, a session lock, faults.

    ``faults`` maps a command to raw bytes sent instead of its answer, or to a coroutine function
    that gets the writer. ``log`` has each (command, parameter) in the order of arrival.
    """

    def __init__(self, folder: Path, *, joins: bool = True) -> None:
        self.answers: dict[str, Any] = {
            path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")
        }
        self.joins = joins
        self.faults: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] = {}
        self.log: list[tuple[str, str | None]] = []
        self.session: str | None = None
        self.sessions_granted = 0
        self.asleep = False
        self.refusals: dict[str, str] = {}

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in self.log]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        command, parameter = request["command"], request.get("parameter")
        self.log.append((command, parameter))
        fault = self.faults.get(command)
        if callable(fault):
            await fault(writer)
            return
        reply = fault or json.dumps(self.answer(command, parameter)).encode() + b"\0"
        writer.write(reply)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def answer(self, command: str, parameter: str | None) -> Any:
        if "+" in command and self.joins:
            return {part: [self.answer(part, None)] for part in command.split("+")} | {"id": 1}
        if command in self.refusals:
            return self.verdict("E", 14, self.refusals[command])
        if command == "logon":
            return self.logon()
        if command in self.answers:
            return self.answers[command]
        if parameter is not None:
            return self.write(command, *parameter.split(","))
        return self.verdict("E", 14, "Invalid command")

    def logon(self) -> Any:
        if self.session is not None:
            return self.verdict("E", 402, "Another session is active")
        self.sessions_granted += 1
        self.session = f"sid{self.sessions_granted}"
        return self.verdict("S", 316, "Session created") | {
            "SESSION": [{"SessionID": self.session}]
        }

    def write(self, command: str, session: str, *arguments: str) -> Any:
        if session != self.session:
            return self.verdict("E", 403, "Invalid session id")
        if command == "logoff":
            self.session = None
            return self.verdict("S", 317, "Session terminated")
        if command == "curtail":
            self.answers["config"]["CONFIG"][0]["CurtailMode"] = {
                "sleep": "Sleep",
                "wakeup": "None",
            }[arguments[0]]
        elif command in {"disableboard", "enableboard"}:
            for row in self.answers["devs"]["DEVS"]:
                if row["ID"] == int(arguments[0]):
                    row["IsUserShutdown"] = command == "disableboard"
        elif command == "profileset":
            self.answers["config"]["CONFIG"][0]["Profile"] = arguments[0]
        else:
            return self.verdict("E", 14, "Invalid command")
        return self.verdict("S", 1, f"{command} done")

    @staticmethod
    def verdict(letter: str, code: int, message: str) -> Any:
        return {"STATUS": [{"STATUS": letter, "Code": code, "Msg": message}], "id": 1}


@pytest.fixture
def machine() -> Machine:
    """An S21 on LuxOS that joins commands."""
    return Machine(ANSWERS / "luxos-s21")


@pytest.fixture
def lone_machine() -> Machine:
    """The same with a firmware that refuses joined commands."""
    return Machine(ANSWERS / "luxos-s21", joins=False)
