"""A disk that was set back, cloned or lost begins a new log, and the books go on in it."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from disk import BASE, Disk, first_of, meter

from agent.core.ledger import Transaction
from agent.core.note import parse_checkpoint, parse_note
from agent.epochs import (
    FORKED,
    MISSING,
    WENT_BACK,
    key_of_epoch,
    split_origin,
)
from agent.handover.export import export_zip
from agent.handover.selection import Wanted
from agent.handover.source import open_stopped
from agent.limitlog import limit_cleared_record, recover_limits
from agent.records import JournalError, NewRecord
from agent.recovery import purchases_on_record, recover
from agent.testimony import purchase_record
from agent.verify import Keys, verify


def bought(name: str) -> NewRecord:
    return purchase_record(
        Transaction(
            transaction_id=name,
            meter_point="mp-1",
            start_ms=4_000_000_000_000,
            end_ms=4_000_000_900_000,
            energy_wh=10_000,
            price_kzt_per_kwh="24.5",
            source="single_purchaser",
            received_at_ms=1,
        )
    )


def state(booked_wh: int, purchases_from: int) -> NewRecord:
    data = {
        "event": "state",
        "booked_wh": booked_wh,
        "booked_at_ms": 1_700_000_000_000,
        "metered_wh": booked_wh,
        "unknown_wh": 0,
        "allocated_wh": 0,
        "over_wh": booked_wh,
        "offset_wh": 0,
        "serial": "4711",
        "owed_wh": 0,
        "held": None,
        "quarter": None,
        "purchases_from": purchases_from,
        "open": [["tx-2", 0, None, 0]],
    }
    return NewRecord(kind="ledger", source="mp-1", data=data)


async def run_and_set_back(disk: Disk) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(n) for n in range(5)])
        await journal.append([bought("tx-1")])
        await journal.append([state(4, journal.size), bought("tx-2")])
        await journal.append([state(5, 7), meter(6), meter(7)])
    disk.backup()
    async with disk.boot() as journal:
        await journal.append([meter(8)])
    disk.restore()


async def test_an_untouched_disk_goes_on_with_its_log(disk: Disk) -> None:
    for boots in (1, 2, 3):
        async with disk.boot() as journal:
            assert (journal.boot, journal.key.origin, journal.opening) == (boots, f"{BASE}/1", None)
            await journal.append([meter(1)])
    assert disk.is_sound()


async def test_a_disk_that_was_set_back_begins_a_new_epoch_that_says_why(
    disk: Disk, schemas
) -> None:
    await run_and_set_back(disk)
    lost = parse_checkpoint(parse_note(disk.second_copy.read_text()).text)
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"
        first = await first_of(journal)
        assert journal.opening == first["d"]["epoch"]
    assert schemas.faults(first) == []
    epoch = first["d"]["epoch"]
    assert (epoch["number"], epoch["reason"]) == (2, WENT_BACK)
    assert (epoch["lost"]["origin"], epoch["lost"]["size"]) == (lost.origin, lost.size)
    assert epoch["kept"]["size"] < epoch["lost"]["size"]
    assert disk.is_sound()
    with open_stopped(disk.path) as source:
        device = key_of_epoch(disk.key.verifier, source.origin)
        file = disk.directory / "bundle.zip"
        await export_zip(source, file, Wanted(), device=device, pool=None)
    report = verify(file, Keys(device=device))
    assert (report.origin, report.defects) == (f"{BASE}/2", ())


async def test_the_old_log_is_laid_aside_as_it_was(disk: Disk) -> None:
    await run_and_set_back(disk)
    old = (disk.directory / "backup").read_bytes()
    async with disk.boot():
        pass
    (aside,) = disk.directory.glob("journal-epoch-1-*.sqlite")
    assert disk.is_sound(aside)
    assert verify(aside, Keys(device=disk.key.verifier)).origin == f"{BASE}/1"
    assert len(old) == len(aside.read_bytes())


async def test_the_books_go_on_in_the_new_epoch(disk: Disk) -> None:
    await run_and_set_back(disk)
    async with disk.boot() as journal:
        books = await recover(journal, meter_point="mp-1", meter_id="site")
        known = await purchases_on_record(journal, ["tx-1", "tx-2", "tx-3"])
        carried = [json.loads(line) for line in await journal.tail(100) if b'"ci":' in line]
        opening = journal.opening
    assert set(known) == {"tx-1", "tx-2"}  # one of them had been settled: its id stays taken
    assert [account.transaction.transaction_id for account in books.ledger.accounts] == ["tx-2"]
    assert books.ledger.booked_wh == 7  # the readings behind the last state are carried as well
    assert opening is not None
    assert len(carried) == opening["carried"] == 5
    assert [record["ci"] for record in carried] == sorted(record["ci"] for record in carried)


async def test_limits_stay_told_and_cleared(disk: Disk) -> None:
    async with disk.boot() as journal:
        for name, until_ms in (("o-1", None), ("o-2", None)):
            data = {
                "event": "told",
                "meter_point": "mp-1",
                "kind": "manual",
                "source": "x",
                "power_w": 5,
                "from_ms": 1,
                "until_ms": until_ms,
                "safe_w": 0,
                "words": "5 W",
                "reason": "",
                "told_by": "cli",
                "received_at_ms": 1,
            }
            await journal.append([NewRecord(kind="limit", source=name, data=data)])
        cleared = limit_cleared_record("mp-1", "o-1", told_by="cli", cleared_at_ms=2)
        await journal.append([cleared])
        before = await recover_limits(journal, meter_point="mp-1", rated_w=100.0)
    disk.backup()
    async with disk.boot():
        pass
    disk.restore()
    async with disk.boot() as journal:
        assert journal.opening is not None
        assert await recover_limits(journal, meter_point="mp-1", rated_w=100.0) == before


async def test_a_clone_that_went_its_own_way_is_told_by_what_was_signed(disk: Disk) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.backup()
    async with disk.boot() as journal:
        await journal.append([meter(2)])
    signed = disk.second_copy.read_text()
    disk.restore()
    disk.second_copy.unlink()
    async with disk.boot() as journal:
        await journal.append([meter(3), meter(4), meter(5)])
    disk.second_copy.write_text(signed)
    async with disk.boot() as journal:
        assert journal.opening is not None
        assert journal.opening["reason"] == FORKED


async def test_a_journal_that_is_gone_does_not_begin_anew_under_its_name(disk: Disk) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.path.unlink()
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"
        epoch = (await first_of(journal))["d"]["epoch"]
    assert (epoch["reason"], epoch["lost"]["size"], epoch["kept"]) == (MISSING, 2, None)
    assert list(disk.directory.glob("journal-epoch-*")) == []


async def test_epochs_are_counted_on_and_the_newest_one_is_gone_on_with(disk: Disk) -> None:
    for number in (2, 3, 4):
        async with disk.boot() as journal:
            await journal.append([meter(1)])
        disk.backup()
        async with disk.boot() as journal:
            await journal.append([meter(1)])
        disk.restore()
        async with disk.boot() as journal:
            assert split_origin(journal.key.origin) == (BASE, number)
        async with disk.boot() as journal:
            assert split_origin(journal.key.origin) == (BASE, number)
            assert journal.boot == 3
        assert disk.is_sound()


async def test_a_disk_that_knows_no_epoch_but_the_first_follows_on_the_second(disk: Disk) -> None:
    await run_and_set_back(disk)
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.restore()
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/3"
        assert journal.opening is not None
        assert journal.opening["lost"]["origin"] == f"{BASE}/2"
        assert journal.opening["kept"]["origin"] == f"{BASE}/1"


async def test_a_checkpoint_that_is_damaged_is_said_and_no_reason_for_an_epoch(disk: Disk) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    kept = disk.second_copy.read_text()
    async with disk.boot() as journal:
        await journal.append([meter(2)])
        await journal.append([meter(3)])
    disk.second_copy.write_text(kept)
    with closing(sqlite3.connect(disk.path)) as connection:
        connection.execute("UPDATE checkpoints SET note = 'x' WHERE size = 2")
        connection.commit()
    with pytest.raises(JournalError, match="move it away: the next start opens a new epoch"):
        async with disk.boot():
            pass
    disk.path.rename(disk.directory / "damaged")
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"


async def test_a_second_copy_that_cannot_be_written_holds_nothing_up(disk: Disk) -> None:
    disk.second_copy.mkdir()
    async with disk.boot() as journal:
        assert await journal.append([meter(1)]) == range(1, 2)


async def test_a_start_that_is_cut_off_in_the_middle_is_done_again(disk: Disk, monkeypatch) -> None:
    await run_and_set_back(disk)

    def cut_off(*_: object) -> None:
        raise JournalError("no power")

    with monkeypatch.context() as patched:
        patched.setattr("agent.store.put_in_place", cut_off)
        with pytest.raises(JournalError, match="no power"):
            async with disk.boot():
                pass
    assert disk.path.read_bytes()
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"
        books = await recover(journal, meter_point="mp-1", meter_id="site")
        assert books.ledger.booked_wh == 7
    assert len(list(disk.directory.glob("journal-epoch-1-*.sqlite"))) == 1


async def test_what_the_pool_has_of_another_past_ends_the_log(disk: Disk) -> None:
    await run_and_set_back(disk)
    signed = disk.second_copy.read_text()
    disk.second_copy.unlink()
    async with disk.boot() as journal:
        assert journal.opening is None  # nothing on this disk tells
        assert await journal.refute("nonsense") == ""
        assert "were signed" in await journal.refute(signed)
        with pytest.raises(JournalError, match="start the agent again"):
            await journal.append([meter(9)])
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"


async def test_two_clones_do_not_drive_each_other_on(disk: Disk) -> None:
    """What another copy of this disk signs as the same epoch is said, and ends nothing so soon."""
    await run_and_set_back(disk)
    copy = Disk(disk.directory / "copy", disk.key)
    copy.directory.mkdir()
    for path in (disk.path, disk.second_copy):
        shutil.copy(path, copy.directory / path.name)
    async with copy.boot() as journal:
        await journal.append([meter(1)] * 20)
    async with disk.boot() as journal:
        assert "were signed" in await journal.refute(copy.second_copy.read_text())
        await journal.append([meter(9)])
