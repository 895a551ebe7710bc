"""A real broker on a free port of the loopback, and a small pool that speaks the wire format."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ports import free_port

from agent.broker import Broker, Message, Session, parse_broker
from agent.cli import main
from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import (
    COSIGNATURE_V1,
    Note,
    Signature,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    verified_by,
)
from agent.journal import Journal, open_journal
from agent.keys import create_log_key
from agent.mqtt import Connection, connect
from agent.publisher import Publisher, PublisherSettings
from agent.records import parse_record
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.uplink import Pace

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@dataclass
class Mosquitto:
    """One broker that a test starts, stops and starts again on the same port."""

    directory: Path
    port: int = field(default_factory=free_port)
    lines: tuple[str, ...] = ("allow_anonymous true",)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        config = self.directory / "mosquitto.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *self.lines, ""]))
        with (self.directory / "mosquitto.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(MOSQUITTO), "-c", str(config), stdout=log, stderr=log
            )
        async with asyncio.timeout(5):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def stop(self) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            self.process = None


@pytest.fixture
def mosquitto(tmp_path: Path):
    """A factory: ``async with mosquitto("a config line") as broker``."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: nothing about MQTT is tested")

    @asynccontextmanager
    async def run(*lines: str) -> AsyncIterator[Mosquitto]:
        # Run as root it would change to a user that cannot read the test's files.
        broker = Mosquitto(directory=tmp_path)
        broker.lines = ("user root", *(lines or ("allow_anonymous true",)))
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()

    return run


ORIGIN = "pool.example/edge/farm-1-edge-1/1"
POOL_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
POOL = VerifierKey(
    name="pool.example/witness",
    algorithm=COSIGNATURE_V1,
    public_key=POOL_PRIVATE.public_key().public_bytes_raw(),
)
TOPIC = "kwota/v1/farm-1/edge-1"
QUICK = Pace(interval_s=0.05, ack_only_s=0.4, receipt_s=0.4, pause_s=0.1)


def cosign(note: Note, time_s: int, key: VerifierKey = POOL) -> bytes:
    """The pool's signature, written a second time from c2sp.org/tlog-cosignature."""
    message = f"cosignature/v1\ntime {time_s}\n{note.text}".encode()
    value = time_s.to_bytes(8, "big") + POOL_PRIVATE.sign(message)
    line = Signature(name=key.name, key_id=key.key_id, value=value)
    return Note(text=note.text, signatures=(*note.signatures, line)).encode().encode()


@dataclass
class SmallPool:
    """Keeps every record once, compares the root, answers with a cosignature."""

    device: VerifierKey
    records: list[bytes] = field(default_factory=list)
    messages: list[tuple[int, int]] = field(default_factory=list)
    frontier: Frontier = field(default_factory=Frontier)
    now_s: int = 1_795_000_000
    is_mute: bool = False
    longest: int = 0
    state: list[str] = field(default_factory=list)
    live: list[bytes] = field(default_factory=list)

    async def serve(self, connection: Connection) -> None:
        while True:
            message = await connection.next_message()
            if message.topic.endswith("/evidence"):
                receipt = self.take(message.payload)
                if receipt is not None and not self.is_mute:
                    await connection.publish(Message(topic=f"{TOPIC}/receipt", payload=receipt))
            elif message.topic.endswith("/state"):
                self.state.append(json.loads(message.payload)["state"])
            elif message.topic.endswith("/live"):
                self.live.append(message.payload)

    def take(self, payload: bytes) -> bytes | None:
        self.longest = max(self.longest, len(payload))
        first, *lines = payload.split(b"\n")
        header = json.loads(first)
        assert header["v"] == 1
        assert header["origin"] == ORIGIN
        assert len(lines) == header["to"] - header["from"]
        self.messages.append((header["from"], header["to"]))
        assert header["from"] <= len(self.records), "a gap"
        for index, line in enumerate(lines, header["from"]):
            if index < len(self.records):
                assert self.records[index] == line, "equivocation"
                continue
            self.records.append(line)
            self.frontier = self.frontier.append(leaf_hash(line))
        note = parse_note(header["checkpoint"])
        verified_by(note, (self.device,))
        head = parse_checkpoint(note.text)
        assert head.size >= header["to"]
        if head.size != len(self.records):
            return None
        assert head.root == self.frontier.root()
        self.now_s += 1
        return cosign(note, self.now_s)


class Rig:
    """A publisher, a journal and a small pool, joined by a real broker."""

    pool = POOL
    cosign = staticmethod(cosign)

    def __init__(self, directory: Path) -> None:
        self.key = create_log_key(directory / "rig.key", ORIGIN)
        self._settings = JournalSettings(
            path=directory / "rig.sqlite", max_bytes=50_000_000, version="0.1.0"
        )

    def journal(self) -> AbstractAsyncContextManager[Journal]:
        return open_journal(self._settings, self.key, SiteClock())

    def small_pool(self, *, is_mute: bool = False) -> SmallPool:
        return SmallPool(self.key.verifier, is_mute=is_mute)

    def publisher_of(self, journal: Journal, *ports: int, **changes: object) -> Publisher:
        values: dict[str, object] = {
            "pace": QUICK,
            "ack_every_s": 0.0,
            "retry_min_s": 0.05,
            "retry_max_s": 0.2,
            "connect_s": 2.0,
            **changes,
        }
        settings = PublisherSettings(
            farm="farm-1",
            agent="edge-1",
            brokers=tuple(parse_broker(f"mqtt://127.0.0.1:{port}") for port in ports),
            **values,
        )
        return Publisher(
            journal=journal, clock=SiteClock(), settings=settings, origin=ORIGIN, pool=POOL
        )

    @staticmethod
    @asynccontextmanager
    async def running(*parts: Coroutine[object, object, object]) -> AsyncIterator[None]:
        """Run coroutines beside the test, and end them with it."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    @staticmethod
    @asynccontextmanager
    async def delivering(publisher: Publisher) -> AsyncIterator[None]:
        """Run a publisher beside the test, and end it with the test."""
        async with asyncio.TaskGroup() as group:
            delivery = group.create_task(publisher.run(group))
            try:
                yield
            finally:
                delivery.cancel()

    @asynccontextmanager
    async def pool_on(self, port: int, pool: SmallPool) -> AsyncIterator[Connection]:
        broker = Broker(host="127.0.0.1", port=port, is_tls=False)
        async with connect(Session(broker=broker, client_id="pool")) as connection:
            for topic in ("evidence", "state", "live"):
                await connection.subscribe(f"{TOPIC}/{topic}")
            async with self.running(pool.serve(connection)):
                yield connection

    @staticmethod
    async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 – what is waited for tells nobody
                await asyncio.sleep(0.01)

    @staticmethod
    async def alarms(journal: Journal) -> list[str]:
        return [parse_record(line).data["code"] for line in await journal.tail(1000, "alarm")]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


Polled = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@pytest.fixture
def polled(capsys: pytest.CaptureFixture[str]) -> Polled:
    """`kwota poll` with these arguments: its exit code, its output and its errors."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        def command() -> int:
            with pytest.raises(SystemExit) as end:
                main(["poll", *arguments])
            return int(end.value.code or 0)

        code = await asyncio.to_thread(command)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
