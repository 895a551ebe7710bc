"""A point's second meter from tick to tick: the machines say which of the two meters is wrong."""

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.assembly import meter_posts
from agent.core.discrepancy import Discrepancy
from agent.core.evolve import replace
from agent.core.feeders import Feeder
from agent.core.snapshot import MeterView, Snapshot
from agent.feederwatch import FeederWatch, open_feeders
from agent.records import parse_record
from agent.referencewatch import ReferenceWatch
from agent.settings import parse_settings

EXAMPLE = Path(__file__).parents[3] / "config" / "site.example.toml"
QUARTER_MS, STEP_MS = 900_000, 15_000


class Watched:
    """A toy site with a reference that shows a share of what all machines say, and base load."""

    def __init__(self, toy: SimpleNamespace, site_code: str = "") -> None:
        self.toy = toy
        self.site = toy.Site(machines=toy.fleet(4), transactions=[toy.purchase(1, 0, 3600, 1e6)])
        self.site.run(5)
        state = self.site.outcome.state
        found = replace(state.watch.found, code=site_code)
        self.state = replace(state, watch=replace(state.watch, found=found))
        feeder = Feeder(
            meter_id="second",
            miner_ids=frozenset(state.judgements),
            meter_share=0.01,
            step_wh=10,
        )
        reference = ReferenceWatch("mp-1", feeder, Discrepancy())
        self.watch = FeederWatch("mp-1", reference=reference)
        self.now_ms = toy.START_MS - toy.START_MS % QUARTER_MS
        self.counted_wh = 1_000.0
        self.records: list[Any] = []

    def quarters(self, count: int, *, seen: float) -> "Watched":
        drawn_w = sum(one.view.reading.power_w for one in self.state.judgements.values())
        for _ in range(count * QUARTER_MS // STEP_MS):
            self.now_ms += STEP_MS
            self.counted_wh += drawn_w * seen * STEP_MS / 3_600_000
            reading = self.toy.meter_reading(0.0, int(self.counted_wh), drawn_w)
            view = MeterView(meter_id="second", reading=reading, missed_polls=0, fault=None)
            snapshot = Snapshot(
                now_s=0.0,
                now_ms=self.now_ms,
                is_clock_trusted=True,
                meters=(view,),
                miners=(),
                relays=(),
            )
            self.records += self.watch.look(snapshot, self.state, self.site.parameters())
        return self


@pytest.mark.parametrize(
    ("site_code", "words"),
    [("", "agrees with the machines"), ("METER_LOW", "so does the meter that keeps the purchase")],
)
def test_the_machines_say_which_of_two_meters_is_wrong(
    toy: SimpleNamespace, site_code: str, words: str
) -> None:
    watched = Watched(toy, site_code)
    assert list(watched.quarters(2, seen=1.0).watch.conditions()) == []
    (alarm,) = watched.quarters(3, seen=1 / 3).watch.conditions()
    assert (alarm.code, alarm.source, alarm.meter_point) == ("METER_LOW", "second", "mp-1")
    assert alarm.words.startswith("reference: the meter counted ")
    assert alarm.words.endswith(words)


async def test_what_the_reference_has_taught_goes_on_after_a_restart(
    toy: SimpleNamespace, rig: Any
) -> None:
    watched = Watched(toy).quarters(5, seen=1.0)
    assert {one.source for one in watched.records} == {"mp-1/second"}
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    meter, miner = data["meters"][0], data["miners"][0]
    data["meters"] = [
        meter | {"id": "site"},
        meter | {"id": "second", "uri": "modbus://10.1.0.9/1?profile=sdm630"},
    ]
    data["miners"] = [miner | {"id": "m-1"}]
    data["meter_points"] = [data["meter_points"][0] | {"meter": "site", "reference": "second"}]
    settings = parse_settings(data, Path("/etc/kwota/site.toml"))
    (point,) = settings.meter_points
    async with rig.journal() as journal:
        await journal.append(watched.records, urgent=True)
        (line,) = await journal.tail(1, "learned")
        now_ms = parse_record(line).time_us // 1000
        opened = await open_feeders(settings, point, meter_posts(settings), journal, now_ms)
    assert opened._reference is not None
    assert opened._reference._learned == watched.watch._reference._learned
    assert opened._reference._learned.count > 2
