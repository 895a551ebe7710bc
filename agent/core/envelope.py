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

    def integrals(self, at_s: float) -> tuple[float, float]:
        """What flows from the first edge to an instant at the highest and the lowest power, Wh.

        Of two instants the difference is what can have flowed between them.
        """
        place = max(bisect_right(self.edges_s, at_s) - 1, 0)
        hours = (at_s - self.edges_s[place]) / SECONDS_PER_HOUR
        return (
            self.upper_wh[place] + self.upper_w[place] * hours,
            self.lower_wh[place] + self.lower_w[place] * hours,
        )


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
