from hypothesis import given
from hypothesis import strategies as st

from agent.core.calendar import REMEMBERED_STRETCHES, calendar_of

WINDOWS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda w: (w[0], w[0] + w[1])),
    max_size=30,
)


@given(windows=WINDOWS, at=st.lists(st.integers(-5, 70), min_size=1, max_size=90))
def test_it_says_what_a_search_through_all_windows_would_say(
    windows: list[tuple[int, int]], at: list[int]
) -> None:
    calendar = calendar_of(windows, windows)
    edges = sorted({edge for window in windows for edge in window})
    for at_ms in at:
        until_ms = at_ms + 9
        assert calendar.open_at(at_ms) == tuple(
            place for place, (start, end) in enumerate(windows) if start <= at_ms < end
        )
        assert calendar.next_start_ms(at_ms) == min(
            (start for start, _ in windows if start > at_ms), default=None
        )
        inside = [edge for edge in edges if at_ms < edge <= until_ms]
        assert list(calendar.edges_in(at_ms, until_ms)) == inside
        assert sorted(calendar.ended_in(at_ms, until_ms)) == [
            place for place, (_, end) in enumerate(windows) if at_ms < end <= until_ms
        ]


def test_it_does_not_remember_without_end() -> None:
    windows = [(n, n + 1) for n in range(3 * REMEMBERED_STRETCHES)]
    calendar = calendar_of(windows, windows)
    for n in range(len(windows)):
        assert calendar.open_at(n) == (n,)
        assert len(calendar.remembered) <= REMEMBERED_STRETCHES
