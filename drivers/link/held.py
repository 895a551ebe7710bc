"""What a machine said before and what may stand for asking it again: held from read to read.

A read takes it away and gives it back when it has succeeded, so after one that failed there is
nothing. A write may take effect late: no read that began before it has settled gives anything back.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

SETTLING_S = 120.0

What = TypeVar("What")


class Held(Generic[What]):
    """What is held of one machine."""

    def __init__(self) -> None:
        self._what: What | None = None
        self._settled_at_s = -math.inf

    def take(self) -> What | None:
        """What is held; it is not held any more."""
        what, self._what = self._what, None
        return what

    def keep(self, what: What | None, *, requested_at_s: float) -> None:
        """Hold this from now on, of a read that began then."""
        self._what = what if self.is_settled(requested_at_s) else None

    def forget(self) -> None:
        """Nothing is held."""
        self._what = None

    def is_settled(self, at_s: float) -> bool:
        """Whether everything that was written had taken effect by then."""
        return at_s >= self._settled_at_s

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One write, whatever comes of it."""
        self._what, self._settled_at_s = None, math.inf
        try:
            yield
        finally:
            self._settled_at_s = time.clock_gettime(time.CLOCK_BOOTTIME) + SETTLING_S
