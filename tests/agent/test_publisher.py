import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.broker import Broker, Message, Session, parse_broker
from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import (
    COSIGNATURE_V1,
    Checkpoint,
    Note,
    Signature,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    sign_text,
    verified_by,
)
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.mqtt import Connection, connect
from agent.publisher import Publisher, PublisherSettings
from agent.records import JournalError, NewRecord, parse_record
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.uplink import Pace

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


@pytest.fixture
def key(tmp_path: Path) -> LogKey:
    return create_log_key(tmp_path / "log.key", ORIGIN)


@pytest.fixture
def journal_of(tmp_path: Path, key: LogKey) -> Callable[[], AbstractAsyncContextManager[Journal]]:
    settings = JournalSettings(
        path=tmp_path / "journal.sqlite", max_bytes=50_000_000, version="0.1.0"
    )
    return lambda: open_journal(settings, key, SiteClock())


def publisher_of(journal: Journal, *ports: int, **changes: object) -> Publisher:
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
        **values,  # type: ignore[arg-type]
    )
    return Publisher(
        journal=journal, clock=SiteClock(), settings=settings, origin=ORIGIN, pool=POOL
    )


@asynccontextmanager
async def running(*parts: object) -> AsyncIterator[None]:
    """Run coroutines beside the test, and end them with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in parts]  # type: ignore[arg-type]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def pool_on(port: int, pool: SmallPool) -> AsyncIterator[Connection]:
    broker = Broker(host="127.0.0.1", port=port, is_tls=False)
    async with connect(Session(broker=broker, client_id="pool")) as connection:
        for topic in ("evidence", "state", "live"):
            await connection.subscribe(f"{TOPIC}/{topic}")
        async with running(pool.serve(connection)):
            yield connection


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 – what is waited for tells nobody
            await asyncio.sleep(0.01)


@contextmanager
def only_lost_connections() -> Iterator[None]:
    """A broker that is stopped takes the small pool with it."""
    try:
        yield
    except* Exception as errors:
        if errors.split(lambda error: "lost" in str(error) or isinstance(error, ExceptionGroup))[1]:
            raise


async def alarms(journal: Journal) -> list[str]:
    return [parse_record(line).data["code"] for line in await journal.tail(1000, "alarm")]


def meter(power_mw: int = 1, text: str = "") -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": power_mw, "text": text})


async def test_everything_reaches_the_pool_and_the_receipts_come_back(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool):
        publisher = publisher_of(journal, broker.port)
        for number in range(50):
            await journal.append([meter(number)])
        async with running(publisher.run()):
            await until(lambda: journal.cosigned_size >= 51)
            delivery = publisher.delivery
            assert (delivery.broker, delivery.faults) == ("connected", ())
            assert delivery.last_receipt_ms is not None
            assert "The pool has everything" in delivery.words
            await until(lambda: len(pool.records) > 51)  # the ack of the first receipt
        stored = await journal.read(0, 100_000_000)
        assert stored[: len(pool.records)] == pool.records
        ack = parse_record((await journal.tail(1, "ack"))[0]).data
        assert ack["pool_time_s"] > 1_795_000_000
        assert parse_checkpoint(parse_note(ack["note"]).text).size == ack["size"]
        await until(lambda: pool.state == ["online", "offline"])


async def test_batches_hold_64_kib_and_go_on_after_the_last_receipt(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker:
        async with journal_of() as journal:
            for _ in range(4):
                await journal.append([meter(1, "x" * 10_000) for _ in range(60)])
            async with (
                pool_on(broker.port, pool),
                running(publisher_of(journal, broker.port).run()),
            ):
                await until(lambda: journal.cosigned_size >= 241)
            assert 60_000 < pool.longest <= 65_536
            sent_before = len(pool.messages)
        async with journal_of() as journal:
            async with (
                pool_on(broker.port, pool),
                running(publisher_of(journal, broker.port).run()),
            ):
                await until(lambda: len(pool.messages) > sent_before)
            assert pool.messages[sent_before][0] >= 241


async def test_acks_alone_wait_so_that_they_do_not_call_forth_acks(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    async with (
        mosquitto() as broker,
        journal_of() as journal,
        pool_on(broker.port, pool),
        running(publisher_of(journal, broker.port).run()),
    ):
        await until(lambda: journal.cosigned_size == 1)
        await asyncio.sleep(0.2)
        assert len(pool.messages) == 1
        await until(lambda: len(pool.messages) == 2, 1.0)


async def test_the_pool_may_be_away_and_come_back(mosquitto, journal_of, key: LogKey) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker, journal_of() as journal:
        publisher = publisher_of(journal, broker.port)
        async with running(publisher.run()):
            await until(lambda: bool(publisher.delivery.faults))
            assert publisher.delivery.faults[0].code == "pool_not_subscribed"
            assert await alarms(journal) == ["pool_not_subscribed"]
            async with pool_on(broker.port, pool):
                await until(lambda: journal.cosigned_size > 1)
                assert publisher.delivery.faults == ()


async def test_a_pool_without_receipts_gets_everything_again(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier, is_mute=True)
    async with (
        mosquitto() as broker,
        journal_of() as journal,
        pool_on(broker.port, pool),
        running(publisher_of(journal, broker.port).run()),
    ):
        await until(lambda: pool.messages.count((0, 1)) + len(pool.messages) >= 3)
        assert journal.cosigned_size == 0
        assert "no_receipt" in await alarms(journal)
        assert [start for start, _ in pool.messages].count(0) >= 2
        pool.is_mute = False
        await until(lambda: journal.cosigned_size > 1)


async def test_no_more_than_a_window_is_sent_ahead_of_the_receipts(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier, is_mute=True)
    pace = Pace(interval_s=0.0, window=3, batch_bytes=10_000, receipt_s=60.0)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool):
        for _ in range(20):
            await journal.append([meter(1, "x" * 5_000)])
        publisher = publisher_of(journal, broker.port, pace=pace)
        async with running(publisher.run()):
            await until(lambda: len(pool.messages) == 3)
            await asyncio.sleep(0.3)
            assert len(pool.messages) == 3


async def test_a_commit_longer_than_the_window_gets_its_receipt(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    pace = Pace(interval_s=0.0, window=3, batch_bytes=10_000, receipt_s=60.0)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool):
        await journal.append([meter(1, "x" * 5_000) for _ in range(30)])
        publisher = publisher_of(journal, broker.port, pace=pace)
        async with running(publisher.run()):
            await until(lambda: journal.cosigned_size >= 31)


async def test_the_broker_may_die_at_any_time(mosquitto, journal_of, key: LogKey) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker, journal_of() as journal:
        publisher = publisher_of(journal, broker.port)
        async with running(publisher.run()):
            for _ in range(3):
                with only_lost_connections():
                    async with pool_on(broker.port, pool):
                        target = journal.size
                        await journal.append([meter(n, "x" * 1000) for n in range(300)])
                        await until(lambda target=target: len(pool.records) > target + 50)
                        await broker.stop()
                        await until(lambda: publisher.delivery.broker != "connected")
                await broker.start()
            async with pool_on(broker.port, pool):
                await until(lambda: journal.cosigned_size > 900)
        stored = await journal.read(0, 100_000_000)
        assert stored[: len(pool.records)] == pool.records


async def test_the_second_broker_takes_over(mosquitto, journal_of, key: LogKey) -> None:
    pool = SmallPool(key.verifier)
    async with (
        mosquitto() as broker,
        journal_of() as journal,
        pool_on(broker.port, pool),
        running(publisher_of(journal, 1, broker.port).run()),
    ):
        await until(lambda: journal.cosigned_size >= 1)


async def test_evidence_that_the_broker_forbids_is_an_alarm_and_nothing_is_skipped(
    mosquitto, journal_of, key: LogKey, tmp_path: Path
) -> None:
    access = tmp_path / "acl"
    access.write_text(f"topic readwrite {TOPIC}/receipt\ntopic readwrite {TOPIC}/state\n")
    pool = SmallPool(key.verifier)
    lines = ("allow_anonymous true", f"acl_file {access}")
    async with mosquitto(*lines) as broker, journal_of() as journal:
        publisher = publisher_of(journal, broker.port)
        async with running(publisher.run()):
            await until(lambda: bool(publisher.delivery.faults))
            (fault,) = publisher.delivery.faults
            assert (fault.code, fault.severity) == ("broker_refused_87", "critical")
            await asyncio.sleep(0.5)
            assert await alarms(journal) == ["broker_refused_87"]
            access.write_text(f"topic readwrite {TOPIC}/#\n")
            await broker.stop()
            await broker.start()
            async with pool_on(broker.port, pool):
                await until(lambda: journal.cosigned_size >= 1)
                assert pool.messages[0][0] == 0


def forged(note: Note, kind: str) -> bytes:
    """A receipt that must not count."""
    head = parse_checkpoint(note.text)
    stranger = Ed25519PrivateKey.generate()
    other = VerifierKey(
        name=POOL.name,
        algorithm=COSIGNATURE_V1,
        public_key=stranger.public_key().public_bytes_raw(),
    )
    changes = {
        "another root": Checkpoint(origin=head.origin, size=head.size, root=bytes(32)),
        "another log": Checkpoint(origin="other", size=head.size, root=head.root),
        "a size from the future": Checkpoint(origin=head.origin, size=10_000, root=head.root),
        "a size without checkpoint": Checkpoint(origin=head.origin, size=2, root=head.root),
    }
    if kind in changes:
        return cosign(Note(text=changes[kind].encode(), signatures=note.signatures), 1)
    if kind == "another key":
        return cosign(note, 1, other)
    if kind == "no cosignature":
        return note.encode().encode()
    if kind == "a changed time":
        good = parse_note(cosign(note, 5).decode())
        line = good.signatures[-1]
        value = (6).to_bytes(8, "big") + line.value[8:]
        moved = Signature(name=line.name, key_id=line.key_id, value=value)
        return Note(text=note.text, signatures=(moved,)).encode().encode()
    return {"not a note": b"hello", "not text": b"\xff\xfe"}[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("another root", "a root that we never signed"),
        ("another log", "it is for the log other"),
        ("a size from the future", "this disk went back in time"),
        ("a size without checkpoint", "for size 2, which we never signed"),
        ("another key", "not cosigned by"),
        ("no cosignature", "not cosigned by"),
        ("a changed time", "does not verify"),
        ("not a note", "no empty line"),
        ("not text", "not UTF-8"),
    ],
)
async def test_a_receipt_that_proves_nothing_is_refused(
    mosquitto, journal_of, key: LogKey, kind: str, reason: str
) -> None:
    pool = SmallPool(key.verifier, is_mute=True)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool) as side:
        await journal.append([meter(), meter()])
        publisher = publisher_of(journal, broker.port)
        async with running(publisher.run()):
            await until(lambda: bool(pool.messages))
            checkpoint = await journal.checkpoint_at_or_after(3)
            assert checkpoint is not None
            receipt = forged(parse_note(checkpoint.note), kind)
            for _ in range(3):
                await side.publish(Message(topic=f"{TOPIC}/receipt", payload=receipt))
            await until(lambda: bool(publisher.delivery.faults))
            assert publisher.delivery.faults[0].code == "receipt_refused"
            assert reason in publisher.delivery.faults[0].words
            assert journal.cosigned_size == 0
            assert (await alarms(journal)).count("receipt_refused") == 1
            pool.is_mute = False
            await until(lambda: journal.cosigned_size >= 3)


async def test_a_pool_clock_that_runs_backwards_is_refused(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool):
        publisher = publisher_of(journal, broker.port)
        async with running(publisher.run()):
            await until(lambda: journal.cosigned_size >= 1)
            pool.now_s -= 10_000
            await journal.append([meter()])
            await until(lambda: bool(publisher.delivery.faults))
            assert "went back" in publisher.delivery.faults[0].words


async def test_the_live_image_is_sent_beside_the_evidence(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool):
        publisher = publisher_of(journal, broker.port)
        publisher.set_live(b"old")
        publisher.set_live(b"new")
        async with running(publisher.run()):
            await until(lambda: pool.live == [b"new"])
            publisher.set_live(b"newer")
            await until(lambda: pool.live == [b"new", b"newer"])


async def test_a_broker_of_the_older_protocol_serves_as_well(
    mosquitto, journal_of, key: LogKey
) -> None:
    pool = SmallPool(key.verifier)
    async with (
        mosquitto() as broker,
        journal_of() as journal,
        pool_on(broker.port, pool),
        running(publisher_of(journal, broker.port, version="3.1.1").run()),
    ):
        await until(lambda: journal.cosigned_size >= 1)


async def test_a_broker_that_drops_us_over_evidence_again_and_again_is_an_alarm(
    mosquitto, journal_of, key: LogKey
) -> None:
    """A proxy that cuts the connection when a long packet passes."""
    async with mosquitto() as broker, journal_of() as journal:
        await journal.append([meter(1, "x" * 20_000)])

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", broker.port)

            async def upwards() -> None:
                while 0 < len(chunk := await reader.read(65_536)) < 5_000:
                    up_writer.write(chunk)
                up_writer.close()
                writer.close()

            async def downwards() -> None:
                while chunk := await up_reader.read(65_536):
                    writer.write(chunk)

            await asyncio.gather(upwards(), downwards(), return_exceptions=True)
            up_writer.close()
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        publisher = publisher_of(journal, server.sockets[0].getsockname()[1])
        async with server, running(publisher.run()):
            await until(lambda: any(f.code == "delivery_stuck" for f in publisher.delivery.faults))
            assert journal.cosigned_size == 0


async def test_a_failed_journal_ends_the_delivery(mosquitto, journal_of, key: LogKey) -> None:
    pool = SmallPool(key.verifier)
    async with mosquitto() as broker, journal_of() as journal, pool_on(broker.port, pool):
        publisher = publisher_of(journal, broker.port)

        async def fail_soon() -> None:
            await until(lambda: journal.cosigned_size >= 1)
            journal._fail(JournalError("The disk is gone."))
            await asyncio.Event().wait()

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(5), running(publisher.run(), fail_soon()):
                await asyncio.Event().wait()
        assert caught.group_contains(JournalError, match="disk is gone")


async def test_without_brokers_delivery_is_off(journal_of, key: LogKey) -> None:
    async with journal_of() as journal:
        publisher = publisher_of(journal)
        await publisher.run()
        assert publisher.delivery.broker == "off"


def test_a_note_of_the_device_is_what_the_pool_cosigns(key: LogKey) -> None:
    head = Checkpoint(origin=ORIGIN, size=1, root=bytes(32))
    note = sign_text(head.encode(), key.verifier, key.sign)
    assert parse_note(cosign(note, 7).decode()).signatures[0] == note.signatures[0]
