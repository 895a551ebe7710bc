"""The last day in memory: means, least caps, and nothing twice."""

from hypothesis import given
from hypothesis import strategies as st

from agent.status.history import COARSE_KEPT, FINE_KEPT, FINE_S, History, Moment
from agent.status.view import WindowView

START_MS = 1_795_680_000_000


def moment(at_s: float, power_w: float | None = 1_000.0, used_wh: int | None = None) -> Moment:
    window = None
    if used_wh is not None:
        window = WindowView(
            start_ms=START_MS,
            end_ms=START_MS + 3_600_000,
            time_left_s=1.0,
            purchased_wh=9_000,
            used_wh=used_wh,
            used_upper_wh=used_wh,
            left_wh=0,
            transactions=[],
        )
    at_ms = START_MS + round(at_s * 1000)
    return Moment(at_ms=at_ms, power_w=power_w, power_cap_w=5_000.0 - at_s, window=window)


def test_a_step_has_the_mean_the_highest_power_the_least_cap_and_the_energy_at_its_end() -> None:
    history = History("mp-1")
    for second, power_w in enumerate([100.0, None, 300.0]):
        history.note(moment(second, power_w, used_wh=second))
    assert list(history.rows()) == []
    history.note(moment(FINE_S))
    (row,) = history.rows()
    assert (row.at_ms, row.span_s, row.meter_point) == (START_MS, FINE_S, "mp-1")
    assert (row.power_w, row.power_max_w, row.power_cap_w) == (200.0, 300.0, 4_998.0)
    assert (row.window_start_ms, row.purchased_wh, row.used_wh) == (START_MS, 9_000, 2)


def test_what_nobody_knew_stays_unknown() -> None:
    history = History("mp-1")
    history.note(moment(0, None))
    history.note(moment(FINE_S, None))
    (row,) = history.rows()
    assert (row.power_w, row.power_max_w, row.used_wh) == (None, None, None)


def test_a_day_is_kept_and_no_more() -> None:
    history = History("mp-1")
    for second in range(0, 30 * 3600, 10):
        history.note(moment(second))
    rows = list(history.rows())
    assert sum(row.span_s == FINE_S for row in rows) == FINE_KEPT
    assert COARSE_KEPT - 31 <= sum(row.span_s == 60 for row in rows) <= COARSE_KEPT


def test_a_clock_that_is_set_back_begins_a_new_past() -> None:
    history = History("mp-1")
    for second in range(100, 200):
        history.note(moment(second))
    history.note(moment(5))
    history.note(moment(15))
    assert [row.at_ms for row in history.rows()] == [START_MS]


@given(st.lists(st.floats(0.05, 400), min_size=1, max_size=300))
def test_steps_follow_each_other_and_never_overlap(pauses_s: list[float]) -> None:
    history, at_s = History("mp-1"), 0.0
    for pause_s in pauses_s:
        at_s += pause_s
        history.note(moment(at_s))
    ends = 0
    for row in history.rows():
        assert row.at_ms >= ends
        ends = row.at_ms + row.span_s * 1000
