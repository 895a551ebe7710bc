"""A pace that ends with the window needs no obedience: whoever draws on as before keeps it."""

from typing import Any

import pytest

from simulator.campaign_draw import draw
from simulator.scenario import Scenario
from simulator.virtual.run import run_scenario

pytestmark = pytest.mark.closed_loop

#: Drawn sites that once went over, or were judged so, in campaigns of ten thousand.
FOUND = (106858332174, 532964301809, 784540081583, 481029251751)


def site(refused_from_min: float, **fault: Any) -> Scenario:
    """Eight machines at two thirds of their power in one window of ten minutes, the last there is;
    from some instant on none takes a command any more."""
    values = {
        "title": "lost",
        "story": "made for a test",
        "minutes": 11,
        "seed": 3,
        "site": {"rated_kw": 45, "base_load_kw": 1, "base_load_max_kw": 1.5},
        "machines": [{"family": "luxos", "model": "s21", "count": 8}],
        "series": {"from_min": 0, "each_min": 10, "kwh": [3.2]},
        "faults": [{"what": "miner_refuses", "at_min": refused_from_min, "for_s": 600, **fault}],
    }
    return Scenario.model_validate(values)


@pytest.mark.parametrize("refused_from_min", [4.0, 7.0, 8.0, 8.7, 9.3, 9.6])
def test_a_farm_that_obeys_nobody_any_more_still_keeps_its_last_window(
    refused_from_min: float,
) -> None:
    result = run_scenario(site(refused_from_min))
    assert result.over_wh == 0.0
    assert result.unused_share < 0.05


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_campaign_found_once_is_kept(seed: int) -> None:
    result = run_scenario(draw(seed, 2))
    assert (result.violations, result.over_wh, result.unforetold) == ((), 0.0, ())
