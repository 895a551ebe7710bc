from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.rota import BACKOFF_LAST_S, DETAILS_EVERY_S, Rota

PERIODS = st.sampled_from([1.0, 2.5, 5.0, 7.0, 10.0, 60.0, 90.0])


@given(
    period_s=PERIODS,
    count=st.integers(1, 5000),
    data=st.data(),
    started_s=st.floats(0.0, 1e6),
    spent_s=st.floats(0.0, 100.0),
    misses=st.integers(0, 400),
)
def test_a_machine_keeps_its_own_instants_and_is_never_left_alone_for_longer_than_the_backoff(
    *,
    period_s: float,
    count: int,
    data: st.DataObject,
    started_s: float,
    spent_s: float,
    misses: int,
) -> None:
    rota = Rota(place=data.draw(st.integers(0, count - 1)), of=count, period_s=period_s)
    now_s = started_s + spent_s
    next_s = rota.next_s(started_s, now_s, misses)
    assert next_s >= now_s
    longest_s = max(started_s + rota.pause_s(misses) + 0.5 * period_s, now_s + period_s)
    assert next_s <= longest_s + 1e-6
    assert next_s - started_s >= rota.pause_s(misses) - 0.5 * period_s - 1e-6
    turns = (next_s - period_s * rota.place / count) / period_s
    assert abs(turns - round(turns)) < 1e-4
    assert rota.pause_s(misses) <= max(BACKOFF_LAST_S, period_s)


@given(PERIODS, st.integers(0, 60))
def test_who_has_missed_more_is_asked_less_often(period_s: float, misses: int) -> None:
    rota = Rota(place=0, of=1, period_s=period_s)
    assert rota.pause_s(misses) <= rota.pause_s(misses + 1)
    assert rota.pause_s(2) == period_s


@given(st.integers(2, 2000), st.floats(0.0, 1e5))
def test_polls_are_spread_evenly_over_the_period(count: int, now_s: float) -> None:
    rotas = [Rota(place=place, of=count, period_s=10.0) for place in range(count)]
    instants = sorted(rota.next_s(now_s - 10.0, now_s, 0) % 10.0 for rota in rotas)
    gaps = [after - before for before, after in pairwise(instants)]
    assert max(gaps) <= 10.0 / count + 1e-6
    assert min(gaps) >= 10.0 / count - 1e-6


@given(st.integers(10, 5000))
def test_full_reads_are_spread_over_the_ten_minutes_and_within_each_period(count: int) -> None:
    rotas = [Rota(place=place, of=count, period_s=10.0) for place in range(count)]
    due_s = [rota.next_details_s(0.0) for rota in rotas]
    assert all(0.5 * DETAILS_EVERY_S <= one <= 1.5 * DETAILS_EVERY_S for one in due_s)
    per_minute = [0] * 10
    for one in due_s:
        per_minute[int(one % DETAILS_EVERY_S // 60.0)] += 1
    assert max(per_minute) - min(per_minute) <= 4
    # Those whose full read falls into one minute are not neighbours in the period.
    chosen = [place for place, one in enumerate(due_s) if one % DETAILS_EVERY_S < 60.0]
    steps = [after - before for before, after in pairwise(chosen)]
    assert not steps or max(steps) <= 25
    assert not steps or min(steps) >= 5


def test_the_first_polls_of_a_small_farm_do_not_wait_for_a_whole_period() -> None:
    assert Rota(place=9, of=10, period_s=60.0).first_after_s < 0.2
    assert Rota(place=4999, of=5000, period_s=10.0).first_after_s > 9.9
