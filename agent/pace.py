"""When the meter of a purchase is asked: as late before a tick as it can still answer.

What a tick decides rests on the newest reading, and for as long as that is old energy may have
flowed that nobody has seen. So one read is placed where it ends just before the tick, by when ticks
have been of late and by how long the meter's slowest answer of late took. The reads between two
ticks wander: together they meet the meter's own refresh at all phases, which tells more about its
register than reads that always meet the same one. Ticks wander against it as well, only slowly.
"""

import math
from dataclasses import dataclass

TICK_LEAST_S, TICK_MOST_S = 0.05, 10.0
TICKS_FORGOTTEN = 3.5  # after so many that did not come nobody knows any more when the next one is
MARGIN_S = 0.02
ALONE, BETWEEN = 0.1, 0.3  # by how much of a period a read wanders
NEAR, FAR = 0.5, 1.5  # periods within which a read may be moved to the tick


@dataclass(slots=True, kw_only=True)
class Ticks:
    """When the ticks have been, as far as that tells when they will be."""

    every_s: float | None = None
    _last_s: float = -math.inf

    def note(self, now_s: float) -> None:
        """One is now."""
        every_s = now_s - self._last_s
        self.every_s = every_s if TICK_LEAST_S <= every_s <= TICK_MOST_S else None
        self._last_s = now_s

    def after(self, at_s: float) -> float | None:
        """The first that is to be expected after an instant; None where that is not known."""
        if self.every_s is None or at_s - self._last_s > TICKS_FORGOTTEN * self.every_s:
            return None
        past = max(math.floor((at_s - self._last_s) / self.every_s), 0)
        return self._last_s + (past + 1) * self.every_s


@dataclass(slots=True, kw_only=True)
class Pace:
    """The times of one meter. ``poll_s`` is its period."""

    poll_s: float
    _longest_s: float = 0.0

    def next_s(self, started_s: float, ended_s: float, ticks: Ticks, chance: float) -> float:
        """After a read: when the next one begins. ``chance`` is drawn from 0 to 1."""
        self._longest_s = max(ended_s - started_s, 0.9 * self._longest_s)
        lead_s = 1.5 * self._longest_s + MARGIN_S
        swing = 2.0 * chance - 1.0
        alone_s = started_s + self.poll_s * (1.0 + ALONE * swing)
        tick_s = ticks.after(started_s + lead_s)
        # One that is slower than its period, or has no time to be read twice in a tick, goes on.
        if tick_s is None or lead_s > self.poll_s or (ticks.every_s or 0.0) < FAR * self.poll_s:
            return alone_s
        aim_s = tick_s - lead_s
        periods = (aim_s - started_s) / self.poll_s
        if periods < NEAR:
            return alone_s
        if periods <= FAR:
            return aim_s
        between_s = started_s + self.poll_s * (1.0 + BETWEEN * swing)
        return min(between_s, aim_s - NEAR * self.poll_s)
