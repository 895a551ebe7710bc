"""The plan against the rule it follows, written out: look at every step of every machine, each
time, and take the cheapest. Slow, and made of set points alone."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.card import ActuatorCard, Move
from agent.core.cards import CARDS
from agent.core.decisions import Setpoint
from agent.core.dispatch import grow, shrink
from agent.core.fleet import Machine
from agent.core.steps import Room
from agent.core.wear import Wear, allows_restarts, allows_slow
from drivers.readings import Profile

NOW_S = 100_000.0
Way = tuple[Setpoint, float]  # where to, and the penalty on its price


def hashes_hs(machine: Machine, at: Setpoint) -> float:
    profile = machine.profile(at.profile)
    if profile is None or not at.is_awake:
        return 0.0
    return profile.hashrate_hs * (len(at.boards_on & machine.boards) / max(len(machine.boards), 1))


def may_select(machine: Machine, room: Room, ramp_s: float) -> bool:
    if not machine.can_select_profile or not machine.card.is_profile_slow:
        return machine.can_select_profile
    is_free = machine.slow_window_ms != room.window_ms and room.window_left_s > 4 * ramp_s
    return is_free and allows_slow(machine.wear, machine.card, room.now_s)


def beside(machine: Machine, at: Setpoint, *, is_down: bool) -> Setpoint | None:
    """The same with the next profile of those that are tuned, none above the default one."""
    present = machine.profile(at.profile)
    tuned = [p for p in machine.profiles if p.is_tuned]
    if present is None:
        return None
    below = [p for p in tuned if p.step < present.step]
    above = [p for p in tuned if present.step < p.step <= 0]
    best = (
        max(below, key=step_of, default=None) if is_down else min(above, key=step_of, default=None)
    )
    return None if best is None else replace(at, profile=best.name)


def step_of(profile: Profile) -> int:
    return profile.step


def ways_down(machine: Machine, at: Setpoint, room: Room) -> Iterator[Way]:
    card, wear = machine.card, machine.wear
    if not at.is_awake or (machine.boards and not at.boards_on):
        return
    penalty = 100.0 if room.now_s - wear.up_at_s < card.min_on_s else 1.5
    if machine.can_switch_boards and at.boards_on:
        fewer = replace(at, boards_on=at.boards_on - {max(at.boards_on)})
        is_restart = not fewer.boards_on or Move.BOARD_OFF in card.restarting
        if allows_restarts(wear, card, machine.standing, fewer, room.now_s):
            yield fewer, penalty if is_restart else 1.0
    elif machine.can_sleep and not machine.can_switch_boards:
        asleep = replace(at, is_awake=False)
        if allows_restarts(wear, card, asleep, at, room.now_s):
            yield asleep, penalty
    lower = beside(machine, at, is_down=True)
    has_time = lower is not None and may_select(machine, room, card.profile_down_s)
    if has_time and allows_restarts(wear, card, machine.standing, lower, room.now_s):
        yield lower, 1.0


def ways_up(machine: Machine, at: Setpoint, room: Room) -> Iterator[Way]:
    card, wear = machine.card, machine.wear
    if not (at.is_awake and at.boards_on) and room.now_s - wear.down_at_s < card.min_off_s:
        return
    ways: list[Way] = []
    if not at.is_awake:
        if machine.can_sleep and room.bought_for_s > 1.5 * card.wake_s:
            ways.append((replace(at, is_awake=True, boards_on=machine.boards), 1.0))
    else:
        missing = machine.boards - at.boards_on
        if missing and machine.can_switch_boards:
            more = replace(at, boards_on=at.boards_on | {min(missing)})
            ways.append((more, 1.5 if Move.BOARD_ON in card.restarting else 1.0))
        higher = beside(machine, at, is_down=False)
        if at.boards_on and higher is not None and may_select(machine, room, card.profile_up_s):
            ways.append((higher, 1.0))
    for to, penalty in ways:
        if allows_restarts(wear, card, machine.standing, to, room.now_s):
            yield to, penalty


def planned(
    machines: Mapping[str, Machine], budget_w: float, room: Room, *, is_down: bool, is_exact: bool
) -> dict[str, Setpoint]:
    """The cheapest step of all, again and again; ``budget_w`` is what is to be saved or used."""
    chosen: dict[str, Setpoint] = {}
    too_large: set[tuple[str, Setpoint, Setpoint]] = set()
    while budget_w > 0:
        offers = []
        for name, machine in machines.items():
            at = chosen.get(name, machine.standing)
            if at is None or not machine.is_controllable or (machine.is_in_transit and not is_down):
                continue
            for to, penalty in (ways_down if is_down else ways_up)(machine, at, room):
                delta_w = machine.power_w(to) - machine.power_w(at)
                if delta_w == 0 or (is_down and delta_w > 0) or (name, at, to) in too_large:
                    continue
                worth = (hashes_hs(machine, to) - hashes_hs(machine, at)) / delta_w
                cost = worth * penalty if delta_w < 0 else -worth / penalty
                wear = (len(machine.wear.restarts_s), machine.changes)
                offers.append(((cost, wear, name), delta_w, at, to))
        if not offers:
            break
        (_, _, name), delta_w, at, to = min(offers, key=lambda offer: offer[0])
        if (delta_w > budget_w) or (is_down and not is_exact and budget_w + delta_w < 0):
            too_large.add((name, at, to))
            continue
        chosen[name] = to
        budget_w += delta_w if is_down else -delta_w
    return chosen


def machine_of(rng: random.Random, name: str, card: ActuatorCard) -> Machine:
    slope_w, slope_hs = rng.uniform(0.01, 0.08), rng.uniform(0.005, 0.07)
    watts, rate = rng.choice((90.0, rng.uniform(2000, 6000))), rng.uniform(1e14, 3e14)
    numbers = rng.sample(range(-6, 3), rng.randint(0, 7))
    profiles = tuple(
        Profile(
            name=f"p{n}",
            step=n,
            power_w=watts * (1 + slope_w * n),
            hashrate_hs=rate * (1 + slope_hs * n),
            is_tuned=rng.random() < 0.8,
        )
        for n in numbers
    )
    boards = frozenset(range(rng.choice((0, 1, 3, 4))))
    at = Setpoint(
        is_awake=rng.random() < 0.8,
        profile=rng.choice(["odd", None, *(p.name for p in profiles)]),
        boards_on=frozenset(n for n in (*boards, 7) if rng.random() < (0.7 if n < 7 else 0.05)),
    )
    restarts = rng.choice((0, 0, 2, 15, 19, 21, 22, 23, 24, 26))
    machine = Machine(
        miner_id=name,
        card=card,
        profiles=profiles,
        boards=boards,
        at=at,
        desired=at,
        at_w=0.0,
        upper_w=0.0,
        rising_w=0.0,
        is_commandable=True,
        is_controllable=rng.random() < 0.9,
        is_in_transit=rng.random() < 0.1,
        retry_at_s=0.0,
        changes=rng.randint(0, 2),
        slow_window_ms=rng.choice((0, 0, 1000)),
        can_switch_boards=rng.random() < 0.6,
        can_sleep=rng.random() < 0.8,
        can_select_profile=rng.random() < 0.8,
        wear=Wear(
            restarts_s=tuple(sorted(rng.uniform(0, NOW_S) for _ in range(restarts))),
            slow_s=tuple(rng.uniform(0, NOW_S) for _ in range(rng.choice((0, 23, 24, 50)))),
            up_at_s=rng.choice((0.0, NOW_S - 20.0)),
            down_at_s=rng.choice((0.0, NOW_S - 5.0)),
        ),
        standing=at if rng.random() < 0.95 else None,
    )
    return replace(machine, standing_w=0.0 if machine.standing is None else machine.power_w(at))


def alike(rng: random.Random, kind: Machine, name: str) -> Machine:
    """One more of a kind, with a past of its own now and then."""
    restarts = rng.choice((0, 0, 1, 2, 21))
    wear = replace(kind.wear, restarts_s=tuple(NOW_S - n for n in range(restarts)))
    if rng.random() < 0.2:
        wear = replace(wear, up_at_s=NOW_S - 20.0, down_at_s=NOW_S - 5.0)
    return replace(kind, miner_id=name, changes=rng.randint(0, 2), wear=wear)


@settings(deadline=None, max_examples=400)
@given(
    seed=st.integers(0, 2**32),
    share=st.sampled_from((0.001, 0.1, 0.4, 1.5)),
    left_s=st.sampled_from((0.0, 300.0, 1e6)),
    is_exact=st.booleans(),
    kinds=st.sampled_from((1, 2, 6)),
)
@pytest.mark.parametrize("is_down", [True, False])
def test_a_plan_takes_the_cheapest_step_there_is_each_time(
    *, is_down: bool, seed: int, share: float, left_s: float, is_exact: bool, kinds: int
) -> None:
    rng, cards = random.Random(seed), sorted(CARDS.items())
    drawn = [machine_of(rng, f"m{n}", rng.choice(cards)[1]) for n in range(kinds)]
    more = [alike(rng, rng.choice(drawn), f"m{n}") for n in range(kinds, 6)]
    machines = {one.miner_id: one for one in [*drawn, *more]}
    room = Room(window_left_s=left_s, bought_for_s=2 * left_s, window_ms=1000, now_s=NOW_S)
    budget_w = share * 20_000.0
    rule = planned(machines, budget_w, room, is_down=is_down, is_exact=is_exact)
    if is_down:
        assert shrink(machines, budget_w, room, is_exact=is_exact) == rule
    else:
        assert grow(machines, budget_w, room) == rule
