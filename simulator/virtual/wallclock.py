"""The site's wall clock when somebody sets it: what the agent goes by, and whether it trusts it.

Written from the agent's manual: a step is held back until it has been stable for a minute, and one
that is taken back before that never counts.
"""

from dataclasses import dataclass

SETTLE_S = 60.0
START_MS = 1_800_000_000_000


@dataclass(slots=True, kw_only=True)
class WallClock:
    """``offset_s`` is how far the wall clock is from true time, ``believed_s`` what counts."""

    offset_s: float = 0.0
    believed_s: float = 0.0
    stepped_at_s: float | None = None

    def step(self, delta_s: float, now_s: float) -> None:
        """Somebody sets the clock."""
        self.offset_s += delta_s
        is_back = abs(self.offset_s - self.believed_s) <= 1.0
        self.stepped_at_s = None if is_back else now_s
        if is_back:
            self.believed_s = self.offset_s

    def now_ms(self, now_s: float) -> int:
        """Wall time as the agent goes by it."""
        if self.stepped_at_s is not None and now_s - self.stepped_at_s >= SETTLE_S:
            self.believed_s, self.stepped_at_s = self.offset_s, None
        return START_MS + round((now_s + self.believed_s) * 1000)

    @property
    def is_trusted(self) -> bool:
        """Whether no step is being held back."""
        return self.stepped_at_s is None
