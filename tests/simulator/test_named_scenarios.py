"""Every named scenario that is short enough: no purchase exceeded, no other promise broken.

What each of them has to reach besides the promise stands in its own file, under ``[bars]``.
"""

import pytest

from simulator.scenario import BarsTable, load_scenario, named_scenarios
from simulator.virtual.result import missed_bars
from simulator.virtual.run import run_scenario

MINUTES_OF_MACHINES = 9_000  # longer ones are for the campaign's machine, not for every check
SHORT = [
    name
    for name in named_scenarios()
    for scenario in [load_scenario(name)]
    if scenario.minutes * sum(group.count for group in scenario.machines) < MINUTES_OF_MACHINES
]


def test_most_named_scenarios_are_short() -> None:
    assert len(SHORT) >= 18


@pytest.mark.scenario
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", SHORT)
def test_a_named_scenario_breaks_no_promise_and_reaches_its_bars(name: str) -> None:
    scenario = load_scenario(name)
    result = run_scenario(scenario)
    assert result.violations == ()
    assert result.over_wh == 0.0
    assert missed_bars(scenario.bars, result) == []


def test_a_bar_that_is_missed_is_named() -> None:
    scenario = load_scenario("base-load-jump").model_copy(update={"minutes": 6.0})
    result = run_scenario(scenario)
    words = missed_bars(BarsTable(unused_share=0.01, hashes_share=1.0), result)
    assert [one.partition(" ")[0] for one in words] == ["unused", "hashes"]
    assert missed_bars(BarsTable(unused_share=1.0), result) == []
