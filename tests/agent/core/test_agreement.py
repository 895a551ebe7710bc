"""Power and energy of one meter: a lie of scale is found, what only looks like one is not."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.core.agreement import Agreement, against_the_flow, followed
from agent.core.samples import MeterTraits
from drivers.readings import MeterReading

TRAITS = MeterTraits(refresh_s=1.0, step_wh=10, power_error_share=0.01, rated_power_w=1_500_000.0)


def reading(at_s: float, register_wh: float, power_w: float) -> MeterReading:
    return MeterReading(
        meter_id="site",
        requested_at_s=at_s,
        replied_at_s=at_s + 0.02,
        taken_at_ms=0,
        power_w=power_w,
        energy_import_wh=int(register_wh),
        voltage_v=None,
        frequency_hz=None,
    )


def run(
    seconds: float,
    power_w: Callable[[float], float],
    *,
    energy_scale: float = 1.0,
    power_scale: float = 1.0,
    traits: MeterTraits = TRAITS,
    jump: tuple[float, float] = (1e9, 0.0),
    poll_s: float = 0.5,
) -> tuple[Agreement, float | None]:
    """The agreement at the end, and when it first had words; latched each refresh, truncated."""
    rng = random.Random(7)
    agreement, first_s = Agreement(), None
    energy_wh, latched = 5e6, (5e6, power_w(0.0))
    at_s, next_latch_s, next_poll_s = 0.0, 0.3, 0.0
    while at_s < seconds:
        at_s = round(at_s + 0.1, 3)
        energy_wh += power_w(at_s) * 0.1 / 3600
        if at_s >= next_latch_s:
            latched = (energy_wh, power_w(at_s))
            next_latch_s += traits.refresh_s
        if at_s >= next_poll_s:
            next_poll_s += poll_s * rng.uniform(0.9, 1.1)
            shown_wh = latched[0] * energy_scale // traits.step_wh * traits.step_wh
            shown_wh += jump[1] if at_s >= jump[0] else 0.0
            one = reading(at_s, shown_wh, latched[1] * power_scale)
            agreement = followed(agreement, one, traits, is_held=False)
            if agreement.words and first_s is None:
                first_s = at_s
    return agreement, first_s


def wandering(seed: int, top_w: float) -> Callable[[float], float]:
    """Power that leaps about every second between a tenth and the whole of the top."""
    rng = random.Random(seed)
    levels = [rng.uniform(0.1, 1.0) * top_w for _ in range(4000)]
    return lambda at_s: levels[int(at_s)]


@pytest.mark.parametrize("top_w", [3_500.0, 100_000.0, 1_000_000.0])
@pytest.mark.parametrize("step_wh", [1, 10, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_true_meter_is_never_called_a_liar_however_its_power_leaps(
    top_w: float, step_wh: int, seed: int
) -> None:
    traits = replace(TRAITS, step_wh=step_wh)
    _, first_s = run(1800, wandering(seed, top_w), traits=traits)
    assert first_s is None


@pytest.mark.parametrize("share", [-0.03, 0.03])
def test_what_the_classes_of_a_meter_allow_is_no_lie(share: float) -> None:
    _, first_s = run(900, lambda _: 100_000.0, power_scale=1 + share)
    assert first_s is None


@pytest.mark.parametrize("scale", [0.001, 0.1, 0.5, 1 / 3**0.5, 3**0.5, 2.0, 10.0, 1000.0])
@pytest.mark.parametrize("top_w", [100_000.0, 1_000_000.0])
def test_a_register_of_another_scale_than_the_power_is_found_within_minutes(
    scale: float, top_w: float
) -> None:
    _, by_energy_s = run(400, lambda _: top_w, energy_scale=scale)
    _, by_power_s = run(400, lambda _: top_w, power_scale=1 / scale)
    assert by_energy_s is not None
    assert by_energy_s < 200
    assert by_power_s is not None
    assert by_power_s < 200 * max(scale, 1.0)


def test_a_power_that_reads_zero_while_the_register_grows_is_found() -> None:
    agreement, first_s = run(300, lambda _: 200_000.0, power_scale=0.0)
    assert first_s is not None
    assert "much more" in agreement.words


def test_the_words_say_by_how_much_and_what_to_look_at() -> None:
    agreement, _ = run(300, lambda _: 100_000.0, energy_scale=0.1)
    assert "much less; check ratios, units and the meter's profile" in agreement.words


def test_a_single_leap_is_no_lie_of_scale() -> None:
    agreement, first_s = run(400, lambda _: 100_000.0, jump=(100.0, 5_000.0))
    assert first_s is None
    assert agreement.disagreed == 0


def test_two_leaps_to_opposite_sides_are_no_lie_of_scale() -> None:
    agreement = replace(Agreement(), disagreed=-1)
    after, _ = _stretch(agreement, grown_share=3.0)
    assert (after.disagreed, after.words) == (1, "")


def test_a_stretch_that_agrees_takes_the_lie_back() -> None:
    liar, _ = run(300, lambda _: 100_000.0, energy_scale=0.1)
    assert liar.words
    after, _ = _stretch(liar, grown_share=1.0)
    assert (after.words, after.disagreed) == ("", 0)


def _stretch(agreement: Agreement, *, grown_share: float) -> tuple[Agreement, float]:
    """One whole stretch at 100 kW from a fresh beginning."""
    at_s, shown_wh = 10_000.0, 1e6
    agreement = followed(agreement, reading(at_s, shown_wh, 1e5), TRAITS, is_held=False)
    while True:
        at_s += 1.0
        shown_wh += 1e5 / 3600 * grown_share
        one = reading(at_s, shown_wh, 1e5)
        after = followed(agreement, one, TRAITS, is_held=False)
        if after.since_wh != agreement.since_wh:
            return after, at_s
        agreement = after


def test_a_silence_a_fall_and_a_held_register_begin_a_stretch_anew() -> None:
    known = followed(Agreement(), reading(1.0, 1000, 1e5), TRAITS, is_held=False)
    assert followed(known, reading(1.0, 2000, 1e5), TRAITS, is_held=False) is known
    for one, is_held in (
        (reading(9.0, 5000, 1e5), False),
        (reading(2.0, 900, 1e5), False),
        (reading(2.0, 1020, 1e5), True),
    ):
        anew = followed(known, one, TRAITS, is_held=is_held)
        assert (anew.since_wh, anew.flow.most_wh) == (one.energy_import_wh, 0.0)


def test_a_register_held_as_a_liar_is_watched_on() -> None:
    liar = replace(
        followed(Agreement(), reading(1.0, 1000, 1e5), TRAITS, is_held=False), words="a lie"
    )
    after = followed(liar, reading(2.0, 1020, 1e5), TRAITS, is_held=True)
    assert after.since_wh == 1000
    assert after.flow.most_wh > 0.0


def test_power_that_flows_out_is_refused_where_nothing_generates() -> None:
    out = reading(1.0, 1000, -40_000.0)
    assert "turn the current transformers round" in against_the_flow(out, TRAITS)
    assert against_the_flow(out, replace(TRAITS, may_export=True)) == ""
    assert against_the_flow(reading(1.0, 1000, -2_000.0), TRAITS) == ""
    assert against_the_flow(reading(1.0, 1000, 40_000.0), TRAITS) == ""
