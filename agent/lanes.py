"""How many machines are asked at the same time, so that those that are away delay nobody.

Two lanes of seats. Who answered last time is asked in the live lane; who did not waits for a seat
in the slow lane, first come first served. A machine that dies sits in the live lane once more, but
not for long: as soon as somebody waits there, whoever has sat longer than the hold moves over to
the slow lane, or is cut short where that one is full. So a seat of the live lane is free again
after the hold at the latest, whatever the machines do.

The hold is a second, or several times what answers take of late: where everybody is slow, because
the network or this computer is, cutting short would only throw away what is nearly done.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from drivers.errors import UnreachableError
from drivers.link.deadlines import Deadlines

LIVE_SEATS_MIN = 384
SLOW_SEATS_MIN = 128
SPARE_SEATS = 32
HOLD_S = 1.0
HOLD_TIMES = 4.0
_USUAL_FIRST_S = 1.0  # until somebody has answered
_USUAL_SHARE = 0.1  # of the newest answer in what is usual


class Lane:
    """So many seats; who finds none waits in the order of coming."""

    def __init__(self, seats: int) -> None:
        self._free = seats
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a seat."""
        return len(self._queue)

    def take_now(self) -> bool:
        """A seat, if there is one."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def queue_up(self) -> asyncio.Future[None]:
        """A place in the queue; it is done when the seat is ours."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        return turn

    async def sit_down(self, turn: asyncio.Future[None]) -> None:
        """Wait for our turn."""
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            else:
                self.leave()  # the seat became ours in the moment in which we went
            raise

    def leave(self) -> None:
        """Give the seat to whoever has waited longest."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class _Seat:
    """Where a poll sits, since when, and how long it may."""

    __slots__ = ("_lanes", "began_s", "lane", "limit", "limit_s")

    def __init__(self, lanes: "Lanes", lane: Lane, limit: asyncio.Timeout, limit_s: float) -> None:
        self._lanes = lanes
        self.lane = lane
        self.limit = limit
        self.began_s = asyncio.get_running_loop().time()
        self.limit_s = limit_s

    @property
    def deadline_s(self) -> float:
        """Until when the seat is this poll's own, whoever waits."""
        return self.began_s + min(self._lanes.hold_s, self.limit_s)

    def expire(self) -> None:
        """It has sat for long."""
        self._lanes.outstay(self)

    def cut_short(self) -> None:
        """End the poll now, unless its time is over anyway."""
        if not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many seats, and how long one of the live lane is ours while others wait."""

    live: int = LIVE_SEATS_MIN
    slow: int = SLOW_SEATS_MIN
    hold_s: float = HOLD_S

    @classmethod
    def of_fleet(cls, polls_per_s: float) -> Self:
        """As many as suffice if all the polls of one hold hang at once."""
        live = max(math.ceil(polls_per_s * HOLD_S) + SPARE_SEATS, LIVE_SEATS_MIN)
        return cls(live=live, slow=max(live // 3, SLOW_SEATS_MIN))


class Lanes:
    """Both lanes. Every poll of a machine goes through ``ask``."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        sizes = sizes or Sizes()
        self._hold_least_s = sizes.hold_s
        self._usual_s = _USUAL_FIRST_S
        self._live = Lane(sizes.live)
        self._slow = Lane(sizes.slow)
        self._seated = Deadlines()  # those of the live lane, each until it has sat for long
        self._overdue: dict[_Seat, None] = {}  # long in the live lane, the longest first
        self._cut: set[_Seat] = set()  # of the live lane, leaving

    async def ask(
        self, poll: Callable[[], Awaitable[None]], *, limit_s: float, is_suspect: bool
    ) -> None:
        """Run ``poll`` when there is a seat. Raises UnreachableError where it takes too long."""
        lane = self._slow if is_suspect else self._live
        if not lane.take_now():
            turn = lane.queue_up()
            self._make_room()
            await lane.sit_down(turn)
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(limit_s if is_suspect else None)
        seat = _Seat(self, lane, limit, limit_s)
        if not is_suspect:
            self._seated.add(seat)
        try:
            async with limit:
                await poll()
            self._usual_s += _USUAL_SHARE * (loop.time() - seat.began_s - self._usual_s)
        except TimeoutError as error:
            spent_s = loop.time() - seat.began_s
            raise UnreachableError(f"no complete answer within {spent_s:.0f} s") from error
        finally:
            if not is_suspect:
                self._seated.discard(seat)
                self._overdue.pop(seat, None)
                self._cut.discard(seat)
            seat.lane.leave()

    @property
    def hold_s(self) -> float:
        """How long a seat of the live lane is a poll's own while others wait."""
        return max(self._hold_least_s, HOLD_TIMES * self._usual_s)

    def outstay(self, seat: _Seat) -> None:
        """Who has sat for long may go on until its own limit, as long as nobody waits."""
        seat.limit.reschedule(seat.began_s + seat.limit_s)
        self._overdue[seat] = None
        self._make_room()

    def _make_room(self) -> None:
        """As many overdue polls leave the live lane as others wait for it."""
        while self._overdue and self._live.waiting > len(self._cut):
            seat = next(iter(self._overdue))
            del self._overdue[seat]
            if self._slow.take_now():
                seat.lane = self._slow
                self._live.leave()
            else:
                self._cut.add(seat)
                seat.cut_short()
