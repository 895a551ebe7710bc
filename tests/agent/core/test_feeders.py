"""Feeders below a site's meter: the evidence is told where it is, and calm is calm."""

import copy
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cards import CARDS
from agent.core.discrepancy import LEARNING, Discrepancy, Quarter, weighed
from agent.core.feeders import (
    Above,
    Below,
    Feeder,
    Register,
    begun,
    counted,
    findings,
    looked,
)
from agent.core.fleet import Judged, Memory, Taught, judged
from agent.core.ledger import QUARTER_MS
from agent.core.statement import Statement

START_MS = 1_800_000_000_000
ABOVE = Above(meter_id="site", meter_share=0.005, step_wh=10, base_max_w=40_000.0)
STEP_MS = 15_000


class Site:
    """Two feeders of two machines each, one machine on none, 2 kWh of base load a quarter.

    A reading of every meter and a look at the machines each 15 s; ``taps`` and ``seen`` are by
    feeder, ``rest`` for what is between the site's meter and the feeders' and ``site`` for its own.
    """

    def __init__(self, toy: SimpleNamespace) -> None:
        views = [toy.view(machine, 0.0) for machine in toy.fleet(5)]
        self.views = views
        names = [view.miner_id for view in views]
        self.feeders = tuple(
            Feeder(meter_id=name, miner_ids=frozenset(own), meter_share=0.005, step_wh=10)
            for name, own in (("west", names[:2]), ("east", names[2:4]))
        )
        self.placed = {"west": names[:2], "east": names[2:4], "rest": names[4:]}
        self.known = begun(self.feeders, dict.fromkeys(("west", "east"), Discrepancy()),
                           Discrepancy())  # fmt: skip
        self.rng = random.Random(7)
        self.now_ms = START_MS
        self.counters = {"west": 50_000.0, "east": 80_000.0}
        self.is_doubtful = False

    def machines(self, watts: dict[str, float]) -> dict[str, Judged]:
        found = {}
        for view in self.views:
            assert view.reading is not None
            reading = replace(view.reading, power_w=watts[view.miner_id])
            told = replace(view, reading=reading)
            one = judged(None, told, Memory(), Taught(card=CARDS["luxos"]), 0.0)
            found[view.miner_id] = one
        return found

    def look(self, readings: dict[str, tuple[int, int]], machines: Any, *statements: Any) -> None:
        self.known = looked(
            self.known,
            self.feeders,
            ABOVE,
            readings=readings,
            machines=machines,
            statements=statements,
            now_s=40.0 if self.is_doubtful else 0.0,
            now_ms=self.now_ms,
        )

    def drawn(self, taps: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """Watts by machine as it tells them, and what flows through each part of the site."""
        level = 2_500.0 * self.rng.uniform(0.6, 1.0)
        names = [name for row in self.placed.values() for name in row]
        watts = {name: level * (1 + self.rng.gauss(0, 0.003)) for name in names}
        flows = {
            name: sum(watts[one] for one in row) * 1.01 + taps.get(name, 0.0)
            for name, row in self.placed.items()
        }
        flows["rest"] += 8_000.0 + self.rng.gauss(0, 60)
        return watts, flows

    def teach(self, quarters: int) -> None:
        """What so many calm quarters teach, without living through them."""
        found = {name: Discrepancy() for name in self.placed}
        for at in range(quarters):
            watts, flows = self.drawn({})
            for name, row in self.placed.items():
                one = Quarter(
                    metered_wh=flows[name] / 4,
                    machines_wh=sum(watts[miner] for miner in row) / 4,
                    tolerance_share=0.12,
                    meter_share=0.005,
                    step_wh=10.0 if name in self.counters else 80.0,
                    base_max_wh=ABOVE.base_max_w / 4,
                    hour=at // 4 % 24,
                )
                found[name] = weighed(found[name], one)
        self.known = begun(self.feeders, found, found["rest"])

    def quarter(self, *, taps: dict[str, float], seen: dict[str, float], **changes: Any) -> "Site":
        """One quarter; the statement of the one that ended comes with its first look."""
        watts, flows = self.drawn(taps)
        machines = self.machines(watts)
        for _ in range(QUARTER_MS // STEP_MS):
            self.now_ms += STEP_MS
            for name in self.counters:
                self.counters[name] += flows[name] * seen.get(name, 1.0) * STEP_MS / 3_600_000
            self.look(self.readings(), machines)
        site_wh = sum(flows.values()) * seen.get("site", 1.0) * QUARTER_MS / 3_600_000
        statement = Statement(
            start_ms=self.now_ms - QUARTER_MS,
            end_ms=self.now_ms,
            metered_wh=round(site_wh),
            flags=("split",),
        )
        self.look({}, machines, replace(statement, **changes))
        return self

    def readings(self) -> dict[str, tuple[int, int]]:
        return {name: (self.now_ms, int(wh) // 10 * 10) for name, wh in self.counters.items()}

    def until_told(self, most: int, **what: dict[str, float]) -> dict[str, str]:
        """Codes by where they are, a few quarters after the first of them."""
        for _ in range(most):
            self.quarter(**({"taps": {}, "seen": {}} | what))
            if self.told():
                break
        for _ in range(8):
            self.quarter(**({"taps": {}, "seen": {}} | what))
        return self.told()

    def told(self) -> dict[str, str]:
        return {one.source: one.code for one in findings(self.known, self.feeders, ABOVE)}


@pytest.fixture(scope="module")
def learned(toy: SimpleNamespace) -> Site:
    """A site that is calm and has learned; each test goes on from a copy."""
    site = Site(toy)
    site.teach(LEARNING + 60)
    site.quarter(taps={}, seen={})
    return site


@pytest.fixture
def site(learned: Site) -> Site:
    own = copy.copy(learned)
    own.counters, own.rng = dict(learned.counters), random.Random(11)
    return own


@pytest.mark.parametrize(
    ("taps", "seen", "told"),
    [
        ({"west": 300.0}, {}, {"west": "UNSEEN_LOAD"}),
        ({"east": 300.0}, {}, {"east": "UNSEEN_LOAD"}),
        ({"rest": 1_200.0}, {}, {"site/rest": "UNSEEN_LOAD"}),
        ({}, {"west": 0.9}, {"west": "METER_LOW"}),
        ({}, {"east": 1.1}, {"east": "UNSEEN_LOAD"}),
        ({}, {"site": 0.9}, {"site/rest": "METER_LOW"}),
        ({}, {"west": 2 / 3}, {"west": "METER_LOW"}),
        ({}, {"west": 1 / 3, "site": 1.0}, {"west": "METER_LOW"}),
    ],
)
def test_the_evidence_is_told_where_it_is(
    site: Site, taps: dict[str, float], seen: dict[str, float], told: dict[str, str]
) -> None:
    assert site.until_told(80, taps=taps, seen=seen) == told


def test_a_calm_site_tells_nothing(site: Site) -> None:
    for _ in range(48):
        assert not site.quarter(taps={}, seen={}).told()


@pytest.mark.parametrize("off", [0.8, 1.2])
def test_a_feeders_own_meter_that_is_wrong_is_accused_and_the_rest_is_not(
    site: Site, off: float
) -> None:
    site.until_told(80, seen={"west": off})
    for _ in range(20):
        site.quarter(taps={}, seen={"west": off})
    (one,) = findings(site.known, site.feeders, ABOVE)
    assert one.source == "west"
    assert one.words.startswith("feeder west: the meter counted ")
    assert one.words.endswith("look at this feeder's own meter")


def test_a_machine_that_does_not_answer_leaves_its_feeders_quarter_out_and_the_others_in(
    site: Site,
) -> None:
    before = site.known
    site.is_doubtful = True
    site.quarter(taps={}, seen={})
    after = site.known
    assert [one.watch.found for one in after.branches] == [
        one.watch.found for one in before.branches
    ]
    assert after.rest.found is before.rest.found
    site.is_doubtful = False
    site.quarter(taps={}, seen={})
    assert site.known.branches[0].watch.found is not after.branches[0].watch.found


@pytest.mark.parametrize(
    "changes", [{"unknown_wh": 5}, {"flags": ("gap",)}, {"start_ms": START_MS - QUARTER_MS}]
)
def test_a_quarter_that_the_site_did_not_measure_whole_leaves_the_rest_out(
    site: Site, changes: dict[str, Any]
) -> None:
    before = site.known
    site.quarter(taps={}, seen={}, **changes)
    assert site.known.rest.found is before.rest.found
    assert site.known.branches[0].watch.found is not before.branches[0].watch.found


def test_a_feeder_without_a_draw_or_a_whole_watch_is_not_compared(toy: SimpleNamespace) -> None:
    site = Site(toy)
    asleep = site.machines(dict.fromkeys([view.miner_id for view in site.views], 0.0))
    for _ in range(3 * QUARTER_MS // STEP_MS):
        site.now_ms += STEP_MS
        if site.now_ms < START_MS + QUARTER_MS and site.now_ms > START_MS + QUARTER_MS // 2:
            continue  # half of the first quarter nobody looks
        site.look(site.readings(), asleep)
    assert site.known.branches[0].register.ended
    assert site.known.branches[0].watch.found == Discrepancy()
    assert site.known.branches[0].weighed_ms == START_MS + 2 * QUARTER_MS


def test_a_site_whose_machines_all_hang_on_feeders_still_has_a_rest(toy: SimpleNamespace) -> None:
    site = Site(toy)
    site.feeders = (site.feeders[0], replace(site.feeders[1], miner_ids=frozenset(
        [*site.placed["east"], *site.placed["rest"]])))  # fmt: skip
    site.placed["east"] += site.placed["rest"]
    site.placed["rest"] = []
    for _ in range(4):
        site.quarter(taps={}, seen={})
    assert site.known.rest.found.count >= 2
    for _ in range(3):
        site.quarter(taps={"rest": 60_000.0}, seen={})
    assert site.told() == {"site/rest": "UNSEEN_LOAD"}


def test_what_was_learned_before_goes_on() -> None:
    feeder = Feeder(meter_id="a", miner_ids=frozenset(), meter_share=0.01, step_wh=1)
    found, rest = Discrepancy(count=7), Discrepancy(count=9)
    known = begun([feeder], {"a": found}, rest)
    assert (known.branches[0].watch.found, known.rest.found) == (found, rest)
    assert findings(Below(branches=()), (), ABOVE) == ()


@given(st.integers(0, 2**32))
def test_quarters_add_up_to_what_was_counted(seed: int) -> None:
    rng = random.Random(seed)
    known, at_ms, wh, quarters = Register(), START_MS + 1, 1_000.0, []
    for _ in range(250):
        known = counted(known, at_ms, int(wh))
        quarters += [one for one in known.ended if one not in quarters]
        pause_ms = rng.randint(1, 30_000)
        at_ms += pause_ms
        wh += rng.uniform(0.0, 5e5) * pause_ms / 3_600_000
    assert quarters
    starts = [start for start, _ in quarters]
    assert starts == list(range(starts[0], starts[0] + QUARTER_MS * len(starts), QUARTER_MS))
    assert sum(one for _, one in quarters) <= wh - 1_000.0
    assert all(one >= 0.0 for _, one in quarters)


@pytest.mark.parametrize(
    ("at_ms", "wh"),
    [(2 * QUARTER_MS + 5_000, 4_000), (2 * QUARTER_MS + 31_000, 9_000)],
)
def test_a_register_that_fell_or_was_not_read_leaves_both_quarters_out(at_ms: int, wh: int) -> None:
    known = Register()
    for place in range(2 * QUARTER_MS // 10_000):
        known = counted(known, place * 10_000, 5_000 + place)
    assert known.edge_ms == QUARTER_MS
    broken = counted(known, at_ms, wh)
    assert (broken.edge_ms, broken.at_ms, broken.wh) == (None, at_ms, wh)
    for now_ms in range(at_ms, 3 * QUARTER_MS + 10_000, 10_000):
        broken = counted(broken, now_ms, 10_000)
    assert (broken.edge_ms, broken.ended) == (3 * QUARTER_MS, known.ended)


def test_a_reading_that_was_seen_before_counts_once() -> None:
    known = counted(Register(), 5_000, 70)
    assert counted(known, 5_000, 90) is known
    assert counted(known, 4_000, 90) is known
