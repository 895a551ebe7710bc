"""The campaign can fail: each protection, left out alone, lets a site burn more than was bought."""

from typing import Any

import pytest

from simulator.campaign_draw import draw
from simulator.scenario import Scenario
from simulator.virtual.disarm import PROTECTIONS
from simulator.virtual.run import run_scenario

pytestmark = pytest.mark.closed_loop


def site(family: str, model: str, *faults: dict[str, Any], **more: Any) -> Scenario:
    """Eight machines, and as much as they can draw bought for ten minutes, then half of it."""
    group = {"family": family, "model": model, "count": 8, "relay": more.pop("relay", None)}
    most_kw = more.pop("base_load_max_kw", 1.5)
    values = {
        "title": "a protection",
        "story": "made for a test",
        "minutes": 20,
        "seed": 5,
        "site": {"rated_kw": 45, "base_load_kw": 1, "base_load_max_kw": most_kw},
        "machines": [group],
        "series": {"from_min": 0, "each_min": 10, "kwh": more.pop("kwh", [4.7, 2.2])},
        "faults": list(faults),
    }
    return Scenario.model_validate(values | more)


def fault(what: str, at_min: float, for_s: float, **more: Any) -> dict[str, Any]:
    return {"what": what, "at_min": at_min, "for_s": for_s, **more}


CASES: dict[str, Scenario] = {
    "reserve": draw(762777513200, 2),
    "age": site("luxos", "s21", fault("meter_silent", 6, 230), kwh=[2.6, 2.2]),
    "base-load": site(
        "antminer",
        "s19j-pro",
        fault("base_load_jump", 8.4, 300, value=3.8),
        base_load_max_kw=5.0,
        kwh=[4.1, 4.0],
    ),
    "confirmation": site("whatsminer-v3", "m60s", fault("miner_ignores", 9.5, 900), relay="row"),
    "guard": draw(134265113875, 2),
    "watchdog": site("luxos", "s21", fault("agent_paused", 9.5, 500)),
}


def test_every_protection_has_its_case() -> None:
    assert set(CASES) == set(PROTECTIONS)


@pytest.mark.parametrize("protection", CASES)
def test_a_protection_that_is_left_out_is_missed(protection: str) -> None:
    armed = run_scenario(CASES[protection])
    assert (armed.over_wh, armed.is_coverable) == (0.0, True)
    bare = run_scenario(CASES[protection], without=frozenset({protection}))
    assert bare.over_wh > 0.2
    assert bare.is_coverable
