"""Who is asked next on a shared line, and who waits so that a purchase's meter stays young."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.link.freshness import AGE_S, Freshness
from drivers.link.turns import Rank, Turns, now_s
from drivers.link.units import SILENT_AFTER_MISSES, UnitState


async def order_of(*asked: tuple[Rank, float]) -> list[int]:
    """The order in which those got their turn who asked together; each is ready after a time."""
    turns, served = Turns(), []
    began_s = now_s()

    async def one(number: int, rank: Rank, after_s: float) -> None:
        async with turns.turn(rank, lambda: began_s + after_s):
            served.append(number)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(one(at, rank, after_s) for at, (rank, after_s) in enumerate(asked)))
    return served


async def test_the_more_urgent_goes_first_and_equals_in_the_order_they_came() -> None:
    other, budget, trip = Rank.OTHER, Rank.BUDGET, Rank.TRIP
    assert await order_of((other, 0), (other, 0), (budget, 0), (trip, 0)) == [3, 2, 0, 1]


async def test_who_may_begin_soon_is_waited_for_and_who_may_begin_late_is_not() -> None:
    assert await order_of((Rank.OTHER, 0), (Rank.BUDGET, 0.05)) == [1, 0]
    assert await order_of((Rank.OTHER, 0), (Rank.BUDGET, 0.3)) == [0, 1]


async def test_who_has_waited_long_goes_before_all_but_a_trip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.link.turns.PATIENCE_S", -1.0)
    asked = ((Rank.OTHER, 0), (Rank.BUDGET, 0), (Rank.TRIP, 0), (Rank.BUDGET, 0))
    assert await order_of(*asked) == [2, 0, 1, 3]


async def test_of_several_who_have_waited_long_one_goes_between_two_urgent_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.link.turns.PATIENCE_S", -1.0)
    asked = ((Rank.OTHER, 0), (Rank.OTHER, 0), (Rank.BUDGET, 0), (Rank.OTHER, 0), (Rank.BUDGET, 0))
    assert await order_of(*asked) == [0, 2, 1, 4, 3]


async def test_who_asks_for_several_things_in_a_row_is_not_interrupted_by_a_lower_rank() -> None:
    turns, served = Turns(), []

    async def ask(name: str, rank: Rank, times: int) -> None:
        for _ in range(times):
            async with turns.turn(rank, lambda: 0.0):
                served.append(name)
                await asyncio.sleep(0.005)

    await asyncio.gather(ask("other", Rank.OTHER, 2), ask("budget", Rank.BUDGET, 3))
    assert served == ["budget"] * 3 + ["other"] * 2


@given(
    took_s=st.floats(0.01, 0.4),
    lasts_s=st.floats(0.01, 1.0),
    gap_s=st.floats(0.0, 0.2),
    since_s=st.floats(0.0, 1.5),
)
def test_what_may_begin_never_makes_a_reading_too_old_that_could_have_stayed_young(
    took_s: float, lasts_s: float, gap_s: float, since_s: float
) -> None:
    fresh = Freshness()
    fresh.asked(1, 99.5)
    fresh.asked(1, 100.0)
    fresh.read(1, 100.0, took_s)
    at_s = 100.0 + since_s
    begin_s = fresh.begin_s(at_s, lasts_s=lasts_s, gap_s=gap_s)
    assert begin_s >= at_s
    could = 2 * (took_s + gap_s) + lasts_s <= AGE_S
    if could and begin_s == at_s and at_s < 100.7:  # later the meter is not asked as it was
        assert at_s + lasts_s + gap_s + took_s - 100.0 <= AGE_S + 1e-9
    if not could:
        assert begin_s == at_s
    assert begin_s <= max(at_s, 100.7 + 1e-9)  # nobody waits for a meter that nobody asks


def test_a_line_without_a_meter_that_answers_holds_nobody_back() -> None:
    fresh = Freshness()
    assert fresh.begin_s(5.0, lasts_s=9.0, gap_s=0.1) == 5.0
    fresh.asked(1, 4.0)
    assert not fresh.is_kept(5.0)
    fresh.read(1, 4.0, 0.1)
    assert fresh.is_kept(5.0)
    assert not fresh.is_kept(7.0)


def test_pauses_grow_from_the_third_time_out_on_and_end_with_an_answer() -> None:
    unit, at_s = UnitState(), 0.0
    pauses = []
    for _ in range(9):
        unit.missed(at_s, is_urgent=False)
        pauses.append(next(s for s in range(100) if not unit.is_paused(at_s + s)))
        at_s += pauses[-1]
    assert SILENT_AFTER_MISSES == 3
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 30, 30]
    unit.answered(0.1)
    assert not unit.is_silent
    assert not unit.is_doubtful


def test_the_meter_of_a_purchase_is_asked_every_second_at_the_latest() -> None:
    unit = UnitState()
    for at_s in range(50):
        unit.missed(float(at_s), is_urgent=True)
        assert not unit.is_paused(at_s + 1.0)
    assert unit.is_paused(math.nextafter(50.0, 0.0))
