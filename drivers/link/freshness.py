"""How the readings of budget meters stay young on a shared bus: nobody begins what lasts too long.

A request of lower rank may begin only if, should it last as long as it may, every budget meter can
still be read before its newest reading is too old. Where no order of requests could achieve that
(a slow bus, a budget meter that is asked too rarely), rank alone decides.
"""

from collections import deque
from dataclasses import dataclass, field

# A reading's age when the next one is there, with a little left for the event loop.
AGE_S = 0.95
_LIVE_S = 2.0
_LATE_S = 0.2


@dataclass(slots=True, kw_only=True)
class _BudgetUnit:
    """When it was read and asked for. ``intervals_s``: the newest pauses between two askings."""

    asked_s: float
    requested_s: float = 0.0
    took_s: float = 0.0
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=4))

    @property
    def interval_s(self) -> float:
        return max(self.intervals_s, default=0.0)


@dataclass(slots=True, kw_only=True)
class Freshness:
    """The budget meters of one bus."""

    _units: dict[int, _BudgetUnit] = field(default_factory=dict)

    def asked(self, unit: int, at_s: float) -> None:
        """Somebody wants to read a budget meter."""
        known = self._units.setdefault(unit, _BudgetUnit(asked_s=at_s))
        if at_s > known.asked_s:
            known.intervals_s.append(at_s - known.asked_s)
            known.asked_s = at_s

    def read(self, unit: int, requested_s: float, took_s: float) -> None:
        """A budget meter has been read."""
        known = self._units[unit]
        known.requested_s, known.took_s = requested_s, max(took_s, 0.9 * known.took_s)

    def is_kept(self, at_s: float) -> bool:
        """Whether there is a budget meter that answers."""
        return any(at_s - known.requested_s < _LIVE_S for known in self._units.values())

    def begin_s(self, at_s: float, *, lasts_s: float, gap_s: float) -> float:
        """From when on something of lower rank that may last so long may begin."""
        kept = [
            known
            for known in self._units.values()
            if at_s - known.requested_s < _LIVE_S and known.interval_s + known.took_s <= AGE_S
        ]
        round_s = sum(known.took_s + gap_s for known in kept)
        longest_s = max((known.took_s for known in kept), default=0.0)
        if not kept or round_s + lasts_s + gap_s + longest_s > AGE_S:
            return at_s
        latest_s = min(known.requested_s for known in kept) + AGE_S - round_s - lasts_s
        if at_s <= latest_s:
            return at_s
        expected_s = min(known.asked_s + known.interval_s for known in kept)
        return max(at_s, expected_s + _LATE_S)
