"""When a machine is asked: pure arithmetic, so that it can be argued about (docs/polling.md).

Every machine has a phase of its own on a grid of periods, so the fleet is spread evenly over each
period and stays so, whatever single polls take. Full reads have a second grid and phases that have
nothing to do with the first.
"""

import math
from dataclasses import dataclass

AWAY_AFTER_MISSES = 3
BACKOFF_LAST_S = 60.0
DETAILS_EVERY_S = 600.0
DETAILS_AGAIN_S = 60.0
FIRST_APART_S = 0.02

# The golden ratio: multiples of it, without their whole part, lie evenly in 0…1 and so does every
# stretch of neighbours among them.
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """The times of machine number ``place`` of a fleet of ``of``. ``begin_s`` is the fleet's."""

    place: int
    of: int
    period_s: float
    begin_s: float = 0.0

    @property
    def first_after_s(self) -> float:
        """The pause before the very first poll: a small farm need not wait a whole period."""
        return min(self._phase_s, FIRST_APART_S * self.place)

    def pause_s(self, missed_polls: int) -> float:
        """A machine that is away is asked less and less often; always a whole number of periods."""
        doublings = min(max(missed_polls - AWAY_AFTER_MISSES, 0), 16)
        longest = max(math.floor(BACKOFF_LAST_S / self.period_s), 1)
        return self.period_s * min(1 << doublings, longest)

    def next_s(self, started_s: float, now_s: float, missed_polls: int) -> float:
        """After a poll that began at ``started_s``: the machine's own instant that is nearest to
        the pause from then and not over yet."""
        earliest_s = started_s + self.pause_s(missed_polls) - 0.5 * self.period_s
        return self._at(max(earliest_s, now_s), self._phase_s, self.period_s)

    def next_details_s(self, started_s: float) -> float:
        """After a full read: the machine's own instant for the next one."""
        phase_s = self.place * _GOLDEN % 1.0 * DETAILS_EVERY_S
        return self._at(started_s + 0.5 * DETAILS_EVERY_S, phase_s, DETAILS_EVERY_S)

    @property
    def _phase_s(self) -> float:
        return self.period_s * self.place / max(self.of, 1)

    def _at(self, earliest_s: float, phase_s: float, every_s: float) -> float:
        """The first instant of a grid that is not before ``earliest_s``."""
        since_s = earliest_s - self.begin_s - phase_s
        return self.begin_s + phase_s + math.ceil(since_s / every_s) * every_s
