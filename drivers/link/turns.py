"""Whose turn it is on a bus: one at a time, the more urgent first, nobody for ever last.

There is no task: whoever's turn comes does its own exchange. Who waits says how urgent it is and
from when on it may begin; both are looked at anew whenever a turn ends or somebody comes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum

# Whoever may begin within so short a time is waited for by those of lower rank.
NEAR_S = 0.1
# After so long a wait one goes before every rank but TRIP, once between two urgent turns.
PATIENCE_S = 5.0


class Rank(IntEnum):
    """How urgent a request is. TRIP: the last resort; BUDGET: the meter of a purchase."""

    TRIP = 0
    BUDGET = 1
    OTHER = 2


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    """One who waits. ``ready_s`` tells from when on it may begin."""

    rank: Rank
    number: int
    since_s: float
    ready_s: Callable[[], float]
    turn: asyncio.Future[None]


@dataclass(slots=True, kw_only=True)
class Turns:
    """The queue of one bus."""

    _waiting: list[_Waiting] = field(default_factory=list)
    _came: int = 0
    # One old request between two urgent ones: many together would be a long wait.
    _is_old_next: bool = True
    _is_taken: bool = False
    _alarm: asyncio.Handle | None = None

    @asynccontextmanager
    async def turn(self, rank: Rank, ready_s: Callable[[], float]) -> AsyncIterator[None]:
        """Wait for a turn and keep it for the block."""
        self._came += 1
        waiting = _Waiting(
            rank=rank,
            number=self._came,
            since_s=now_s(),
            ready_s=ready_s,
            turn=asyncio.get_running_loop().create_future(),
        )
        self._waiting.append(waiting)
        self._look_soon()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self._is_taken = False  # it came together with the order to stop
            self._forget(waiting)
            raise
        try:
            yield
        finally:
            self._is_taken = False
            self._look_soon()

    def _forget(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        self._look_soon()

    def _look_soon(self) -> None:
        """Not at once: who asks for several things in a row comes back before the loop turns."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._alarm = None
        if self._is_taken or not self._waiting:
            return
        # One that was told to stop is still in the queue until it notices.
        ready = {one: one.ready_s() for one in self._waiting if not one.turn.done()}
        if not ready:
            return
        at_s = now_s()  # after them: some begin "now"
        near = [one for one, begin_s in ready.items() if begin_s <= at_s + NEAR_S]
        if near:
            first = min(near, key=lambda one: self._order(one, at_s))
            wait_s = ready[first] - at_s
            if wait_s <= 0:
                self._is_taken = True
                self._is_old_next = first.rank < Rank.OTHER
                self._waiting.remove(first)
                first.turn.set_result(None)
                return
        else:
            wait_s = min(ready.values()) - at_s
        self._alarm = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _order(self, waiting: _Waiting, at_s: float) -> tuple[float, int]:
        is_old = self._is_old_next and at_s - waiting.since_s > PATIENCE_S
        urgency = min(waiting.rank, Rank.BUDGET - 0.5) if is_old else waiting.rank
        return urgency, waiting.number


def now_s() -> float:
    """The clock of readings: it goes on while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
