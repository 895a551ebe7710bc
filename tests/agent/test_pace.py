"""A purchase's meter is read just before the ticks, and at all phases of its refresh in between."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import LoopClock, VirtualLoop

from agent.core.commissioning import Nameplate
from agent.core.meterfusion import advance, interval_now, observe
from agent.core.samples import Fusion, MeterTraits
from agent.pace import FAR, NEAR, Pace, Ticks
from agent.poller import Poller
from agent.posts import MeterPost
from drivers.readings import MeterIdentity, MeterReading

RATED_W, STEP_WH, REFRESH_S, GAIN = 1e6, 10, 1.0, 0.01
TRAITS = MeterTraits(
    refresh_s=REFRESH_S, step_wh=STEP_WH, power_error_share=GAIN, rated_power_w=RATED_W
)
PLATE = Nameplate(nominal_voltage_v=230.0, rated_power_w=RATED_W)


def reading(at_s: float, took_s: float, power_w: float = 0.0, energy_wh: int = 1) -> MeterReading:
    return MeterReading(
        meter_id="site",
        requested_at_s=at_s,
        replied_at_s=at_s + took_s,
        taken_at_ms=0,
        power_w=power_w,
        energy_import_wh=energy_wh,
        voltage_v=None,
        frequency_hz=None,
    )


@dataclass
class Meter:
    """A meter of a test in virtual time, and when it was read."""

    took_s: Callable[[], float]
    asked_s: list[float] = field(default_factory=list)

    async def identify(self) -> MeterIdentity:
        return MeterIdentity(profile="p", serial="1", firmware="")

    async def read(self) -> MeterReading:
        now_s, took_s = asyncio.get_running_loop().time(), self.took_s()
        self.asked_s.append(now_s)
        await asyncio.sleep(took_s)
        return reading(now_s, took_s)

    async def close(self) -> None:
        pass


def ages(
    meter: Meter, *, poll_s: float = 0.5, tick_s: float = 1.0, plate: Nameplate | None = PLATE
) -> list[float]:
    """How old the newest reading is at each tick of some minutes, but for the first five."""
    post = MeterPost(
        meter_id="site",
        address="a",
        profile="p",
        poll_s=poll_s,
        device=meter,
        traits=TRAITS,
        step_wh=lambda _: STEP_WH,
        nameplate=plate,
    )
    poller = Poller(clock=cast(Any, LoopClock()), meters=(post,), miners=(), miner_period_s=10.0)

    async def run() -> list[float]:
        polling = asyncio.ensure_future(poller.poll_meter(post))
        found = []
        for _ in range(300):
            await asyncio.sleep(tick_s * 1.0007)  # as an event loop is late a little
            (view,) = poller.snapshot().meters
            assert view.reading is not None
            found.append(poller.clock.now_s() - view.reading.requested_at_s)
        polling.cancel()
        return found[5:]

    random.seed(1)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def test_at_a_tick_its_reading_is_hardly_older_than_its_answer_takes() -> None:
    meter = Meter(lambda: 0.06)
    found = ages(meter)
    assert max(found) <= 1.5 * 0.06 + 0.03
    period_s = (meter.asked_s[-1] - meter.asked_s[0]) / (len(meter.asked_s) - 1)
    assert period_s == pytest.approx(0.5, rel=0.02)
    wandering = ages(Meter(lambda: 0.06), plate=None)
    assert sum(wandering) / len(wandering) > 0.25
    assert max(wandering) > 0.5


def test_a_meter_whose_answers_wander_is_mostly_read_in_time_and_never_left_for_long() -> None:
    found = ages(Meter(lambda: random.uniform(0.02, 0.2)))
    assert sum(age <= 0.35 for age in found) / len(found) > 0.9
    assert max(found) <= 0.95


def test_between_two_ticks_it_is_read_at_many_phases() -> None:
    meter = Meter(lambda: 0.06)
    ages(meter)
    pauses = [later - earlier for earlier, later in pairwise(meter.asked_s[20:])]
    assert max(pauses) - min(pauses) > 0.25
    assert min(pauses) > 0.3
    assert max(pauses) < 0.7


@pytest.mark.parametrize(("poll_s", "took_s"), [(1.0, 0.06), (5.0, 0.06), (0.5, 0.9)])
def test_one_without_room_for_two_reads_in_a_tick_goes_on_as_it_did(
    poll_s: float, took_s: float
) -> None:
    meter = Meter(lambda: took_s)
    ages(meter, poll_s=poll_s)
    pauses = [later - earlier for earlier, later in pairwise(meter.asked_s)]
    least_s = max(0.9 * poll_s, took_s)
    assert all(least_s <= pause <= max(1.1 * poll_s, took_s + 0.03) for pause in pauses)


@given(
    poll_s=st.floats(0.1, 5.0),
    tick_s=st.floats(0.2, 5.0),
    takes_s=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=30),
    seed=st.integers(0, 2**16),
)
def test_it_is_never_asked_far_more_rarely_or_more_often_than_configured(
    poll_s: float, tick_s: float, takes_s: list[float], seed: int
) -> None:
    rng, ticks, pace = random.Random(seed), Ticks(), Pace(poll_s=poll_s)
    now_s, ticked_s = 100.0, 100.0
    for took_s in takes_s:
        while ticked_s <= now_s:
            ticks.note(ticked_s)
            ticked_s += tick_s
        next_s = pace.next_s(now_s, now_s + took_s, ticks, rng.random())
        assert NEAR * poll_s - 1e-6 <= next_s - now_s <= FAR * poll_s + 1e-6
        now_s = max(next_s, now_s + took_s + 0.02)


def test_where_nobody_ticks_or_no_longer_no_tick_is_expected() -> None:
    ticks = Ticks()
    assert ticks.after(5.0) is None
    ticks.note(5.0)
    assert ticks.after(5.5) is None
    ticks.note(6.0)
    assert (ticks.after(6.2), ticks.after(7.4)) == (7.0, 8.0)
    assert ticks.after(20.0) is None
    ticks.note(20.0)  # after a pause that is no tick's
    assert ticks.after(20.5) is None


class Plant:
    """Levels of half to all of its power, held for some seconds each; energy of exactly known."""

    def __init__(self, rng: random.Random, end_s: float) -> None:
        self.end_s = end_s
        self._levels = [(0.0, 0.0, RATED_W)]  # from when on, energy until then, power
        while (last := self._levels[-1])[0] < end_s:
            held_s = rng.uniform(2.0, 60.0)
            energy_wh = last[1] + last[2] * held_s / 3600.0
            self._levels.append((last[0] + held_s, energy_wh, RATED_W * rng.uniform(0.5, 1.0)))

    def at(self, at_s: float) -> tuple[float, float]:
        """Energy and power."""
        from_s, energy_wh, power_w = max(one for one in self._levels if one[0] <= at_s)
        return energy_wh + power_w * (at_s - from_s) / 3600.0, power_w


def uppers(times: Iterator[float], plant: Plant, before_wh: float, phase_s: float) -> list[float]:
    """How far the upper bound is above the truth at each tick, in Wh."""
    fusion, found, took_s = Fusion(traits=TRAITS), [], 0.06
    at_s, tick_s = next(times), 3.0
    while tick_s < plant.end_s - 3.0:
        while at_s + took_s <= tick_s:
            latched_s = math.floor((at_s - phase_s) / REFRESH_S) * REFRESH_S + phase_s
            energy_wh, power_w = plant.at(latched_s)
            shown_wh = int((before_wh + energy_wh) // STEP_WH) * STEP_WH
            fusion = observe(fusion, reading(at_s, took_s, power_w * (1 + GAIN), shown_wh))
            at_s = next(times)
        fusion = advance(fusion, now_s=tick_s, power_upper_w=RATED_W)
        found.append(interval_now(fusion).upper_wh - before_wh - plant.at(tick_s)[0])
        tick_s += 1.0007
    return found[20:]


def placed(rng: random.Random, *, is_aimed: bool) -> Iterator[float]:
    """The times of reads, told of ticks or not."""
    ticks, pace, at_s, tick_s = Ticks(), Pace(poll_s=0.5), 2.0 + rng.random(), 1.9993
    while True:
        yield at_s
        while is_aimed and tick_s <= at_s + 0.06:
            ticks.note(tick_s)
            tick_s += 1.0007
        at_s = pace.next_s(at_s, at_s + 0.06, ticks, rng.random())


def test_the_upper_bound_at_the_ticks_is_nearer_to_the_truth_for_it_and_never_below() -> None:
    """The figures stand in docs/bus.md."""
    found: dict[bool, list[float]] = {}
    for is_aimed in (False, True):
        found[is_aimed] = []
        for seed in range(3):
            rng = random.Random(seed)
            plant, before_wh = Plant(rng, 400.0), rng.uniform(0.0, 1e5)
            phase_s = rng.random()
            found[is_aimed] += uppers(placed(rng, is_aimed=is_aimed), plant, before_wh, phase_s)
    wandering, aimed = sorted(found[False]), sorted(found[True])
    assert aimed[0] > 0.0
    assert aimed[-1] < 0.95 * wandering[-1]
    for share in (0.5, 0.95):
        assert aimed[int(share * len(aimed))] < wandering[int(share * len(wandering))]
