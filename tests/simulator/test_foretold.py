"""What nobody could have kept was announced before its window, or it is held against the agent."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agent.core import governor
from agent.core.decisions import Preflight
from simulator import campaign
from simulator.campaign import Order, Verdict, replay_command, run_one, summed_up
from simulator.scenario import Scenario

pytestmark = pytest.mark.closed_loop

ORDER = Order(seed=77, faults_max=2, without=frozenset())
NOTHING: frozenset[str] = frozenset()


def site(what: str, at_min: float, share: float = 1.0, *, second_kwh: float = 1.0) -> Scenario:
    """Eight machines of 3.5 kW without a relay: a full window, and a small one behind it.

    What happens to a share of them lasts to the end.
    """
    return Scenario.model_validate(
        {
            "title": "nobody could",
            "story": "made for a test",
            "minutes": 16,
            "seed": 5,
            "site": {"rated_kw": 45, "base_load_kw": 1, "base_load_max_kw": 1.5},
            "machines": [{"family": "luxos", "model": "s21", "count": 8}],
            "series": {"from_min": 0, "each_min": 8, "kwh": [3.9, second_kwh]},
            "faults": [{"what": what, "at_min": at_min, "share": share}],
        }
    )


def judged(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """One run of a campaign that draws this site and no other."""
    monkeypatch.setattr(campaign, "draw_needing", lambda _seed, _faults_max, _without: scenario)
    verdict = run_one(ORDER)
    assert verdict.crash == ""
    return verdict


def spoken(monkeypatch: pytest.MonkeyPatch, speak: Callable[[Preflight], Preflight | None]) -> None:
    """Let the governor say something else of the next window than it knows."""
    honest = governor.preflight

    def changed(*arguments: Any) -> Preflight | None:
        ahead = honest(*arguments)
        return None if ahead is None else speak(ahead)

    monkeypatch.setattr(governor, "preflight", changed)


GONE = site("miner_unreachable", 3.0)  # known to be gone long before the second window
DEAF = site("miner_ignores", 7.9)  # nobody can know that they ignore before they are told


@pytest.mark.parametrize("scenario", [GONE, DEAF], ids=["gone", "deaf"])
def test_machines_that_nobody_can_stop_are_announced(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = judged(scenario, monkeypatch)
    assert verdict.over_wh > 500
    assert (verdict.is_coverable, verdict.is_announced, verdict.failures) == (False, True, ())
    document = summed_up([verdict], faults_max=2, without=NOTHING)
    counts = ("runs_over", "not_coverable_runs", "not_coverable_announced")
    assert [document[name] for name in counts] == [0, 1, 1]
    assert document["failures"] == []


@pytest.mark.parametrize("scenario", [GONE, DEAF], ids=["gone", "deaf"])
def test_a_governor_that_keeps_silent_has_not_announced_anything(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken(monkeypatch, lambda _ahead: None)
    verdict = judged(scenario, monkeypatch)
    assert (verdict.is_coverable, verdict.is_announced) == (False, False)
    document = summed_up([verdict], faults_max=2, without=NOTHING)
    assert (document["not_coverable_runs"], document["not_coverable_announced"]) == (1, 0)
    (failure,) = document["failures"]
    assert failure["replay"] == replay_command(77, 2, NOTHING)
    assert "no pre-flight spoke of it before" in failure["words"][0]


def test_a_governor_that_promised_too_much_has_not_announced_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken(monkeypatch, lambda ahead: replace(ahead, losable_share=1.0, can_comply=True))
    verdict = judged(DEAF, monkeypatch)
    assert not verdict.is_announced
    assert "100.0% of the watts ceased to obey" in verdict.failures[0]
    assert "had said that 100.0% may" in verdict.failures[0]


def test_machines_that_were_known_to_be_gone_are_not_counted_as_ceasing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It knew of them, and said all the same that the window can be kept."""
    spoken(monkeypatch, lambda ahead: replace(ahead, losable_share=0.0, can_comply=True))
    verdict = judged(GONE, monkeypatch)
    assert "0.0% of the watts ceased to obey" in verdict.failures[0]


def test_a_window_that_could_be_kept_needs_no_announcement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken(monkeypatch, lambda _ahead: None)
    verdict = judged(site("miner_ignores", 7.9, 0.2, second_kwh=2.5), monkeypatch)
    assert (verdict.is_coverable, verdict.is_announced, verdict.failures) == (True, False, ())


def test_a_window_that_was_open_before_the_agent_began_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = GONE.series.model_copy(update={"kwh": (2.0, 1.0)}) if GONE.series else None
    scenario = site("miner_unreachable", 0.05).model_copy(update={"series": small})
    first, *_ = judged(scenario, monkeypatch).failures
    assert "no pre-flight spoke of it before (it was open when the agent began)" in first
