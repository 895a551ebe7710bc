"""Scenario files: the named ones are there, a wrong one is refused with every reason at once."""

import tomllib
from pathlib import Path

import pytest

from simulator.scenario import ScenarioError, load_scenario, named_scenarios, parse_scenario

NAMED = [
    "clean-day",
    "clean-day-10mw",
    "class05s-meter",
    "coarse-meter",
    "slow-actuators",
    "mixed-fleet",
    "meter-silent",
    "meter-frozen",
    "meter-backwards",
    "meter-glitch-ahead",
    "ignore-30pct-with-relay",
    "self-resume",
    "agent-killed",
    "agent-paused-90s",
    "clock-jump",
    "purchase-late",
    "purchase-revised",
    "purchase-missing",
    "base-load-jump",
    "dispatch-order-to-30pct",
    "dispatch-order-to-zero",
    "open-ended",
    "fleet-5000",
]

SMALL = """
title = "small"
story = "small"
minutes = 10
[site]
rated_kw = 20
base_load_max_kw = 1
[[machines]]
family = "luxos"
model = "s21"
count = 3
"""


def test_the_named_scenarios_are_these() -> None:
    assert sorted(named_scenarios()) == sorted(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_a_named_scenario_ends_with_its_last_window_and_says_what_it_is_about(name: str) -> None:
    scenario = load_scenario(name)
    assert len(scenario.story) > 80
    ends = [one.to_min for one in scenario.all_purchases() if one.to_min is not None]
    assert max(ends) <= scenario.minutes + 1e-9
    assert scenario.bars.unused_share is not None
    for purchase in scenario.all_purchases():
        assert purchase.kwh <= scenario.site.cap_kwh


@pytest.mark.parametrize("name", NAMED)
def test_what_a_scenario_buys_is_within_what_its_machines_can_draw(name: str) -> None:
    scenario = load_scenario(name)
    windows: dict[tuple[float, float], float] = {}
    for one in scenario.all_purchases():
        if one.to_min is not None:
            key = (one.from_min, one.to_min)
            windows[key] = windows.get(key, 0.0) + one.kwh
    for (from_min, to_min), kwh in windows.items():
        assert kwh / (to_min - from_min) * 60.0 < scenario.site.rated_kw


def test_the_clean_day_is_a_day_of_one_megawatt() -> None:
    scenario = load_scenario("clean-day")
    purchases = scenario.all_purchases()
    assert len(purchases) == 24
    assert all(600 <= one.kwh <= 1000 for one in purchases)
    assert {round(one.to_min - one.from_min) for one in purchases if one.to_min} == {60}


def test_at_ten_megawatts_more_than_ten_purchases_are_open_at_once() -> None:
    purchases = load_scenario("clean-day-10mw").all_purchases()
    assert sum(one.from_min == 3 for one in purchases) > 10


def test_every_fault_in_a_file_is_told_at_once() -> None:
    wrong = SMALL.replace("rated_kw = 20", "rated_kw = -1").replace("luxos", "luxus")
    wrong = "hm = 1\n" + wrong
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(wrong, "wrong.toml")
    lines = str(caught.value).splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("wrong.toml: ") for line in lines)
    assert any("luxus" in line and "whatsminer-v3" in line for line in lines)
    assert any("unknown key" in line for line in lines)


def test_a_scenario_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ScenarioError, match="clean-day"):
        load_scenario("no-such-day")


def test_a_scenario_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    assert load_scenario(str(path)).title == tomllib.loads(SMALL)["title"]
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(str(tmp_path / "other.toml"))
