"""Limits told through a real socket into a real journal, and found again after a restart."""

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from agent.control import NotNowError
from agent.control_client import RefusedError, clear_limit, tell_limit
from agent.control_limits import add_limit_routes
from agent.core.limits import allowed_w
from agent.journal import Journal
from agent.limit_reader import LimitReader
from agent.limitdesk import LimitDesk
from agent.limitlog import recover_limits
from agent.recorder import Recorder
from agent.records import NewRecord, parse_record
from agent.settings import parse_settings
from agent.siteclock import SiteClock
from agent.standing_limits import StandingLimits

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
RATED_W = 1_000_000
ALMATY = ZoneInfo("Asia/Almaty")
MANUAL = {"kind": "manual", "kw": "400", "for": "30m", "reason": "transformer is hot"}
ORDER = {
    "kind": "dispatch_order",
    "kw": "0",
    "from": "2030-02-02T12:00",
    "to": "2030-02-02T14:00",
    "id": "o-7",
}


@dataclass
class Door:
    """The desks behind their socket, with the journal that they write to."""

    socket: Path
    desks: dict[str, LimitDesk]
    journal: Journal
    clock: SiteClock

    @property
    def desk(self) -> LimitDesk:
        return self.desks["mp-1"]

    async def tell(self, fields: dict[str, Any], point: str | None = None) -> dict[str, str]:
        return await asyncio.to_thread(tell_limit, self.socket, fields, point)

    async def clear(self, limit_id: str, point: str | None = None) -> dict[str, str]:
        return await asyncio.to_thread(clear_limit, self.socket, limit_id, point)

    def allowed(self, after_s: float = 0.0, point: str = "mp-1") -> float:
        now_ms = self.clock.now_ms()
        return allowed_w(self.desks[point].current(now_ms), now_ms + round(after_s * 1000))

    async def events(self) -> list[tuple[str, str]]:
        records = [parse_record(line) for line in await self.journal.tail(1000, "limit")]
        return [(record.source, record.data["event"]) for record in records]


@asynccontextmanager
async def door_on(rig: Any, directory: Path, *names: str) -> AsyncIterator[Door]:
    """Everything between the operator's socket and the disk, as the daemon joins it."""
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    data["meter_points"][0]["limits"] = {"cap_w": 900_000}
    (point,) = parse_settings(data, directory / "site.toml").meter_points
    clock, path = SiteClock(), directory / "kwota.sock"
    async with rig.journal() as journal:
        recorder = Recorder(journal)
        desks = {}
        for name in names or ("mp-1",):
            book, reached = await recover_limits(journal, meter_point=name, rated_w=RATED_W)
            desks[name] = LimitDesk(
                meter_point=name,
                clock=clock,
                recorder=recorder,
                standing=StandingLimits(point, ALMATY).at,
                book=book,
                reached=reached,
            )
        app = web.Application()
        add_limit_routes(app, desks, ALMATY, clock)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            async with rig.running(recorder.run()):
                yield Door(path, desks, journal, clock)
        finally:
            await runner.cleanup()
            await recorder.flush()


async def test_a_limit_rules_at_once_and_is_on_record_when_it_is_answered(
    rig: Any, tmp_path: Path
) -> None:
    async with door_on(rig, tmp_path) as door:
        assert door.allowed() == 900_000
        answer = await door.tell(MANUAL)
        assert answer["limit_id"] == "manual-1"
        assert answer["result"] == "accepted"
        assert "transformer is hot" in answer["reason"]
        assert await door.events() == [("manual-1", "told")]
        assert (door.allowed(), door.allowed(1799), door.allowed(1801)) == (
            400_000,
            400_000,
            900_000,
        )


async def test_the_same_order_again_changes_nothing_and_a_changed_one_is_refused(
    rig: Any, tmp_path: Path
) -> None:
    async with door_on(rig, tmp_path) as door:
        assert (await door.tell(ORDER))["result"] == "accepted"
        assert (await door.tell(ORDER))["result"] == "unchanged"
        changed = await door.tell({**ORDER, "kw": "300"})
        assert changed["result"] == "refused"
        assert "other content" in changed["reason"]
        assert await door.events() == [("o-7", "told"), ("o-7", "refused")]
        with pytest.raises(RefusedError, match="kw is missing") as caught:
            await door.tell({**ORDER, "kw": ""})
        assert caught.value.status == 400


async def test_limits_outlive_a_restart_by_the_journal_alone(rig: Any, tmp_path: Path) -> None:
    async with door_on(rig, tmp_path) as door:
        await door.tell(ORDER)
        await door.tell(MANUAL)
        await door.tell({**MANUAL, "kw": "100"})
        await door.clear("manual-2")
        before = door.desk.book
    async with door_on(rig, tmp_path) as door:
        assert door.desk.book == before
        assert door.allowed() == 400_000
        assert (await door.tell(ORDER))["result"] == "unchanged"
        assert (await door.tell(MANUAL))["limit_id"] == "manual-3"


async def test_what_is_cleared_bounds_no_more_and_what_is_configured_cannot_be(
    rig: Any, tmp_path: Path
) -> None:
    async with door_on(rig, tmp_path) as door:
        await door.tell(MANUAL)
        assert (await door.clear("manual-1"))["result"] == "cleared"
        assert door.allowed() == 900_000
        assert (await door.clear("manual-1"))["result"] == "unchanged"
        for name, word in (("limits.cap_w", "configuration"), ("o-9", "no such limit")):
            answer = await door.clear(name)
            assert answer["result"] == "refused"
            assert word in answer["reason"]
        with pytest.raises(RefusedError, match="no id"):
            await door.clear("ü")


async def test_a_limit_bounds_before_it_is_on_the_disk_and_until_its_end_is(
    rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.limitdesk.DURABLE_WITHIN_S", 0.05)
    async with door_on(rig, tmp_path) as door:
        clock = door.clock
        (point,) = parse_settings(
            tomllib.loads(EXAMPLE.read_text()), tmp_path / "site.toml"
        ).meter_points
        stuck = LimitDesk(
            meter_point="mp-1",
            clock=clock,
            recorder=Recorder(door.journal),  # nobody runs it: a disk that takes nothing
            standing=StandingLimits(point, ALMATY).at,
            book=door.desk.book,
            reached=frozenset(),
        )
        reader = LimitReader(zone=ALMATY, rated_w=RATED_W)
        offered = reader.read(
            json.dumps(MANUAL).encode(),
            told_by="uid 0",
            manual_id=stuck.next_id,
            now_ms=clock.now_ms(),
        )
        with pytest.raises(NotNowError, match="the limit rules"):
            await stuck.tell(offered)
        now_ms = clock.now_ms()
        assert allowed_w(stuck.current(now_ms), now_ms) == 400_000
        with pytest.raises(NotNowError, match="still rules"):
            await stuck.lift("manual-1", told_by="uid 0")
        assert allowed_w(stuck.current(now_ms), now_ms) == 400_000


async def test_when_the_meter_first_shows_that_a_limit_is_kept_is_on_record_once(
    rig: Any, tmp_path: Path
) -> None:
    async with door_on(rig, tmp_path) as door:
        await door.tell(MANUAL)
        await door.tell(ORDER)  # not in force yet: nothing is reached
        now_ms = door.clock.now_ms()
        for measured_w in (None, 500_000.0, 399_000.0, 398_000.0):
            door.desk.note_power(now_ms, measured_w)
        await rig.until(lambda: door.journal.size >= 4)
        assert (await door.events()).count(("manual-1", "reached")) == 1
    async with door_on(rig, tmp_path) as door:
        door.desk.note_power(door.clock.now_ms(), 398_000.0)
        assert (await door.events()).count(("manual-1", "reached")) == 1
        assert ("o-7", "reached") not in await door.events()


async def test_the_same_order_is_told_to_each_point_and_each_remembers_its_own(
    rig: Any, tmp_path: Path
) -> None:
    async with door_on(rig, tmp_path, "mp-1", "mp-2") as door:
        assert (await door.tell(ORDER, "mp-1"))["result"] == "accepted"
        assert (await door.tell(ORDER, "mp-2"))["result"] == "accepted"
        assert (await door.tell(MANUAL, "mp-2"))["limit_id"] == "manual-1"
        assert (door.allowed(point="mp-1"), door.allowed(point="mp-2")) == (900_000, 400_000)
        assert (await door.tell(MANUAL, "mp-1"))["limit_id"] == "manual-1"
        assert (await door.clear("manual-1", "mp-1"))["result"] == "cleared"
        assert (door.allowed(point="mp-1"), door.allowed(point="mp-2")) == (900_000, 400_000)
        for point, words in ((None, "one of mp-1, mp-2"), ("mp-9", "there is mp-1, mp-2")):
            with pytest.raises(RefusedError, match=words) as caught:
                await door.tell(MANUAL, point)
            assert caught.value.status == 400
            with pytest.raises(RefusedError, match=words):
                await door.clear("manual-1", point)
        before = {name: desk.book for name, desk in door.desks.items()}
    async with door_on(rig, tmp_path, "mp-1", "mp-2") as door:
        assert {name: desk.book for name, desk in door.desks.items()} == before
        assert (door.allowed(point="mp-1"), door.allowed(point="mp-2")) == (900_000, 400_000)


async def test_a_limit_that_names_no_point_bounds_all_of_them(rig: Any, tmp_path: Path) -> None:
    """Journals from before there were several points name none: forgotten it would allow more."""
    async with door_on(rig, tmp_path) as door:
        await door.tell(MANUAL)
        (line,) = await door.journal.tail(1, "limit")
        record = parse_record(line)
        data = {key: item for key, item in record.data.items() if key != "meter_point"}
        await door.journal.append([NewRecord(kind="limit", source="manual-7", data=data)])
    async with door_on(rig, tmp_path, "mp-1", "mp-2") as door:
        assert (door.allowed(point="mp-1"), door.allowed(point="mp-2")) == (400_000, 400_000)
