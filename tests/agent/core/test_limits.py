import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.limits import Limit, ruling


def limit(power_w: float, *, safe_w: float = 0.0, expires_ms: int | None = None, kind: str = "cap"):
    return Limit(
        kind=kind,
        source="order-7",
        power_w=power_w,
        safe_w=safe_w,
        expires_ms=expires_ms,
        words="an order",
    )


LIMITS = st.builds(
    limit,
    st.floats(0, 1e6),
    safe_w=st.floats(0, 1e6),
    expires_ms=st.none() | st.integers(0, 100),
)


@pytest.mark.parametrize(("now_ms", "allowed_w"), [(999, 500.0), (1000, 20.0), (1001, 20.0)])
def test_a_limit_falls_back_to_its_safe_value_at_its_expiry(now_ms: int, allowed_w: float) -> None:
    assert limit(500.0, safe_w=20.0, expires_ms=1000).power_at(now_ms) == allowed_w


def test_a_limit_without_expiry_holds_for_good() -> None:
    assert limit(500.0, safe_w=20.0).power_at(2**53) == 500.0


@given(limits=st.lists(LIMITS, min_size=1), now_ms=st.integers(0, 100))
def test_the_limit_that_allows_least_rules(limits: list[Limit], now_ms: int) -> None:
    ruler = ruling(limits, now_ms)
    assert ruler in limits
    assert all(ruler.power_at(now_ms) <= other.power_at(now_ms) for other in limits)


def test_of_equal_limits_the_first_named_rules() -> None:
    assert ruling([limit(9.0, kind="purchase"), limit(9.0, kind="order")], 0).kind == "purchase"


def test_an_expired_order_that_allowed_much_can_come_to_rule() -> None:
    order = limit(900.0, safe_w=10.0, expires_ms=50, kind="order")
    assert [ruling([order, limit(100.0)], now_ms).kind for now_ms in (49, 50)] == ["cap", "order"]
