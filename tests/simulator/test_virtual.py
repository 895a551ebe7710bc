"""The closed loop in virtual time: it judges by the plant's truth, and can be replayed exactly."""

import json
from itertools import pairwise
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.core.governor import Outcome
from simulator.__main__ import app
from simulator.scenario import Scenario, parse_scenario
from simulator.virtual.run import Run, prepare, run_scenario

pytestmark = pytest.mark.closed_loop

CONTRACT = [
    "purchased_wh",
    "true_wh",
    "metered_wh",
    "allocated_wh",
    "over_wh",
    "unused_wh",
    "unused_share",
    "hashes_eh",
    "hashes_best_eh",
    "commands",
    "mining_restarts",
    "rollover_gap_s",
    "max_estimate_error_wh",
    "virtual_s",
    "wall_s",
    "violations",
]

BENCH = """
title = "bench"
story = "bench"
minutes = 13
seed = 5
[site]
rated_kw = 40
base_load_kw = 1
base_load_wander_kw = 0.1
base_load_max_kw = 1.5
[[machines]]
family = "luxos"
model = "s21"
count = 8
[series]
from_min = 1
each_min = 6
kwh = [2.2, 1.6]
"""


def bench(extra: str = "", **changes: Any) -> Scenario:
    return parse_scenario(BENCH + extra, "bench").model_copy(update=changes)


def fault(what: str, at_min: float, for_s: float = 1e9, **more: object) -> str:
    rows = [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    head = f'\n[[faults]]\nwhat = "{what}"\nat_min = {at_min}\nfor_s = {for_s}\n'
    return head + "\n".join(rows) + "\n"


def gone(extra: str, **changes: Any) -> Run:
    run = prepare(bench(extra, **changes))
    run.go()
    return run


def test_before_a_last_edge_each_family_runs_until_its_own_stop_must_begin() -> None:
    """There is more than they can use, so that only the clock stops them."""
    groups = [{"family": "whatsminer-v3", "model": "m60s"}, {"family": "luxos", "model": "s21"}]
    plenty = Scenario.model_validate(
        {
            "title": "plenty",
            "story": "drawn for a test",
            "minutes": 11,
            "seed": 5,
            "site": {"rated_kw": 45, "base_load_kw": 1, "base_load_max_kw": 1.5},
            "machines": [{**group, "count": 4} for group in groups],
            "series": {"from_min": 0, "each_min": 10, "kwh": [12.0]},
        }
    )
    run = prepare(plenty)
    agenda, told = run.brain.site.agenda, {}
    run.brain.watch = lambda outcome: told.update(
        {c.miner_id: agenda.now_s for c in outcome.decision.commands if c.miner_id not in told}
    )
    assert run.go().over_wh == 0.0
    slow, fast = sorted(set(told.values()))
    assert 570 < slow < fast - 10 < fast < 600, told


def test_a_clean_bench_keeps_its_purchases_and_uses_them() -> None:
    result = run_scenario(bench())
    assert result.violations == ()
    assert result.over_wh == 0.0
    assert result.purchased_wh == 3800
    assert result.unused_share < 0.03
    assert result.true_wh + result.unused_wh == pytest.approx(result.purchased_wh)
    assert 0.8 < result.hashes_eh / result.hashes_best_eh <= 1.0
    assert abs(result.allocated_wh - result.true_wh) < 40


def test_the_document_has_the_fields_of_the_contract_in_their_order() -> None:
    document = run_scenario(bench()).document()
    assert list(document) == CONTRACT
    json.dumps(document, allow_nan=False)


def test_the_same_seed_gives_the_same_run_and_another_one_does_not() -> None:
    extra = fault("miner_reboots", 3, share=0.5) + fault("agent_killed", 4, 5)
    first, again = (run_scenario(bench(extra)).document() for _ in range(2))
    other = run_scenario(bench(extra, seed=6)).document()
    for document in (first, again, other):
        del document["wall_s"]
    assert first == again
    assert first != other


def test_an_agent_that_is_not_told_of_a_meters_error_is_found_out_by_the_truth() -> None:
    lying = "\n[meter]\ngain_error = -0.03\n"
    result = run_scenario(bench(lying))
    assert result.over_wh > 10.0
    assert {one.promise for one in result.violations} == {"purchase"}
    assert sum(one.over_wh for one in result.violations) == pytest.approx(result.over_wh)
    told = run_scenario(bench(lying + "guard_share = 0.031\n"))
    assert told.over_wh == 0.0


def test_machines_nobody_can_stop_are_not_held_against_the_agent() -> None:
    deaf = fault("miner_ignores", 2, share=1.0)
    result = run_scenario(bench(deaf))
    assert result.over_wh > 0.0
    assert not result.is_coverable
    assert result.violations


def test_a_killed_agent_leaves_the_machines_as_they_are_and_books_on_afterwards() -> None:
    run = prepare(bench(fault("agent_killed", 3, 6)))
    seen: list[float] = []
    run.brain.watch = lambda _: seen.append(run.brain.site.agenda.now_s)
    result = run.go()
    assert [t for t in seen if 180 < t < 186] == []
    assert result.over_wh == 0.0
    assert result.metered_wh == pytest.approx(result.true_wh, rel=0.1)
    powers = run.trace.power_w[181:185]
    assert min(powers) > 10_000


def test_a_register_that_was_held_before_a_restart_is_held_after_it() -> None:
    """It fell and has grown past its old value when the new process first reads it."""
    fell = fault("meter_backwards", 1.5, 2, value=0.1) + fault("agent_killed", 1.7, 10)
    run = prepare(bench(fell, minutes=9))
    held: dict[float, bool] = {}

    def watch(outcome: Outcome) -> None:
        held[run.brain.site.agenda.now_s] = bool(outcome.state.fusion.suspect)

    run.brain.watch = watch
    result = run.go()
    assert result.below_truth_wh < 0.5
    (back_s,) = [after for at, after in pairwise(held) if after - at > 5]
    assert held[back_s]
    assert held[back_s + 10]
    assert not held[max(held)]  # it has counted on as its power says


def test_a_paused_agent_is_bitten_by_the_watchdog_and_the_machines_sleep() -> None:
    run = gone(fault("agent_paused", 3, 60))
    assert min(run.trace.power_w[205:215]) < 3_000
    assert run.brain.is_alive


def test_without_the_watchdog_a_paused_agent_stays_away() -> None:
    run = prepare(bench(fault("agent_paused", 3, 60)), without=frozenset({"watchdog"}))
    seen: list[float] = []
    run.brain.watch = lambda _: seen.append(run.brain.site.agenda.now_s)
    run.go()
    assert [t for t in seen if 180 < t < 239] == []
    assert min(run.trace.power_w[205:235]) > 10_000


def test_a_silent_meter_shows_no_reading_and_counts_misses() -> None:
    run = prepare(bench(fault("meter_silent", 3, 20)))
    misses: list[int] = []
    run.brain.watch = lambda _: misses.append(run.brain.polls.meter_missed)
    run.go()
    assert max(misses) >= 10
    assert misses[-1] == 0


def test_a_relay_takes_the_feed_of_its_machines_at_once() -> None:
    relayed = BENCH.replace("count = 8", 'count = 8\nrelay = "k1"')
    run = prepare(parse_scenario(relayed, "relayed"))
    site = run.brain.site
    site.agenda.at(150.0, lambda: site.trip("k1"))
    run.go()
    assert site.relay_trips == 1
    assert run.trace.power_w[151] < 1_500


def test_a_purchase_that_never_comes_is_not_in_the_books_of_truth() -> None:
    scenario = bench(minutes=7)
    late = scenario.all_purchases()[1].model_copy(update={"arrives_min": 9.0})
    scenario = scenario.model_copy(update={"purchases": (late,), "series": None})
    result = run_scenario(scenario)
    assert result.purchased_wh == 0
    assert result.violations == ()


def test_a_revised_purchase_is_refused_and_the_first_word_counts() -> None:
    rows = '\n[[purchases]]\nid = "p"\nfrom_min = 1\nto_min = 7\nkwh = 2\nrevised_kwh = 9\n'
    result = run_scenario(parse_scenario(BENCH.partition("[series]")[0] + rows, "revised"))
    assert result.purchased_wh == 2000
    assert result.violations == ()


def test_the_command_prints_the_contract_and_nothing_else(tmp_path: Any) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(BENCH)
    done = CliRunner().invoke(app, ["virtual", str(path), "--json", "--minutes", "3"])
    assert done.exit_code == 0
    assert list(json.loads(done.stdout)) == CONTRACT


@pytest.mark.parametrize("arguments", [["no-such"], ["clean-day", "--without", "luck"]])
def test_wrong_input_is_told_in_one_sentence(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["virtual", *arguments])
    assert done.exit_code == 2
    assert "known:" in done.stderr or "one of:" in done.stderr


def order(notice_s: float, within_s: float) -> str:
    return (
        "\n[[orders]]\nkw = 12\nat_min = 5\nfor_min = 2\n"
        f"notice_s = {notice_s}\nwithin_s = {within_s}\n"
    )


def test_an_order_is_judged_from_its_first_second_where_there_was_notice() -> None:
    assert run_scenario(bench(order(notice_s=120, within_s=60))).violations == ()
    # Nobody can obey before having heard: the same second is a broken promise without notice.
    (broken,) = run_scenario(bench(order(notice_s=0, within_s=1))).violations
    assert (broken.promise, broken.id) == ("order", "12 kW at minute 5")
    assert "since second 301" in broken.words
    assert run_scenario(bench(order(notice_s=0, within_s=15))).violations == ()


def test_an_order_outlives_the_process_that_took_it() -> None:
    late = order(notice_s=120, within_s=60) + fault("agent_killed", 4.0, 20)
    assert run_scenario(bench(late)).violations == ()
