"""Alarms for whoever wants to be told: one POST for each that is raised or cleared.

The control loop puts them into a queue and goes on. What cannot be delivered is tried again with
growing pauses; where the queue is full the oldest goes, since the newest says how things stand. A
receiver may get the same event twice and knows it by its ``id``.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
import orjson

from agent.alarmboard import AlarmChange
from agent.alarms import Condition
from agent.backoff import Backoff, Jitter, full_jitter

_log = logging.getLogger(__name__)

QUEUE_MAX = 256
FAILURES_TO_TELL = 3
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class _NotDeliveredError(Exception):
    """The receiver has not taken an event; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """Where events go, from whom, and how patient we are."""

    url: str
    farm: str
    agent: str
    token: str | None = field(default=None, repr=False)
    answer_s: float = 10.0
    retry_min_s: float = 1.0
    retry_max_s: float = 300.0


class Webhook:
    """Delivers events one by one in their order. ``run`` is started by the application."""

    def __init__(
        self,
        target: WebhookTarget,
        *,
        now_ms: Callable[[], int],
        jitter: Jitter = full_jitter,
    ) -> None:
        self._target = target
        self._now_ms = now_ms
        self._backoff = Backoff(
            least_s=target.retry_min_s, most_s=target.retry_max_s, jitter=jitter
        )
        self._waiting: deque[bytes] = deque(maxlen=QUEUE_MAX)
        self._has_some = asyncio.Event()
        self._count = 0
        self._failures = 0
        self._lost = 0
        self._words = ""

    def tell(self, changes: Sequence[AlarmChange]) -> None:
        """Take events over; never waits."""
        for change in changes:
            if len(self._waiting) == QUEUE_MAX:
                self._lost += 1
            self._waiting.append(self._payload(change))
        if self._waiting:
            self._has_some.set()

    def conditions(self) -> Iterator[Condition]:
        """What is wrong with the delivery, once it is more than a single failure."""
        if self._failures < FAILURES_TO_TELL:
            return
        lost = f", {self._lost} are lost" if self._lost else ""
        yield Condition(
            code="WEBHOOK_STUCK",
            severity="warning",
            source="webhook",
            words=f"{len(self._waiting)} alarms wait for their receiver{lost}: {self._words}",
            remedy="check alarms.webhook_url, its token and the receiver; they are sent once more",
        )

    async def run(self) -> None:
        """Deliver for ever; ends by cancellation."""
        timeout = aiohttp.ClientTimeout(total=self._target.answer_s)
        headers = {"Content-Type": "application/json", "User-Agent": "kwota"}
        if self._target.token is not None:
            headers["Authorization"] = f"Bearer {self._target.token}"
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            while True:
                await self._has_some.wait()
                payload = self._waiting[0]
                try:
                    await self._post(session, payload)
                except _NotDeliveredError as error:
                    self._note_failure(str(error))
                    await self._backoff.rest()
                    continue
                self._failures = 0
                self._backoff.reset()
                # A full queue may have dropped the very event that was under way.
                if self._waiting and self._waiting[0] is payload:
                    self._waiting.popleft()
                if not self._waiting:
                    self._has_some.clear()

    async def _post(self, session: aiohttp.ClientSession, payload: bytes) -> None:
        """One attempt. A final no is logged and not tried again."""
        try:
            # No redirect: it would carry the token to somebody else.
            async with session.post(
                self._target.url, data=payload, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _NotDeliveredError(f"no answer ({type(error).__name__})") from error
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY:
            raise _NotDeliveredError(f"it answers {status}")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            # A person mends these, and then the event is still wanted.
            raise _NotDeliveredError(f"it refuses with {status}")
        self._lost += 1
        _log.warning("webhook event=refused status=%d", status)

    def _note_failure(self, words: str) -> None:
        self._failures += 1
        self._words = words
        if self._failures == 1:
            _log.warning("webhook event=failing reason=%r waiting=%d", words, len(self._waiting))

    def _payload(self, change: AlarmChange) -> bytes:
        at_ms, alarm = self._now_ms(), change.alarm
        self._count += 1
        return orjson.dumps(
            {
                "v": 1,
                "id": f"{self._target.farm}/{self._target.agent}/{at_ms}/{self._count}",
                "farm": self._target.farm,
                "agent": self._target.agent,
                "event": "raised" if change.is_raised else "cleared",
                "at_ms": at_ms,
                **alarm.model_dump(mode="json"),
            }
        )
