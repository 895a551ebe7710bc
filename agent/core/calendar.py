"""When windows open and close, looked up instead of searched: thousands of them, every tick.

Knows places and times, nothing of energy. A place is the index of a window in the sequence that the
calendar was made of.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

REMEMBERED_STRETCHES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The edges of windows in order, and which windows open and close at each.

    ``made_of`` is the very sequence whose order of windows this is: whoever holds another one asks
    the wrong calendar. ``remembered`` saves looking through all windows twice for one stretch.
    """

    made_of: object
    windows_ms: tuple[tuple[int, int], ...]
    edges_ms: tuple[int, ...]
    starts_ms: tuple[int, ...]
    opening: dict[int, tuple[int, ...]]
    closing: dict[int, tuple[int, ...]]
    remembered: dict[int, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    def open_at(self, at_ms: int) -> tuple[int, ...]:
        """The windows that contain the instant; their start belongs to them, their end does not."""
        stretch = bisect_right(self.edges_ms, at_ms)
        known = self.remembered.get(stretch)
        if known is None:
            if len(self.remembered) >= REMEMBERED_STRETCHES:
                self.remembered.clear()
            known = tuple(
                place
                for place, (start_ms, end_ms) in enumerate(self.windows_ms)
                if start_ms <= at_ms < end_ms
            )
            self.remembered[stretch] = known
        return known

    def edges_in(self, after_ms: int, to_ms: int) -> tuple[int, ...]:
        """The edges later than the one instant and not later than the other."""
        first = bisect_right(self.edges_ms, after_ms)
        return self.edges_ms[first : bisect_right(self.edges_ms, to_ms)]

    def ended_in(self, after_ms: int, to_ms: int) -> tuple[int, ...]:
        """The windows that end in there."""
        edges_ms = self.edges_in(after_ms, to_ms)
        return tuple(place for edge_ms in edges_ms for place in self.closing.get(edge_ms, ()))

    def next_start_ms(self, after_ms: int) -> int | None:
        """When the next window opens; None where none does any more."""
        place = bisect_right(self.starts_ms, after_ms)
        return self.starts_ms[place] if place < len(self.starts_ms) else None


def calendar_of(windows_ms: Sequence[tuple[int, int]], made_of: object) -> Calendar:
    """The calendar of windows, each a start and an end."""
    opening: dict[int, list[int]] = {}
    closing: dict[int, list[int]] = {}
    for place, (start_ms, end_ms) in enumerate(windows_ms):
        opening.setdefault(start_ms, []).append(place)
        closing.setdefault(end_ms, []).append(place)
    return Calendar(
        made_of=made_of,
        windows_ms=tuple(windows_ms),
        edges_ms=tuple(sorted({*opening, *closing})),
        starts_ms=tuple(sorted(opening)),
        opening={edge_ms: tuple(places) for edge_ms, places in opening.items()},
        closing={edge_ms: tuple(places) for edge_ms, places in closing.items()},
    )
