"""What the recorder drops is said, and what it must not drop is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import recorder as recording
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.tally import SLOT_BYTES, Tally, TallyError, Untold, tally_of

ORIGIN = "pool.example/edge/farm-1-edge-1/1"


@asynccontextmanager
async def opened(directory: Path, key: LogKey, max_bytes: int) -> AsyncIterator[Journal]:
    path = directory / "journal.sqlite"
    options = JournalSettings(path=path, max_bytes=max_bytes, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        yield journal


def record(kind: str, length: int = 10) -> NewRecord:
    return NewRecord(kind=kind, source="site", data={"text": "x" * length})


async def gaps(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in await journal.tail(100, "gap")]


async def test_a_gap_says_what_was_dropped_of_each_kind_since_when_and_why(
    tmp_path: Path, schemas
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    async with opened(tmp_path, key, 10_000_000) as journal:
        recorder = Recorder(journal)
        before_ms = journal.now_ms()
        recorder.is_full = True
        recorder.keep([record("meter"), record("meter"), record("tick")], is_evidence=False)
        await asyncio.sleep(0.01)
        recorder.keep([record("sweep")], is_evidence=False)
        recorder.keep([record("decision")])
        recorder.is_full = False
        await recorder.flush()
        (gap,) = await gaps(journal)
    assert recorder.lost == 4
    data = gap["d"]
    assert (data["event"], data["records"], data["reason"]) == ("thinned", 4, "quota")
    assert data["kinds"] == {"meter": 2, "tick": 1, "sweep": 1}
    assert before_ms <= data["since_ms"] < data["until_ms"] <= gap["t"] // 1000
    assert schemas.faults(gap) == []


async def test_readings_that_are_dropped_last_are_declared_at_the_stop(tmp_path: Path) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    async with opened(tmp_path, key, 600_000) as journal:
        recorder = Recorder(journal)
        for _ in range(40):
            recorder.keep([record("meter", 20_000)], is_evidence=False)
            await recorder.flush()
        assert recorder.is_full
        assert recorder.lost > 0
        assert await gaps(journal) == []
        recorder.keep([record("decision")])
        await recorder.flush()  # there is room for evidence, and so for the gap behind it
        assert not recorder.is_full
        (gap,) = await gaps(journal)
    assert gap["d"]["kinds"] == {"meter": recorder.lost}


async def test_the_gap_itself_waits_for_room_as_evidence_does(tmp_path: Path) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    async with opened(tmp_path, key, 200_000) as journal:
        recorder = Recorder(journal)
        recorder.is_full = True
        recorder.keep([record("tick")], is_evidence=False)
        recorder.is_full = False
        for _ in range(20):
            recorder.keep([record("decision", 20_000)])
        await recorder.flush()
        assert recorder.is_full
        assert journal.size == 1
    async with opened(tmp_path, key, 2_000_000) as journal:
        recorder._journal = journal
        await recorder.flush()
        assert journal.size == 2 + 20 + 1
        assert [gap["d"]["records"] for gap in await gaps(journal)] == [1]


async def drop_while_full(journal: Journal, tally: Tally, count: int) -> Recorder:
    """A recorder on a full journal that has dropped readings, and has counted them on the disk."""
    recorder = Recorder(journal, tally)
    recorder.is_full = True
    task = asyncio.create_task(recorder.run())
    recorder.keep([record("tick")] * count, is_evidence=False)
    for _ in range(500):
        found = tally.read()
        if found is not None and found.kinds == {"tick": count}:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("the count is not on the disk")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return recorder


async def test_what_was_dropped_before_a_kill_is_declared_by_the_next_start(
    tmp_path: Path, schemas
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    tally = tally_of(tmp_path / "journal.sqlite")
    async with opened(tmp_path, key, 10_000_000) as journal:
        before_ms = journal.now_ms()
        await drop_while_full(journal, tally, 7)
    async with opened(tmp_path, key, 10_000_000) as journal:
        after = Recorder(journal, Tally(tally.path))
        await after.flush()
        (gap,) = await gaps(journal)
    assert (gap["d"]["kinds"], gap["d"]["reason"]) == ({"tick": 7}, "quota")
    assert before_ms <= gap["d"]["since_ms"] < gap["d"]["until_ms"]
    assert gap["d"]["at_least"] is True
    assert schemas.faults(gap) == []


async def test_after_a_stop_in_order_the_count_is_exact_and_declared_once(tmp_path: Path) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    tally = tally_of(tmp_path / "journal.sqlite")
    async with opened(tmp_path, key, 10_000_000) as journal:
        recorder = await drop_while_full(journal, tally, 3)
        recorder.keep([record("sweep")], is_evidence=False)
        await recorder.flush()
        assert await gaps(journal) == []
    for _ in range(2):
        async with opened(tmp_path, key, 10_000_000) as journal:
            await Recorder(journal, Tally(tally.path)).flush()
            (gap,) = await gaps(journal)
    assert gap["d"]["kinds"] == {"tick": 3, "sweep": 1}
    assert "at_least" not in gap["d"]


async def test_what_a_gap_has_told_after_the_count_was_written_is_not_told_again(
    tmp_path: Path, monkeypatch
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    tally = tally_of(tmp_path / "journal.sqlite")
    async with opened(tmp_path, key, 10_000_000) as journal:
        recorder = await drop_while_full(journal, tally, 4)
        recorder.is_full = False
        monkeypatch.setattr(recording, "TALLY_EVERY_S", 1e9)  # killed before it is written anew
        recorder.keep([record("decision")])
        await recorder._write(recorder._batch())
        assert len(await gaps(journal)) == 1
    async with opened(tmp_path, key, 10_000_000) as journal:
        await Recorder(journal, Tally(tally.path)).flush()
        assert [gap["d"]["records"] for gap in await gaps(journal)] == [4]


async def test_a_gap_that_waits_for_room_itself_is_counted_as_untold(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(recording, "TALLY_EVERY_S", 0.0)
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    tally = tally_of(tmp_path / "journal.sqlite")
    async with opened(tmp_path, key, 200_000) as journal:
        recorder = await drop_while_full(journal, tally, 2)
        recorder.is_full = False
        for _ in range(20):
            recorder.keep([record("decision", 20_000)])
        await recorder.flush()
        assert recorder.is_full
    untold = Tally(tally.path).read()
    assert untold is not None
    assert untold.kinds == {"tick": 2}


def test_a_count_whose_writing_was_cut_off_leaves_the_one_before(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "count")
    assert tally.read() is None
    tally.make_room()
    assert tally.read() is None
    for n in (1, 2):
        tally.write(untold(n))
    content = bytearray(tally.path.read_bytes())
    content[12:20] = b"\0" * 8  # the second turn lies in the first place
    tally.path.write_bytes(content)
    assert Tally(tally.path).read() == untold(1)
    tally.path.write_bytes(b"x" * 2 * SLOT_BYTES)
    with pytest.raises(TallyError, match="no count that is whole"):
        Tally(tally.path).read()


def untold(count: int) -> Untold:
    return Untold(
        kinds={"tick": count},
        since_ms=1,
        is_by_quota=True,
        origin=ORIGIN,
        from_index=0,
        is_final=False,
    )


async def test_a_count_that_cannot_be_kept_or_read_is_said_and_holds_nothing_up(
    tmp_path: Path, caplog
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    tally = tally_of(tmp_path / "journal.sqlite")
    tally.path.mkdir()
    async with opened(tmp_path, key, 10_000_000) as journal:
        recorder = Recorder(journal, tally)
        recorder.is_full = True
        recorder.keep([record("tick")], is_evidence=False)
        await recorder.flush()
        recorder.is_full = False
        await recorder.flush()
        assert [gap["d"]["records"] for gap in await gaps(journal)] == [1]
    assert "event=unusable" in caplog.text
    assert caplog.text.count("event=unwritten") == 1
