"""Many who wait, each until a moment of its own, and one timer for all of them.

Nearly everybody has gone long before their moment comes: a timer for each would cost more than what
they wait for. This one is set to the earliest moment there was, and looks for the next only when it
goes off.
"""

import asyncio
import math
from types import TracebackType
from typing import Protocol
from weakref import WeakKeyDictionary


class Waiting(Protocol):
    """Somebody who waits no longer than until a moment of the loop's clock; it may become later."""

    @property
    def deadline_s(self) -> float:
        """Until when."""

    def expire(self) -> None:
        """That moment has come."""


class Deadlines:
    """Those who wait in one event loop. Whoever has expired waits here no more.

    Timers are not cancelled, and none is kept: through it this would keep its loop.
    """

    __slots__ = ("_timer_at_s", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Waiting, None] = {}
        self._timer_at_s = math.inf

    def add(self, waiting: Waiting) -> None:
        """Tell this one when its moment has come."""
        self._waiting[waiting] = None
        deadline_s = waiting.deadline_s
        if deadline_s < self._timer_at_s:
            self._set_timer(deadline_s)

    def discard(self, waiting: Waiting) -> None:
        """It waits no more, if it ever did."""
        self._waiting.pop(waiting, None)

    def _set_timer(self, at_s: float) -> None:
        self._timer_at_s = at_s
        asyncio.get_running_loop().call_at(at_s, self._look, at_s)

    def _look(self, at_s: float) -> None:
        """Whose moment has come, and whose is the next."""
        if at_s != self._timer_at_s:
            return  # an earlier one was set since
        self._timer_at_s = math.inf
        now_s = asyncio.get_running_loop().time()
        over = [waiting for waiting in self._waiting if waiting.deadline_s <= now_s]
        for waiting in over:
            del self._waiting[waiting]
        if self._waiting:
            self._set_timer(min([waiting.deadline_s for waiting in self._waiting]))
        for waiting in over:
            waiting.expire()


class Limit:
    """``asyncio.timeout`` without a timer of its own: ``async with``, raises TimeoutError."""

    __slots__ = ("_deadlines", "_limit_s", "_timeout", "deadline_s")

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self.deadline_s = loop.time() + self._limit_s
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._deadlines = deadlines_of(loop)
        self._deadlines.add(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deadlines.discard(self)
        await self._timeout.__aexit__(kind, error, trace)

    def expire(self) -> None:
        """The block has lasted too long."""
        self._timeout.reschedule(self.deadline_s)


_DEADLINES: WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = WeakKeyDictionary()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Those of everybody in this loop who waits for a machine."""
    found = _DEADLINES.get(loop)
    if found is None:
        found = _DEADLINES[loop] = Deadlines()
    return found
