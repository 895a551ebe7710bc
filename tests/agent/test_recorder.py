"""What the recorder drops is said, and what it must not drop is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

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
