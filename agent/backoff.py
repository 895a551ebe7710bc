"""Rests between attempts: each may be twice as long as the one before, up to a bound."""

import asyncio
import secrets
from collections.abc import Callable

_DOUBLINGS_MAX = 16

Jitter = Callable[[float], float]


def full_jitter(bound_s: float) -> float:
    """Anything up to the bound: agents that lost one peer together must not come back together."""
    return secrets.SystemRandom().uniform(0.0, bound_s)


class Backoff:
    """How long to rest before the next attempt; ``attempts`` counts those since all was well."""

    def __init__(self, *, least_s: float, most_s: float, jitter: Jitter = full_jitter) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._jitter = jitter
        self.attempts = 0

    def reset(self) -> None:
        """All is well: the next rest is a short one."""
        self.attempts = 0

    async def rest(self) -> None:
        """Sleep before the next attempt."""
        bound_s = min(self._least_s * 2**self.attempts, self._most_s)
        self.attempts = min(self.attempts + 1, _DOUBLINGS_MAX)
        await asyncio.sleep(self._jitter(bound_s))
