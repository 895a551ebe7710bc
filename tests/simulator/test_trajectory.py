"""Straight lines over time and the area under them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.trajectory import Trajectory, still, summed

values = st.floats(-1e4, 1e4)
times = st.lists(st.floats(0.0, 100.0), min_size=1, max_size=6, unique=True).map(sorted)
lines = times.flatmap(
    lambda at: st.lists(values, min_size=len(at), max_size=len(at)).map(
        lambda v: Trajectory(zip(at, v, strict=True))
    )
)


def test_the_area_under_a_ramp_is_a_triangle() -> None:
    ramp = Trajectory([(10.0, 0.0), (20.0, 100.0)])
    assert ramp.integral(10.0, 20.0) == pytest.approx(500.0)
    assert ramp.integral(0.0, 10.0) == 0.0
    assert ramp.integral(20.0, 25.0) == pytest.approx(500.0)
    assert ramp.value(15.0) == pytest.approx(50.0)


def test_points_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="rising order"):
        Trajectory([(2.0, 1.0), (1.0, 1.0)])


@given(lines, st.floats(-10.0, 110.0), st.floats(0.0, 60.0), st.floats(0.0, 1.0))
def test_an_area_is_the_sum_of_its_parts(
    line: Trajectory, from_s: float, span_s: float, share: float
) -> None:
    to_s, middle_s = from_s + span_s, from_s + span_s * share
    parts = line.integral(from_s, middle_s) + line.integral(middle_s, to_s)
    assert line.integral(from_s, to_s) == pytest.approx(parts, rel=1e-6, abs=1e-3)


@given(st.lists(lines, min_size=1, max_size=4), st.floats(0.0, 100.0), st.floats(0.0, 50.0))
def test_a_sum_of_lines_has_the_sum_of_values(
    parts: list[Trajectory], now_s: float, later_s: float
) -> None:
    at_s = now_s + later_s
    expected = sum(part.value(at_s) for part in parts)
    assert summed(parts, now_s).value(at_s) == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_a_redirected_line_starts_where_the_old_one_was() -> None:
    old = Trajectory([(0.0, 0.0), (10.0, 10.0)])
    new = old.redirected(5.0, [(6.0, 0.0)])
    assert new.value(5.0) == pytest.approx(5.0)
    assert new.value(7.0) == 0.0
    assert still(3.0).value(1e9) == 3.0
