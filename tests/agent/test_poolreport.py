"""The pool's word of two logs under one name, and what the agent makes of it."""

import json
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.core.note import ED25519, Checkpoint, VerifierKey, parse_note, sign_text
from agent.keys import create_log_key
from agent.pooldesk import PoolDesk, PoolKeys
from agent.poolnote import Addressee
from agent.purchases import PurchaseReader
from agent.records import JournalError, NewRecord, parse_record
from agent.siteclock import SiteClock

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
PRIVATE = Ed25519PrivateKey.generate()
SIGNING = VerifierKey(
    name="pool.example/signing",
    algorithm=ED25519,
    public_key=PRIVATE.public_key().public_bytes_raw(),
)


class AnyBooks:
    """Takes nothing, as nothing is sold here but what is refused by its form."""

    async def add_transactions(self, candidates):
        raise AssertionError("no purchase can be read here")


@asynccontextmanager
async def desk_on(rig):
    async with rig.journal() as journal:
        desk = PoolDesk(
            journal=journal,
            clock=SiteClock(),
            books=AnyBooks(),
            reader=PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty")),
            site=Addressee(farm="farm-1", agent="edge-1"),
            keys=PoolKeys(signing=SIGNING, cosigning=rig.pool),
        )
        await desk.recover()
        yield desk, journal


def head(rig, size: int, root: bytes = b"\1" * 32, origin: str = ORIGIN) -> str:
    text = Checkpoint(origin=origin, size=size, root=root).encode()
    return sign_text(text, rig.key.verifier, rig.key.sign).encode()


def report(reason: str, seen: str, shown: str, **changes: object) -> bytes:
    body = {
        "v": 1,
        "farm": "farm-1",
        "agent": "edge-1",
        "origin": ORIGIN,
        "reason": reason,
        "words": "",
        "at_ms": 1,
        "seen": seen,
        "shown": shown,
        **changes,
    }
    text = f"kwota/equivocation/v1\n{json.dumps(body)}\n"
    return sign_text(text, SIGNING, PRIVATE.sign).encode().encode()


async def own_head(rig, journal, size: int) -> str:
    """The log's own head of that size, cosigned by the pool."""
    stored = await journal.newest_checkpoint(size - 1, size)
    return rig.cosign(parse_note(stored.note), 1_795_000_000).decode()


async def told(journal) -> list[tuple[str, str]]:
    lines = [parse_record(line).data for line in await journal.tail(100, "pool")]
    return [(one["event"], one["reason"]) for one in lines]


def batch(sequence: int) -> bytes:
    now_ms = SiteClock().now_ms()
    body = {
        "v": 1,
        "farm": "farm-1",
        "agent": "edge-1",
        "id": f"b-{sequence}",
        "sequence": sequence,
        "not_before_ms": now_ms - 1_000,
        "expires_ms": now_ms + 60_000,
        "transactions": [{"id": "tx-1"}] * 50,
    }
    text = f"kwota/transactions/v1\n{json.dumps(body)}\n"
    return sign_text(text, SIGNING, PRIVATE.sign).encode().encode()


async def test_a_report_stands_over_a_restart_and_is_recorded_once(rig) -> None:
    async with desk_on(rig) as (desk, journal):
        payload = report("another_root", await own_head(rig, journal, 1), head(rig, 1))
        await desk.take_report(payload)
        await desk.take_report(payload)
        assert await told(journal) == [("equivocation", "another_root")]
    async with desk_on(rig) as (desk, journal):
        assert [one.code for one in desk.conditions()] == ["LOG_EQUIVOCATION"]
        await desk.take_report(payload)
        assert len(await told(journal)) == 1
        await journal.append([NewRecord(kind="meter", source="site", data={})])


async def test_what_a_former_key_of_the_log_has_signed_is_the_log_s_own(rig, tmp_path) -> None:
    old, new = rig.key, create_log_key(tmp_path / "next.key", ORIGIN)
    forged = head(rig, 1)
    for key in (old, replace(old, successor=new), new):
        rig.key = key
        async with desk_on(rig) as (desk, journal):
            await journal.append([NewRecord(kind="meter", source="site", data={})])
            if key is new:
                await desk.take_report(
                    report("another_root", await own_head(rig, journal, 1), forged)
                )
                assert await told(journal) == [("equivocation", "another_root")]


@pytest.mark.parametrize(
    "kind",
    [
        *("both are ours", "a stranger's head", "one head twice", "another reason"),
        *("another log", "another agent", "no such reason", "no head", "a batch"),
    ],
)
async def test_a_report_that_shows_nothing_is_refused(rig, kind: str) -> None:
    async with desk_on(rig) as (desk, journal):
        await journal.append([NewRecord(kind="meter", source="site", data={})])
        first, second = await own_head(rig, journal, 1), await own_head(rig, journal, 2)
        stranger = first.replace(rig.key.verifier.name, ORIGIN).replace("— ", "— x", 1)
        payload = {
            "both are ours": lambda: report("forked", first, second),
            "a stranger's head": lambda: report("another_root", first, stranger),
            "one head twice": lambda: report("another_root", first, first),
            "another reason": lambda: report("went_back", first, head(rig, 1)),
            "another log": lambda: report("another_root", first, head(rig, 1, origin="other/2")),
            "another agent": lambda: report("another_root", first, head(rig, 1), agent="edge-2"),
            "no such reason": lambda: report("angry", first, head(rig, 1)),
            "no head": lambda: report("another_root", first, 7),  # type: ignore[arg-type]
            "a batch": lambda: batch(1),
        }[kind]()
        await desk.take_report(payload)
        ((event, reason),) = await told(journal)
        assert event == "refused"
        assert reason in ("unproven", "malformed", "wrong_site")
        assert [one.code for one in desk.conditions()] == ["POOL_MESSAGE_REFUSED"]
        await journal.append([NewRecord(kind="meter", source="site", data={})])


async def test_a_disk_that_went_back_ends_its_log_and_takes_no_batch_a_second_time(
    rig, tmp_path: Path
) -> None:
    path, copy = tmp_path / "rig.sqlite", tmp_path / "head"
    rig._settings = replace(rig._settings, second_copy=copy)
    payload = batch(3)
    async with desk_on(rig) as (desk, _):
        answer = await desk.take_batch(payload)
        assert b'"taken"' in answer
    backup = Path(shutil.copy(path, tmp_path / "backup"))
    async with desk_on(rig) as (_, journal):
        await journal.append([NewRecord(kind="meter", source="site", data={})] * 9)
        seen = await own_head(rig, journal, journal.size)
    shutil.copy(backup, path)
    copy.unlink()  # the disk remembers nothing of what it had signed
    async with desk_on(rig) as (desk, journal):
        shown = head(rig, journal.size)
        with suppress(JournalError):
            await desk.take_report(report("went_back", seen, shown))
        with pytest.raises(JournalError, match="start the agent again"):
            await journal.append([NewRecord(kind="meter", source="site", data={})])
    async with desk_on(rig) as (desk, journal):
        assert journal.key.origin.endswith("/2")
        assert desk.sequence == 3
        assert await desk.take_batch(payload) == answer
        assert b'"replayed"' in await desk.take_batch(batch(2))
        assert [one.code for one in desk.conditions()] == ["POOL_MESSAGE_REFUSED"]
