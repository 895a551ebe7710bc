"""A journal written by the agent's own keeper in virtual time is decided again to the last bit."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from simulator.__main__ import app
from simulator.replay.run import ReplayError, Result, Span, replay


def followed(path: Path, **more) -> Result:
    """The replay, which must not have found anything."""
    result = replay(path, **more)
    assert result.found is None, result.found
    return result


def test_every_tick_of_both_lives_is_the_recorded_one(journal: Path, records) -> None:
    result = followed(journal)
    assert (result.counts.boots, result.counts.ticks, result.holes) == (2, 300, ())
    assert result.counts.purchases == 3
    assert result.counts.commands > 0
    assert result.counts.stages == len(records(journal, "throttle")) > 0
    assert result.counts.entries > 200
    modes = {tick["d"]["mode"] for tick in records(journal, "tick")}
    assert modes >= {"following", "blind", "no_purchase"}
    assert result.counts.decisions == len(records(journal, "decision"))


def test_every_record_of_it_is_as_its_schema_says(journal: Path, records, schemas) -> None:
    written = [record for kind in schemas.kinds for record in records(journal, kind)]
    assert [(r["i"], fault) for r in written for fault in schemas.faults(r)] == []
    kinds = {record["k"] for record in written}
    assert kinds >= {"boot", "meter", "tick", "frame", "ledger", "decision", "throttle", "gap"}


def test_another_reserve_parts_at_the_first_tick_that_it_rules(journal: Path, records) -> None:
    honest = followed(journal)

    def revise(parameters):
        return replace(parameters, reserve_share=parameters.reserve_share + 0.01)

    result = replay(journal, revise=revise)
    assert result.found is not None
    assert result.found.field == "power_cap_w"
    assert float(result.found.replayed) < float(result.found.recorded)
    first_ruled = next(
        tick for tick in records(journal, "tick") if tick["d"]["mode"] == "following"
    )
    assert abs(result.found.at_ms - first_ruled["t"] // 1000) <= 15_000
    (at,) = [t for t in records(journal, "tick") if t["i"] == result.found.index]
    assert at["t"] // 1000 == result.found.at_ms
    assert at["d"]["power_cap_w"] == result.found.recorded
    assert result.counts.ticks < honest.counts.ticks


@pytest.mark.parametrize(
    ("kind", "old", "field"),
    [
        ("tick", '"planned_w":"', "planned_w"),
        ("decision", '"expected_w":', "decision.commands[0].expected_w"),
        ("ledger", '"over_wh":', "ledger.over_wh"),
    ],
)
def test_what_was_changed_in_the_journal_is_named(
    journal: Path, tmp_path: Path, kind: str, old: str, field: str
) -> None:
    copy = Path(shutil.copy(journal, tmp_path / "copy.sqlite"))
    with closing(sqlite3.connect(copy)) as opened:
        (index,) = opened.execute(
            "SELECT i FROM records WHERE kind = ? AND instr(CAST(body AS TEXT), ?) > 0"
            ' AND instr(CAST(body AS TEXT), \'"event":"state"\') = 0'
            " ORDER BY i LIMIT 1 OFFSET 1",
            (kind, old),
        ).fetchone()
        opened.execute(
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB) WHERE i = ?",
            (old, f"{old}1", index),
        )
        opened.commit()
    found = replay(copy).found
    assert found is not None
    assert (found.index, found.field) == (index, field)


def test_a_reading_changed_by_one_watt_hour_shows(journal: Path, tmp_path: Path, records) -> None:
    copy = Path(shutil.copy(journal, tmp_path / "copy.sqlite"))
    meter = records(copy, "meter")[150]
    old = meter["d"]["energy_import_wh"]
    meter["d"]["energy_import_wh"] = old + 1
    with closing(sqlite3.connect(copy)) as opened:
        opened.execute("UPDATE records SET body = ? WHERE i = ?", (orjson.dumps(meter), meter["i"]))
        opened.commit()
    found = replay(copy).found
    assert found is not None
    assert 0 < found.index - meter["i"] <= 3


def test_a_stretch_begins_at_the_frame_before_it(journal: Path, records) -> None:
    ticks = records(journal, "tick")
    second_boot_ms = records(journal, "boot")[1]["t"] // 1000
    result = followed(journal, span=Span(from_ms=second_boot_ms + 30_000))
    assert result.counts.ticks == 90
    until_ms = ticks[99]["t"] // 1000
    assert followed(journal, span=Span(to_ms=until_ms)).counts.ticks == 100


async def test_readings_that_were_dropped_are_a_hole_and_no_lie(recorded, records) -> None:
    rig = recorded(6)
    async with rig.boot() as life:
        await life.buy()
        await life.go(40)
        await life.recorder.flush()
        for _ in range(25):
            life.recorder.is_full = True
            await life.go(1)
        life.recorder.is_full = False
        await life.go(40)
    result = followed(rig.path)
    assert result.counts.ticks == 80
    (hole,) = result.holes
    frames = [r["d"]["why"] for r in records(rig.path, "frame") if r["d"]["part"] == 0]
    assert frames == ["start", "loss"]
    assert hole.to_index == records(rig.path, "frame")[-1]["i"]
    (gap,) = [r for r in records(rig.path, "gap") if r["d"]["event"] == "thinned"]
    assert gap["d"]["records"] == sum(gap["d"]["kinds"].values()) >= 25
    assert gap["d"]["kinds"]["tick"] >= 25
    assert gap["d"]["reason"] == "quota"


async def test_a_change_of_the_state_without_a_record_is_caught_by_a_frame(
    recorded, records
) -> None:
    rig = recorded(4)
    async with rig.boot() as life:
        await life.buy()
        await life.go(20)
        life.point.state = replace(life.point.state, base_load_w=77.0)
        await life.go(20)
    frames = [r["d"]["why"] for r in records(rig.path, "frame") if r["d"]["part"] == 0]
    assert frames == ["start", "change"]
    assert followed(rig.path).counts.ticks == 40


async def test_an_hours_frame_must_be_the_state_that_was_reached(recorded, records) -> None:
    rig = recorded(2)
    async with rig.boot() as life:
        await life.go(20)
        life.point._transcript._frame_due_s = 0.0
        await life.go(20)
    frames = [r["d"]["why"] for r in records(rig.path, "frame") if r["d"]["part"] == 0]
    assert frames == ["start", "hour"]
    result = followed(rig.path)
    assert (result.counts.frames, result.counts.ticks) == (2, 40)
    end_ms = records(rig.path, "tick")[-1]["t"] // 1000
    assert followed(rig.path, span=Span(from_ms=end_ms - 5_000)).counts.ticks == 20


async def test_a_shadow_run_advises_without_memory_of_it(recorded, records) -> None:
    rig = recorded(8, is_shadow=True)
    async with rig.boot() as life:
        await life.buy()
        await life.go(150)
        memories = life.point.state.memories.values()
    assert rig.submitted == 0
    assert all(len(m.desired.boards_on) == 3 and m.defiance == 0 for m in memories)
    advised = [r["d"] for r in records(rig.path, "decision") if r["d"]["commands"]]
    assert advised
    assert all(d["is_shadow"] for d in advised)
    assert len(advised) < 60
    result = followed(rig.path)
    assert result.is_shadow
    assert result.counts.commands > len(advised)


def test_a_foreign_file_gets_one_sentence(tmp_path: Path, journal: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_bytes(b"not a journal at all" * 100)
    for path, words in [(foreign, "not a journal"), (tmp_path / "none", "does not exist")]:
        done = CliRunner().invoke(app, ["replay", str(path)])
        assert done.exit_code == 2, done.output
        assert words in " ".join(done.stderr.split())
    old = Path(shutil.copy(journal, tmp_path / "old.sqlite"))
    with closing(sqlite3.connect(old)) as opened:
        opened.execute("DELETE FROM records WHERE kind IN ('tick', 'frame')")
        opened.commit()
    with pytest.raises(ReplayError, match="holds no ticks"):
        replay(old)


def test_the_command_says_what_it_did(journal: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(journal), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["is_identical"]
    assert (document["ticks"], document["boots"], document["difference"]) == (300, 2, None)
    assert "identical" in CliRunner().invoke(app, ["replay", str(journal)]).stdout
    wrong = CliRunner().invoke(app, ["replay", str(journal), "--from", "yesterday"])
    assert wrong.exit_code == 2
    assert "UTC milliseconds" in " ".join(wrong.stderr.split())


@settings(deadline=None, max_examples=10)
@given(share=st.integers(1, 99))
def test_a_journal_cut_short_anywhere_is_followed_to_the_cut(journal: Path, share: int) -> None:
    copy = journal.with_name("cut.sqlite")
    shutil.copy(journal, copy)
    with closing(sqlite3.connect(copy)) as opened:
        (size,) = opened.execute("SELECT count(*) FROM records").fetchone()
        opened.execute("DELETE FROM records WHERE i > ?", (max(size * share // 100, 20),))
        opened.commit()
    assert followed(copy).counts.ticks > 0
