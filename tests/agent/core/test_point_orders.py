"""What leaves a meter point: a relay opens at once and closes when that is on the disk; and what
it has learned."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.bookkeeper import Bookkeeper
from agent.core.escalation import is_to_open
from agent.core.limitbook import LimitBook
from agent.core.machinesums import Sum, Watch
from agent.core.site import RelayMemory
from agent.core.snapshot import MeterView, RelayView, Snapshot
from agent.core.statement import Statement
from agent.learnedlog import recover_learned
from agent.limitdesk import LimitDesk
from agent.point import Point, Realm
from agent.recorder import Recorder
from agent.records import parse_record
from agent.recovery import recover
from agent.siteclock import KernelClock, SiteClock
from agent.status.portrait import Frame

LONG_AGO_S = -3_600.0


class Rig:
    """A toy site governed by a meter point with a real journal; ``told`` is what left it."""

    def __init__(self, toy: SimpleNamespace, **site: Any) -> None:
        self.toy = toy
        self.site = toy.Site(machines=toy.fleet(4), **site)
        self.names = frozenset(machine.miner_id for machine in self.site.machines)
        self.now_s = 0.0
        self.shift_ms = 0  # how much later it is than the toy believes
        self.told: list[Any] = []
        self.point: Point | None = None
        self.recorder: Recorder | None = None
        self.clock = SiteClock(
            wall_ns=lambda: (toy.START_MS + self.shift_ms) * 1_000_000 + int(self.now_s * 1e9),
            boottime_ns=lambda: int(self.now_s * 1e9),
            kernel=lambda: KernelClock(is_synchronised=True, max_error_us=100),
        )
        self.site.tick = self.tick

    def tick(self, now_s: float, reading: Any, missed: int) -> None:
        """What the toy's own tick does, by the point; its commands reach nobody."""
        self.now_s = now_s
        assert self.point is not None
        self.point.tick(
            Snapshot(
                now_s=now_s,
                now_ms=self.toy.START_MS + self.shift_ms + round(now_s * 1000),
                is_clock_trusted=True,
                meters=(
                    MeterView(meter_id="site", reading=reading, missed_polls=missed, fault=None),
                ),
                miners=tuple(self.toy.view(m, now_s) for m in self.site.machines),
                relays=self.site.relays,
            )
        )

    @asynccontextmanager
    async def joined(self, rig: Any, *, is_shadow: bool, **state: Any) -> AsyncIterator[Point]:
        parameters = replace(self.site.parameters(), is_shadow=is_shadow)
        async with rig.journal() as journal:
            self.recorder = Recorder(journal)
            books = await recover(journal, meter_point="mp-1", meter_id="site")
            first = replace(self.site.first_state(), **state)
            self.point = Point(
                realm=Realm(meter_ids=frozenset({"site"}), miner_ids=self.names),
                parameters=parameters,
                state=first,
                desk=LimitDesk(
                    meter_point="mp-1",
                    clock=self.clock,
                    recorder=self.recorder,
                    standing=lambda _now_ms: parameters.limits,
                    book=LimitBook(rated_w=parameters.rated_power_w),
                    reached=frozenset(),
                ),
                bookkeeper=Bookkeeper(
                    journal=journal,
                    recorder=self.recorder,
                    meter_id="site",
                    recovered=books,
                    state=first,
                ),
                statements=(),
                frame=Frame(
                    farm="f", agent="a", version="1", zone="UTC", started_at_ms=0,
                    is_shadow=is_shadow, meter_point="mp-1", meter_id="site",
                    rated_power_w=parameters.rated_power_w, meter_profiles={}, addresses={},
                    moved={},
                ),
                clock=self.clock,
                recorder=self.recorder,
                submit=lambda _commands: None,
                switch=self.told.extend,
            )  # fmt: skip
            self.journal = journal
            yield self.point


def opened_long_ago(toy: SimpleNamespace) -> Rig:
    """A row without feed since an hour, and more bought than all machines can draw."""
    bought = [toy.purchase(1, 0.0, None, 900_000)]
    made = Rig(toy, transactions=bought)
    made.site.relays = (RelayView(relay_id="row", miner_ids=made.names, is_open=True),)
    for machine in made.site.machines:
        machine.is_unread = True  # it is dark
        machine.is_awake = False
    return made


MEMORY = {"relays": {"row": RelayMemory(opened_at_s=LONG_AGO_S, trips_s=(LONG_AGO_S,))}}


async def test_a_relay_closes_again_only_when_that_is_on_the_disk(toy, rig) -> None:
    made = opened_long_ago(toy)
    async with made.joined(rig, is_shadow=False, **MEMORY) as point:
        made.site.run(30)
        assert not is_to_open(point.state, "row")  # it has been decided
        assert made.told == []  # and waits for the disk
        await made.recorder.flush()
        (order,) = made.told
        assert (order.relay_id, order.is_open) == ("row", False)
        records = [parse_record(line) for line in await made.journal.tail(1000, "decision")]
        told = [one for record in records for one in record.data.get("relays", ())]
        assert [(one["relay"], one["is_open"]) for one in told] == [("row", False)]


async def test_a_relay_that_must_open_meanwhile_is_not_closed_by_a_slow_disk(toy, rig) -> None:
    made = opened_long_ago(toy)
    async with made.joined(rig, is_shadow=False, **MEMORY) as point:
        made.site.run(30)
        assert not is_to_open(point.state, "row")
        memory = replace(point.state.relays["row"], opened_at_s=made.now_s + 1.0)
        point.state = replace(point.state, relays={"row": memory})
        await made.recorder.flush()
        assert made.told == []


async def test_a_relay_opens_without_waiting_for_the_disk(toy, rig) -> None:
    made = Rig(toy, transactions=[])
    made.site.relays = (RelayView(relay_id="row", miner_ids=made.names, is_open=False),)
    async with made.joined(rig, is_shadow=False):
        made.site.run(80)  # no command reaches a machine, and nothing is bought
        assert made.told
        assert all(order.is_open for order in made.told)
        before = len(made.told)
        await made.recorder.flush()
        assert len(made.told) == before


@pytest.mark.parametrize("is_bought", [True, False])
async def test_a_shadow_run_switches_no_relay(toy, rig, is_bought: bool) -> None:
    made = opened_long_ago(toy) if is_bought else Rig(toy, transactions=[])
    if not is_bought:
        made.site.relays = (RelayView(relay_id="row", miner_ids=made.names, is_open=False),)
    memory = MEMORY if is_bought else {}
    async with made.joined(rig, is_shadow=True, **memory):
        made.site.run(80)
        await made.recorder.flush()
        assert made.told == []


async def test_what_a_quarter_has_taught_is_on_record_when_it_is_over(toy, rig) -> None:
    made = Rig(toy, transactions=[])
    made.shift_ms = 870_000
    start_ms = toy.START_MS
    under_way = Sum(start_ms=start_ms, machines_wh=9_000.0, error_wh=900.0, watched_ms=870_000)
    state = {
        "quarter": Statement(start_ms=start_ms, end_ms=start_ms + 870_000, metered_wh=11_000),
        "watch": Watch(at_ms=start_ms + 870_000, current=under_way),
    }
    async with made.joined(rig, is_shadow=False, **state) as point:
        made.site.run(60)
        await made.recorder.flush()
        assert len(await made.journal.tail(10, "learned")) == 1
        found = await recover_learned(made.journal, meter_point="mp-1", meter_id="site", now_ms=0)
        assert found == point.state.watch.found
        assert found.count == 1


async def test_a_point_says_which_of_its_machines_it_may_have_lowered(toy, rig) -> None:
    made = Rig(toy, transactions=[toy.purchase(1, 0.0, None, 900_000)])
    name = min(made.names)
    async with made.joined(rig, is_shadow=False) as point:
        assert not point.has_lowered(name, None)  # it has not ticked yet
        made.site.run(30)
        assert not point.has_lowered("nobody", None)
        assert not point.has_lowered(name, None)
        made.site.machines[0].is_awake = False
        made.site.run(5)
        assert point.has_lowered(made.site.machines[0].miner_id, None)
