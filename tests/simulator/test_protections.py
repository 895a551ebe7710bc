"""The campaign can fail: each protection, left out alone, lets a site burn more than was bought."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.campaign import replay_command, run_campaign, run_seeds
from simulator.campaign_draw import draw
from simulator.campaign_need import draw_needing
from simulator.virtual.disarm import PROTECTIONS
from simulator.virtual.run import run_scenario

pytestmark = pytest.mark.closed_loop

# Small sites among the first that `kwota-sim campaign --without …` draws.
CASES = {
    "reserve": 648336852415,
    "age": 1012856485606,
    "confirmation": 648336852415,
    "base-load": 1012856485606,
    "guard": 1012856485606,
    "watchdog": 1012856485606,
}


def test_every_protection_has_its_case_among_the_first_draws() -> None:
    assert set(CASES) == set(PROTECTIONS)
    assert set(CASES.values()) <= set(run_seeds(1, 8))


@pytest.mark.parametrize("protection", CASES)
def test_a_protection_that_is_left_out_is_missed(protection: str) -> None:
    without = frozenset({protection})
    scenario = draw_needing(CASES[protection], 2, without)
    armed = run_scenario(scenario)
    assert (armed.over_wh, armed.is_coverable) == (0.0, True)
    bare = run_scenario(scenario, without=without)
    assert bare.over_wh > 0.2
    assert bare.is_coverable


def test_a_campaign_without_a_protection_fails_and_says_how_to_see_it_again() -> None:
    without = frozenset({"watchdog"})
    document = run_campaign(runs=2, faults_max=2, seed=1, without=without, jobs=1)
    assert document["runs_over"] == 2
    seeds = run_seeds(1, 2)
    assert [one["replay"] for one in document["failures"]] == [
        replay_command(seed, 2, without) for seed in seeds
    ]


@given(seed=st.integers(0, 2**40), without=st.sets(st.sampled_from(PROTECTIONS)))
def test_a_seed_always_draws_the_same_needy_site(seed: int, without: set[str]) -> None:
    scenario = draw_needing(seed, 2, frozenset(without))
    assert scenario == draw_needing(seed, 2, frozenset(without))
    assert (scenario == draw(seed, 2)) == (not without)
    site = scenario.site
    assert site.base_load_kw <= site.base_load_max_kw < site.rated_kw
