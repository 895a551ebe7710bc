"""A meter against the commercial one: the factor, what it may be off by, and what that proves."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.calibration import (
    CommercialReading,
    Pair,
    Verdict,
    Yardstick,
    calibrated,
    paired,
)
from agent.core.statement import Statement

HOUR_MS, QUARTER_MS = 3_600_000, 900_000
START_MS = 1_800_000_000_000 // HOUR_MS * HOUR_MS
METER = Yardstick(error_share=0.01, step_wh=10, refresh_s=1.0)


def reading(hour: int, energy_wh: int, *, hours: int = 1, rounding_wh: int = 0):
    start_ms = START_MS + hour * HOUR_MS
    return CommercialReading(
        start_ms=start_ms,
        end_ms=start_ms + hours * HOUR_MS,
        energy_wh=energy_wh,
        rounding_wh=rounding_wh,
    )


def quarters(count: int, metered_wh: int = 250_000, unknown_wh: int = 0) -> list[Statement]:
    return [
        Statement(
            start_ms=START_MS + n * QUARTER_MS,
            end_ms=START_MS + (n + 1) * QUARTER_MS,
            metered_wh=metered_wh,
            unknown_wh=unknown_wh,
        )
        for n in range(count)
    ]


def pair(hour: int, commercial_wh: int, metered_wh: int, unknown_wh: int = 0) -> Pair:
    return Pair(reading=reading(hour, commercial_wh), metered_wh=metered_wh, unknown_wh=unknown_wh)


def test_an_hour_is_compared_with_the_statements_of_its_four_quarters() -> None:
    pairs, reasons = paired([reading(1, 990_000)], quarters(12))
    assert [(one.metered_wh, one.unknown_wh) for one in pairs] == [(1_000_000, 0)]
    assert not reasons


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (reading(2, 1, hours=0), "ends before it begins"),
        (CommercialReading(start_ms=START_MS + 1, end_ms=START_MS + HOUR_MS, energy_wh=1,
                           rounding_wh=0), "on a quarter of an hour"),
        (reading(0, 1), "overlaps"),
        (reading(3, 1), "do not cover it whole"),
        (reading(9, 1), "do not cover it whole"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named_and_costs_the_others_nothing(bad, words) -> None:
    stated = quarters(15)  # the last quarter of the fourth hour is missing
    pairs, reasons = paired([reading(0, 1), bad, reading(1, 1)], stated)
    assert len(pairs) == 2
    assert list(reasons) == [1]
    assert words in reasons[1]


@given(st.lists(st.tuples(st.integers(-2, 12), st.integers(0, 5)), max_size=12))
def test_no_quarter_is_compared_twice_whatever_is_handed_in(rows) -> None:
    handed = [reading(hour, 1, hours=hours) for hour, hours in rows]
    pairs, reasons = paired(handed, quarters(40)[::-1])
    assert len(pairs) + len(reasons) == len(handed)
    spans = sorted((one.reading.start_ms, one.reading.end_ms) for one in pairs)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    for one in pairs:
        assert one.metered_wh == 250_000 * (one.reading.end_ms - one.reading.start_ms) // QUARTER_MS
    for place, reason in reasons.items():
        if "overlaps" in reason:
            mine = handed[place]
            assert any(start < mine.end_ms and mine.start_ms < end for start, end in spans)


def test_a_thousand_hours_are_laid_beside_their_statements_in_no_time() -> None:
    stated = quarters(4_000)
    began_s = time.perf_counter()
    pairs, reasons = paired([reading(hour, 1) for hour in range(1_000)], stated)
    assert (len(pairs), dict(reasons)) == (1_000, {})
    assert time.perf_counter() - began_s < 0.5


def test_an_hour_of_which_the_agent_saw_only_a_part_is_not_compared() -> None:
    _, reasons = paired([reading(0, 1)], quarters(4)[1:])
    assert "do not cover it whole" in reasons[0]


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (1.0, Verdict.WITHIN),
        (0.995, Verdict.WITHIN),
        (1.03, Verdict.OUTSIDE),
        (0.97, Verdict.OUTSIDE),
        (1.0105, Verdict.UNCLEAR),
        (0.9895, Verdict.UNCLEAR),
    ],
)
def test_the_class_is_left_only_where_the_uncertainty_does_not_reach_back(share, verdict) -> None:
    found = calibrated([pair(0, round(1_000_000 * share), 1_000_000)], METER)
    assert found is not None
    assert found.factor_ppm == round(share * 1_000_000)
    # Two edges, each with a step and six seconds at a megawatt.
    assert found.uncertainty_ppm == pytest.approx(2 * (10 + 1e6 * 6 / 3600), abs=1)
    assert found.verdict is verdict


def test_the_hours_of_a_day_bound_the_factor_closer_than_one_of_them() -> None:
    one = calibrated([pair(0, 1_000_000, 1_000_000)], METER)
    day = calibrated([pair(hour, 1_000_000, 1_000_000) for hour in range(24)], METER)
    assert one is not None
    assert day is not None
    assert day.uncertainty_ppm == pytest.approx(one.uncertainty_ppm / 24, rel=0.01)
    split = calibrated([pair(2 * hour, 1_000_000, 1_000_000) for hour in range(24)], METER)
    assert split is not None
    assert split.uncertainty_ppm == pytest.approx(one.uncertainty_ppm, rel=0.01)
    assert (day.from_ms, day.to_ms) == (START_MS, START_MS + 24 * HOUR_MS)


def test_digits_that_were_not_written_make_it_uncertain() -> None:
    exact = Pair(reading=reading(0, 1_000_000), metered_wh=1_000_000, unknown_wh=0)
    rough = Pair(
        reading=reading(0, 1_000_000, rounding_wh=5_000), metered_wh=1_000_000, unknown_wh=0
    )
    found = [calibrated([one], METER) for one in (exact, rough)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].uncertainty_ppm - found[0].uncertainty_ppm == pytest.approx(5_000, abs=1)


def test_energy_that_nobody_measured_accuses_no_meter() -> None:
    found = calibrated([pair(0, 1_000_000, 900_000, unknown_wh=200_000)], METER)
    assert found is not None
    assert found.factor_ppm == 1_000_000
    assert found.verdict is Verdict.UNCLEAR


def test_where_nothing_flowed_there_is_no_factor() -> None:
    assert calibrated([pair(0, 5, 0)], METER) is None


def test_hours_that_scatter_are_less_certain_than_hours_that_agree() -> None:
    wild = [pair(hour, 1_000_000 + (-1) ** hour * 20_000, 1_000_000) for hour in range(10)]
    calm = [pair(hour, 1_000_000, 1_000_000) for hour in range(10)]
    rough, fine = calibrated(wild, METER), calibrated(calm, METER)
    assert rough is not None
    assert fine is not None
    # Twice the deviation of the mean of ten: 2 * 2.1 % / sqrt(10).
    assert rough.uncertainty_ppm - fine.uncertainty_ppm == pytest.approx(13_333, abs=2)


@given(
    factor=st.floats(0.9, 1.1),
    hours=st.integers(1, 30),
    seed=st.integers(0, 2**32),
    unknown=st.integers(0, 20_000),
)
def test_the_true_factor_lies_within_the_uncertainty(factor, hours, seed, unknown) -> None:
    """Whatever power flows: steps, staleness, clocks, rounding and unmeasured energy are covered.

    What a meter has not shown at an edge it shows in the next hour, so it is the register at the
    edges that is off, not each hour by itself.
    """
    rng = random.Random(seed)
    true_wh = [rng.randint(200_000, 1_000_000) for _ in range(hours)]
    lag_wh = [rng.uniform(0, 10 + min(true_wh) * 6 / 3600) for _ in range(hours + 1)]
    pairs = []
    for hour, energy_wh in enumerate(true_wh):
        shown_wh = round(energy_wh + lag_wh[hour] - lag_wh[hour + 1])
        hidden_wh = min(rng.randint(0, unknown), shown_wh)
        charged_wh = hidden_wh + rng.randint(0, hidden_wh)  # an upper bound of what was hidden
        commercial = reading(hour, round(energy_wh * factor / 1000) * 1000, rounding_wh=500)
        one = Pair(reading=commercial, metered_wh=shown_wh - hidden_wh, unknown_wh=charged_wh)
        pairs.append(one)
    found = calibrated(pairs, METER)
    assert found is not None
    # The sheet rounds to ppm.
    assert abs(found.factor_ppm - factor * 1e6) <= found.uncertainty_ppm + 2
