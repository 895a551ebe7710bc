"""The plant's own books: they attribute to the earliest deadline and forget nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.virtual.truth import Bought, Flow, Truth
from simulator.virtual.wallclock import START_MS, WallClock


def bought(name: str, from_s: float, until_s: float, energy_wh: float) -> Bought:
    return Bought(name=name, from_s=from_s, until_s=until_s, energy_wh=energy_wh)


def flow(until_s: float, energy_wh: float, stubborn_wh: float | None = None) -> Flow:
    return Flow(
        until_s=until_s,
        energy_wh=energy_wh,
        machines_wh=energy_wh,
        hashes=0.0,
        floor_wh=1.0,
        stubborn_wh=stubborn_wh,
    )


def test_the_earliest_deadline_is_served_first_and_the_last_one_takes_the_blame() -> None:
    truth = Truth()
    truth.buy(bought("late", 0, 200, 30))
    truth.buy(bought("soon", 0, 100, 50))
    truth.flow(flow(50, 60))
    assert [(one.name, one.taken_wh) for one in truth.bought] == [("soon", 50), ("late", 10)]
    truth.flow(flow(60, 25))
    assert truth.over_wh == pytest.approx(5)
    assert [one.name for one in truth.bought if one.is_exceeded] == ["late"]


def test_energy_while_nothing_is_bought_belongs_to_nobody() -> None:
    truth = Truth()
    truth.buy(bought("only", 100, 200, 10))
    truth.flow(flow(100, 7))
    truth.cut()
    truth.flow(flow(200, 9))
    truth.cut()
    truth.flow(flow(300, 50))
    assert truth.bought[0].taken_wh == 9
    assert truth.over_wh == 0.0
    assert [one.is_bought for one in truth.stretches] == [False, True, False]


@given(flows=st.lists(st.floats(0, 100), min_size=1, max_size=30), first=st.floats(1, 500))
def test_taken_and_over_add_up_to_what_flowed(flows: list[float], first: float) -> None:
    truth = Truth()
    truth.buy(bought("a", 0, 1000, first))
    truth.buy(bought("b", 0, 1000, 100))
    for number, energy_wh in enumerate(flows, start=1):
        truth.flow(flow(float(number), energy_wh))
    taken_wh = sum(one.taken_wh + one.over_wh for one in truth.bought)
    assert taken_wh == pytest.approx(sum(flows))
    assert all(one.taken_wh <= one.energy_wh + 1e-9 for one in truth.bought)


def test_an_open_ended_purchase_that_is_used_up_blames_only_what_can_be_switched() -> None:
    truth = Truth()
    truth.buy(bought("open", 0, float("inf"), 10))
    truth.flow(flow(50, 10))
    truth.flow(flow(60, 1))
    assert truth.over_wh == 0.0
    truth.flow(flow(70, 4))
    assert truth.over_wh == pytest.approx(3)


def test_what_no_command_could_have_stopped_is_not_coverable() -> None:
    truth = Truth()
    truth.buy(bought("only", 0, 100, 10))
    truth.flow(flow(50, 6))
    truth.flow(flow(100, 6, stubborn_wh=5))
    assert truth.over_wh == pytest.approx(2)
    assert not truth.is_coverable


def test_control_lost_twice_counts_from_the_last_time() -> None:
    truth = Truth()
    truth.buy(bought("only", 0, 100, 10))
    truth.flow(flow(10, 1))
    truth.lose_control()
    truth.flow(flow(20, 1, stubborn_wh=0.1))
    truth.flow(flow(60, 4))
    truth.lose_control()
    truth.flow(flow(100, 5, stubborn_wh=5))
    assert truth.over_wh == pytest.approx(1)
    assert not truth.is_coverable


def test_an_overrun_beside_a_small_stubborn_machine_is_the_agents_fault() -> None:
    truth = Truth()
    truth.buy(bought("only", 0, 100, 10))
    truth.flow(flow(50, 6))
    truth.flow(flow(100, 6, stubborn_wh=1))
    assert truth.over_wh == pytest.approx(2)
    assert truth.is_coverable


def test_a_step_of_the_clock_that_is_taken_back_never_counts() -> None:
    clock = WallClock()
    clock.step(300.0, 100.0)
    assert not clock.is_trusted
    assert clock.now_ms(130.0) == START_MS + 130_000
    clock.step(-300.0, 140.0)
    assert clock.is_trusted
    assert clock.now_ms(500.0) == START_MS + 500_000


def test_a_step_that_stays_is_believed_after_a_minute() -> None:
    clock = WallClock()
    clock.step(10.0, 100.0)
    assert clock.now_ms(159.0) == START_MS + 159_000
    assert clock.now_ms(161.0) == START_MS + 171_000
    assert clock.is_trusted
