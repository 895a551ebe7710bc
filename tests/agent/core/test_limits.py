from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.limits import (
    Limit,
    Span,
    allowed_w,
    falls_below_ms,
    level_w,
    rises_above_ms,
    ruling,
)

HORIZON_S = 200


def limit(power_w: float, **changes: Any) -> Limit:
    plain = Limit(
        kind="cap",
        source="limits.cap_w",
        power_w=power_w,
        safe_w=0.0,
        expires_ms=None,
        words="a cap",
    )
    return replace(plain, **changes)


@st.composite
def limits_of_all_kinds(draw: st.DrawFn) -> Limit:
    edges = sorted(draw(st.lists(st.integers(0, HORIZON_S), min_size=2, max_size=6, unique=True)))
    spans = [
        Span(from_ms=a * 1000, until_ms=b * 1000, power_w=draw(st.integers(0, 1000)))
        for a, b in zip(edges[::2], edges[1::2], strict=False)
    ]
    return limit(
        draw(st.integers(0, 1000)),
        safe_w=draw(st.integers(0, 1000)),
        from_ms=draw(st.none() | st.integers(0, HORIZON_S).map(lambda s: s * 1000)),
        expires_ms=draw(st.none() | st.integers(0, HORIZON_S).map(lambda s: s * 1000)),
        spans=tuple(spans) if draw(st.booleans()) else (),
        kind=draw(st.sampled_from(["cap", "order", "profile"])),
    )


LIMITS = st.lists(limits_of_all_kinds(), min_size=1, max_size=4)
TIMES_MS = st.integers(0, HORIZON_S * 1000)


@pytest.mark.parametrize(("now_ms", "power_w"), [(999, 500.0), (1000, 20.0), (1001, 20.0)])
def test_a_limit_falls_back_to_its_safe_value_at_its_expiry(now_ms: int, power_w: float) -> None:
    cap = limit(500.0, safe_w=20.0, expires_ms=1000)
    assert cap.power_at(now_ms) == power_w
    assert ("safe value of 0.0 kW" in cap.words_at(now_ms)) == (now_ms >= 1000)


def test_a_limit_without_expiry_holds_for_good() -> None:
    assert limit(500.0, safe_w=20.0).power_at(2**53) == 500.0


def test_a_limit_says_nothing_before_it_begins() -> None:
    order = limit(0.0, from_ms=1000, expires_ms=2000, safe_w=100.0)
    assert [order.power_at(at_ms) for at_ms in (0, 999, 1000, 1999, 2000)] == [
        float("inf"),
        float("inf"),
        0.0,
        0.0,
        100.0,
    ]


def test_what_no_span_covers_is_bounded_by_the_limits_own_power() -> None:
    hours = (
        Span(from_ms=0, until_ms=10, power_w=300.0),
        Span(from_ms=20, until_ms=30, power_w=400.0),
    )
    profile = limit(50.0, spans=hours, words="the profile allows")
    assert [profile.power_at(at_ms) for at_ms in (5, 15, 25, 30)] == [300.0, 50.0, 400.0, 50.0]
    assert profile.words_at(25) == "the profile allows: 0.4 kW now"


def test_a_limit_is_called_by_its_id_or_else_by_its_source() -> None:
    assert limit(1.0).name == "limits.cap_w"
    assert limit(1.0, limit_id="o-7").name == "o-7"


@given(limits=LIMITS, now_ms=TIMES_MS)
def test_the_limit_that_allows_least_rules(limits: list[Limit], now_ms: int) -> None:
    ruler = ruling(limits, now_ms)
    assert ruler.power_w == min(one.power_at(now_ms) for one in limits) == allowed_w(limits, now_ms)
    rulers = [one for one in limits if one.power_at(now_ms) == ruler.power_w]
    assert ruler.words == rulers[0].words_at(now_ms)
    assert ruler.power_at(0) == ruler.power_at(2**53) == ruler.power_w


@given(limits=LIMITS, now_ms=TIMES_MS, ahead_s=st.integers(0, 60), probe=st.floats(0, 1))
def test_what_rules_ahead_is_never_above_what_is_allowed_at_any_instant_until_then(
    limits: list[Limit], now_ms: int, ahead_s: int, probe: float
) -> None:
    at_ms = now_ms + round(ahead_s * 1000 * probe)
    assert ruling(limits, now_ms, ahead_s).power_w <= allowed_w(limits, at_ms)


def test_a_limit_that_begins_later_rules_ahead_of_its_time_and_says_when_it_begins() -> None:
    order = limit(30.0, from_ms=60_000, kind="order", limit_id="o-7", words="30 W were ordered")
    cap = limit(100.0)
    assert ruling([cap, order], 0, 50.0).kind == "cap"
    ruler = ruling([cap, order], 0, 60.0)
    assert (ruler.kind, ruler.name, ruler.power_w) == ("order", "o-7", 30.0)
    assert ruler.words == "in 60 s this begins, and is kept from then on: 30 W were ordered"
    assert ruling([cap, order], 60_000, 60.0).words == "30 W were ordered"


def test_of_equal_limits_the_first_named_rules() -> None:
    assert ruling([limit(9.0, kind="purchase"), limit(9.0, kind="order")], 0).kind == "purchase"


def test_an_expired_order_that_allowed_much_can_come_to_rule() -> None:
    order = limit(900.0, safe_w=10.0, expires_ms=50, kind="order")
    assert [ruling([order, limit(100.0)], now_ms).kind for now_ms in (49, 50)] == ["cap", "order"]


def test_the_next_fall_and_the_next_rise_are_known() -> None:
    order = limit(0.0, from_ms=10, expires_ms=20, safe_w=100.0)
    assert falls_below_ms([order], 0, 50.0) == 10
    assert rises_above_ms([order], 10, 50.0) == 20
    assert falls_below_ms([order], 10, 50.0) is None
    assert rises_above_ms([order], 20, 200.0) is None


def drawn_wh(limits: list[Limit], level: float, floor_w: float) -> float:
    """What a level of power comes to under the limits, second by second."""
    seconds = range(0, HORIZON_S * 1000, 1000)
    return sum(max(min(level, allowed_w(limits, at_ms)), floor_w) for at_ms in seconds) / 3600


@given(limits=LIMITS, level=st.integers(1, 1200), floor_w=st.integers(0, 300))
def test_a_level_under_limits_uses_up_exactly_the_energy(
    limits: list[Limit], level: int, floor_w: int
) -> None:
    level = max(level, floor_w)
    energy_wh = drawn_wh(limits, level, floor_w)
    found_w = level_w(
        limits,
        energy_wh=energy_wh,
        now_ms=0,
        until_ms=HORIZON_S * 1000,
        ahead_s=0.0,
        floor_w=floor_w,
    )
    assert drawn_wh(limits, found_w, floor_w) == pytest.approx(energy_wh)
    assert found_w >= energy_wh * 3600 / HORIZON_S - 1e-6  # never below the mean


def test_what_a_coming_order_keeps_back_is_drawn_before_it() -> None:
    order = limit(0.0, from_ms=100_000, expires_ms=200_000, safe_w=1e6)
    values = {"now_ms": 0, "until_ms": 200_000, "ahead_s": 0.0, "floor_w": 10.0}
    assert level_w([order], energy_wh=10.0, **values) == pytest.approx(350.0)
    values["ahead_s"] = 20.0  # the order is kept so much before it begins
    assert level_w([order], energy_wh=10.0, **values) == pytest.approx((36_000 - 1_200) / 80)


def test_energy_for_which_the_limits_leave_no_room_asks_for_all_that_there_is() -> None:
    values = {"now_ms": 0, "until_ms": 10_000, "ahead_s": 0.0, "floor_w": 0.0}
    assert level_w([limit(100.0)], energy_wh=1.0, **values) == float("inf")
