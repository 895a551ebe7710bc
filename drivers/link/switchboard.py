"""Who of many sockets has something to say, asked of the kernel once for all of them.

An event loop keeps a record for every socket and every direction, and changes it four times in an
exchange. Here a socket is plugged in once, for both directions, and told only what is new. Nearly
all answers come long before their limit, so one timer serves all who wait: it is set to the
earliest limit there was, and looks for the next one only when it goes off.
"""

import asyncio
import math
import resource
import select
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

CLOSING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_NEWS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_AT_ONCE = 256

Ring = Callable[[int], None]


class Waiting(Protocol):
    """Somebody who waits no longer than until a moment of the loop's clock, which may move."""

    @property
    def deadline_s(self) -> float:
        """Until when."""

    def expire(self) -> None:
        """That moment has come."""


class Switchboard:
    """All plugged sockets of one event loop. ``Ring`` gets the kernel's flags, and only wakes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rings: dict[int, Ring] = {}
        self._poll = select.epoll()
        self._many = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._waiting: dict[Waiting, None] = {}
        # Timers are not cancelled, and none is kept here: through it the board would keep its loop.
        self._timer_at_s = math.inf
        loop.add_reader(self._poll.fileno(), self._tell)

    @property
    def is_crowded(self) -> bool:
        """Whether half of the files that this process may open are plugged in."""
        return len(self._rings) >= self._many

    def plug(self, handle: int, ring: Ring) -> None:
        """Ring once for each news of this socket from now on."""
        self._rings[handle] = ring
        self._poll.register(handle, _NEWS)

    def unplug(self, handle: int) -> None:
        """No more of this socket; before it is closed."""
        if self._rings.pop(handle, None) is not None:
            self._poll.unregister(handle)

    def watch(self, waiting: Waiting) -> None:
        """Tell this one when its time is over."""
        self._waiting[waiting] = None
        if waiting.deadline_s < self._timer_at_s:
            self._set_timer(waiting.deadline_s)

    def unwatch(self, waiting: Waiting) -> None:
        """It waits no more."""
        self._waiting.pop(waiting, None)

    def _set_timer(self, at_s: float) -> None:
        self._timer_at_s = at_s
        asyncio.get_running_loop().call_at(at_s, self._look, at_s)

    def _look(self, at_s: float) -> None:
        """Whose time is over, and who is the next."""
        if at_s != self._timer_at_s:
            return  # an earlier one was set since
        self._timer_at_s = math.inf
        now_s = asyncio.get_running_loop().time()
        over = [waiting for waiting in self._waiting if waiting.deadline_s <= now_s]
        for waiting in over:
            del self._waiting[waiting]
            waiting.expire()
        if self._waiting:
            self._set_timer(min([waiting.deadline_s for waiting in self._waiting]))

    def _tell(self) -> None:
        for handle, flags in self._poll.poll(0, _AT_ONCE):
            ring = self._rings.get(handle)
            if ring is not None:
                ring(flags)


_BOARDS: WeakKeyDictionary[asyncio.AbstractEventLoop, Switchboard] = WeakKeyDictionary()


def switchboard(loop: asyncio.AbstractEventLoop) -> Switchboard:
    """The one of this loop."""
    board = _BOARDS.get(loop)
    if board is None:
        board = _BOARDS[loop] = Switchboard(loop)
    return board
