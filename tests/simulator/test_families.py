"""Families as data: every one can be built, and does what its row says."""

import pytest

from simulator.families import Family, families, model_keys, nameplate
from simulator.machine import Bias, Machine

NAMES = sorted(families())


def machine_of(family: Family) -> Machine:
    model = family.models[0]
    default = next(n for n, point in enumerate(model.profiles) if point.step == 0)
    return Machine(
        index=0, model=model, timings=family.timings, bias=Bias(), now_s=0.0, profile=default
    )


def test_all_families_of_the_fact_sheet_are_there() -> None:
    wanted = {"luxos", "whatsminer-v2", "whatsminer-v3", "antminer", "avalon", "braiins", "vnish"}
    assert wanted | {"epic", "auradine", "bitaxe", "proto"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_points_rise_with_the_step_and_end_near_the_nameplate(name: str) -> None:
    family = families()[name]
    for key, model in zip(model_keys(name), family.models, strict=True):
        steps = [point.step for point in model.profiles]
        watts = [point.watts for point in model.profiles]
        assert steps == sorted(set(steps))
        assert watts == sorted(watts)
        default = next(point for point in model.profiles if point.step == 0)
        assert default.watts == pytest.approx(nameplate(key).watts, rel=0.02)


def test_a_power_limit_of_a_whatsminer_costs_a_minute_at_no_power() -> None:
    machine = machine_of(families()["whatsminer-v2-limit"])
    fans_w = machine.timings.fixed_w
    assert machine.select_profile(0, now_s=100.0)
    assert machine.watts.value(100.0) == pytest.approx(3472, rel=0.01)
    assert machine.watts.value(110.0) == pytest.approx(fans_w)
    assert machine.watts.value(159.0) == pytest.approx(fans_w)
    assert machine.hashrate_hs.value(159.0) == 0.0
    assert machine.watts.final == pytest.approx(0.6 * 3472, rel=0.01)
    assert machine.counters.mining_restarts == 1


def test_watts_come_back_before_hashes() -> None:
    machine = machine_of(families()["antminer"])
    machine.select_profile(0, now_s=0.0)
    middle_s = machine.timings.restart_gap_s + 0.5 * (machine.timings.profile_down_s or 0.0)
    power_share = machine.watts.value(middle_s) / machine.watts.final
    hash_share = machine.hashrate_hs.value(middle_s) / machine.hashrate_hs.final
    assert hash_share < power_share


def test_a_board_of_vnish_takes_the_others_down_with_it() -> None:
    machine = machine_of(families()["vnish"])
    machine.switch_board(0, is_on=False, now_s=0.0)
    assert machine.watts.value(3.2) == pytest.approx(machine.timings.fixed_w, abs=1.0)
    two_boards_w = (3068 - 80) * 2 / 3 + 80
    assert machine.watts.final == pytest.approx(two_boards_w, rel=0.01)


def test_a_machine_without_feed_draws_nothing_and_boots_when_it_returns() -> None:
    machine = machine_of(families()["whatsminer-v3"])
    assert machine.cut_power(now_s=10.0)
    assert machine.watts.value(10.0) == 0.0
    assert machine.hashrate_hs.value(10.0) == 0.0
    assert not machine.cut_power(now_s=11.0)
    assert machine.restore_power(now_s=100.0)
    assert machine.rebooting_until_s == pytest.approx(100.0 + machine.timings.reboot_s)
    assert machine.watts.value(110.0) <= machine.timings.fixed_w
    assert machine.watts.final == pytest.approx(3420, rel=0.01)


def test_a_sleeper_that_loses_its_feed_sleeps_on_afterwards() -> None:
    machine = machine_of(families()["luxos"])
    machine.sleep(now_s=0.0)
    machine.cut_power(now_s=20.0)
    machine.restore_power(now_s=30.0)
    assert machine.watts.final == pytest.approx(machine.timings.standby_w)


@pytest.mark.parametrize("name", NAMES)
def test_a_chosen_point_draws_and_hashes_what_its_row_says(name: str) -> None:
    machine = machine_of(families()[name])
    point = machine.model.profiles[0]
    machine.select_profile(0, now_s=0.0)
    assert machine.watts.final == pytest.approx(point.watts)
    assert machine.hashrate_hs.final == pytest.approx(point.hashrate_ths * 1e12)
