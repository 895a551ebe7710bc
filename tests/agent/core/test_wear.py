from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.core.cards import CARDS, LUXOS
from agent.core.decisions import Setpoint
from agent.core.moves import restarts_to
from agent.core.wear import DAY_S, UNWORN, allows_restarts, allows_slow, worn


def told(boards: int, profile: str = "default", *, is_awake: bool = True) -> Setpoint:
    return Setpoint(is_awake=is_awake, profile=profile, boards_on=frozenset(range(boards)))


ASLEEP = told(0, is_awake=False)
SETPOINTS = st.sampled_from([told(0), told(1), told(3), told(3, "low"), ASLEEP])


def test_what_was_told_is_counted_when_it_is_told() -> None:
    wear = worn(UNWORN, LUXOS, told(3), ASLEEP, 10.0)
    assert (wear.restarts_s, wear.down_at_s) == ((), 10.0)
    wear = worn(wear, LUXOS, ASLEEP, told(3), 20.0)
    assert (wear.restarts_s, wear.up_at_s) == ((20.0,), 20.0)
    wear = worn(wear, LUXOS, told(3), told(3, "low"), 30.0)
    assert (wear.slow_s, wear.up_at_s, wear.down_at_s) == ((30.0,), 20.0, 10.0)
    assert worn(UNWORN, LUXOS, None, told(3), 5.0).restarts_s == (5.0,)  # it may have slept


def test_a_fast_profile_is_no_slow_change() -> None:
    assert worn(UNWORN, CARDS["vnish"], told(3), told(3, "low"), 1.0) == UNWORN


def test_after_a_day_it_is_forgotten() -> None:
    wear = worn(UNWORN, LUXOS, ASLEEP, told(3), 0.0)
    card = replace(LUXOS, restarts_per_day=1, slow_changes_per_day=0)
    assert not allows_restarts(wear, card, ASLEEP, told(3), DAY_S - 1)
    assert allows_restarts(wear, card, ASLEEP, told(3), DAY_S)
    assert worn(wear, LUXOS, ASLEEP, told(3), DAY_S + 1).restarts_s == (DAY_S + 1,)
    assert not allows_slow(wear, card, 0.0)
    once = replace(card, slow_changes_per_day=1)
    slow = worn(wear, LUXOS, told(3), told(3, "low"), 5.0)
    assert not allows_slow(slow, once, DAY_S)
    assert allows_slow(slow, once, DAY_S + 5.0)


def test_what_restarts_nothing_is_always_allowed() -> None:
    card = replace(LUXOS, restarts_per_day=0)
    assert allows_restarts(UNWORN, card, told(3), told(2), 0.0)
    assert not allows_restarts(UNWORN, card, told(0), told(1), 0.0)


@given(
    steps=st.lists(st.tuples(SETPOINTS, st.floats(1.0, 40_000.0)), max_size=40),
    family=st.sampled_from(sorted(CARDS)),
    limit=st.integers(0, 6),
)
def test_whoever_asks_first_never_exceeds_the_limit_in_any_24_hours(
    steps: list[tuple[Setpoint, float]], family: str, limit: int
) -> None:
    card = replace(CARDS[family], restarts_per_day=limit)
    wear, at, now_s, done = UNWORN, told(3), 0.0, []
    for to, pause_s in steps:
        now_s += pause_s
        if allows_restarts(wear, card, at, to, now_s):
            done += [now_s] * restarts_to(card, at, to)
            wear = worn(wear, card, at, to, now_s)
            at = to
    for edge_s in done:
        assert sum(edge_s <= one < edge_s + DAY_S for one in done) <= limit
