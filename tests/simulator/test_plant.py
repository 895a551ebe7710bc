"""The physics: what a command does to power, how fast, and that energy is its integral."""

import random

import pytest

from simulator.base_load import BaseLoad, LoadStep
from simulator.history import EnergyHistory
from simulator.machine import Bias, Machine, Timings
from simulator.model import machine_models
from simulator.plant import Plant

START_S = 1000.0


def machine(index: int = 0, *, model: str = "s19k-pro", bias: Bias | None = None) -> Machine:
    return Machine(
        index=index,
        model=machine_models()[model],
        timings=Timings(),
        bias=bias or Bias(),
        now_s=START_S,
    )


def plant_of(*machines: Machine, base_w: float = 0.0, wander_w: float = 0.0) -> Plant:
    load = BaseLoad(
        constant_w=base_w, wander_w=wander_w, knot_s=10.0, steps=(), seed=1, now_s=START_S
    )
    history = EnergyHistory(max_points=100_000)
    return Plant(machines=machines, base_load=load, now_s=START_S, history=history)


@pytest.mark.parametrize(("model", "watts", "ths"), [("s19k-pro", 2794, 121.8), ("s21", 3500, 200)])
def test_a_machine_at_its_default_draws_what_its_table_says(
    model: str, watts: float, ths: float
) -> None:
    one = machine(model=model)
    assert one.watts.value(START_S) == pytest.approx(watts)
    assert one.hashrate_hs.value(START_S) == pytest.approx(ths * 1e12)


def test_ladders_rise_from_sixteen_under_to_eight_over_the_default() -> None:
    for model in machine_models().values():
        assert [point.step for point in model.profiles] == list(range(-16, 9))
        watts = [point.watts for point in model.profiles]
        assert watts == sorted(watts)
        joules = [point.watts / point.hashrate_ths for point in model.profiles]
        assert joules[0] < joules[16] < joules[-1]


def test_a_board_that_is_switched_off_loses_its_share_within_two_seconds() -> None:
    one = machine()
    one.switch_board(0, is_on=False, now_s=START_S)
    share_w = (2794 - 80) / 3
    assert one.watts.value(START_S) == pytest.approx(2794)
    assert one.watts.value(START_S + 2.0) == pytest.approx(2794 - share_w)
    assert one.counters.board_switches == 1
    assert not one.switch_board(0, is_on=False, now_s=START_S + 3.0)
    assert one.counters.board_switches == 1


def test_hashes_come_later_than_watts_when_a_board_comes_back() -> None:
    one = machine()
    one.switch_board(1, is_on=False, now_s=START_S)
    one.switch_board(1, is_on=True, now_s=START_S + 10.0)
    halfway_s = START_S + 16.0
    watts_share = (one.watts.value(halfway_s) - 80 - 2 * 2714 / 3) / (2714 / 3)
    hash_share = one.hashrate_hs.value(halfway_s) / (121.8e12 / 3) - 2
    assert watts_share == pytest.approx(0.5)
    assert 0.0 < hash_share < watts_share
    assert one.hashrate_hs.value(START_S + 14.0) == pytest.approx(121.8e12 * 2 / 3)
    assert one.is_board_ramping(1, halfway_s)
    assert not one.is_board_ramping(1, START_S + 25.0)
    assert one.watts.value(START_S + 22.0) == pytest.approx(2794)


def test_a_profile_change_is_a_straight_ramp_of_thirty_seconds() -> None:
    one = machine()
    one.select_profile(one.model.profile_index("290MHz"), now_s=START_S)
    assert one.watts.value(START_S + 15.0) == pytest.approx((2794 + 1188) / 2)
    assert one.watts.value(START_S + 30.0) == pytest.approx(1188)
    assert one.steady_from_s == START_S + 30.0


def test_a_sleeping_machine_draws_standby_only_and_wakes_like_a_restart() -> None:
    one = machine()
    one.sleep(now_s=START_S)
    assert one.watts.value(START_S + 4.0) == pytest.approx(25.0)
    assert one.hashrate_hs.value(START_S + 4.0) == 0.0
    one.wake(now_s=START_S + 100.0)
    assert one.watts.value(START_S + 130.0) < 2000
    assert one.watts.value(START_S + 160.0) == pytest.approx(2794)
    assert one.counters.mining_restarts == 1


def test_the_single_step_wake_is_not_available_right_after_a_restart() -> None:
    one = machine()
    one.sleep(now_s=START_S)
    one.reboot_device(now_s=START_S + 10.0)
    assert not one.is_awake
    one.wake(now_s=START_S + 100.0, is_unsafe=True)
    assert one.watts.end_s == pytest.approx(START_S + 160.0)
    one.sleep(now_s=START_S + 200.0)
    one.wake(now_s=START_S + 300.0, is_unsafe=True)
    assert one.watts.end_s == pytest.approx(START_S + 310.0)


def test_switching_all_boards_on_again_counts_as_one_restart_of_mining() -> None:
    one = machine()
    for board in range(3):
        one.switch_board(board, is_on=False, now_s=START_S)
    assert one.watts.value(START_S + 2.0) == pytest.approx(80.0)
    for board in range(3):
        one.switch_board(board, is_on=True, now_s=START_S + 10.0)
    assert one.counters.mining_restarts == 1
    assert one.counters.board_switches == 6


def test_a_rebooted_board_comes_back_after_its_delay_and_one_with_delay_zero_stays_off() -> None:
    one = machine()
    one.reboot_board(0, delay_s=20.0, now_s=START_S)
    assert one.watts.value(START_S + 15.0) == pytest.approx(2794 - 2714 / 3)
    assert one.watts.value(START_S + 40.0) == pytest.approx(2794)
    one.reboot_board(0, delay_s=0.0, now_s=START_S + 50.0)
    assert one.watts.value(START_S + 500.0) == pytest.approx(2794 - 2714 / 3)


def test_a_board_that_is_off_stays_off_over_sleep_and_wake() -> None:
    one = machine()
    one.switch_board(2, is_on=False, now_s=START_S)
    one.sleep(now_s=START_S + 10.0)
    one.wake(now_s=START_S + 20.0)
    assert one.watts.value(START_S + 200.0) == pytest.approx(2794 - 2714 / 3)


def test_reported_watts_carry_the_bias_and_true_watts_the_tolerance() -> None:
    one = machine(bias=Bias(tolerance=0.02, reporting=-0.03))
    assert one.watts.value(START_S) == pytest.approx(2794 * 1.02)
    assert one.reported_w(START_S) == round(2794 * 1.02 * 0.97)


def test_energy_of_a_ramp_is_exact_however_it_is_stepped() -> None:
    coarse, fine = plant_of(machine()), plant_of(machine())
    for plant in (coarse, fine):
        plant.act(0, START_S, lambda one, now_s: one.sleep(now_s=now_s))
    coarse.advance(START_S + 60.0)
    for tick in range(1, 1201):
        fine.advance(START_S + tick * 0.05)
    expected_ws = (2794 + 25) / 2 * 4.0 + 25 * 56.0
    assert coarse.energy_ws == pytest.approx(expected_ws)
    assert fine.energy_ws == pytest.approx(expected_ws)
    assert coarse.moving_count == 0


def test_random_commands_never_separate_the_plants_books_from_its_machines() -> None:
    rng = random.Random(7)
    machines = [machine(index, model=("s19k-pro", "s21")[index % 2]) for index in range(12)]
    plant = plant_of(*machines, base_w=500.0, wander_w=50.0)
    now_s = START_S
    expected_ws = 0.0
    for _ in range(4000):
        before_s, now_s = now_s, now_s + 0.05
        if rng.random() < 0.2:
            _command_at_random(plant, rng, rng.uniform(before_s, now_s))
        plant.advance(now_s)
        exact_w = sum(one.watts.value(now_s) for one in machines)
        assert plant.machines_w == pytest.approx(exact_w, abs=1e-3)
    plant.settle_machines()
    expected_ws = sum(one.energy_ws for one in machines)
    assert plant.machine_energy_ws == pytest.approx(expected_ws, rel=1e-9)
    assert plant.hashes == pytest.approx(sum(one.hashes for one in machines), rel=1e-9)
    assert plant.energy_ws - plant.machine_energy_ws == pytest.approx(500.0 * 200.0, rel=0.11)


def _command_at_random(plant: Plant, rng: random.Random, at_s: float) -> None:
    index, board, is_on = rng.randrange(12), rng.randrange(3), rng.random() < 0.5
    kind = rng.randrange(6)
    profile = rng.randrange(25)
    actions = [
        lambda one, t: one.switch_board(board, is_on=is_on, now_s=t),
        lambda one, t: one.select_profile(profile, now_s=t),
        lambda one, t: one.sleep(now_s=t),
        lambda one, t: one.wake(now_s=t, is_unsafe=is_on),
        lambda one, t: one.reboot_board(board, delay_s=3.0, now_s=t),
        lambda one, t: one.reboot_device(now_s=t),
    ]
    plant.act(index, at_s, actions[kind])


def test_energy_at_a_past_instant_lies_on_the_line_between_two_steps() -> None:
    plant = plant_of(machine())
    plant.advance(START_S + 10.0)
    plant.advance(START_S + 20.0)
    assert plant.history.energy_wh(START_S + 5.0) == pytest.approx(2794 * 5 / 3600)
    with pytest.raises(LookupError):
        plant.history.energy_wh(START_S + 20.1)
    with pytest.raises(LookupError):
        plant.history.energy_wh(START_S - 0.1)


def test_history_forgets_the_oldest_and_keeps_its_bound() -> None:
    history = EnergyHistory(max_points=10)
    for tick in range(100):
        history.append(float(tick), float(tick))
    assert history.first_s >= 80.0
    assert history.energy_wh(98.5) == pytest.approx(98.5)


def test_the_base_load_steps_when_its_file_says_and_is_the_same_for_the_same_seed() -> None:
    def load(seed: int) -> BaseLoad:
        steps = (LoadStep(after_s=5.0, delta_w=200.0),)
        return BaseLoad(
            constant_w=100.0, wander_w=10.0, knot_s=2.0, steps=steps, seed=seed, now_s=START_S
        )

    one, same, other = load(1), load(1), load(2)
    assert one.advance(START_S + 30.0) == pytest.approx(same.advance(START_S + 30.0))
    assert one.advance(START_S + 60.0) != pytest.approx(other.advance(START_S + 60.0))
    assert 289.0 <= one.power_w() <= 311.0
    still_load = BaseLoad(
        constant_w=100.0,
        wander_w=0.0,
        knot_s=2.0,
        steps=(LoadStep(after_s=5.0, delta_w=200.0),),
        seed=1,
        now_s=START_S,
    )
    assert still_load.advance(START_S + 10.0) == pytest.approx(100.0 * 5 + 300.0 * 5)
