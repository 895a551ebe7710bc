import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.broker import Message
from agent.core.note import (
    COSIGNATURE_V1,
    Checkpoint,
    Note,
    Signature,
    VerifierKey,
    parse_checkpoint,
    parse_note,
)
from agent.records import NewRecord

TOPIC = "kwota/v1/farm-1/edge-1"


def meter() -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": 1})


def forged(rig, note: Note, kind: str) -> bytes:
    """A receipt that must not count."""
    head = parse_checkpoint(note.text)
    stranger = Ed25519PrivateKey.generate()
    other = VerifierKey(
        name=rig.pool.name,
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
        return rig.cosign(Note(text=changes[kind].encode(), signatures=note.signatures), 1)
    if kind == "another key":
        return rig.cosign(note, 1, other)
    if kind == "no cosignature":
        return note.encode().encode()
    if kind == "a changed time":
        good = parse_note(rig.cosign(note, 5).decode())
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
    mosquitto, rig, kind: str, reason: str
) -> None:
    pool = rig.small_pool(is_mute=True)
    async with (
        mosquitto() as broker,
        rig.journal() as journal,
        rig.pool_on(broker.port, pool) as side,
    ):
        await journal.append([meter(), meter()])
        publisher = rig.publisher_of(journal, broker.port)
        async with rig.delivering(publisher):
            await rig.until(lambda: bool(pool.messages))
            checkpoint = await journal.checkpoint_at_or_after(3)
            assert checkpoint is not None
            receipt = forged(rig, parse_note(checkpoint.note), kind)
            for _ in range(3):
                await side.publish(Message(topic=f"{TOPIC}/receipt", payload=receipt))
            await rig.until(lambda: bool(publisher.delivery.faults))
            assert publisher.delivery.faults[0].code == "RECEIPT_REFUSED"
            assert reason in publisher.delivery.faults[0].words
            assert journal.cosigned_size == 0
            assert (await rig.alarms(journal)).count("RECEIPT_REFUSED") == 1
            pool.is_mute = False
            await rig.until(lambda: journal.cosigned_size >= 3)


async def test_a_pool_clock_that_runs_backwards_is_refused(mosquitto, rig) -> None:
    pool = rig.small_pool()
    async with mosquitto() as broker, rig.journal() as journal, rig.pool_on(broker.port, pool):
        publisher = rig.publisher_of(journal, broker.port)
        async with rig.delivering(publisher):
            await rig.until(lambda: journal.cosigned_size >= 1)
            pool.now_s -= 10_000
            await journal.append([meter()])
            await rig.until(lambda: bool(publisher.delivery.faults))
            assert "went back" in publisher.delivery.faults[0].words
