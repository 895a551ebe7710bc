"""Purchases that the pool signs and sends, over a real broker into a real journal."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.broker import Broker, Message, Session, parse_broker
from agent.core.ledger import Admission, Ledger, Transaction, admit_all
from agent.core.note import ED25519, VerifierKey, sign_text
from agent.downlink import Downlink, DownlinkSettings
from agent.mqtt import connect
from agent.pooldesk import BURST, PoolDesk, PoolKeys
from agent.poolnote import NOTE_BYTES_MAX, Addressee
from agent.purchases import PurchaseReader
from agent.records import NewRecord, parse_record
from agent.siteclock import SiteClock
from agent.testimony import purchase_record

TOPIC = "kwota/v1/farm-1/edge-1"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
SIGNING = VerifierKey(
    name="pool.example/signing",
    algorithm=ED25519,
    public_key=PRIVATE.public_key().public_bytes_raw(),
)
CLOCK = SiteClock()
HOUR_MS = 3_600_000


class Books:
    """The ledger of one point, with its purchases in the journal, as the keeper has it."""

    def __init__(self, journal) -> None:
        self.journal, self.ledger, self.calls = journal, Ledger(meter_point="mp-1"), 0

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        self.calls += 1
        self.ledger, admissions = admit_all(
            self.ledger,
            candidates,
            cap_wh=lambda _: 1_000_000,
            now_ms=CLOCK.now_ms(),
            remembered={},
        )
        records: list[NewRecord] = [
            purchase_record(one)
            for one, said in zip(candidates, admissions, strict=True)
            if said.result == "accepted"
        ]
        await self.journal.append(records)
        return admissions


def row(name: str, energy_wh: object = 10_000) -> dict[str, object]:
    start_ms = CLOCK.now_ms() + 600_000
    return {
        "id": name,
        "start_ms": start_ms,
        "end_ms": start_ms + HOUR_MS,
        "energy_wh": energy_wh,
        "price_kzt_per_kwh": "20.5",
    }


def batch(sequence: int, *rows: dict[str, object], **changes: object) -> bytes:
    now_ms = CLOCK.now_ms()
    body = {
        "v": 1,
        "farm": "farm-1",
        "agent": "edge-1",
        "id": f"b-{sequence}",
        "sequence": sequence,
        "not_before_ms": now_ms - 60_000,
        "expires_ms": now_ms + 60_000,
        "transactions": list(rows) or [row(f"tx-{sequence}")],
        **changes,
    }
    return signed(json.dumps({key: value for key, value in body.items() if value is not ...}))


def signed(line: str, *, purpose: str = "kwota/transactions/v1", private=PRIVATE) -> bytes:
    text = f"{purpose}\n{line}\n"
    return sign_text(text, SIGNING, private.sign).encode().encode()


@asynccontextmanager
async def desk_on(rig):
    async with rig.journal() as journal:
        books = Books(journal)
        desk = PoolDesk(
            journal=journal,
            clock=CLOCK,
            books=books,
            reader=PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty")),
            site=Addressee(farm="farm-1", agent="edge-1"),
            keys=PoolKeys(signing=SIGNING, cosigning=rig.pool),
        )
        await desk.recover()
        yield desk, journal, books


async def said(desk: PoolDesk, payload: bytes) -> dict[str, object]:
    answer: dict[str, object] = orjson.loads(await desk.take_batch(payload))
    return answer


async def pool_records(journal) -> list[dict[str, object]]:
    return [parse_record(line).data for line in await journal.tail(1000, "pool")]


def other_key(line_of: bytes) -> bytes:
    body = line_of.split(b"\n")[1].decode()
    return signed(body, private=Ed25519PrivateKey.generate())


def renamed(payload: bytes) -> bytes:
    return payload.replace("— pool.example/signing".encode(), "— other.example/signing".encode())


REFUSED = {
    "altered": lambda: batch(5).replace(b'"tx-5"', b'"tx-6"'),
    "wrong_key": lambda: renamed(batch(5)),
    "wrong_site": lambda: batch(5, agent="edge-2"),
    "expired": lambda: batch(
        5, not_before_ms=CLOCK.now_ms() - 9_000, expires_ms=CLOCK.now_ms() - 1_000
    ),
    "not_yet": lambda: batch(
        5, not_before_ms=CLOCK.now_ms() + 60_000, expires_ms=CLOCK.now_ms() + 90_000
    ),
    "too_large": lambda: batch(5, *[row(f"tx-{n}") for n in range(400)]),
    "replayed": lambda: batch(3),
    "reused": lambda: batch(4, row("tx-other")),
}
MALFORMED = {
    "no note": lambda: b"hello",
    "no text": lambda: b"\xff\xfe\n\n",
    "nothing": lambda: b"",
    "another purpose": lambda: signed("{}", purpose="kwota/equivocation/v1"),
    "no JSON": lambda: signed("{"),
    "a list": lambda: signed("[]"),
    "a field twice": lambda: signed('{"v":1,"v":1}'),
    "two lines": lambda: signed("{}\n{}"),
    "a field too many": lambda: batch(5, more=1),
    "a field too few": lambda: batch(5, id=...),
    "another version": lambda: batch(5, v=2),
    "no sequence": lambda: batch(True),
    "a sequence below 1": lambda: batch(0),
    "no name": lambda: batch(5, id=""),
    "no purchases": lambda: batch(5, transactions=[]),
    "purchases that are none": lambda: batch(5, transactions="x"),
    "good for longer than an hour": lambda: batch(5, expires_ms=CLOCK.now_ms() + 2 * HOUR_MS),
    "too many purchases": lambda: batch(5, transactions=[{}] * 501),
}


async def test_a_batch_is_taken_and_each_item_has_its_result(rig, schemas) -> None:
    async with desk_on(rig) as (desk, journal, books):
        rows = [row("tx-1"), {**row("tx-2"), "energy_kw": 3}, row("tx-3", 2_000_000), row("tx-1")]
        answer = await said(desk, batch(7, *rows))
        assert (answer["result"], answer["id"], answer["sequence"]) == ("taken", "b-7", 7)
        results = [(one["item"], one["transaction_id"], one["result"]) for one in answer["items"]]
        assert results == [
            (1, "tx-1", "accepted"),
            (2, "tx-2", "refused"),
            (3, "tx-3", "refused"),
            (4, "tx-1", "unchanged"),
        ]
        assert "is power" in answer["items"][1]["reason"]
        assert [one.transaction.transaction_id for one in books.ledger.accounts] == ["tx-1"]
        assert list(desk.conditions()) == []
        for line in await journal.tail(100, "pool"):
            assert schemas.faults(orjson.loads(line)) == []


async def test_letters_that_are_no_text_harm_nobody(rig) -> None:
    async with desk_on(rig) as (desk, journal, _):
        rows = [{**row("tx-1"), "id": "\ud800"}, {"\udfff": 1}, row("tx-2")]
        answer = await said(desk, batch(1, *rows))
        assert [one["result"] for one in answer["items"]] == ["refused", "refused", "accepted"]
        for changes in ({"id": "\ud800"}, {"\udc00": 1}, {"agent": "\udc00"}):
            assert (await said(desk, batch(2, **changes)))["reason"] == "malformed"
        assert len(await pool_records(journal)) == 5


async def test_the_same_batch_again_has_the_same_answer_and_no_effect(rig) -> None:
    payload = batch(1)
    async with desk_on(rig) as (desk, journal, books):
        first = await desk.take_batch(payload)
        size = journal.size
        assert await desk.take_batch(payload) == first
        assert (journal.size, books.calls) == (size, 1)


async def test_what_was_taken_is_known_after_a_restart(rig) -> None:
    rows = [row(f"tx-{n}") if n % 3 else {"id": f"tx-{n}"} for n in range(1, 100)]
    payload = batch(9, *rows)
    async with desk_on(rig) as (desk, _, _):
        first = await desk.take_batch(payload)
        assert len(orjson.loads(first)["items"]) == 99
    async with desk_on(rig) as (desk, journal, books):
        size = journal.size
        assert desk.sequence == 9
        assert await desk.take_batch(payload) == first
        assert (journal.size, books.calls) == (size, 0)
        assert (await said(desk, batch(8)))["reason"] == "replayed"
        assert (await said(desk, batch(10)))["result"] == "taken"


@pytest.mark.parametrize("reason", REFUSED)
async def test_what_is_refused_is_recorded_answered_and_has_no_other_effect(
    rig, schemas, reason: str
) -> None:
    async with desk_on(rig) as (desk, journal, books):
        await desk.take_batch(batch(4))
        before, calls = journal.size, books.calls
        payload = REFUSED[reason]()
        answer = await said(desk, payload)
        assert (answer["result"], answer["reason"]) == ("refused", reason)
        assert answer["newest_sequence"] == desk.sequence == 4
        assert (journal.size, books.calls) == (before + 1, calls)
        record = orjson.loads((await journal.tail(1))[0])
        assert schemas.faults(record) == []
        assert (record["k"], record["d"]["reason"]) == ("pool", reason)
        assert record["d"]["sha256"] == answer["sha256"]
        assert [one.code for one in desk.conditions()] == ["POOL_MESSAGE_REFUSED"]
        assert (await said(desk, batch(5)))["result"] == "taken"
        assert list(desk.conditions()) == []


@pytest.mark.parametrize("kind", MALFORMED)
async def test_what_is_no_batch_is_refused(rig, kind: str) -> None:
    async with desk_on(rig) as (desk, journal, books):
        answer = await said(desk, MALFORMED[kind]())
        assert (answer["result"], answer["reason"]) == ("refused", "malformed")
        assert [one["reason"] for one in await pool_records(journal)] == ["malformed"]
        assert (books.calls, desk.sequence) == (0, 0)


async def test_a_key_of_the_same_name_signs_nothing(rig) -> None:
    async with desk_on(rig) as (desk, _, books):
        assert (await said(desk, other_key(batch(1))))["reason"] == "altered"
        assert books.calls == 0


async def test_each_byte_of_a_batch_matters(rig) -> None:
    payload = batch(2)
    async with desk_on(rig) as (desk, _, books):
        for at in range(0, len(payload), 7):
            broken = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
            assert (await said(desk, broken))["result"] == "refused", at
        assert books.calls == 0


async def test_a_number_is_not_used_up_by_a_batch_that_is_too_early(rig) -> None:
    async with desk_on(rig) as (desk, _, _):
        start_ms = CLOCK.now_ms() + 300
        payload = batch(1, not_before_ms=start_ms, expires_ms=start_ms + 60_000)
        assert (await said(desk, payload))["reason"] == "not_yet"
        await rig.until(lambda: CLOCK.now_ms() > start_ms)
        assert (await said(desk, payload))["result"] == "taken"


async def test_rubbish_does_not_fill_the_journal(rig) -> None:
    async with desk_on(rig) as (desk, journal, _):
        for number in range(BURST + 50):
            assert (await said(desk, b"rubbish %d" % number))["result"] == "refused"
        assert len(await pool_records(journal)) == BURST
        payload = batch(1)
        assert (await said(desk, payload))["result"] == "taken"


async def test_the_longest_batch_fits_the_journal(rig) -> None:
    rows = [{"id": '"' * 64, "energy": 1} for _ in range(150)]
    payload = batch(1, *rows)
    assert 0.7 * NOTE_BYTES_MAX < len(payload) <= NOTE_BYTES_MAX
    async with desk_on(rig) as (desk, _, _):
        first = await desk.take_batch(payload)
        assert orjson.loads(first)["result"] == "taken"
    async with desk_on(rig) as (desk, _, _):
        assert await desk.take_batch(payload) == first


def downlink_of(desk: PoolDesk, port: int, **changes: object) -> Downlink:
    values: dict[str, object] = {"retry_min_s": 0.05, "retry_max_s": 0.2, "connect_s": 2.0}
    brokers = (parse_broker(f"mqtt://127.0.0.1:{port}"),)
    settings = DownlinkSettings(
        farm="farm-1", agent="edge-1", brokers=brokers, **{**values, **changes}
    )
    return Downlink(desk, settings)


@asynccontextmanager
async def pool_side(port: int):
    session = Session(broker=Broker(host="127.0.0.1", port=port, is_tls=False), client_id="pool")
    async with connect(session) as connection:
        await connection.subscribe(f"{TOPIC}/transactions/ack")
        yield connection


async def send(connection, payload: bytes) -> None:
    await connection.publish(Message(topic=f"{TOPIC}/transactions", payload=payload))


async def answered(connection) -> dict[str, object]:
    async with asyncio.timeout(5):
        answer: dict[str, object] = orjson.loads((await connection.next_message()).payload)
    return answer


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_batch_comes_by_a_broker_and_its_answer_goes_back(
    mosquitto, rig, version: str
) -> None:
    async with (
        mosquitto() as broker,
        desk_on(rig) as (desk, _, _),
        pool_side(broker.port) as side,
    ):
        downlink = downlink_of(desk, broker.port, version=version)
        async with rig.running(downlink.run()):
            await rig.until(lambda: downlink.is_connected)
            payload = batch(1)
            await send(side, payload)
            first = await answered(side)
            assert first["result"] == "taken"
            await send(side, payload)
            assert await answered(side) == first
            await send(side, batch(2, agent="edge-9"))
            assert (await answered(side))["reason"] == "wrong_site"


async def test_what_is_sent_while_the_agent_is_away_waits_for_it(mosquitto, rig) -> None:
    async with (
        mosquitto() as broker,
        desk_on(rig) as (desk, _, _),
        pool_side(broker.port) as side,
    ):
        for number in (1, 2):
            downlink = downlink_of(desk, broker.port)
            async with rig.running(downlink.run()):
                await rig.until(lambda downlink=downlink: downlink.is_connected)
                if number == 2:
                    assert (await answered(side))["sequence"] == 1
            if number == 1:
                await send(side, batch(1))


async def test_a_broker_that_dies_is_listened_to_again(mosquitto, rig) -> None:
    async with mosquitto() as broker, desk_on(rig) as (desk, _, _):
        downlink = downlink_of(desk, broker.port)
        async with rig.running(downlink.run()):
            await rig.until(lambda: downlink.is_connected)
            await broker.stop()
            await rig.until(lambda: not downlink.is_connected)
            await broker.start()
            await rig.until(lambda: downlink.is_connected)
            async with pool_side(broker.port) as side:
                await send(side, batch(1))
                assert (await answered(side))["result"] == "taken"


async def test_a_broker_that_stays_away_is_an_alarm(rig, monkeypatch) -> None:
    monkeypatch.setattr("agent.downlink.LOST_AFTER_S", 0.1)
    async with desk_on(rig) as (desk, _, _):
        downlink = downlink_of(desk, 1)
        async with rig.running(downlink.run()):
            await rig.until(lambda: bool(list(downlink.conditions())))
            (condition,) = downlink.conditions()
            assert condition.code == "DOWNLINK_LOST"
            assert "cannot be reached" in condition.words
