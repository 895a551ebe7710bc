"""What others say of a log counts only where this device has signed it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agent.broker import Message
from agent.core.merkle import EMPTY_ROOT
from agent.core.note import Checkpoint, parse_note
from agent.epochs import (
    break_between,
    break_by_other_key,
    break_in_the_dark,
    is_same_log,
    next_origin,
)
from agent.records import JournalError, NewRecord
from agent.siteclock import Stamp

BASE = "pool.example/edge/farm-1-edge-1"
TOPIC = "kwota/v1/farm-1/edge-1"


def meter(power_mw: int) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": power_mw})


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_receipt_of_another_past_ends_the_log_only_where_we_signed_it(
    mosquitto, rig, tmp_path: Path, is_ours: bool
) -> None:
    path, pool = tmp_path / "rig.sqlite", rig.small_pool(is_mute=True)
    async with rig.journal() as journal:
        await journal.append([meter(1)])
    backup = Path(shutil.copy(path, tmp_path / "backup"))
    async with rig.journal() as journal:
        await journal.append([meter(2)] * 30)
        ahead = await journal.newest_checkpoint(0, journal.size)
    shutil.copy(backup, path)
    text = ahead.note if is_ours else ahead.note.replace("\n33\n", "\n34\n")
    receipt = Message(topic=f"{TOPIC}/receipt", payload=rig.cosign(parse_note(text), 1_795_000_500))
    async with mosquitto() as broker, rig.journal() as journal:
        publisher = rig.publisher_of(journal, broker.port)
        try:
            async with rig.pool_on(broker.port, pool) as connection, rig.delivering(publisher):
                await rig.until(lambda: bool(pool.messages))
                await connection.publish(receipt)
                await rig.until(lambda: bool(publisher.delivery.faults), 2.0)
        except* JournalError:
            pass
        if is_ours:
            with pytest.raises(JournalError, match=r"33 of .* were signed; start the agent again"):
                await journal.append([meter(3)])
        else:
            await journal.append([meter(3)])


def test_nothing_was_signed_is_no_break() -> None:
    empty = Checkpoint(origin=f"{BASE}/1", size=0, root=EMPTY_ROOT)
    assert break_between(empty, empty, None) is None
    later = Checkpoint(origin=f"{BASE}/2", size=1, root=EMPTY_ROOT)
    assert break_between(empty, later, None) is None
    assert break_between(later, empty, None) is not None
    stranger = Checkpoint(origin="pool.example/edge/farm-2-edge-1/9", size=5, root=EMPTY_ROOT)
    assert break_between(stranger, later, None) is None


def test_only_epochs_of_one_log_follow_on_each_other() -> None:
    assert is_same_log(f"{BASE}/1", f"{BASE}/12")
    for other in (f"{BASE}x/1", BASE, f"{BASE}/0", f"{BASE}/a", ""):
        assert not is_same_log(f"{BASE}/1", other)


def test_an_unproven_head_counts_only_for_an_empty_journal_of_the_same_log() -> None:
    def head(origin: str, size: int) -> Checkpoint:
        return Checkpoint(origin=origin, size=size, root=EMPTY_ROOT)

    empty = head(f"{BASE}/1", 0)
    found = break_by_other_key(head(f"{BASE}/3", 5), empty)
    assert found is not None
    assert found.lost.size == 5
    for claimed, kept in (
        (None, empty),
        (head(f"{BASE}/3", 0), empty),
        (head("pool.example/edge/farm-2-edge-1/1", 5), empty),
        (head(f"{BASE}/3", 5), head(f"{BASE}/1", 1)),
        (head(f"{BASE}/999999999", 5), empty),
    ):
        assert break_by_other_key(claimed, kept) is None


def test_an_unknown_past_counts_only_for_an_empty_journal_and_needs_a_clock_that_is_set() -> None:
    def stamp(time_s: int) -> Stamp:
        return Stamp(boottime_ns=5, time_us=time_s * 1_000_000, quality="I", max_error_us=9)

    empty = Checkpoint(origin=f"{BASE}/1", size=0, root=EMPTY_ROOT)
    now = stamp(1_795_000_000)
    found = break_in_the_dark("it cannot be read", empty, now)
    assert found is not None
    assert next_origin(found) == f"{BASE}/{1_795_000_000 // 60}"
    assert break_in_the_dark("", empty, now) is None
    assert break_in_the_dark("it cannot be read", replace(empty, size=1), now) is None
    assert break_in_the_dark("it cannot be read", empty, stamp(1_000_000)) is None
