"""The interval against a plant of exactly known energy, and readings that cannot be believed."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.meterfusion import (
    REMEMBERED_SAMPLES,
    Fusion,
    Interval,
    MeterTraits,
    advance,
    interval_at,
    interval_now,
    observe,
    recent_power_w,
    resumed,
)
from drivers.readings import MeterReading

RATED_W = 400_000.0
SHARE = 0.01
ROUNDING_WH = 1e-3


def traits(refresh_s: float = 0.5, step_wh: int = 10) -> MeterTraits:
    return MeterTraits(
        refresh_s=refresh_s, step_wh=step_wh, power_error_share=SHARE, rated_power_w=RATED_W
    )


def reading(at_s: float, register_wh: int, power_w: float, reply_s: float = 0.0) -> MeterReading:
    return MeterReading(
        meter_id="site",
        requested_at_s=at_s,
        replied_at_s=at_s + reply_s,
        taken_at_ms=0,
        power_w=power_w,
        energy_import_wh=register_wh,
        voltage_v=None,
        frequency_hz=None,
    )


@dataclass(frozen=True)
class Plant:
    """Power as straight lines between corners (s, W); its energy is exact."""

    corners: tuple[tuple[float, float], ...]
    start_wh: float

    def power_w(self, at_s: float) -> float:
        for (from_s, from_w), (to_s, to_w) in itertools.pairwise(self.corners):
            if at_s < to_s:
                return from_w + (to_w - from_w) * (at_s - from_s) / (to_s - from_s)
        return self.corners[-1][1]

    def energy_wh(self, at_s: float) -> float:
        total_ws = 0.0
        for (from_s, from_w), (to_s, to_w) in itertools.pairwise(self.corners):
            if at_s <= from_s:
                break
            end_s = min(at_s, to_s)
            end_w = from_w + (to_w - from_w) * (end_s - from_s) / (to_s - from_s)
            total_ws += (from_w + end_w) / 2 * (end_s - from_s)
        return self.start_wh + total_ws / SECONDS_PER_HOUR


@st.composite
def plants(draw: st.DrawFn) -> Plant:
    """Levels held for some seconds; from one to the next in a step or over a ramp."""
    corners = [(0.0, draw(st.floats(0, RATED_W)))]
    for _ in range(draw(st.integers(1, 3))):
        at_s, level_w = corners[-1]
        held_s = at_s + draw(st.floats(4, 8))
        moved_s = held_s + draw(st.sampled_from([0.001, 0.3, 2.0, 12.0]))
        corners += [(held_s, level_w), (moved_s, draw(st.floats(0, RATED_W)))]
    corners.append((corners[-1][0] + 10.0, corners[-1][1]))
    return Plant(corners=tuple(corners), start_wh=draw(st.floats(0, 10_000)))


@st.composite
def polls(draw: st.DrawFn, until_s: float, refresh_s: float) -> list[tuple[float, float, float]]:
    """(request, latching, reply) of each poll: the meter answers with its last refresh.

    Once, perhaps, nobody asks for a while.
    """
    phase_s = draw(st.floats(0, refresh_s, exclude_max=True))
    silent_s = draw(st.one_of(st.just(until_s), st.floats(1.0, 12.0)))
    silence_s = draw(st.floats(1.0, 8.0))
    jitter = draw(st.randoms(use_true_random=False))
    found, at_s = [], refresh_s + 0.1
    while at_s < until_s:
        if at_s >= silent_s:
            at_s, silent_s = at_s + silence_s, until_s
            continue
        reply_s = at_s + jitter.uniform(0.001, 0.15)
        served_s = jitter.uniform(at_s, reply_s)
        latched_s = math.floor((served_s - phase_s) / refresh_s) * refresh_s + phase_s
        found.append((at_s, latched_s, reply_s))
        at_s = reply_s + jitter.uniform(0.4, 0.6)
    return found


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Plant, MeterTraits, list[tuple[float, float, float]], float]:
    plant = draw(plants())
    meter = traits(draw(st.floats(0.1, 1.2)), draw(st.integers(1, 1000)))
    visits = draw(polls(plant.corners[-1][0], meter.refresh_s))
    gain = draw(st.floats(-SHARE, SHARE)) / (1 + SHARE)
    return plant, meter, visits, gain


def measured(
    plant: Plant, meter: MeterTraits, visit: tuple[float, float, float], gain: float
) -> MeterReading:
    requested_s, latched_s, replied_s = visit
    register_wh = math.floor(plant.energy_wh(latched_s) / meter.step_wh) * meter.step_wh
    power_w = plant.power_w(latched_s) * (1 + gain)
    return reading(requested_s, register_wh, power_w, replied_s - requested_s)


def holds(interval: Interval, truth_wh: float) -> bool:
    return interval.lower_wh - ROUNDING_WH <= truth_wh <= interval.upper_wh + ROUNDING_WH


@pytest.mark.timeout(60)  # under coverage the arithmetic takes four times as long
@settings(max_examples=60, deadline=None)
@given(world=worlds(), late_s=st.floats(0, 2))
def test_the_truth_lies_in_the_interval_now_and_in_hindsight(
    world: tuple[Plant, MeterTraits, list[tuple[float, float, float]], float], late_s: float
) -> None:
    plant, meter, visits, gain = world
    fusion = Fusion(traits=meter)
    for visit in visits:
        fusion = observe(fusion, measured(plant, meter, visit, gain))
        assert fusion.suspect == ""
        now_s = visit[2] + late_s
        fusion = advance(fusion, now_s=now_s, power_upper_w=RATED_W)
        assert holds(interval_now(fusion), plant.energy_wh(now_s))
        oldest_s = fusion.samples[0].requested_at_s
        newest_s = visit[0] - meter.refresh_s
        for part in (0.0, 0.6):
            at_s = oldest_s + (newest_s - oldest_s) * part
            if at_s <= newest_s:
                assert holds(interval_at(fusion, at_s), plant.energy_wh(at_s)), (at_s, visit)


def observed(fusion: Fusion, *readings: MeterReading) -> Fusion:
    for each in readings:
        fusion = observe(fusion, each)
    return fusion


def steady(count: int, power_w: float = 36_000.0, step_wh: int = 10) -> Fusion:
    """36 kW are 10 Wh a second: the register ticks with every other reading."""
    fusion = Fusion(traits=traits(step_wh=step_wh))
    for number in range(count):
        at_s = number * 0.5
        energy_wh = 1000 + power_w * at_s / SECONDS_PER_HOUR
        register_wh = math.floor(energy_wh / step_wh) * step_wh
        fusion = observe(fusion, reading(10 + at_s, register_wh, power_w))
    return fusion


def test_power_that_jumps_between_two_refreshes_of_a_slow_meter_is_not_missed() -> None:
    """Two polls see the same latch; the stretch between them is not bounded by its stale power."""
    meter = traits(refresh_s=1.0, step_wh=1)
    plant = Plant(corners=((0, 0.0), (20.02, 0.0), (20.021, RATED_W), (40, RATED_W)), start_wh=0.0)
    fusion = Fusion(traits=meter)
    for number in range(120):
        at_s = 2.0 + number * 0.25
        latched_s = float(math.floor(at_s))
        fusion = observe(fusion, measured(plant, meter, (at_s, latched_s, at_s), 0.0))
        fusion = advance(fusion, now_s=at_s, power_upper_w=RATED_W)
        assert holds(interval_now(fusion), plant.energy_wh(at_s)), at_s
        back_s = max(at_s - 1.0, fusion.samples[0].requested_at_s)
        if back_s <= at_s - 1.0:
            assert holds(interval_at(fusion, back_s), plant.energy_wh(back_s)), at_s


def test_a_fall_of_power_right_after_a_tick_is_no_frozen_register() -> None:
    meter = traits(refresh_s=1.0, step_wh=10)
    plant = Plant(corners=((0, 2e5), (20.02, 2e5), (20.021, 5e3), (40, 5e3)), start_wh=0.0)
    fusion = Fusion(traits=meter)
    for number in range(70):
        at_s = 2.0 + number * 0.5
        visit = (at_s, float(math.floor(at_s)), at_s)
        fusion = observe(fusion, measured(plant, meter, visit, 0.0))
        assert fusion.suspect == "", at_s


def test_samples_narrow_the_interval_far_below_step_and_refresh() -> None:
    fusion = advance(steady(40, power_w=40_000.0), now_s=29.5, power_upper_w=40_000.0)
    interval = interval_now(fusion)
    assert interval.upper_wh - interval.lower_wh < 10 + 40_000 * 0.75 / SECONDS_PER_HOUR
    assert interval.lower_wh < interval.middle_wh < interval.upper_wh


def test_no_more_than_a_dozen_samples_are_kept() -> None:
    assert len(steady(100).samples) == REMEMBERED_SAMPLES


def test_a_reading_seen_before_is_ignored() -> None:
    fusion = steady(3)
    assert observe(fusion, reading(11.0, 5000, 0.0)) is fusion


def test_power_that_flows_out_counts_as_none() -> None:
    fusion = observe(Fusion(traits=traits()), reading(1.0, 100, -500.0))
    assert fusion.samples[0].power_w == 0.0


def test_silence_grows_the_upper_bound_by_the_stated_power_and_leaves_the_lower() -> None:
    quiet = advance(steady(20), now_s=19.5, power_upper_w=36_000.0)
    before = interval_now(quiet)
    for seconds in range(1, 31):
        quiet = advance(quiet, now_s=19.5 + seconds, power_upper_w=72_000.0)
    after = interval_now(quiet)
    assert after.upper_wh - before.upper_wh == pytest.approx(72_000 * 30 / SECONDS_PER_HOUR)
    assert after.lower_wh == before.lower_wh


def test_time_that_does_not_pass_adds_nothing() -> None:
    fusion = advance(steady(5), now_s=15.0, power_upper_w=1e5)
    assert advance(fusion, now_s=15.0, power_upper_w=1e5) is fusion
    empty = Fusion(traits=traits())
    assert advance(empty, now_s=15.0, power_upper_w=1e5) is empty


def test_the_first_reading_after_a_silence_brings_the_interval_back_to_the_register() -> None:
    fusion = advance(steady(20), now_s=60.0, power_upper_w=RATED_W)
    fusion = observe(fusion, reading(59.5, 1700, 36_000.0))
    waiting = interval_now(advance(fusion, now_s=59.5, power_upper_w=RATED_W))
    assert waiting.upper_wh > 5000  # it may have frozen at any time since
    fusion = observe(fusion, reading(60.0, 1705, 36_000.0))
    interval = interval_now(advance(fusion, now_s=60.0, power_upper_w=RATED_W))
    assert fusion.suspect == ""
    assert interval.upper_wh <= 1715 + RATED_W * 0.5 / SECONDS_PER_HOUR + ROUNDING_WH
    assert interval.lower_wh >= 1705
    # What flowed in between is known only as the two registers tell it.
    middle = interval_at(fusion, 40.0)
    assert middle.lower_wh < 1150
    assert middle.upper_wh > 1650


def test_a_register_whose_floats_lie_far_apart_hides_as_much_as_they_do() -> None:
    """A float32 in kWh at 1.5 GWh steps by 125 Wh, whatever its profile says of its display."""
    fusion, start_wh = Fusion(traits=traits(step_wh=10)), 1_500_000_000
    for number in range(40):
        true_wh = start_wh + 124.0 + number * 20.0
        shown_wh = start_wh + int(true_wh - start_wh) // 125 * 125
        told = replace(reading(10.0 + number, shown_wh, 72_000.0), energy_step_wh=125)
        fusion = observe(fusion, told)
        fusion = advance(fusion, now_s=10.0 + number, power_upper_w=75_000.0)
        assert fusion.suspect == ""
        assert interval_now(fusion).upper_wh >= true_wh
    finer = replace(reading(60.0, shown_wh + 500, 72_000.0), energy_step_wh=0)
    assert observe(fusion, finer).traits.step_wh == 125


def test_a_silence_counts_as_one_when_what_was_read_before_it_is_forgotten() -> None:
    """Machines run only while nobody looks; a dozen readings later that is still known."""
    fusion = advance(steady(20, power_w=3_600.0, step_wh=1), now_s=19.6, power_upper_w=RATED_W)
    for number in range(30):
        at_s, true_wh = 50.0 + number, 1310.9 + number
        fusion = observe(fusion, reading(at_s, int(true_wh), 3_600.0))
        fusion = advance(fusion, now_s=at_s + 0.1, power_upper_w=4_000.0)
        assert interval_now(fusion).upper_wh >= true_wh + 0.1, number
    assert interval_now(fusion).upper_wh < true_wh + 5.0


@pytest.mark.parametrize(
    ("register_wh", "words"),
    [(900, "fell from 1040 Wh to 900 Wh"), (1039, "fell"), (99_000, "jumped by 97960 Wh")],
)
def test_a_register_that_falls_or_leaps_is_held_apart_and_never_based_on(
    register_wh: int, words: str
) -> None:
    fusion = steady(10)
    held = observed(fusion, *(reading(15 + n * 0.5, register_wh, 36_000.0) for n in range(3)))
    assert words in held.suspect
    assert held.suspect_count == 3
    assert held.samples == fusion.samples
    well = observe(held, reading(16.5, 1060, 36_000.0))
    assert (well.suspect, well.suspect_count) == ("", 0)
    assert well.samples[-1].register_wh == 1060


def test_what_the_connection_can_carry_is_no_leap() -> None:
    most_wh = int(RATED_W * 1.0 / SECONDS_PER_HOUR)
    assert observe(steady(10), reading(15.0, 1040 + most_wh, RATED_W)).suspect == ""


@pytest.mark.parametrize("step_wh", [1, 10, 100])
@pytest.mark.parametrize("power_w", [20_000.0, 200_000.0])
def test_a_register_that_stands_while_power_flows_is_found_out_in_time(
    step_wh: int, power_w: float
) -> None:
    fusion = steady(10, power_w, step_wh)
    register_wh = fusion.samples[-1].register_wh
    at_s = 14.5
    while not fusion.suspect:
        at_s += 0.5
        fusion = observe(fusion, reading(at_s, register_wh, power_w))
        hidden_wh = power_w * (at_s - 14.5) / SECONDS_PER_HOUR
        assert hidden_wh <= 2 * step_wh + power_w * 2.5 / SECONDS_PER_HOUR + 1
    assert "the meter is frozen" in fusion.suspect
    true_wh = 1000 + power_w * (at_s + 0.5 - 10) / SECONDS_PER_HOUR
    caught_up_wh = math.floor(true_wh / step_wh) * step_wh
    freed = observe(fusion, reading(at_s + 0.5, caught_up_wh, power_w))
    assert (freed.suspect, freed.still_wh) == ("", 0.0)


def test_a_silence_says_nothing_about_a_register_that_stands() -> None:
    fusion = steady(10)
    assert observe(fusion, reading(30.0, 1040, 36_000.0)).still_wh == fusion.still_wh


def test_a_register_may_stand_while_nothing_flows() -> None:
    fusion = Fusion(traits=traits())
    for number in range(200):
        fusion = observe(fusion, reading(number * 0.5 + 1, 1000, 0.0))
    assert fusion.suspect == ""


def test_a_register_that_froze_stays_suspect_when_the_power_falls_afterwards() -> None:
    fusion = steady(8, power_w=180_000.0)
    frozen_wh = fusion.samples[-1].register_wh
    at_s = fusion.samples[-1].requested_at_s
    for _ in range(12):
        at_s += 0.5
        fusion = observe(fusion, reading(at_s, frozen_wh, 180_000.0))
    assert fusion.suspect
    for _ in range(20):
        at_s += 0.5
        fusion = observe(fusion, reading(at_s, frozen_wh, 90_000.0))
    assert fusion.suspect


def test_a_power_that_has_just_fallen_counts_as_it_stood_at_the_earliest_latching() -> None:
    fusion = observed(
        Fusion(traits=traits(refresh_s=1.0)),
        reading(1.0, 1000, 300_000.0),
        reading(1.5, 1040, 300_000.0),
        reading(2.0, 1080, 300_000.0),
        reading(2.5, 1100, 100_000.0),
    )
    assert recent_power_w(fusion) == 300_000.0
    for at_s in (3.0, 3.5, 4.0, 4.5):
        fusion = observe(fusion, reading(at_s, 1120, 100_000.0))
    assert recent_power_w(fusion) == 100_000.0


def test_after_a_restart_the_bound_begins_at_the_known_register_and_grows() -> None:
    fusion = resumed(traits(), register_wh=5000, at_s=10.0)
    fusion = advance(fusion, now_s=46.0, power_upper_w=100_000.0)
    interval = interval_now(fusion)
    assert interval.lower_wh == 5000
    assert interval.upper_wh >= 5000 + 100_000.0 * 36 / SECONDS_PER_HOUR
    assert observe(fusion, reading(50.0, 4999, 0.0)).suspect


def test_a_register_that_fell_is_not_believed_when_it_has_grown_past_its_old_value() -> None:
    """Growing again, it hides what it lost; only a jump back by as much undoes the fall."""
    fusion = steady(10)
    after = [reading(15 + n * 0.75, 700 + 8 * n, 36_000.0 + n % 2) for n in range(60)]
    fallen = observed(fusion, *after)
    assert fallen.latest == fusion.latest
    assert "held" in fallen.suspect
    assert observe(fallen, reading(60.0, 1180 + 340, 36_000.0)).suspect == ""


def test_a_register_that_froze_right_after_it_moved_does_not_hide_what_flows() -> None:
    """The last movement was latched after the request before, however old it is by now."""
    fusion = observed(
        Fusion(traits=traits()), *(reading(n * 0.5, 100 * n, 7.2e5) for n in range(9))
    )
    power_w = 7.2e5  # 100 Wh in each half second
    fusion = observe(fusion, reading(4.5, 850, power_w))  # it froze at 4.25 s
    interval = interval_now(advance(fusion, now_s=4.5, power_upper_w=power_w))
    assert interval.upper_wh >= 900


def test_a_power_that_is_no_number_is_as_good_as_no_answer() -> None:
    known = observe(Fusion(traits=traits()), reading(1.0, 1000, 1e5))
    assert observe(known, reading(2.0, 1020, math.nan)) is known
