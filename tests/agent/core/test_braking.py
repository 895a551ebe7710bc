import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.braking import (
    Exposure,
    exposure_of,
    jolt_wh,
    left_wh,
    pace_w,
    stop_flow_wh,
    unplanned_wh,
)
from agent.core.cards import LUXOS
from agent.core.fleet import Machine
from agent.core.ledger import Account, Transaction


def machine(
    *, upper_w: float = 3000.0, rising_w: float = 0.0, obeys: bool = True, boards: bool = True
) -> Machine:
    return Machine(
        miner_id="m",
        card=LUXOS,
        profiles=(),
        boards=frozenset({0}),
        at=None,
        desired=None,
        at_w=0.0,
        upper_w=upper_w,
        rising_w=rising_w,
        is_commandable=obeys,
        is_controllable=obeys,
        is_in_transit=False,
        retry_at_s=0.0,
        changes=0,
        slow_window_ms=0,
        can_switch_boards=boards,
        can_sleep=True,
        can_select_profile=True,
    )


def exposure(
    *machines: Machine, measured_w: float | None = 50_000.0, base_load_w: float | None = 4000.0
) -> Exposure:
    return exposure_of(
        machines,
        measured_w=measured_w,
        base_load_w=base_load_w,
        base_load_max_w=10_000.0,
        margin_share=0.05,
        meter_share=0.01,
        latency_s=2.5,
    )


def account(energy_wh: int, allocated_wh: int = 0, start_error_wh: int = 0) -> Account:
    transaction = Transaction(
        transaction_id="a",
        meter_point="mp",
        start_ms=0,
        end_ms=1,
        energy_wh=energy_wh,
        price_kzt_per_kwh="1",
        source="s",
        received_at_ms=0,
    )
    return Account(
        transaction=transaction, allocated_wh=allocated_wh, start_error_wh=start_error_wh
    )


def test_what_is_left_counts_the_meter_the_split_and_the_guard_against_us() -> None:
    accounts = [account(1000, 400, 7), account(500, 0, 3)]
    # 1100 unused, 20 not yet booked, 7 for the worse split, a meter that hides 0.5 % of 1500.
    left = left_wh(accounts, upper_wh=9020.0, booked_wh=9000, error_share=0.005)
    assert left == pytest.approx(1100 - 20 - 7 - 1500 * 0.005 / 1.005)


def test_nothing_is_left_where_nothing_was_bought() -> None:
    assert left_wh([], upper_wh=5.0, booked_wh=5, error_share=0.01) == 0.0


@given(energy_wh=st.integers(1, 10**6), share=st.floats(0, 0.05))
def test_a_meter_that_reads_low_by_its_class_cannot_hide_more_than_the_guard(
    energy_wh: int, share: float
) -> None:
    left = left_wh([account(energy_wh)], upper_wh=0.0, booked_wh=0, error_share=share)
    assert left * (1 + share) <= energy_wh * (1 + 1e-9)  # the truth behind what is metered


@given(
    high_w=st.floats(0, 1e6),
    floor_w=st.floats(0, 1e5),
    stop_s=st.floats(0, 60),
    window_s=st.floats(0, 4000),
)
def test_the_flow_of_a_stop_is_the_area_under_its_two_steps(
    high_w: float, floor_w: float, stop_s: float, window_s: float
) -> None:
    stopping = Exposure(power_hi_w=high_w, floor_w=floor_w, stop_s=stop_s, jolt_w=0.0)
    slices = 1000
    middles = [(n + 0.5) * window_s / slices for n in range(slices)]
    area_ws = sum(high_w if at_s < stop_s else floor_w for at_s in middles) * window_s / slices
    assert stop_flow_wh(stopping, window_s) * 3600 == pytest.approx(
        area_ws, abs=(high_w + floor_w) * window_s / slices + 1e-6
    )


def test_what_is_kept_back_for_the_unplanned_falls_with_what_is_left_but_never_to_nothing() -> None:
    kept = [unplanned_wh(left, 160_000, 0.002) for left in (200_000, 160_000, 80_000, 5_000, 0, -9)]
    assert kept == pytest.approx([320, 320, 160, 20, 20, 20])


def test_one_jolt_is_kept_back_for_as_long_as_a_stop_takes_and_less_at_the_end() -> None:
    jolting = Exposure(power_hi_w=0.0, floor_w=0.0, stop_s=9.0, jolt_w=4000.0)
    assert [jolt_wh(jolting, at_s) for at_s in (900.0, 9.0, 4.5)] == pytest.approx([10, 10, 5])


@given(
    pace_w_=st.floats(1e3, 1e6),
    jolt_w=st.floats(0, 1e5),
    stop_s=st.floats(1, 130),
    time_left_s=st.floats(1, 4000),
)
def test_a_pace_that_keeps_one_jolt_back_bears_it_at_any_instant(
    pace_w_: float, jolt_w: float, stop_s: float, time_left_s: float
) -> None:
    """Until a stop bites, or until the end, pace and jolt together do not exceed what is left."""
    jolting = Exposure(power_hi_w=pace_w_ + jolt_w, floor_w=0.0, stop_s=stop_s, jolt_w=jolt_w)
    left = pace_w_ * time_left_s / 3600 + jolt_wh(jolting, time_left_s)
    assert stop_flow_wh(jolting, time_left_s) <= left * (1 + 1e-9)


def test_the_pace_ends_the_energy_with_its_window_and_is_never_negative() -> None:
    assert pace_w(1100.0, 100.0, 360.0) == pytest.approx(10_000.0)
    assert pace_w(50.0, 100.0, 360.0) == 0.0
    assert pace_w(10.0, 0.0, 0.0) == pytest.approx(36_000.0)  # no division by the last instant


def test_with_a_fresh_meter_only_rises_and_jumps_are_feared() -> None:
    seen = exposure(machine(rising_w=900.0), machine(rising_w=100.0))
    assert seen.power_hi_w == pytest.approx(50_000 * 1.01 + 1000 + 6000)
    assert seen.jolt_w == pytest.approx(500 + 6000)
    assert seen.floor_w == pytest.approx(2 * LUXOS.idle_w + 10_000)


def test_without_a_meter_every_machine_counts_at_its_worst() -> None:
    blind = exposure(machine(upper_w=3000.0, rising_w=500.0), machine(), measured_w=None)
    assert blind.power_hi_w == pytest.approx(6000 * 1.05 + 10_000)
    assert blind.jolt_w == 0.0


def test_an_unknown_base_load_counts_at_its_maximum() -> None:
    assert exposure(base_load_w=None).power_hi_w == pytest.approx(50_500)


def test_a_base_load_above_its_maximum_lowers_no_bound() -> None:
    assert exposure(base_load_w=12_000.0).jolt_w == pytest.approx(500)


def test_a_machine_that_does_not_obey_stays_in_the_floor_at_its_worst() -> None:
    stuck = exposure(machine(upper_w=3000.0, obeys=False), machine())
    assert stuck.floor_w == pytest.approx(3000 * 1.05 + LUXOS.idle_w + 10_000)


def test_a_stop_takes_as_long_as_the_slowest_machine_that_is_counted_on() -> None:
    assert exposure(machine()).stop_s == pytest.approx(LUXOS.board_off_s + 2.5)
    assert exposure(machine(), machine(boards=False)).stop_s == pytest.approx(LUXOS.sleep_s + 2.5)
    assert exposure(machine(obeys=False)).stop_s == pytest.approx(2.5)
