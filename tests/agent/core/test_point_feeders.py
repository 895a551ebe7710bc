"""A point's feeders from tick to tick: their alarms, and what outlives the agent in a journal."""

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.alarms import DISCREPANCY_REMEDIES
from agent.assembly import meter_posts
from agent.core.discrepancy import Discrepancy
from agent.core.feeders import Feeder
from agent.core.snapshot import MeterView, Snapshot
from agent.feederwatch import FeederWatch, open_feeders
from agent.records import parse_record
from agent.settings import parse_settings

EXAMPLE = Path(__file__).parents[3] / "config" / "site.example.toml"
QUARTER_MS, STEP_MS = 900_000, 15_000


class Watched:
    """A toy site whose first two machines hang on the feeder "row1", looked at by a FeederWatch."""

    def __init__(self, toy: SimpleNamespace, watch: FeederWatch | None = None) -> None:
        self.toy = toy
        self.site = toy.Site(machines=toy.fleet(4), transactions=[toy.purchase(1, 0, 3600, 1e6)])
        self.site.run(5)
        self.names = [machine.miner_id for machine in self.site.machines]
        feeder = Feeder(
            meter_id="row1", miner_ids=frozenset(self.names[:2]), meter_share=0.01, step_wh=10
        )
        self.watch = watch or FeederWatch("mp-1", [feeder], [Discrepancy(), Discrepancy()])
        self.now_ms = toy.START_MS - toy.START_MS % QUARTER_MS
        self.counted_wh = 1_000.0
        self.records: list[Any] = []

    def quarters(self, count: int, *, seen: float) -> "Watched":
        """The feeder's meter shows a share of what its machines say."""
        state = self.site.outcome.state
        judged = state.judgements
        own_w = sum(judged[name].view.reading.power_w for name in self.names[:2])
        for _ in range(count * QUARTER_MS // STEP_MS):
            self.now_ms += STEP_MS
            self.counted_wh += own_w * seen * STEP_MS / 3_600_000
            reading = self.toy.meter_reading(0.0, int(self.counted_wh), own_w)
            view = MeterView(meter_id="row1", reading=reading, missed_polls=0, fault=None)
            silent = MeterView(meter_id="site", reading=None, missed_polls=9, fault="away")
            snapshot = Snapshot(
                now_s=0.0,
                now_ms=self.now_ms,
                is_clock_trusted=True,
                meters=(view, silent),
                miners=(),
                relays=(),
            )
            self.records += self.watch.look(snapshot, state, self.site.parameters())
        return self


def test_a_feeder_whose_meter_misses_most_is_an_alarm_by_its_name(toy: SimpleNamespace) -> None:
    watched = Watched(toy)
    assert list(watched.watch.conditions()) == []
    watched.quarters(2, seen=1.0)
    assert list(watched.watch.conditions()) == []
    (alarm,) = watched.quarters(3, seen=1 / 3).watch.conditions()
    assert (alarm.code, alarm.source, alarm.meter_point) == ("METER_LOW", "row1", "mp-1")
    assert alarm.words.startswith("feeder row1: the meter counted ")
    assert alarm.remedy == DISCREPANCY_REMEDIES["METER_LOW"]


def test_without_feeders_nothing_is_looked_at(toy: SimpleNamespace) -> None:
    watched = Watched(toy, FeederWatch("mp-1")).quarters(1, seen=1.0)
    assert watched.records == []
    assert list(watched.watch.conditions()) == []


async def test_what_a_feeder_has_taught_goes_on_after_a_restart(
    toy: SimpleNamespace, rig: Any
) -> None:
    watched = Watched(toy).quarters(5, seen=1.0)
    assert {one.source for one in watched.records} == {"mp-1/row1"}
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    meter, miner = data["meters"][0], data["miners"][0]
    data["meters"] = [
        meter | {"id": "site"},
        meter | {"id": "row1", "uri": "modbus://10.1.0.9/1?profile=sdm630", "feeds": ["m-*"]},
    ]
    data["miners"] = [miner | {"id": "m-1"}]
    data["meter_points"] = [data["meter_points"][0] | {"meter": "site"}]
    settings = parse_settings(data, Path("/etc/kwota/site.toml"))
    (point,) = settings.meter_points
    async with rig.journal() as journal:
        await journal.append(watched.records, urgent=True)
        (line,) = await journal.tail(1, "learned")
        now_ms = parse_record(line).time_us // 1000
        opened = await open_feeders(settings, point, meter_posts(settings), journal, now_ms)
    assert counts(watched.records)[-1] > 2
    assert opened.learned("row1") == watched.watch.learned("row1")


def counts(records: list[Any]) -> list[int]:
    return [one.data["found"]["count"] for one in records]
