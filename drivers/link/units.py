"""What a bus knows of the units behind it: who is silent, how long they take, whom to leave alone.

A unit that does not answer is asked again at growing pauses, so that it costs the others one
time-out per pause; in between it is refused without a byte on the bus.
"""

from dataclasses import dataclass

# So many time-outs in a row may be an accident.
SILENT_AFTER_MISSES = 3
_FIRST_PAUSE_S = 1.0
_LAST_PAUSE_S = 30.0
# A purchase waits for it: it is missed more than the time that asking costs.
_URGENT_PAUSE_S = 1.0


@dataclass(slots=True, kw_only=True)
class UnitState:
    """One unit. ``free_s``: no request before. ``took_s``: its longest answer of late."""

    misses: int = 0
    free_s: float = 0.0
    took_s: float | None = None
    _paused_until_s: float = 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether its next request may well cost a whole time-out."""
        return self.misses > 0 or self.took_s is None

    @property
    def is_silent(self) -> bool:
        """Whether it has not answered for so long that it is asked only now and then."""
        return self.misses >= SILENT_AFTER_MISSES

    def is_paused(self, at_s: float) -> bool:
        """Whether it is not to be asked now."""
        return self.is_silent and at_s < self._paused_until_s

    def answered(self, took_s: float) -> None:
        """It answered, be it with a refusal."""
        self.misses = 0
        # Remembers a slow answer for a while: the others plan with it.
        self.took_s = max(took_s, 0.9 * (self.took_s or 0.0))

    def missed(self, at_s: float, *, is_urgent: bool) -> None:
        """It let a time-out pass."""
        self.misses += 1
        steps = min(self.misses - SILENT_AFTER_MISSES, 10)
        pause_s = min(_FIRST_PAUSE_S * 2.0**steps, _LAST_PAUSE_S)
        self._paused_until_s = at_s + (min(pause_s, _URGENT_PAUSE_S) if is_urgent else pause_s)
