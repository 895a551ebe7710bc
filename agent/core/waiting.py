"""What may have flowed since the last reading that was believed, edge of window by edge of window.

Needed when a person vouches for a register: what flowed unmeasured is then charged to the windows
in which it may have flowed, each by its own upper bound. Times are UTC ms where they end in ``_ms``
and monotonic seconds where they end in ``_s``; energies are Wh.
"""

from bisect import bisect_right
from dataclasses import dataclass

from agent.core.ledger import Ledger
from agent.core.samples import Fusion
from agent.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The upper bound of what flowed since the last sample's earliest latching, by time.

    ``knots`` are (UTC ms, Wh): the beginning, every edge of a window since, and now. Between two
    ticks the bound grows in a straight line, so the value at an edge is exact.
    """

    sampled_at_s: float
    knots: tuple[tuple[int, float], ...]

    def flowed_wh(self, at_ms: int) -> float:
        """The most that flowed until an instant."""
        place = bisect_right(self.knots, at_ms, key=lambda knot: knot[0])
        if place == 0:
            return 0.0
        if place == len(self.knots):
            return self.knots[-1][1]
        (from_ms, from_wh), (to_ms, to_wh) = self.knots[place - 1], self.knots[place]
        return from_wh + (to_wh - from_wh) * (at_ms - from_ms) / (to_ms - from_ms)


def waited(waiting: Waiting | None, fusion: Fusion, ledger: Ledger, snapshot: Snapshot) -> Waiting:
    """Take note of the time up to now. A new sample starts anew. Needs at least one sample."""
    last = fusion.proven
    if waiting is None or waiting.sampled_at_s != last.requested_at_s:
        since_ms = utc_ms(snapshot, last.latched_s)
        waiting = Waiting(sampled_at_s=last.requested_at_s, knots=((since_ms, 0.0),))
    # The last knot is the tick before, not an edge: it stays only if it is the very first.
    (seen_ms, seen_wh), now_ms = waiting.knots[-1], snapshot.now_ms
    if now_ms <= seen_ms:
        return waiting
    kept = waiting.knots if len(waiting.knots) == 1 else waiting.knots[:-1]
    grown_wh = fusion.tail_wh - seen_wh
    edges = tuple(
        (edge_ms, seen_wh + grown_wh * (edge_ms - seen_ms) / (now_ms - seen_ms))
        for edge_ms in ledger.calendar.edges_in(seen_ms, now_ms)
    )
    return Waiting(
        sampled_at_s=waiting.sampled_at_s, knots=(*kept, *edges, (now_ms, fusion.tail_wh))
    )


def monotonic_s(snapshot: Snapshot, at_ms: int) -> float:
    """The monotonic time of an instant as the site goes by it."""
    return snapshot.now_s - (snapshot.now_ms - at_ms) / 1000.0


def utc_ms(snapshot: Snapshot, at_s: float) -> int:
    """The site's UTC at a monotonic time."""
    return snapshot.now_ms - round((snapshot.now_s - at_s) * 1000)
