"""Several meter points under one keeper, in virtual time: none changes what another decides."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from agent.alarms import Condition
from simulator.__main__ import app
from simulator.replay.run import Span, replay

WELL = (5, 1.0, [])
SILENT = [{"what": "meter_silent", "at_min": 0.7, "for_s": 60}]
FROZEN = [{"what": "meter_frozen", "at_min": 0.7, "for_s": 60}]
# What befalls the other point, and the mode that shows that it did.
TROUBLES = {
    "over-committed": ((7, 0.15, []), "shedding"),
    "nothing bought": ((7, 0.0001, []), "no_purchase"),
    "blind": ((7, 1.0, SILENT), "blind"),
    "frozen": ((7, 1.0, FROZEN), "blind"),
    "failing": ((7, 1.0, []), "following"),
}


async def run(rig, seconds: int = 150, spoil: Callable | None = None) -> None:
    async with rig.boot() as life:
        await life.go(10, is_durable=True)
        await life.buy()
        await life.go(30, is_durable=True)
        if spoil is not None:
            spoil(life)
        await life.go(seconds - 40, is_durable=True)


def spoiled(life) -> None:
    """The second point's tick fails from here on, whatever it is shown."""
    point = life.keeper.points[1]
    point.parameters = replace(point.parameters, meter_id="no such meter")


def ticks_of(records, path: Path, point: str) -> list[dict]:
    return [tick["d"] for tick in records(path, "tick") if tick["s"] == point]


@pytest.fixture(scope="module")
def alone(recorded_points) -> Path:
    """The journal of the first point without any other."""
    rig = recorded_points("alone", mp_1=WELL)
    asyncio.run(run(rig))
    return rig.path


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_point_decides_the_same_to_the_last_bit_whatever_befalls_another(
    alone: Path, recorded_points, records, trouble: str
) -> None:
    other, mode = TROUBLES[trouble]
    beside = recorded_points("beside", mp_1=WELL, mp_2=other)
    await run(beside, spoil=spoiled if trouble == "failing" else None)
    assert ticks_of(records, beside.path, "mp-1") == ticks_of(records, alone, "mp-1")
    assert mode in {tick["mode"] for tick in ticks_of(records, beside.path, "mp-2")}
    decided = [r["d"]["commands"] for r in records(beside.path, "decision") if r["s"] == "mp-1"]
    assert any(decided)
    assert all(c["miner"].startswith("mp-1-") for commands in decided for c in commands)


async def test_a_point_that_fails_is_told_and_starves_the_watchdog_until_it_ticks_again(
    recorded_points, records
) -> None:
    rig = recorded_points("failing", mp_1=WELL, mp_2=(4, 1.0, []))
    async with rig.boot() as life:
        await life.go(5)
        await life.buy()
        assert life.keeper.is_healthy()
        point = life.keeper.points[1]
        before = point.parameters
        spoiled(life)
        await life.go(1)
        assert life.keeper.is_healthy()  # once is no reason
        await life.go(2)
        assert not life.keeper.is_healthy()
        assert life.keeper.points[0].is_healthy()
        alarms = {(one.code, one.meter_point) for one in life.keeper.view().status.alarms}
        assert ("TICK_FAILED", "mp-2") in alarms
        point.parameters = before
        await life.go(30)
        assert life.keeper.is_healthy()
        codes = {one.code for one in life.keeper.view().status.alarms}
        assert "TICK_FAILED" not in codes
    raised = [r for r in records(rig.path, "alarm") if r["d"]["code"] == "TICK_FAILED"]
    assert [(r["d"]["event"], r["d"]["meter_point"]) for r in raised] == [
        ("raised", "mp-2"),
        ("cleared", "mp-2"),
    ]
    result = replay(rig.path)
    assert result.found is None
    assert {name: counts.ticks for name, counts in result.points.items()} == {
        "mp-1": 38,
        "mp-2": 35,
    }
    whys = [(r["s"], r["d"]["why"]) for r in records(rig.path, "frame") if r["d"]["part"] == 0]
    assert whys == [("mp-1", "start"), ("mp-2", "start"), ("mp-2", "loss")]


async def test_a_point_that_cannot_be_shown_is_governed_all_the_same(
    recorded_points, monkeypatch
) -> None:
    rig = recorded_points("unseen", mp_1=WELL, mp_2=(4, 1.0, []))
    async with rig.boot() as life:
        await life.go(3)
        point = life.keeper.points[1]
        monkeypatch.setattr(point, "_frame", replace(point._frame, addresses={}))
        await life.go(8)
        assert life.keeper.is_healthy()
        view = life.keeper.view()
        assert {row.meter_point for row in view.miners} == {"mp-1"}
        alarms = [(one.code, one.meter_point, one.severity) for one in view.status.alarms]
        assert ("SHOW_FAILED", "mp-2", "warning") in alarms
        assert point._transcript._tick == 11


async def test_a_machine_that_has_moved_is_shown_where_it_answers_and_where_it_was(
    recorded, monkeypatch
) -> None:
    rig = recorded(2)
    async with rig.boot() as life:
        moved: dict[str, str] = {}
        monkeypatch.setattr(life.point, "_frame", replace(life.point._frame, moved=moved))
        await life.go(3)
        first, *others = life.keeper.view().miners
        assert (first.address, first.moved_from) == ("virtual", None)
        moved[first.miner_id] = "luxos://10.1.3.7"
        await life.go(1)
        row, *rest = life.keeper.view().miners
        assert (row.address, row.moved_from) == ("luxos://10.1.3.7", "virtual")
        assert all(one.moved_from is None for one in rest)
        assert len(rest) == len(others)


async def test_what_somebody_else_finds_wrong_is_an_alarm_until_it_is_well(recorded) -> None:
    rig = recorded(2)
    found = [
        Condition(code="DRIFT", severity="warning", source="site", words="off", remedy="mend it")
    ]
    async with rig.boot() as life:
        life.keeper.heed(lambda: found)
        await life.go(4)
        assert "DRIFT" in {one.code for one in life.keeper.view().status.alarms}
        found.clear()
        await life.go(12)
        assert "DRIFT" not in {one.code for one in life.keeper.view().status.alarms}


async def test_where_there_is_one_point_a_failing_tick_ends_the_agent(recorded) -> None:
    rig = recorded(2)
    async with rig.boot() as life:
        await life.go(5)
        life.point.parameters = replace(life.point.parameters, meter_id="no such meter")
        with pytest.raises(StopIteration):
            life.keeper.tick()


async def test_a_restart_finds_the_books_of_each_point(recorded_points, records) -> None:
    rig = recorded_points("two", mp_1=WELL, mp_2=(4, 0.5, []))
    async with rig.boot() as life:
        await life.go(2)
        await life.buy()
        await life.go(198)
        life.keeper.finish()
        old = [point.state.ledger for point in life.keeper.points]
    async with rig.boot() as life:
        for ledger, point in zip(old, life.keeper.points, strict=True):
            now = point.state.ledger
            assert (now.allocated_wh, now.over_wh) == (ledger.allocated_wh, ledger.over_wh)
            assert (now.booked_wh, now.metered_wh) == (ledger.booked_wh, ledger.metered_wh)
            assert {a.transaction for a in now.accounts} == {a.transaction for a in ledger.accounts}
            assert {a.transaction.meter_point for a in now.accounts} == {point.name}
        await life.go(60)
    assert all(ledger.allocated_wh > 0 for ledger in old)
    result = replay(rig.path)
    assert (result.found, result.holes) == (None, ())
    assert [counts.ticks for counts in result.points.values()] == [260, 260]
    assert (
        [counts.boots for counts in result.points.values()] == [2, 2] == [result.counts.boots] * 2
    )
    assert result.counts.purchases == 6
    assert result.counts.stages == len(records(rig.path, "throttle")) > 0
    end_ms = records(rig.path, "tick")[-1]["t"] // 1000
    last = replay(rig.path, span=Span(from_ms=end_ms - 5_000))
    assert (last.found, last.holes) == (None, ())
    assert [counts.ticks for counts in last.points.values()] == [60, 60]


async def test_purchases_go_to_their_point_and_an_id_is_taken_for_all(recorded_points) -> None:
    rig = recorded_points("bought", mp_1=WELL, mp_2=(4, 1.0, []))
    first, second = (ground.transactions[0] for ground in rig.grounds)
    stranger = replace(first, transaction_id="x", meter_point="mp-9")
    async with rig.boot() as life:
        await life.go(3)
        taken = replace(second, transaction_id=first.transaction_id)
        offers = [second, stranger, first, taken, second]
        admissions = await life.keeper.add_transactions(offers)
        results = [(one.transaction_id, one.result) for one in admissions]
        assert results == [
            (second.transaction_id, "accepted"),
            ("x", "refused"),
            (first.transaction_id, "accepted"),
            (first.transaction_id, "refused"),
            (second.transaction_id, "unchanged"),
        ]
        assert "this agent keeps 'mp-1', 'mp-2'" in admissions[1].reason
        assert "other content" in admissions[3].reason
        shown = {(r.meter_point, r.transaction_id) for r in life.keeper.view().transactions}
        assert shown == {("mp-1", first.transaction_id), ("mp-2", second.transaction_id)}
        (late,) = await life.keeper.add_transactions([taken])
        assert late.result == "refused"


async def test_what_the_top_of_the_status_says_is_of_all_points_together(recorded_points) -> None:
    rig = recorded_points("status", mp_1=WELL, mp_2=(4, 1.0, SILENT))
    async with rig.boot() as life:
        await life.buy()
        await life.go(38)
        calm = life.keeper.view().status
        await life.go(15)
        view = life.keeper.view()
    points = {point.meter_point: point for point in calm.meter_points}
    assert list(points) == ["mp-1", "mp-2"]
    assert calm.power_w == pytest.approx(sum(point.power_w for point in points.values()))
    assert calm.window.purchased_wh == sum(p.window.purchased_wh for p in points.values())
    assert (calm.miners_total, calm.mode) == (9, "following")
    status = view.status
    assert (status.mode, status.power_w) == ("blind", None)
    assert status.because.words.startswith("mp-2: ")
    assert [point.mode for point in status.meter_points] == ["following", "blind"]
    assert {row.meter_point for row in view.decisions} == {"mp-1", "mp-2"}
    assert {limit.meter_point for limit in status.limits if limit.is_ruling} == {"mp-1", "mp-2"}
    silent = [alarm.meter_point for alarm in status.alarms if alarm.code == "METER"]
    assert silent == ["mp-2"]
    assert {row.meter_point for row in view.miners} == {"mp-1", "mp-2"}
    assert life.keeper.why("mp-2-m0000") is not None
    assert life.keeper.why("m0000") is None


@pytest.fixture(scope="module")
def two_points(recorded_points) -> Path:
    """A journal of two points, the second one over-committed."""
    rig = recorded_points("two", mp_1=(4, 1.0, []), mp_2=(4, 0.3, []))
    asyncio.run(run(rig, 120))
    return rig.path


@pytest.mark.parametrize("point", ["mp-1", "mp-2"])
def test_a_difference_names_its_point_and_tick(
    two_points: Path, tmp_path: Path, records, point: str
) -> None:
    copy = Path(shutil.copy(two_points, tmp_path / "copy.sqlite"))
    tick = [one for one in records(copy, "tick") if one["s"] == point][70]
    tick["d"]["planned_w"] += "1"
    with closing(sqlite3.connect(copy)) as opened:
        opened.execute("UPDATE records SET body = ? WHERE i = ?", (orjson.dumps(tick), tick["i"]))
        opened.commit()
    found = replay(copy).found
    assert found is not None
    assert (found.meter_point, found.tick, found.index) == (point, tick["d"]["tick"], tick["i"])
    told = CliRunner().invoke(app, ["replay", str(copy)])
    assert told.exit_code == 1
    assert f"meter point {point}, tick {found.tick}" in told.stdout


def test_a_reading_of_one_point_changes_nothing_for_the_other(
    two_points: Path, tmp_path: Path, records
) -> None:
    copy = Path(shutil.copy(two_points, tmp_path / "copy.sqlite"))
    meter = [one for one in records(copy, "meter") if one["s"] == "meter-mp-2"][80]
    meter["d"]["energy_import_wh"] += 1
    with closing(sqlite3.connect(copy)) as opened:
        opened.execute("UPDATE records SET body = ? WHERE i = ?", (orjson.dumps(meter), meter["i"]))
        opened.commit()
    found = replay(copy).found
    assert found is not None
    assert found.meter_point == "mp-2"
