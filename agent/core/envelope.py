"""What may have flowed between instants: two powers per stretch of time, and their integrals.

A stretch reaches from one edge to the next; the first one reaches back without end, the last one
forward. Energies are Wh, powers W, times monotonic seconds.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Highest and lowest power of each stretch, and their sums up to each edge."""

    edges_s: tuple[float, ...]
    upper_w: tuple[float, ...]
    lower_w: tuple[float, ...]
    upper_wh: tuple[float, ...]
    lower_wh: tuple[float, ...]

    def raised(self, bound_wh: float, from_s: float, to_s: float) -> float:
        """Take an upper bound from one instant to another: it grows forwards, shrinks backwards."""
        if to_s >= from_s:
            return bound_wh + self._upper(to_s) - self._upper(from_s)
        return bound_wh + self._lower(to_s) - self._lower(from_s)

    def lowered(self, bound_wh: float, from_s: float, to_s: float) -> float:
        """Take a lower bound from one instant to another."""
        if to_s >= from_s:
            return bound_wh + self._lower(to_s) - self._lower(from_s)
        return bound_wh + self._upper(to_s) - self._upper(from_s)

    def _upper(self, at_s: float) -> float:
        place = max(bisect_right(self.edges_s, at_s) - 1, 0)
        span_s = at_s - self.edges_s[place]
        return self.upper_wh[place] + self.upper_w[place] * span_s / SECONDS_PER_HOUR

    def _lower(self, at_s: float) -> float:
        place = max(bisect_right(self.edges_s, at_s) - 1, 0)
        span_s = at_s - self.edges_s[place]
        return self.lower_wh[place] + self.lower_w[place] * span_s / SECONDS_PER_HOUR


def envelope(
    edges_s: Sequence[float], upper_w: Sequence[float], lower_w: Sequence[float]
) -> Envelope:
    """The envelope over these edges; each power rules from its edge to the next."""
    return Envelope(
        edges_s=tuple(edges_s),
        upper_w=tuple(upper_w),
        lower_w=tuple(lower_w),
        upper_wh=tuple(_sums(edges_s, upper_w)),
        lower_wh=tuple(_sums(edges_s, lower_w)),
    )


def _sums(edges_s: Sequence[float], powers_w: Sequence[float]) -> Iterable[float]:
    spans_s = (after - before for before, after in pairwise(edges_s))
    parts = (w * s / SECONDS_PER_HOUR for w, s in zip(powers_w, spans_s, strict=False))
    return accumulate(parts, initial=0.0)
