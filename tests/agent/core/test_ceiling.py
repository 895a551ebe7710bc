"""Limits in kW in the closed loop: kept from their first second, by the plant's own power."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.cards import CARDS
from agent.core.ceiling import BASE_KNOWN_S, lowered, spare_under
from agent.core.decisions import Mode
from agent.core.governor import _room
from agent.core.limits import Limit
from agent.core.steps import Room
from agent.core.verdict import judge

P = 0.01  # what the meter's power may be off by


def full_w(machines: list[Any]) -> float:
    return sum(m.profiles[8].power_w for m in machines) + 8_000


def farm(toy: SimpleNamespace, *limits: Limit, share: float = 0.9, **more: Any) -> Any:
    """Twenty machines and one purchase from second 30 to 330."""
    machines = toy.fleet(20)
    energy_wh = full_w(machines) * share * 300 / 3600
    changes = {"limits": limits, **more}
    return toy.Site(
        machines=machines, transactions=[toy.purchase(1, 30, 330, energy_wh)], changes=changes
    )


def order(toy: SimpleNamespace, power_w: float, from_s: float, until_s: float | None) -> Limit:
    return Limit(
        kind="dispatch_order",
        source="grid operator",
        limit_id="o-7",
        power_w=power_w,
        safe_w=1e6,
        from_ms=toy.START_MS + round(from_s * 1000),
        expires_ms=None if until_s is None else toy.START_MS + round(until_s * 1000),
        words=f"the grid operator ordered {power_w / 1000:.0f} kW at most",
    )


def powers(site: Any, from_s: int, until_s: int) -> list[float]:
    """True power once a second; the loop notes it from second 1 on."""
    return site.powers_w[from_s - 1 : until_s - 1]


@pytest.mark.parametrize("power_w", [45_000.0, 30_000.0, 0.0])
@pytest.mark.parametrize("bias", [-0.05, 0.0, 0.05])
def test_an_order_is_kept_by_true_power_from_its_first_second_to_its_last(
    toy: SimpleNamespace, power_w: float, bias: float
) -> None:
    site = farm(toy, order(toy, power_w, 120, 200))
    for machine in site.machines:
        machine.tolerance += bias
    site.run(260)
    assert max(powers(site, 100, 112)) > 60_000
    assert max(powers(site, 120, 200)) <= max(power_w, site.floor_w()) * (1 + P)
    assert max(powers(site, 230, 260)) > 60_000
    ruled = site.decisions[150].because
    assert (ruled.limit, ruled.source) == ("dispatch_order", "o-7")
    assert ruled.numbers["limit_w"] == power_w
    assert ruled.numbers["limit_holds_s"] in (48, 49)
    assert "grid operator" in ruled.words
    assert site.over_wh == 0


def test_an_order_for_slow_machines_is_begun_as_early_as_they_need(toy: SimpleNamespace) -> None:
    """The governor goes by the card; here the card says a minute, so it begins a minute before."""
    cards = {"luxos": replace(CARDS["luxos"], board_off_s=60.0)}
    site = farm(toy, order(toy, 30_000.0, 200, 260), cards=cards)
    site.run(150)
    down = [d for d in site.decisions if d.because.limit == "dispatch_order"]
    assert down[0].at_ms == toy.START_MS + 138_000  # 60 s, the tick and the command's way before
    assert "in 62 s this begins" in down[0].because.words
    assert all(command.is_urgent for d in down for command in d.commands)


def test_what_an_order_keeps_back_at_the_end_of_a_window_is_drawn_before_it(
    toy: SimpleNamespace,
) -> None:
    site = farm(toy, order(toy, 0.0, 180, 330), share=0.45)
    site.run(340)
    assert max(powers(site, 180, 330)) <= site.floor_w() * (1 + P)
    # The base load counts at its maximum for the time of the order: 2 kW for 150 s stay unused.
    assert site.true_wh["t1"] >= site.transactions[0].energy_wh * 0.92
    assert site.over_wh == 0
    assert "a lower limit begins: the grid operator" in site.decisions[100].because.words


def test_without_an_order_the_same_energy_is_spread_over_the_window(toy: SimpleNamespace) -> None:
    site = farm(toy, share=0.45)
    site.run(100)
    assert max(powers(site, 60, 100)) < full_w(site.machines) * 0.5


def test_an_order_that_leaves_no_room_for_the_purchase_costs_energy_and_not_the_order(
    toy: SimpleNamespace,
) -> None:
    site = farm(toy, order(toy, 20_000.0, 60, None))
    site.run(330)
    assert max(powers(site, 60, 330)) <= 20_000 * (1 + P)
    assert min(powers(site, 100, 300)) > 20_000 * 0.85
    assert site.over_wh == 0
    assert "does not use them up" in site.decisions[40].because.words


def test_the_pace_may_not_pass_a_ceiling_by_its_dead_band(toy: SimpleNamespace) -> None:
    """The purchase forgives a base load that rises a little, the cap forgives nothing."""

    def fault(site: Any, now_s: float) -> None:
        if now_s == 150:
            pace_w = site.decisions[-1].power_cap_w
            cap = replace(order(toy, pace_w + 200, 0, None), kind="cap", limit_id="")
            site.changes["limits"] = (cap,)
            caps_w.append(cap.power_w)
            site.base_w += 800
        if now_s == 155:
            ruled.append(site.decisions[-1].because.limit)

    caps_w: list[float] = []
    ruled: list[str] = []
    site = farm(toy, share=0.6, reserve_share=0.03)
    site.on_tick = fault
    site.run(170)
    assert ruled == ["purchase"]
    assert max(powers(site, 160, 170)) <= caps_w[0] * (1 + P)
    assert site.base_w == 8_800


@pytest.mark.parametrize("power_w", range(40_000, 47_000, 1_000))
def test_a_meter_that_shows_too_little_within_its_error_costs_no_limit(
    toy: SimpleNamespace, power_w: int
) -> None:
    def shows_less(now_s: float, latched: tuple[float, float]) -> Any:
        return type(site).read_meter(site, now_s, (latched[0], latched[1] * (1 - P)))

    site = farm(toy, order(toy, power_w, 60, None))
    site.read_meter = shows_less
    site.run(140)
    assert max(powers(site, 60, 140)) <= power_w


def test_a_long_order_below_what_idle_boards_draw_puts_machines_to_sleep(
    toy: SimpleNamespace,
) -> None:
    site = farm(toy, order(toy, 0.0, 120, 1000))
    site.run(180)
    assert not any(machine.is_awake for machine in site.machines)
    assert max(powers(site, 120, 180)) <= site.floor_w() + 1
    assert site.power_w <= 8_000 + 25 * 20 + 1
    short = farm(toy, order(toy, 0.0, 120, 400))
    short.run(180)
    assert all(machine.is_awake for machine in short.machines)


def test_slow_steps_and_wakes_are_given_the_time_until_the_wall_and_no_more(
    toy: SimpleNamespace,
) -> None:
    lefts_s = {}
    for wall_s in (130, 10_000):
        site = farm(toy, order(toy, 12_000.0, wall_s, None))
        site.run(100)
        verdict = judge(site.state, site.outcome.picture, site.parameters())
        room = _room(site.state, site.outcome.picture, verdict, site.parameters())
        lefts_s[wall_s] = (round(room.window_left_s), round(room.bought_for_s))
    now_s = round((site.decisions[-1].at_ms - toy.START_MS) / 1000)
    assert lefts_s == {130: (130 - now_s,) * 2, 10_000: (330 - now_s,) * 2}


def test_a_silent_meter_does_not_lift_an_order(toy: SimpleNamespace) -> None:
    def fault(site: Any, now_s: float) -> None:
        site.meter_silent = now_s >= 110

    site = farm(toy, order(toy, 30_000.0, 120, 300))
    site.on_tick = fault
    site.run(160)
    assert site.decisions[-1].mode is Mode.BLIND
    assert max(powers(site, 120, 160)) <= 30_000 * (1 + P)


def test_an_order_holds_before_the_meter_has_ever_answered(toy: SimpleNamespace) -> None:
    site = farm(toy, order(toy, 30_000.0, 0, None))
    site.meter_silent = True
    site.run(30)
    assert site.decisions[-1].mode is Mode.FAILSAFE
    assert "o-7" in {d.because.source for d in site.decisions}
    assert site.power_w <= 30_000
    other = farm(toy)
    other.meter_silent = True
    other.run(30)
    assert other.decisions[-1].because.limit == "meter"
    assert not [command for d in other.decisions for command in d.commands]


def test_nothing_is_added_below_a_ceiling_before_the_base_load_is_known(
    toy: SimpleNamespace,
) -> None:
    site = farm(toy, order(toy, 25_000.0, 120, 300))
    site.run(200)
    raised = [
        round((d.at_ms - toy.START_MS) / 1000)
        for d in site.decisions
        if d.at_ms >= toy.START_MS + 112_000 and any(not c.is_urgent for c in d.commands)
    ]
    assert raised
    assert min(raised) >= 112 + BASE_KNOWN_S
    assert max(powers(site, 120, 200)) <= 25_000 * (1 + P)
    assert site.power_w > 25_000 * 0.93


def test_what_may_be_added_stays_below_pace_and_ceiling(toy: SimpleNamespace) -> None:
    state = replace(toy.Site(machines=[], transactions=[]).first_state(), settled_at_s=100.0)
    known_s = 100.0 + BASE_KNOWN_S
    assert spare_under(-10.0, -100.0, state, 100.0, 0.05) == 10.0
    assert spare_under(-100.0, -10.5, state, known_s, 0.05) == pytest.approx(10.0)
    assert spare_under(-100.0, -10.5, state, known_s - 1, 0.05) == 0.0


def test_a_limit_in_kw_is_reached_by_slow_steps_where_fast_ones_do_not_go_far_enough(
    toy: SimpleNamespace,
) -> None:
    """Machines that can only change their profile: late is better than never."""
    site = farm(toy, order(toy, 55_000.0, 150, None), share=0.95)
    site.run(100)
    machines = {
        name: replace(machine, can_switch_boards=False, can_sleep=False)
        for name, machine in site.outcome.picture.machines.items()
    }
    room = Room(window_left_s=1000.0, bought_for_s=1000.0, window_ms=1)
    chosen = lowered(machines, 3_000.0, room)
    assert chosen
    assert {setpoint.boards_on for setpoint in chosen.values()} == {frozenset({0, 1, 2})}
    fast = lowered(dict(site.outcome.picture.machines), 3_000.0, room)
    assert {setpoint.profile for setpoint in fast.values()} == {"default"}
