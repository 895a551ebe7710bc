"""What bounds the power now. Each limit has a source and an expiry; the smallest rules.

A limit that has expired falls back to its safe value: silence of its source is never permission.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``power_w`` may be drawn until ``expires_ms`` (None: for good), ``safe_w`` after that."""

    kind: str
    source: str
    power_w: float
    safe_w: float
    expires_ms: int | None
    words: str

    def power_at(self, now_ms: int) -> float:
        """What this limit allows at an instant."""
        if self.expires_ms is not None and now_ms >= self.expires_ms:
            return self.safe_w
        return self.power_w


def ruling(limits: Sequence[Limit], now_ms: int) -> Limit:
    """The limit that allows least; of equals the one named first. Needs at least one."""
    return min(limits, key=lambda limit: limit.power_at(now_ms))
