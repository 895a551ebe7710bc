"""Campaigns: drawn from a seed, summed up honestly, every failure with the way to see it again."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from simulator.__main__ import app
from simulator.campaign import Verdict, replay_command, run_campaign, run_seeds, summed_up
from simulator.campaign_draw import draw
from simulator.families import families

pytestmark = pytest.mark.closed_loop

CONTRACT = [
    "runs",
    "runs_over",
    "worst_over_wh",
    "worst_margin_wh",
    "unused_share_median",
    "unused_share_p95",
    "estimator_below_truth_runs",
    "relay_trips",
    "not_coverable_runs",
    "not_coverable_announced",
    "seed",
    "wall_s",
    "failures",
]

KEPT = Verdict(
    seed=1,
    over_wh=0.0,
    margin_wh=20.0,
    unused_share=0.004,
    is_coverable=True,
    unforetold=(),
    is_estimator_below=False,
    relay_trips=0,
    ticks=600,
    step_s=0.1,
    other_s=0.1,
    faults=(),
    words=(),
    crash="",
)


@given(seed=st.integers(0, 2**40), faults_max=st.integers(0, 3))
def test_a_seed_always_draws_the_same_site_with_no_more_faults_than_asked(
    seed: int, faults_max: int
) -> None:
    scenario = draw(seed, faults_max)
    assert scenario == draw(seed, faults_max)
    assert len(scenario.faults) <= faults_max
    assert 3 <= sum(group.count for group in scenario.machines) <= 40
    site = scenario.site
    assert site.base_load_kw <= site.base_load_max_kw < site.rated_kw


def test_draws_reach_every_family_and_every_kind_of_fault() -> None:
    scenarios = [draw(seed, 2) for seed in run_seeds(3, 400)]
    drawn = {group.family for scenario in scenarios for group in scenario.machines}
    assert drawn == set(families()) - {"bitaxe"}
    kinds = {fault.what for scenario in scenarios for fault in scenario.faults}
    assert len(kinds) == 19
    assert any(group.relay for scenario in scenarios for group in scenario.machines)


def test_an_overrun_nobody_could_prevent_is_counted_and_is_no_failure() -> None:
    over = replace(KEPT, over_wh=7.0, words=("purchase w: 7 Wh",))
    verdicts = [KEPT, replace(over, seed=2, is_coverable=False), replace(over, seed=3)]
    document = summed_up(verdicts, faults_max=2, without=frozenset())
    assert document["runs_over"] == 1
    assert document["not_coverable_runs"] == 1
    assert [one["seed"] for one in document["failures"]] == [3]
    assert document["worst_over_wh"] == 7.0


def test_a_crash_of_the_core_is_a_failure_of_its_own() -> None:
    document = summed_up([replace(KEPT, crash="AssertionError")], faults_max=2, without=frozenset())
    assert document["runs_over"] == 0
    assert document["failures"][0]["words"] == ["AssertionError"]


def test_a_failure_names_the_command_that_replays_it() -> None:
    left_out = frozenset({"guard", "age"})
    words = replay_command(77, 2, left_out)
    assert words == "kwota-sim campaign --replay 77 --faults 2 --without age --without guard"


def test_a_campaign_prints_the_contract_and_its_replay_is_one_of_its_runs() -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["campaign", "--runs", "2", "--seed", "9", "--jobs", "1", "--json"])
    document = json.loads(done.stdout)
    assert list(document) == CONTRACT
    assert document["runs"] == 2
    seed = run_seeds(9, 2)[0]
    again = runner.invoke(app, ["campaign", "--replay", str(seed), "--faults", "2"])
    replayed = json.loads(again.stdout)
    assert replayed["command"] == replay_command(seed, 2, frozenset())
    if again.exit_code == 0:
        assert seed not in [one["seed"] for one in document["failures"]]


def test_the_same_campaign_gives_the_same_figures() -> None:
    first, again = (run_campaign(runs=1, faults_max=2, seed=4, jobs=1) for _ in range(2))
    del first["wall_s"], again["wall_s"]
    assert first == again
