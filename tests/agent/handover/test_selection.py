"""What is handed over of a purchase, and of a span of time."""

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.handover.selection import SelectionError, Wanted
from agent.handover.shape import members_of
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

START_MS = 4_000_000_000_000 - 4_000_000_000_000 % 900_000
END_MS = START_MS + 1_800_000


def records_in(bundle: Path) -> list[dict]:
    return [json.loads(line) for line in members_of(bundle)["records.ndjson"].splitlines()]


def offsets(records: list[dict], kind: str) -> list[int]:
    return [round((r["t"] / 1000 - START_MS) / 1000) for r in records if r["k"] == kind]


def test_of_a_purchase_all_is_there_from_before_its_window_until_it_is_settled(farm) -> None:
    records = records_in(farm.export(Wanted(transactions=("tx-1",)))[0])
    assert offsets(records, "statement") == [1830]
    assert offsets(records, "preflight") == [-600]
    assert [r for r in offsets(records, "meter") if r > 1900] == []
    assert "tick" not in {record["k"] for record in records}
    events = [r["d"]["event"] for r in records if r["k"] == "ledger"]
    assert events == ["state", "purchase", "booked", "booked", "booked", "closed", "state"]


def test_what_stood_before_comes_along_and_what_no_longer_stood_does_not(farm) -> None:
    records = records_in(farm.export(Wanted(transactions=("tx-1",)))[0])
    assert [r["d"]["code"] for r in records if r["k"] == "alarm"][:1] == ["STANDS"]
    assert "GONE" not in {r["d"].get("code") for r in records}
    assert offsets(records, "frame") == [-7200, -7200]
    assert {r["s"] for r in records if r["k"] == "frame"} == {"mp-1"}
    assert offsets(records, "config") == [-7300]
    assert offsets(records, "limit") == [-3000]


def test_the_batch_that_sold_a_purchase_comes_along_and_no_other(farm) -> None:
    records = records_in(farm.export(Wanted(transactions=("tx-1",)))[0])
    sold = [(r["d"]["event"], r["d"]["sequence"]) for r in records if r["k"] == "pool"]
    assert sold == [("results", 1), ("taken", 1)]


async def test_readings_that_are_told_missing_only_after_the_settlement_are_in_the_bundle(
    farm, tmp_path
) -> None:
    later = replace(farm, directory=tmp_path, journal=tmp_path / "journal.sqlite")
    shutil.copy(farm.journal, later.journal)
    options = JournalSettings(path=later.journal, max_bytes=50_000_000, version="0.1.0")
    async with open_journal(options, farm.key, SiteClock()) as journal:
        await journal.append([thinned(END_MS - 1), thinned(END_MS), thinned(START_MS + 60_000)])
    bundle = (await asyncio.to_thread(later.export, Wanted(transactions=("tx-1",))))[0]
    told = [r["d"] for r in records_in(bundle) if r["d"].get("event") == "thinned"]
    assert [data["since_ms"] - START_MS for data in told] == [1_799_999, 60_000]
    (name,) = (n for n in members_of(bundle) if n.startswith("receipts/") and n.endswith(".json"))
    gaps = json.loads(members_of(bundle)[name])["gaps"]
    assert [gap["reason"] for gap in gaps] == ["silent", "quota", "quota"]
    keys = Keys(device=farm.key.verifier, pool=farm.pool)
    assert verify(bundle, keys).is_sound


def thinned(since_ms: int) -> NewRecord:
    """Told hours after the window, as by a start that finds room."""
    data = {"event": "thinned", "records": 3, "kinds": {"meter": 3}, "since_ms": since_ms}
    data |= {"until_ms": since_ms + 7_200_000, "reason": "quota"}
    return NewRecord(kind="gap", source="agent", data=data, taken_at_ms=END_MS + 9_000_000)


def test_another_point_s_books_and_decisions_stay_at_home(farm) -> None:
    records = records_in(farm.export(Wanted(transactions=("tx-1",)))[0])
    own = [r for r in records if r["k"] in ("ledger", "decision", "statement", "preflight")]
    assert {r["s"] for r in own} == {"mp-1"}


def test_two_purchases_are_handed_over_together(farm) -> None:
    bundle, exported = farm.export(Wanted(transactions=("tx/2 <x>", "tx-1")))
    assert exported.transactions == ("tx/2 <x>", "tx-1")
    names = sorted(n for n in members_of(bundle) if n.startswith("receipts/"))
    assert names[::2] == ["receipts/001-tx_2__x_.html", "receipts/002-tx-1.html"]
    assert {r["s"] for r in records_in(bundle) if r["k"] == "decision"} == {"mp-1", "mp-2"}


def test_of_a_span_of_time_nothing_is_left_out(farm) -> None:
    everything = records_in(farm.export(Wanted())[0])
    assert [r["i"] for r in everything] == list(range(len(everything)))
    span = Wanted(from_ms=START_MS, to_ms=END_MS)
    part = records_in(farm.export(span)[0])
    inside = [r["i"] for r in everything if START_MS * 1000 <= r["t"] < END_MS * 1000]
    run = range(inside[0], inside[-1] + 1)
    assert set(run) <= {r["i"] for r in part}
    assert all(r["k"] != "tick" for r in part if r["i"] not in run)


def test_a_span_has_receipts_of_what_lies_wholly_in_it(farm) -> None:
    assert farm.export(Wanted(from_ms=START_MS))[1].transactions == ("tx-1",)
    assert farm.export(Wanted(from_ms=START_MS + 1))[1].transactions == ()
    assert farm.export(Wanted(to_ms=START_MS))[1].transactions == ()


def test_a_span_without_a_record_or_beside_purchases_is_refused(farm) -> None:
    with pytest.raises(SelectionError, match="no record in that span"):
        farm.export(Wanted(from_ms=END_MS * 2))
    with pytest.raises(SelectionError, match="not both"):
        Wanted(transactions=("tx-1",), from_ms=1)


def test_a_journal_that_does_not_lead_to_its_root_is_not_handed_over(farm, tmp_path) -> None:
    copy = tmp_path / "journal.sqlite"
    shutil.copy(farm.journal, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute(
            "UPDATE records SET body = CAST(replace(body, '999990', '999999') AS BLOB)"
        )
    with pytest.raises(SelectionError, match="do not lead to the signed root"):
        replace(farm, journal=copy).export(Wanted(transactions=("tx-1",)))
    assert not list(tmp_path.glob("*.zip"))


def test_a_key_of_another_log_is_not_put_beside_it(farm, tmp_path) -> None:
    other = create_log_key(tmp_path / "other.key", "pool.example/edge/other/1")
    with pytest.raises(SelectionError, match="and the key is of pool"):
        replace(farm, key=other).export(Wanted(transactions=("tx-1",)))


def test_a_bundle_is_never_written_over(farm, tmp_path) -> None:
    bundle, _ = farm.export(Wanted(transactions=("tx-1",)))
    before = bundle.read_bytes()
    farm.count -= 1
    with pytest.raises(FileExistsError):
        farm.export(Wanted(transactions=("tx-1",)))
    assert bundle.read_bytes() == before
