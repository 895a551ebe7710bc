"""What the plan spares: restarts of mining, slow changes, machines that have just moved."""

from dataclasses import replace

import pytest

from agent.core.card import Move
from agent.core.cards import CARDS, LUXOS
from agent.core.decisions import Setpoint
from agent.core.dispatch import floor_setpoint, grow, shrink
from agent.core.fleet import Machine
from agent.core.steps import Room
from agent.core.wear import Wear
from drivers.readings import Profile

NOW_S = 1_000_000.0
ROOM = Room(window_left_s=1e6, bought_for_s=1e6, window_ms=1000, now_s=NOW_S)
SHORT = replace(ROOM, window_left_s=600.0)
BOARDS_ONLY = replace(ROOM, window_left_s=60.0)
LATELY_S = NOW_S - 3600.0


def told(boards: int = 3, profile: str = "default", *, is_awake: bool = True) -> Setpoint:
    return Setpoint(is_awake=is_awake, profile=profile, boards_on=frozenset(range(boards)))


DARK, ASLEEP = told(0), told(0, is_awake=False)


def machine(family: str, at: Setpoint, *, name: str = "m", **changes: object) -> Machine:
    points = (("low", -2, 2000.0), ("middle", -1, 2500.0), ("default", 0, 3000.0))
    profiles = tuple(
        Profile(name=name, step=step, power_w=watts, hashrate_hs=watts**0.9, is_tuned=True)
        for name, step, watts in points
    )
    has_boards = family in {"luxos", "braiins", "vnish"}
    whole = Machine(
        miner_id=name,
        card=CARDS[family],
        profiles=profiles,
        boards=frozenset({0, 1, 2}),
        at=at,
        desired=at,
        at_w=0.0,
        upper_w=0.0,
        rising_w=0.0,
        is_commandable=True,
        is_controllable=True,
        is_in_transit=False,
        retry_at_s=0.0,
        changes=0,
        slow_window_ms=0,
        can_switch_boards=has_boards,
        can_sleep=True,
        can_select_profile=True,
    )
    whole = replace(whole, **changes)
    return replace(whole, standing=whole.desired, standing_w=whole.power_w(at))


def restarted(times: int) -> Wear:
    return Wear(restarts_s=(LATELY_S,) * times)


@pytest.mark.parametrize(
    ("family", "at"),
    [("luxos", DARK), ("luxos", ASLEEP), ("antminer", told(3, "low")), ("vnish", told(1))],
)
def test_nothing_rises_by_a_restart_too_many(family: str, at: Setpoint) -> None:
    limit = CARDS[family].restarts_per_day
    still = machine(family, at, wear=restarted(limit - 1), can_select_profile=family == "antminer")
    assert set(grow({"m": still}, 2000.0 if at.is_awake else 1e4, ROOM)) == {"m"}
    spent = replace(still, wear=restarted(limit))
    assert grow({"m": spent}, 1e4, ROOM) == {}
    later = replace(ROOM, now_s=LATELY_S + 86_400.0)
    assert set(grow({"m": spent}, 1e4, later)) == {"m"}


def test_one_plan_does_not_add_up_to_more_than_the_day_has_left() -> None:
    """Each board of this family restarts mining: three of them are three restarts."""
    limit = CARDS["vnish"].restarts_per_day
    nearly = machine("vnish", told(3), wear=restarted(limit - 2), can_select_profile=False)
    assert shrink({"m": nearly}, 1e4, SHORT)["m"] == told(1)
    fresh = replace(nearly, wear=Wear())
    assert shrink({"m": fresh}, 1e4, SHORT)["m"] == DARK


def test_a_machine_that_may_not_be_woken_today_is_not_put_to_sleep_by_a_plan() -> None:
    awake = machine("whatsminer-v3", told(3), can_select_profile=False)
    assert set(shrink({"m": awake}, 900.0, SHORT)) == {"m"}
    spent = replace(awake, wear=restarted(awake.card.restarts_per_day))
    assert shrink({"m": spent}, 900.0, SHORT) == {}


def test_a_slow_change_too_many_is_not_planned() -> None:
    card = CARDS["whatsminer-v2-limit"]
    spent = Wear(slow_s=(LATELY_S,) * card.slow_changes_per_day)
    fresh = machine(card.family, told(3))
    assert shrink({"m": fresh}, 100.0, ROOM)["m"].profile == "middle"
    assert shrink({"m": replace(fresh, wear=spent, can_sleep=False)}, 100.0, ROOM) == {}


def test_a_profile_that_follows_at_once_is_used_freely() -> None:
    percent = machine("whatsminer-v3", told(3), slow_window_ms=1000)
    assert shrink({"m": percent}, 900.0, SHORT)["m"].profile == "low"
    low = machine("whatsminer-v3", told(3, "low"), slow_window_ms=1000)
    assert grow({"m": low}, 1000.0, SHORT)["m"].profile == "default"
    fixed = replace(percent, can_select_profile=False, can_sleep=False)
    assert shrink({"m": fixed}, 900.0, SHORT) == {}


def test_a_slow_profile_needs_time_for_the_way_it_goes() -> None:
    card = CARDS["whatsminer-v2-limit"]
    room = replace(ROOM, window_left_s=4 * card.profile_down_s + 1)
    assert shrink({"m": machine(card.family, told(3))}, 100.0, room) != {}
    assert grow({"m": machine(card.family, told(3, "low"))}, 1e4, room) == {}


def test_the_dimmer_goes_before_the_board_that_restarts_the_others() -> None:
    both = machine("vnish", told(3))
    assert shrink({"m": both}, 900.0, SHORT)["m"] == told(3, "low")


def test_of_equal_machines_the_one_restarted_least_goes_first() -> None:
    names = {"a": 3, "b": 1, "c": 2}
    dark = {n: machine("luxos", DARK, name=n, wear=restarted(k)) for n, k in names.items()}
    assert set(grow(dark, 1100.0, SHORT)) == {"b"}
    lit = {n: machine("luxos", told(3), name=n, wear=m.wear, changes=9) for n, m in dark.items()}
    lit["b"] = replace(lit["b"], changes=20)
    assert set(shrink(lit, 900.0, BOARDS_ONLY)) == {"b"}


@pytest.mark.parametrize("at", [DARK, ASLEEP])
def test_what_has_just_gone_down_stays_down_for_its_time(at: Setpoint) -> None:
    just = Wear(down_at_s=NOW_S - LUXOS.min_off_s + 1)
    assert grow({"m": machine("luxos", at, wear=just)}, 1e4, ROOM) == {}
    rested = Wear(down_at_s=NOW_S - LUXOS.min_off_s)
    assert set(grow({"m": machine("luxos", at, wear=rested)}, 1e4, ROOM)) == {"m"}


def test_what_has_just_come_up_goes_dark_only_after_all_others() -> None:
    just = machine("luxos", told(1), name="a", wear=Wear(up_at_s=NOW_S - LUXOS.min_on_s + 1))
    other = machine("luxos", told(1), name="b", changes=5)
    machines = {"a": just, "b": other}
    assert set(shrink(machines, 900.0, BOARDS_ONLY)) == {"b"}
    assert set(shrink(machines, 1e4, BOARDS_ONLY)) == {"a", "b"}


def test_a_short_stop_is_made_without_a_restart_where_the_card_knows_a_way() -> None:
    assert floor_setpoint(machine("luxos", told(3)), is_long=False) == DARK
    vnish = machine("vnish", told(3))
    assert vnish.stops_by is Move.SLEEP
    assert floor_setpoint(vnish, is_long=False) == ASLEEP
    sleepless = replace(vnish, can_sleep=False)
    assert sleepless.stops_by is Move.BOARD_OFF
    assert floor_setpoint(sleepless, is_long=False) == DARK
