"""Where limits of one meter point are told, and what of them bounds the point's next tick.

A limit that is told bounds at once and is answered when it is on the disk; one that is cleared
bounds until that is on the disk: what is not recorded may only make the site safer.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from agent.control import NotNowError
from agent.core.limitbook import Answer, LimitBook, ToldLimit, accept, clear, forget, next_id
from agent.core.limits import Limit
from agent.limitlog import (
    limit_cleared_record,
    limit_reached_record,
    limit_record,
    limit_refusal_record,
)
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.siteclock import SiteClock

DURABLE_WITHIN_S = 25.0
KEEP_OVER_MS = 48 * 3_600_000

_log = logging.getLogger(__name__)


class LimitDesk:
    """``standing`` is asked for what the configuration says at an instant (UTC ms), ``book`` is
    what was told and recorded.
    """

    def __init__(
        self,
        *,
        meter_point: str,
        clock: SiteClock,
        recorder: Recorder,
        standing: Callable[[int], Sequence[Limit]],
        book: LimitBook,
        reached: frozenset[str],
    ) -> None:
        self.meter_point = meter_point
        self._clock = clock
        self._recorder = recorder
        self._standing = standing
        self.book = book
        self._reached = set(reached)

    @property
    def next_id(self) -> str:
        """The name of the next manual limit."""
        return next_id(self.book)

    def current(self, now_ms: int) -> tuple[Limit, ...]:
        """Everything that bounds the power now or later."""
        return (*self._standing(now_ms), *self.book.standing(now_ms))

    def note_power(self, now_ms: int, measured_w: float | None) -> None:
        """Record when the meter first shows that a told limit, being in force, is kept."""
        if measured_w is not None:
            self._recorder.keep(list(self._newly_reached(now_ms, measured_w)))

    def _newly_reached(self, now_ms: int, measured_w: float) -> Iterator[NewRecord]:
        for limit in self.book.standing(now_ms):
            if limit.limit_id not in self._reached and measured_w <= limit.power_at(now_ms):
                if limit.from_ms is not None and now_ms < limit.from_ms:
                    continue
                self._reached.add(limit.limit_id)
                yield limit_reached_record(self.meter_point, limit.limit_id, measured_w)

    async def tell(self, offered: ToldLimit) -> Answer:
        """Take a limit, or refuse it with a sentence. Raises NotNowError."""
        now_ms = self._clock.now_ms()
        book = forget(self.book, ended_before_ms=now_ms - KEEP_OVER_MS)
        self.book, answer = accept(book, offered, now_ms=now_ms)
        if answer.result == "accepted":
            record = limit_record(self.meter_point, offered)
            await self._record([record], "the limit rules, but it")
        elif answer.result == "refused":
            refusal = limit_refusal_record(self.meter_point, offered, answer.reason)
            await self._record([refusal], "the refusal")
        self._log(answer, offered.told_by)
        return answer

    async def lift(self, limit_id: str, *, told_by: str) -> Answer:
        """Clear a limit, once that is on the disk. Raises NotNowError."""
        now_ms = self._clock.now_ms()
        if any(limit.name == limit_id for limit in self._standing(now_ms)):
            reason = "it is in the configuration; change the file and restart the daemon"
            return Answer(limit_id=limit_id, result="refused", reason=reason)
        _, answer = clear(self.book, limit_id, now_ms=now_ms)
        if answer.result == "cleared":
            record = limit_cleared_record(
                self.meter_point, limit_id, told_by=told_by, cleared_at_ms=now_ms
            )
            await self._record([record], "the limit still rules: its end")
            self.book, _ = clear(self.book, limit_id, now_ms=now_ms)
        self._log(answer, told_by)
        return answer

    def _log(self, answer: Answer, told_by: str) -> None:
        _log.info(
            "point=%s limit=%s event=%s told_by=%r",
            self.meter_point,
            answer.limit_id,
            answer.result,
            told_by,
        )

    async def _record(self, records: Sequence[NewRecord], what: str) -> None:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def is_durable(_indices: range) -> None:
            if not durable.done():
                durable.set_result(None)

        self._recorder.keep(records, then=is_durable)
        try:
            async with asyncio.timeout(DURABLE_WITHIN_S):
                await durable
        except TimeoutError:
            raise NotNowError(
                f"{what} is not on the disk yet; see `kwota limit list` before trying again"
            ) from None
