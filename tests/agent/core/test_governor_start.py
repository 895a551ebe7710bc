"""The first minute of an agent: nothing may rise until it knows where it stands."""

from types import SimpleNamespace
from typing import Any

from agent.core.decisions import Mode


def seconds(site: Any, from_s: int, to_s: int) -> list[Any]:
    """The decisions of some seconds; the loop ticks once a second from 1 s on."""
    return site.decisions[from_s - 1 : to_s - 1]


def commands(decisions: list[Any]) -> list[Any]:
    return [command for decision in decisions for command in decision.commands]


def farm(toy: SimpleNamespace, count: int = 20, start_s: float = 30) -> Any:
    """Machines with one board on, and a purchase that would let them run almost in full."""
    machines = toy.fleet(count)
    for machine in machines:
        machine.boards_on = frozenset({0})
    full_w = sum(m.profiles[8].power_w for m in machines) + 8_000
    bought = toy.purchase(1, start_s, start_s + 240, full_w * 0.9 * 240 / 3600)
    return toy.Site(machines=machines, transactions=[bought])


def test_nothing_rises_until_meter_clock_and_books_are_fresh(toy: SimpleNamespace) -> None:
    def fault(site: Any, now_s: float) -> None:
        site.is_clock_trusted = now_s >= 60

    site = farm(toy)
    site.on_tick = fault
    site.run(100)
    early = seconds(site, 31, 60)
    assert {d.mode for d in early} == {Mode.FAILSAFE}
    assert all("nothing may rise yet" in d.because.words for d in early)
    assert not [c for c in commands(seconds(site, 1, 60)) if c.setpoint.boards_on]
    assert [c for c in commands(seconds(site, 60, 63)) if len(c.setpoint.boards_on) == 3]


def test_a_meter_that_never_answers_ends_at_the_floor(toy: SimpleNamespace) -> None:
    site = farm(toy, 5)
    site.meter_silent = True
    site.run(75)
    assert {d.mode for d in seconds(site, 1, 61)} == {Mode.FAILSAFE}
    assert "has not answered since the start" in site.decisions[5].because.words
    assert commands(seconds(site, 1, 61)) == []
    assert site.decisions[-1].mode is Mode.BLIND
    assert site.power_w <= site.floor_w() + 1


def test_a_machine_that_was_never_read_holds_back_the_first_rise_for_some_seconds_only(
    toy: SimpleNamespace,
) -> None:
    site = farm(toy, start_s=0)
    site.machines[0].is_unread = True
    site.run(15)
    assert {d.mode for d in seconds(site, 1, 11)} == {Mode.FAILSAFE}
    assert commands(seconds(site, 1, 11)) == []
    told = {c.miner_id for c in commands(seconds(site, 11, 15))}
    assert len(told) > 10
    assert "m000" not in told


def test_many_short_purchases_in_a_row_are_one_long_stay(toy: SimpleNamespace) -> None:
    machines = toy.fleet(10)
    for machine in machines[:3]:
        machine.is_awake, machine.boards_on = False, frozenset()
    full_w = sum(m.profiles[8].power_w for m in machines) + 8_000
    bought = [
        toy.purchase(number, 30 * number, 30 * (number + 1), full_w * 0.9 * 30 / 3600)
        for number in range(40)
    ]
    site = toy.Site(machines=machines, transactions=bought)
    site.run(60)
    assert sum(machine.is_awake for machine in machines) > 7
