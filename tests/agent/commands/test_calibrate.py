"""``kwota meters calibrate`` through a real socket into a real journal, and what it alarms."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent.alarms import METER_REMEDY
from agent.calibrationdesk import DRIFT, CalibrationDesk, Candidate
from agent.calibrationlog import recover_calibrations
from agent.control_calibration import add_calibration_routes
from agent.core.calibration import Yardstick
from agent.core.statement import Statement
from agent.journal import Journal
from agent.recorder import Recorder
from agent.records import parse_record
from agent.status.routes import add_read_routes
from agent.testimony import statement_record

FIRST_MS = 1_772_355_600_000  # 2026-03-01 14:00 in Almaty
QUARTER_MS = 900_000
STRETCH = ("--from", "2026-03-01 14:00", "--to", "2026-03-01 18:00", "--energy-kwh")


class Meter:
    """A meter whose serial a test may change, as an exchange does."""

    serial = "100200"

    def candidate(self) -> Candidate:
        yardstick = Yardstick(error_share=0.01, step_wh=10, refresh_s=1.0)
        return Candidate(meter_point="mp-1", yardstick=yardstick, serial=lambda: self.serial)


@asynccontextmanager
async def desk_on(rig: Any, shown: Any, directory: Path, meter: Meter) -> AsyncIterator[Any]:
    """The desk as the daemon joins it, behind a socket at ``c.sock``."""
    async with rig.journal() as journal:
        recorder = Recorder(journal)
        desk = CalibrationDesk(
            meters={"site": meter.candidate()},
            journal=journal,
            recorder=recorder,
            now_ms=lambda: FIRST_MS + 40 * QUARTER_MS,
            known=await recover_calibrations(journal),
        )
        app = web.Application()
        add_read_routes(app, shown)
        add_calibration_routes(app, desk)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(directory / "c.sock")).start()
        try:
            async with rig.running(recorder.run()):
                yield journal, desk
        finally:
            await runner.cleanup()
            await recorder.flush()


async def state(journal: Journal, *, quarters: int = 16) -> None:
    """Signed statements of a steady megawatt."""
    await journal.append(
        [
            statement_record(
                point,
                Statement(
                    start_ms=FIRST_MS + n * QUARTER_MS,
                    end_ms=FIRST_MS + (n + 1) * QUARTER_MS,
                    metered_wh=250_000,
                ),
            )
            for n in range(quarters)
            for point in ("mp-1", "mp-other")
        ],
        urgent=True,
    )


@pytest.fixture
def ask(terminal, tmp_path: Path):
    terminal.socket = tmp_path / "c.sock"

    async def calibrate(*options: str, meter: str = "site") -> Any:
        return await terminal.ask("meters", "calibrate", meter, *options)

    return calibrate


async def test_a_stretch_is_compared_and_put_on_record(rig, daemon, ask, tmp_path) -> None:
    async with desk_on(rig, daemon, tmp_path, Meter()) as (journal, desk):
        await state(journal)
        told = await ask(*STRETCH, "4012.000", "--reason", "act of March")
        assert (told.code, told.err) == (0, "")
        assert "factor 1.00300 give or take" in told.out
        assert "within the meter's class" in told.out
        assert not list(desk.conditions())
        (line,) = await journal.tail(10, "calibration")
        record = parse_record(line)
    assert (record.source, record.data["meter_point"]) == ("site", "mp-1")
    assert record.data["readings"] == [[FIRST_MS, FIRST_MS + 16 * QUARTER_MS, 4_012_000]]
    assert (record.data["metered_wh"], record.data["factor_ppm"]) == (4_000_000, 1_003_000)
    assert (record.data["serial"], record.data["reason"]) == ("100200", "act of March")
    assert record.data["told_by"].startswith("uid ")


async def test_a_meter_that_has_left_its_class_is_an_alarm_over_restarts_until_it_is_back(
    rig, daemon, ask, tmp_path
) -> None:
    meter = Meter()
    async with desk_on(rig, daemon, tmp_path, meter) as (journal, desk):
        await state(journal)
        told = await ask(*STRETCH, "4120.0", "--json")
        assert told.code == 1
        assert json.loads(told.out)["calibration"]["verdict"] == "outside"
        (alarm,) = desk.conditions()
        assert (alarm.code, alarm.source, alarm.meter_point) == (DRIFT, "site", "mp-1")
        assert "+3.00 %" in alarm.words
        assert alarm.remedy != METER_REMEDY
    async with desk_on(rig, daemon, tmp_path, meter) as (_, desk):
        assert [one.code for one in desk.conditions()] == [DRIFT]
        assert (await ask(*STRETCH, "4000")).code == 0
        assert not list(desk.conditions())
    async with desk_on(rig, daemon, tmp_path, meter) as (_, desk):
        assert not list(desk.conditions())


async def test_what_is_too_rough_to_tell_clears_no_alarm(rig, daemon, ask, tmp_path) -> None:
    async with desk_on(rig, daemon, tmp_path, Meter()) as (journal, desk):
        await state(journal)
        assert (await ask(*STRETCH, "4120.0")).code == 1
        rough = tmp_path / "rough.csv"
        rough.write_text("from;to;energy_mwh\n2026-03-01 14:00;2026-03-01 18:00;4\n")
        told = await ask("--csv", str(rough))
        assert told.code == 0
        assert "too uncertain" in told.out
        assert [one.code for one in desk.conditions()] == [DRIFT]


async def test_another_meter_is_not_accused_of_what_the_old_one_did(
    rig, daemon, ask, tmp_path
) -> None:
    meter = Meter()
    async with desk_on(rig, daemon, tmp_path, meter) as (journal, desk):
        await state(journal)
        assert (await ask(*STRETCH, "4120.0")).code == 1
        meter.serial = "300400"
        assert not list(desk.conditions())
        meter.serial = ""  # it has not answered since the start: nobody knows better
        assert [one.code for one in desk.conditions()] == [DRIFT]


async def test_bad_rows_of_a_file_are_named_by_line_and_the_good_ones_compared(
    rig, daemon, ask, tmp_path
) -> None:
    file = tmp_path / "askue.csv"
    file.write_text(
        "from;energy_kwh\n"
        "2026-03-01 14:00;1000.0\n"
        "2026-03-01 15:00;x\n"
        "2026-03-01 16:00;1001.0\n"
        "2026-03-01 16:00;1001.0\n"
        "2026-03-01 23:00;1000.0\n"
    )
    async with desk_on(rig, daemon, tmp_path, Meter()) as (journal, _):
        await state(journal)
        told = await ask("--csv", str(file), "--json")
        assert told.code == 4
        assert "3 rows were left out; the others are on record" in told.err
        answer = json.loads(told.out)
        assert [one["line"] for one in answer["left_out"]] == [3, 5, 6]
        assert answer["calibration"]["commercial_wh"] == 2_001_000
        shown = await ask("--csv", str(file))
        assert "overlaps an earlier one" in shown.out
        assert len(await journal.tail(10, "calibration")) == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "--csv alone"),
        ((*STRETCH, "1", "--csv", "x"), 2, "--csv alone"),
        (STRETCH[:4], 2, "--csv alone"),
        (("--csv", "nowhere.csv"), 2, "cannot be read"),
        ((*STRETCH, "many"), 2, "not a number"),
        ((*STRETCH, "1", "--reason", "x" * 501), 2, "short reason"),
        (("--from", "2026-03-01 18:00", "--to", "2026-03-01 19:00", "--energy-kwh", "1"), 4,
         "nothing could be compared"),
    ],
)  # fmt: skip
async def test_what_cannot_be_compared_is_refused(
    *, rig, daemon, ask, tmp_path, options, code, words
) -> None:
    async with desk_on(rig, daemon, tmp_path, Meter()) as (journal, _):
        await state(journal)
        told = await ask(*options)
        assert (told.code, words in told.err) == (code, True), told.err
        assert not await journal.tail(10, "calibration")


async def test_only_a_meter_with_statements_can_be_compared(rig, daemon, ask, tmp_path) -> None:
    async with desk_on(rig, daemon, tmp_path, Meter()):
        told = await ask(*STRETCH, "1", meter="twin")
        assert told.code == 4
        assert "statements go by the meter 'site', not by 'twin'" in told.err


async def test_without_a_daemon_nothing_is_compared(ask) -> None:
    assert (await ask(*STRETCH, "1")).code == 3


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{", b'{"readings":[]}', b'{"readings":[{"start_ms":1}]}',
     b'{"readings":[{"start_ms":0,"end_ms":900000,"energy_wh":1.5,"rounding_wh":0}]}',
     b'{"readings":[{"start_ms":0,"end_ms":4102444800001,"energy_wh":1,"rounding_wh":0}]}'],
)  # fmt: skip
async def test_what_is_no_list_of_readings_is_refused(body, daemon, rig, tmp_path) -> None:
    async with desk_on(rig, daemon, tmp_path, Meter()):
        connector = aiohttp.UnixConnector(str(tmp_path / "c.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://x/control/v1/meters/site/calibrate", data=body) as reply,
        ):
            assert reply.status == 400
