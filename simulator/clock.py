"""Two clocks of the site: monotonic seconds for physics, UTC milliseconds for questions.

They are tied once, at the start: a later step of the system's wall clock moves the questions of a
careless reader, never the truth.
"""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteClock:
    """CLOCK_BOOTTIME, and the UTC that belonged to it when the site started."""

    anchor_s: float
    anchor_ms: int

    @staticmethod
    def now_s() -> float:
        """Monotonic seconds."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def ms_at(self, at_s: float) -> int:
        """UTC milliseconds of a monotonic instant."""
        return self.anchor_ms + round((at_s - self.anchor_s) * 1000.0)

    def s_at(self, at_ms: int) -> float:
        """Monotonic seconds of a UTC millisecond."""
        return self.anchor_s + (at_ms - self.anchor_ms) / 1000.0


def started_now() -> SiteClock:
    """A clock anchored at this instant."""
    return SiteClock(anchor_s=SiteClock.now_s(), anchor_ms=time.time_ns() // 1_000_000)
