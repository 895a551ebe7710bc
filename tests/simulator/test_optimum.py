"""The offline optimum: exact where it can be checked by hand, and above everything else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.families import families
from simulator.machine import Bias, Machine
from simulator.optimum import best_hashes, concave, fleet_pieces, hashrate_at, points


def machine(name: str, place: int = 0, tolerance: float = 0.0) -> Machine:
    family = families()[name]
    model = family.models[place]
    default = next(n for n, point in enumerate(model.profiles) if point.step == 0)
    return Machine(
        index=0,
        model=model,
        timings=family.timings,
        bias=Bias(tolerance=tolerance),
        now_s=0.0,
        profile=default,
    )


FLEET = [machine("luxos"), machine("luxos", 1), machine("antminer", 1, 0.02), machine("braiins")]


def test_the_edge_of_a_cloud_leaves_out_what_lies_below_a_chord() -> None:
    cloud = [(0.0, 0.0), (10.0, 5.0), (20.0, 20.0), (30.0, 22.0), (40.0, 30.0), (25.0, 1.0)]
    assert concave(cloud) == [(0.0, 0.0), (20.0, 20.0), (40.0, 30.0)]


def test_all_the_energy_of_a_fleet_at_its_default_makes_its_default_hashes() -> None:
    full_w = sum(one.watts.final for one in FLEET)
    full_hs = sum(one.hashrate_hs.final for one in FLEET)
    best = best_hashes([(3600.0, full_w)], FLEET)
    assert best == pytest.approx(full_hs * 3600.0, rel=1e-9)
    assert best_hashes([(3600.0, 2 * full_w)], FLEET) == pytest.approx(best)


def test_no_energy_above_sleep_makes_no_hashes() -> None:
    asleep_w = sum(one.timings.standby_w for one in FLEET)
    assert best_hashes([(3600.0, asleep_w)], FLEET) == pytest.approx(0.0, abs=1.0)


@given(seed=st.integers(0, 10_000))
def test_no_mixture_of_points_over_time_makes_more_than_the_optimum(seed: int) -> None:
    rng = random.Random(seed)
    energy_ws = hashes = total_s = 0.0
    for _ in range(rng.randint(1, 5)):
        seconds = rng.uniform(1.0, 100.0)
        total_s += seconds
        for one in FLEET:
            power_w, hashrate_hs = rng.choice(points(one))
            energy_ws += power_w * seconds
            hashes += hashrate_hs * seconds
    best = best_hashes([(total_s, energy_ws / 3600.0)], FLEET)
    assert hashes <= best * (1 + 1e-9) + 1.0


@given(low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0))
def test_an_even_draw_beats_an_uneven_one(low: float, high: float) -> None:
    floor_w, _ = fleet_pieces(FLEET)
    span_w = sum(one.watts.final for one in FLEET) - floor_w
    first_w, second_w = floor_w + low * span_w, floor_w + high * span_w
    even = best_hashes([(200.0, (first_w + second_w) * 100.0 / 3600.0)], FLEET)
    uneven = best_hashes([(100.0, w * 100.0 / 3600.0) for w in (first_w, second_w)], FLEET)
    assert even >= uneven * (1 - 1e-9) - 1e6


def test_the_best_watt_is_spent_first() -> None:
    floor_w, pieces = fleet_pieces(FLEET)
    worth = [per_joule for per_joule, _ in pieces]
    assert worth == sorted(worth, reverse=True)
    assert floor_w == pytest.approx(sum(one.timings.standby_w for one in FLEET))
    assert hashrate_at(1.0, pieces) == pytest.approx(worth[0])
