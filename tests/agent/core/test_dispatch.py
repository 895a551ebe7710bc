import random
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.cards import LUXOS
from agent.core.decisions import Setpoint
from agent.core.dispatch import floor_setpoint, grow, planned_w, shrink
from agent.core.fleet import Machine
from agent.core.steps import Room
from drivers.readings import Profile

ALL_ROOM = Room(window_left_s=1e6, bought_for_s=1e6, window_ms=1000)
FAST_ROOM = Room(window_left_s=0.0, bought_for_s=0.0, window_ms=1000)
BOARDS = frozenset({0, 1, 2})
ROUNDING_W = 1e-6


def profiles(watts: float = 3000.0, hashrate_hs: float = 1e14) -> tuple[Profile, ...]:
    return tuple(
        Profile(
            name=f"step{step}",
            step=step,
            power_w=watts * (1 + 0.05 * step),
            hashrate_hs=hashrate_hs * (1 + 0.04 * step),
            is_tuned=step != -2,
        )
        for step in range(-4, 3)
    )


def told(boards: int = 3, profile: str | None = "step0", *, is_awake: bool = True) -> Setpoint:
    return Setpoint(is_awake=is_awake, profile=profile, boards_on=frozenset(range(boards)))


def machine(name: str = "m", at: Setpoint | None = None, **changes: object) -> Machine:
    at = at or told()
    whole = Machine(
        miner_id=name,
        card=LUXOS,
        profiles=profiles(),
        boards=BOARDS,
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
        can_switch_boards=True,
        can_sleep=True,
        can_select_profile=True,
    )
    whole = replace(whole, **changes)
    obeying = whole.desired if whole.is_controllable else None
    standing = whole.at if obeying is None else obeying
    standing_w = 0.0 if standing is None else whole.power_w(standing)
    return replace(whole, standing=standing, standing_w=standing_w)


def moved(each: Machine, to: Setpoint) -> Machine:
    """The same machine, told to be elsewhere and there."""
    return replace(each, at=to, desired=to, standing=to, standing_w=each.power_w(to))


def farm(*machines: Machine) -> dict[str, Machine]:
    return {each.miner_id: each for each in machines}


def draw_w(machines: Mapping[str, Machine], chosen: Mapping[str, Setpoint]) -> float:
    return planned_w(machines, chosen)


@st.composite
def farms(draw: st.DrawFn) -> dict[str, Machine]:
    machines = []
    for number in range(draw(st.integers(1, 8))):
        at = told(
            draw(st.integers(0, 3)),
            draw(st.sampled_from(["step-4", "step-1", "step0", "step2", "unknown", None])),
            is_awake=draw(st.booleans()),
        )
        machines.append(
            machine(
                f"m{number}",
                at,
                profiles=profiles(draw(st.floats(50, 6000)), draw(st.floats(1e13, 4e14))),
                is_controllable=draw(st.booleans()),
                is_in_transit=draw(st.booleans()),
                can_switch_boards=draw(st.booleans()),
                can_sleep=draw(st.booleans()),
                can_select_profile=draw(st.booleans()),
                changes=draw(st.integers(0, 3)),
                slow_window_ms=draw(st.sampled_from([0, 1000])),
            )
        )
    return farm(*machines)


LEFT_S = st.sampled_from((0.0, 1e6))
ROOMS = st.builds(Room, window_left_s=LEFT_S, bought_for_s=LEFT_S, window_ms=st.just(1000))


def least_w(each: Machine, room: Room) -> float:
    """The least a shrink can bring a machine to: all that its abilities and the room allow."""
    at = each.standing
    assert at is not None
    if not each.is_controllable or not at.is_awake:
        return each.power_w(at)
    here = [at]
    if room.window_left_s > 0 and each.can_select_profile and each.slow_window_ms != room.window_ms:
        ladder = [p for p in each.profiles if p.is_tuned]
        lower = [
            p for p in ladder if each.profile(at.profile) and p.step < each.profile(at.profile).step
        ]
        here += [replace(at, profile=max(lower, key=lambda p: p.step).name)] if lower else []
    if each.can_switch_boards:
        here += [replace(setpoint, boards_on=frozenset()) for setpoint in tuple(here)]
    return min(each.power_w(setpoint) for setpoint in here)


@settings(deadline=None)
@given(machines=farms(), excess_w=st.floats(0, 40_000), room=ROOMS)
def test_shrinking_saves_at_least_the_excess_or_all_that_can_be_saved(
    machines: dict[str, Machine], excess_w: float, room: Room
) -> None:
    before_w = draw_w(machines, {})
    after_w = draw_w(machines, shrink(machines, excess_w, room))
    floor_w = sum(least_w(each, room) for each in machines.values())
    assert after_w <= max(before_w - excess_w, floor_w) + ROUNDING_W


@settings(deadline=None)
@given(machines=farms(), spare_w=st.floats(0, 40_000), room=ROOMS)
def test_growing_never_exceeds_the_spare(
    machines: dict[str, Machine], spare_w: float, room: Room
) -> None:
    chosen = grow(machines, spare_w, room)
    assert draw_w(machines, chosen) <= draw_w(machines, {}) + spare_w + ROUNDING_W
    for name, setpoint in chosen.items():
        assert machines[name].is_controllable
        assert not machines[name].is_in_transit
        if setpoint.profile != machines[name].standing.profile:
            assert machines[name].profile(setpoint.profile).step <= 0  # never above the default


@given(machines=farms(), room=ROOMS)
def test_without_excess_or_spare_all_set_points_are_kept(
    machines: dict[str, Machine], room: Room
) -> None:
    assert shrink(machines, 0.0, room) == {}
    assert grow(machines, 0.0, room) == {}


@settings(deadline=None)
@given(machines=farms(), excess_w=st.floats(0, 40_000), room=ROOMS)
def test_slow_steps_and_sleeps_are_taken_only_where_allowed(
    machines: dict[str, Machine], excess_w: float, room: Room
) -> None:
    for choose in (shrink, grow):
        for name, setpoint in choose(machines, excess_w, room).items():
            each = machines[name]
            before = each.standing
            if before.is_awake and setpoint.profile != before.profile:
                assert room.window_left_s > 0
                assert each.can_select_profile
                assert each.slow_window_ms != room.window_ms
                assert each.profile(setpoint.profile).is_tuned
            if setpoint.is_awake and not before.is_awake:
                assert room.bought_for_s > 0
                assert each.can_sleep
            if before.is_awake and not setpoint.is_awake:
                assert each.can_sleep
                assert not each.can_switch_boards


def test_the_efficient_machine_keeps_hashing() -> None:
    thrifty = machine("thrifty", profiles=profiles(3000.0, 2e14))
    greedy = machine("greedy", profiles=profiles(3000.0, 1e14))
    assert set(shrink(farm(thrifty, greedy), 1500.0, FAST_ROOM)) == {"greedy"}
    off = [moved(each, told(0)) for each in (thrifty, greedy)]
    assert set(grow(farm(*off), 3000.0, FAST_ROOM)) == {"thrifty"}


def test_of_equal_machines_the_one_changed_least_gives_way_and_comes_back_first() -> None:
    machines = farm(machine("a", changes=5), machine("b", changes=2), machine("c", changes=9))
    assert set(shrink(machines, 900.0, FAST_ROOM)) == {"b"}
    off = {k: moved(v, told(1)) for k, v in machines.items()}
    assert set(grow(off, 1000.0, FAST_ROOM)) == {"b"}


def test_the_last_board_goes_only_when_others_have_none_left_to_spare() -> None:
    machines = farm(machine("a"), machine("b"))
    chosen = shrink(machines, 3500.0, FAST_ROOM)
    assert {name: len(setpoint.boards_on) for name, setpoint in chosen.items()} == {"a": 1, "b": 1}


def test_boards_go_from_the_top_and_come_back_from_the_bottom() -> None:
    assert shrink(farm(machine()), 900.0, FAST_ROOM)["m"].boards_on == {0, 1}
    outer = Setpoint(is_awake=True, profile="step0", boards_on=frozenset({2}))
    assert grow(farm(machine(at=outer)), 1000.0, FAST_ROOM)["m"].boards_on == {0, 2}


def test_a_profile_that_would_be_tuned_is_skipped() -> None:
    at = told(3, "step-1")
    slow_only = machine(at=at, can_switch_boards=False, can_sleep=False)
    assert shrink(farm(slow_only), 160.0, ALL_ROOM)["m"].profile == "step-3"


def test_a_machine_above_its_default_comes_down_and_does_not_go_higher() -> None:
    high = machine(at=told(3, "step1"), can_switch_boards=False, can_sleep=False)
    assert grow(farm(high), 9000.0, ALL_ROOM) == {}
    assert shrink(farm(high), 100.0, ALL_ROOM)["m"].profile == "step0"


def test_a_cheaper_step_from_the_same_place_makes_the_other_one_void() -> None:
    """A board and a profile both lead away from where a machine stands; one of them is taken."""
    for choose, at in ((shrink, told(3)), (grow, told(2, "step-4"))):
        chosen = choose(farm(machine(at=at)), 1e6, ALL_ROOM)["m"]
        is_down = choose is shrink
        assert chosen == (told(0, "step-4") if is_down else told(3, "step0"))


def test_a_machine_without_board_switches_goes_to_sleep_in_one_step() -> None:
    pair = farm(
        machine("a", can_switch_boards=False, can_select_profile=False),
        machine("b", can_switch_boards=False, can_select_profile=False, changes=1),
    )
    assert shrink(pair, 900.0, FAST_ROOM) == {"a": told(3, is_awake=False)}
    assert shrink(pair, 900.0, FAST_ROOM, is_exact=False) == {}
    assert set(shrink(pair, 3500.0, FAST_ROOM, is_exact=False)) == {"a"}


def test_a_step_that_changes_no_watts_is_none() -> None:
    flat = tuple(replace(p, power_w=LUXOS.idle_w) for p in profiles())
    assert shrink(farm(machine(profiles=flat)), 900.0, ALL_ROOM) == {}
    assert grow(farm(machine(at=told(1), profiles=flat)), 900.0, ALL_ROOM) == {}


def test_a_board_whose_end_would_look_like_a_rise_is_left_on() -> None:
    tiny = profiles(50.0)  # below the idle draw
    assert shrink(farm(machine(profiles=tiny)), 900.0, FAST_ROOM) == {}


def test_a_step_one_watt_too_large_is_not_taken() -> None:
    off = machine(at=told(2))
    missing_w = off.power_w(told(3)) - off.power_w(told(2))
    assert grow(farm(off), missing_w - 1, FAST_ROOM) == {}
    assert grow(farm(off), missing_w, FAST_ROOM) == {"m": told(3)}


def test_a_sleeper_wakes_with_all_boards_and_only_where_there_is_room() -> None:
    asleep = machine(at=told(0, is_awake=False))
    assert grow(farm(asleep), 9000.0, ALL_ROOM) == {"m": told(3)}
    assert grow(farm(asleep), 9000.0, FAST_ROOM) == {}
    assert grow(farm(asleep), 2000.0, ALL_ROOM) == {}


def test_what_cannot_be_told_stands_where_it_shows() -> None:
    stubborn = machine(at=told(3), desired=told(0), is_controllable=False)
    assert stubborn.standing == told(3)
    assert shrink(farm(stubborn), 900.0, ALL_ROOM) == {}
    unread = replace(machine(), at=None, desired=None, standing=None, standing_w=0.0)
    assert unread.standing is None
    assert planned_w({unread.miner_id: unread}, {}) == 0.0
    assert shrink(farm(unread), 900.0, ALL_ROOM) == grow(farm(unread), 900.0, ALL_ROOM) == {}


@pytest.mark.parametrize(
    ("each", "is_long", "floor"),
    [
        (machine(), False, told(0)),
        (machine(), True, told(0, is_awake=False)),
        (machine(can_switch_boards=False), False, told(0, is_awake=False)),
        (machine(can_sleep=False), True, told(0)),
        (machine(can_sleep=False, can_switch_boards=False), True, None),
        (machine(at=told(2, is_awake=False)), False, told(2, is_awake=False)),
        (replace(machine(), at=None, desired=None, standing=None, standing_w=0.0), True, None),
    ],
)
def test_the_floor_is_the_least_a_machine_can_be_told(
    each: Machine, is_long: bool, floor: Setpoint | None
) -> None:
    assert floor_setpoint(each, is_long=is_long) == floor


def test_five_thousand_machines_are_planned_in_one_go(
    record_property,
) -> None:
    rnd = random.Random(4)
    machines = farm(
        *(
            machine(f"m{n}", profiles=profiles(rnd.uniform(2500, 3600), rnd.uniform(9e13, 2e14)))
            for n in range(5000)
        )
    )
    excess_w = draw_w(machines, {}) * 0.4
    started_s = time.perf_counter()
    chosen = shrink(machines, excess_w, ALL_ROOM)
    taken_ms = (time.perf_counter() - started_s) * 1000
    record_property("planned_5000_ms", round(taken_ms))
    assert draw_w(machines, chosen) <= draw_w(machines, {}) - excess_w + ROUNDING_W
    lowered = {
        k: replace(m, at=chosen.get(k, m.at), desired=chosen.get(k, m.at))
        for k, m in machines.items()
    }
    grown = grow(lowered, excess_w, FAST_ROOM)
    assert draw_w(lowered, grown) <= draw_w(lowered, {}) + excess_w + ROUNDING_W


def test_a_profile_that_the_machine_does_not_list_is_left_where_it_is() -> None:
    strange = machine(at=told(3, "made-by-hand"), can_switch_boards=False, can_sleep=False)
    assert shrink({"m": strange}, 500.0, ALL_ROOM) == {}
    assert grow({"m": strange}, 500.0, ALL_ROOM) == {}


def test_a_machine_that_lists_no_boards_is_not_asked_to_switch_one() -> None:
    bare = Setpoint(is_awake=True, profile="step0", boards_on=frozenset())
    machines = farm(machine(at=bare, boards=frozenset()))
    assert shrink(machines, 500.0, FAST_ROOM) == {}
    assert grow(machines, 500.0, FAST_ROOM) == {}
