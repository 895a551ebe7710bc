"""Who of many sockets has something to say, asked of the kernel once for all of them.

An event loop keeps a record for every socket and every direction, and changes it four times in an
exchange. Here a socket is plugged in once, for both directions, and told only what is new.
"""

import asyncio
import resource
import select
from collections.abc import Callable
from weakref import WeakKeyDictionary

from drivers.link.deadlines import deadlines_of

CLOSING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_NEWS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_AT_ONCE = 256

Ring = Callable[[int], None]


class Switchboard:
    """All plugged sockets of one event loop, and until when they are waited for. ``Ring`` gets the
    kernel's flags, and only wakes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rings: dict[int, Ring] = {}
        self._poll = select.epoll()
        self._many = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self.deadlines = deadlines_of(loop)
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
