"""Relays as the last resort: machines that obey nobody lose their feed, and no purchase is lost."""

from typing import Any

import pytest

from agent.core.decisions import RelayOrder
from agent.core.governor import Outcome
from simulator.scenario import Scenario
from simulator.virtual import brain
from simulator.virtual.result import Result
from simulator.virtual.run import Run, prepare


def scenario(
    relay: str | None, *, minutes: float, kwh: list[float], from_min: float = 0, **more: Any
) -> Scenario:
    """Eight machines of 3.5 kW that run already, in windows of ten minutes."""
    group = {"family": "whatsminer-v3", "model": "m60s", "count": 8, "relay": relay}
    return Scenario.model_validate(
        {
            "title": "relays",
            "story": "drawn for a test",
            "minutes": minutes,
            "seed": 5,
            "site": {"rated_kw": 45, "base_load_kw": 1, "base_load_max_kw": 1.5},
            "machines": [group],
            "series": {"from_min": from_min, "each_min": 10, "kwh": kwh},
            **more,
        }
    )


def bought(name: str, from_min: float, to_min: float | None, kwh: float) -> dict[str, Any]:
    end = {} if to_min is None else {"to_min": to_min}
    return {"id": name, "from_min": from_min, "kwh": kwh, **end}


def gone(run: Run) -> tuple[Result, list[tuple[float, str, bool]]]:
    """The result, and each order to a relay with its time."""
    orders: list[tuple[float, str, bool]] = []
    agenda = run.brain.site.agenda
    run.brain.watch = lambda outcome: orders.extend(
        (agenda.now_s, order.relay_id, order.is_open) for order in outcome.decision.relays
    )
    return run.go(), orders


DEAF = {"what": "miner_ignores", "at_min": 9.5, "for_s": 900}


def test_machines_that_ignore_every_stop_lose_their_feed_before_the_purchase_is_lost() -> None:
    """They run at full power into a window that is bought for half of it."""
    windows = [4.75, 2.0]
    result, orders = gone(prepare(scenario("row", minutes=20, kwh=windows, faults=[DEAF])))
    assert [(name, is_open) for _, name, is_open in orders] == [("row", True)]
    assert (result.relay_trips, result.over_wh, result.violations) == (1, 0.0, ())
    assert result.unused_share < 0.1
    bare, orders = gone(prepare(scenario(None, minutes=20, kwh=windows, faults=[DEAF])))
    assert orders == []
    assert bare.over_wh > 500
    assert not bare.is_coverable


def test_where_nothing_is_bought_any_more_the_feed_goes_at_the_edge() -> None:
    result, orders = gone(prepare(scenario("row", minutes=13, kwh=[5.0], faults=[DEAF])))
    assert [is_open for _, _, is_open in orders] == [True]
    assert 10 * 60 - 6 <= orders[0][0] <= 10 * 60
    assert (result.over_wh, result.violations) == (0.0, ())


def test_where_nothing_was_bought_the_feed_goes_after_a_stops_time() -> None:
    deaf = {"what": "miner_ignores", "at_min": 0, "for_s": 900}
    shut = scenario("row", minutes=3, kwh=[2.0], from_min=2.5, faults=[deaf])
    _, orders = gone(prepare(shut))
    assert [is_open for _, _, is_open in orders] == [True]
    assert 20 <= orders[0][0] <= 60


def test_a_relay_is_tried_again_late_and_once_and_only_with_room_for_its_machines() -> None:
    deaf = DEAF | {"for_s": 400}
    windows = [4.7, 2.0, 5.5, 5.5, 5.5]
    result, orders = gone(prepare(scenario("row", minutes=40, kwh=windows, faults=[deaf])))
    assert [is_open for _, _, is_open in orders] == [True, False]
    assert orders[1][0] - orders[0][0] >= 600
    assert (result.over_wh, result.violations) == (0.0, ())
    assert result.hashes_eh > 0.2 * result.hashes_best_eh
    small = [4.7, 2.0, 2.5, 2.5, 2.5]
    _, orders = gone(prepare(scenario("row", minutes=40, kwh=small, faults=[deaf])))
    assert [is_open for _, _, is_open in orders] == [True]


def test_an_open_ended_purchase_has_room_for_as_long_as_it_lasts() -> None:
    deaf = DEAF | {"for_s": 400}
    purchases = [
        bought("a", 0, 10, 4.7),
        bought("b", 10, 20, 2.0),
        bought("c", 20, None, 60.0),
    ]
    shut = scenario("row", minutes=45, kwh=[], faults=[deaf], purchases=purchases)
    result, orders = gone(prepare(shut))
    assert [is_open for _, _, is_open in orders] == [True, False]
    assert result.over_wh == 0.0


def test_machines_behind_no_relay_are_stopped_by_command_before_one_opens() -> None:
    windows, base = [6.8, 2.2], scenario("row", minutes=20, kwh=[])
    free = {"family": "luxos", "model": "s21", "count": 4, "relay": None}
    groups = [base.machines[0].model_dump(), free]
    deaf = DEAF | {"family": "whatsminer-v3"}
    mixed = scenario("row", minutes=20, kwh=windows, faults=[deaf], machines=groups)
    run = prepare(mixed)
    result, orders = gone(run)
    assert [is_open for _, _, is_open in orders] == [True]
    assert (result.over_wh, result.violations) == (0.0, ())
    told = [unit for unit in run.brain.site.units if unit.relay is None]
    assert all(unit.machine.counters.board_switches for unit in told)


def test_relays_are_tried_again_one_after_the_other() -> None:
    group = scenario("a", minutes=20, kwh=[]).machines[0].model_dump() | {"count": 4}
    groups = [group, group | {"relay": "b"}]
    deaf = DEAF | {"for_s": 400}
    windows = [4.7, 2.0, 5.5, 5.5, 5.5]
    both = scenario(None, minutes=45, kwh=windows, faults=[deaf], machines=groups)
    result, orders = gone(prepare(both))
    closed_s = [at_s for at_s, _, is_open in orders if not is_open]
    assert len(closed_s) == 2
    assert closed_s[1] - closed_s[0] >= 60
    assert result.over_wh == 0.0


def test_a_relay_stays_open_where_nothing_is_bought_behind_the_window() -> None:
    deaf = DEAF | {"for_s": 1500}
    purchases = [bought("a", 0, 10, 4.7), bought("b", 10, 60, 10.0)]
    last = scenario("row", minutes=55, kwh=[], faults=[deaf], purchases=purchases)
    _, orders = gone(prepare(last))
    assert [is_open for _, _, is_open in orders] == [True]


@pytest.mark.parametrize(("report_s", "openings"), [(0.3, 1), (6.5, 1), (15.5, 2)])
def test_a_relay_that_is_slow_to_report_has_opened_as_often_as_it_was_told_anew(
    monkeypatch: pytest.MonkeyPatch, report_s: float, openings: int
) -> None:
    """The order is said at every tick until the relay is seen open, and is the same for 10 s."""
    monkeypatch.setattr(brain, "RELAY_COIL_S", report_s)
    deaf = {"what": "miner_ignores", "at_min": 0, "for_s": 900}
    shut = scenario("row", minutes=2, kwh=[2.0], from_min=2.5, faults=[deaf])
    run = prepare(shut)
    said: list[RelayOrder] = []
    run.brain.watch = lambda outcome: said.extend(outcome.decision.relays)
    run.go()
    assert len(said) == int(report_s) + 1
    assert sum(not order.is_repeated for order in said) == openings
    assert len(run.brain.state.relays["row"].trips_s) == openings
    assert not run.brain.state.relays["row"].is_awaited


def test_a_relay_that_somebody_closes_again_at_once_is_opened_a_second_time() -> None:
    """It had reported, so the order was done: the next one is another, within 10 s too."""
    deaf = {"what": "miner_ignores", "at_min": 0, "for_s": 900}
    run = prepare(scenario("row", minutes=2, kwh=[2.0], from_min=2.5, faults=[deaf]))
    agenda, told_s = run.brain.site.agenda, []

    def meddle(outcome: Outcome) -> None:
        for order in outcome.decision.relays:
            if not order.is_repeated:
                told_s.append(agenda.now_s)
                if len(told_s) == 1:
                    agenda.after(3.0, lambda: run.brain.site.close_relay("row"))

    run.brain.watch = meddle
    run.go()
    assert len(told_s) == 2
    assert told_s[1] - told_s[0] < 10
    assert run.brain.state.relays["row"].trips_s == tuple(told_s)
