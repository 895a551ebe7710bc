"""One connection's worth of delivery: batches out, receipts in, the latest live image beside.

PUBACK is flow control and no more: a broker acknowledges what it later forgets. Only a verified
receipt advances, and whatever goes wrong starts again behind the last receipt. Duplicates are
free, the pool keys on the index.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import orjson

from agent.broker import NO_MATCHING_SUBSCRIBERS, Message, RefusedError
from agent.core.note import (
    NoteError,
    VerifierKey,
    cosigned_at_s,
    parse_checkpoint,
    parse_note,
)
from agent.journal import Journal
from agent.mqtt import Connection
from agent.receipts import Receipt, parse_receipt, verified_receipt_time_s
from agent.records import JournalError, is_of_kind

_log = logging.getLogger(__name__)

_HEADER_MAX_BYTES = 2048
_MQTT_OVERHEAD_BYTES = 256
_LOOK_S = 1.0
_LIVE_S = 1.0
_PACKET_TOO_LARGE = 0x95
_REMEDY = "Have the broker allow this agent's topics and message sizes."
_REMEDIES = {
    0x97: "Have the broker's quota for this agent raised; all of it is sent again.",
    0x99: "Have the broker let payloads pass unread on the evidence topic: a record is sent just"
    " as it was signed, and no other form of it counts.",
}
"""By reason code (MQTT 5, 2.4); nothing is left out for any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How evidence is sent. ``ack_only_s`` is long, so that acks do not call forth acks."""

    batch_bytes: int = 65_536
    window: int = 20
    interval_s: float = 1.0
    ack_only_s: float = 10.0
    receipt_s: float = 60.0
    pause_s: float = 5.0
    pause_max_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a person should know about delivery."""

    code: str
    severity: str
    words: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A verified receipt."""

    size: int
    pool_time_s: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """A message without a receipt yet: it ends at ``to`` and needs this checkpoint's receipt."""

    to: int
    checkpoint_size: int


class Uplink:
    """Sends from the last receipt on, over one connection."""

    def __init__(
        self,
        *,
        journal: Journal,
        connection: Connection,
        pool: VerifierKey,
        origin: str,
        topic: str,
        pace: Pace,
        pool_time_s: int,
        on_receipt: Callable[[Accepted], Awaitable[None]],
        on_fault: Callable[[Fault], Awaitable[None]],
        on_stale: Callable[[Receipt, str], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._connection = connection
        self._pool = pool
        self._origin = origin
        self._topic = topic
        self._pace = pace
        self._pool_time_s = pool_time_s
        self._on_receipt = on_receipt
        self._on_fault = on_fault
        self._on_stale = on_stale
        self._window = max(1, min(pace.window, connection.receive_maximum))
        self._sent_to = journal.cosigned_size
        self._without_receipt: deque[_Sent] = deque()
        self._unacknowledged = 0
        self._oldest_sent_s = 0.0
        self._unsent_since_s: float | None = None
        self._is_draining = False
        self._paused_until_s = 0.0
        self._pauses = 0
        self._changed = asyncio.Event()

    @property
    def has_open_evidence(self) -> bool:
        """Whether something was sent that has no receipt."""
        return bool(self._without_receipt)

    async def send(self, group: asyncio.TaskGroup) -> None:
        """Send batches for as long as the connection lives; their PUBACKs wait in the group."""
        while True:
            await self._wait_until_due()
            message, sent = await self._next_batch()
            if not self._without_receipt:
                self._oldest_sent_s = _now_s()
            self._without_receipt.append(sent)
            self._sent_to = sent.to
            self._is_draining = sent.to < self._journal.size
            self._unsent_since_s = None
            self._unacknowledged += 1
            # Tasks start in the order of their making, so messages leave in the order of the log.
            group.create_task(self._publish(message))

    async def receive(self) -> None:
        """Take receipts for as long as the connection lives."""
        while True:
            message = await self._connection.next_message()
            try:
                await self._take(message.payload)
            except NoteError as error:
                await self._on_fault(
                    Fault(
                        code="RECEIPT_REFUSED",
                        severity="critical",
                        words=f"A receipt was refused: {error}.",
                        remedy="Compare pool_vkey_file and the log's origin with the pool's.",
                    )
                )

    async def send_live(self, latest: Callable[[], bytes | None], topic: str) -> None:
        """Send the latest image, at most once per second; what cannot leave at once is left out."""
        shown: bytes | None = None
        while True:
            payload = latest()
            if payload is not None and payload is not shown:
                self._connection.publish_latest(Message(topic=topic, payload=payload, qos=0))
                shown = payload
            await asyncio.sleep(_LIVE_S)

    async def _wait_until_due(self) -> None:
        """Return when a batch may and should leave."""
        while True:
            now_s = _now_s()
            await self._rewind_if_overdue(now_s)
            unsent = self._journal.size - self._sent_to
            if not unsent:
                self._unsent_since_s = None
            elif self._unsent_since_s is None:
                self._unsent_since_s = now_s
            wait_s = self._wait_s(now_s)
            if unsent and self._is_open() and wait_s <= 0:
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(wait_s, 0.0) or _LOOK_S, _LOOK_S)):
                    if unsent:
                        await self._changed.wait()
                    else:
                        await self._journal.wait_beyond(self._sent_to)

    def _wait_s(self, now_s: float) -> float:
        """How long the next batch should still wait for company, or for the end of a pause."""
        paused_s = self._paused_until_s - now_s
        if self._is_draining or self._unsent_since_s is None:
            return paused_s
        has_news = self._journal.content_size > self._sent_to
        interval_s = self._pace.interval_s if has_news else self._pace.ack_only_s
        return max(paused_s, self._unsent_since_s + interval_s - now_s)

    def _is_open(self) -> bool:
        if self._unacknowledged >= self._window:
            return False
        if len(self._without_receipt) < self._pace.window:
            return True
        # A commit longer than the window gets its receipt only when all of it is there.
        return self._sent_to < self._without_receipt[0].checkpoint_size

    async def _rewind_if_overdue(self, now_s: float) -> None:
        if not self._without_receipt or now_s - self._oldest_sent_s < self._pace.receipt_s:
            return
        self._rewind()
        await self._on_fault(
            Fault(
                code="NO_RECEIPT",
                severity="warning",
                words=f"The pool has sent no receipt for {self._pace.receipt_s:.0f} s:"
                f" everything from record {self._sent_to} on is sent again.",
                remedy="Ask the pool whether it receives, and whether it knows this log's key.",
            )
        )

    def _rewind(self) -> None:
        self._without_receipt.clear()
        self._sent_to = self._journal.cosigned_size
        self._is_draining = self._sent_to < self._journal.size

    async def _next_batch(self) -> tuple[Message, _Sent]:
        first = self._sent_to
        limit = self._pace.batch_bytes
        if self._connection.packet_maximum_bytes is not None:
            limit = min(limit, self._connection.packet_maximum_bytes - _MQTT_OVERHEAD_BYTES)
        records = await self._journal.read(first, max(limit - _HEADER_MAX_BYTES, 1))
        records = _up_to_a_change_of_keys(records)
        to = first + len(records)
        # End where a commit ends, so that each message but those of a long commit is complete.
        checkpoint = await self._journal.newest_checkpoint(first, to)
        if checkpoint is not None:
            to = checkpoint.size
        else:
            checkpoint = await self._journal.checkpoint_at_or_after(to)
        if checkpoint is None:
            raise JournalError(f"No checkpoint covers record {to - 1}; run `kwota verify`.")
        header = {
            "v": 1,
            "origin": self._origin,
            "from": first,
            "to": to,
            "checkpoint": checkpoint.note,
        }
        payload = b"\n".join((orjson.dumps(header), *records[: to - first]))
        message = Message(topic=self._topic, payload=payload)
        return message, _Sent(to=to, checkpoint_size=checkpoint.size)

    async def _publish(self, message: Message) -> None:
        """Send one batch and take its PUBACK. A lost connection ends the group."""
        try:
            self._check_length(message)
            reason_code = await self._connection.publish(message)
        except RefusedError as error:
            self._pause()
            fault = Fault(
                code=f"BROKER_REFUSED_{error.reason_code:02x}",
                severity="critical",
                words=str(error),
                remedy=_REMEDIES.get(error.reason_code, _REMEDY),
            )
            await self._on_fault(fault)
            return
        finally:
            self._unacknowledged -= 1
            self._changed.set()
        if reason_code == NO_MATCHING_SUBSCRIBERS:
            self._pause()
            fault = Fault(
                code="POOL_NOT_SUBSCRIBED",
                severity="warning",
                words="The broker takes the evidence, but no pool is subscribed to it.",
                remedy="Ask the pool whether its receiver runs and which topic it reads.",
            )
            await self._on_fault(fault)

    def _check_length(self, message: Message) -> None:
        """A broker ends the connection over a packet that it called too large beforehand."""
        maximum = self._connection.packet_maximum_bytes
        if maximum is not None and len(message.payload) + _MQTT_OVERHEAD_BYTES > maximum:
            raise RefusedError(
                f"The broker takes {maximum} bytes per message, and one record is longer.",
                reason_code=_PACKET_TOO_LARGE,
            )

    def _pause(self) -> None:
        """Start again behind the last receipt, after a while that doubles until one comes."""
        if self._paused_until_s > _now_s():
            return  # the rest of a window that was refused together
        pause_s = min(self._pace.pause_s * 2**self._pauses, self._pace.pause_max_s)
        self._pauses = min(self._pauses + 1, 16)
        self._paused_until_s = _now_s() + pause_s
        self._rewind()

    async def _take(self, payload: bytes) -> None:
        receipt = parse_receipt(payload)
        size = receipt.claimed.size
        if receipt.claimed.origin != self._origin:
            await self._is_of_another_past(receipt)
            raise NoteError(f"it is for the log {receipt.claimed.origin}")
        if receipt.note == self._journal.cosigned_note:
            return  # twice: what it says is known
        time_s = await self._verified_time_s(receipt)
        if size <= self._journal.cosigned_size:
            await self._take_late(size, time_s, receipt)
            return
        await self._journal.set_cosigned(size, receipt.note)
        self._pool_time_s = time_s
        self._pauses = 0
        while self._without_receipt and self._without_receipt[0].to <= size:
            self._without_receipt.popleft()
        self._oldest_sent_s = _now_s()
        self._sent_to = max(self._sent_to, size)
        self._changed.set()
        await self._on_receipt(Accepted(size=size, pool_time_s=time_s, note=receipt.note))

    async def _take_late(self, size: int, time_s: int, receipt: Receipt) -> None:
        """A true receipt for what has a newer one: sent again, out of order, or a pool gone back.

        It changes nothing. By the pool's own clock a head that it cosigned before is a repetition.
        """
        known = f"for {size} records of {time_s}, and {self._journal.cosigned_size} are receipted"
        if time_s <= self._pool_time_s:
            await self._on_stale(receipt, f"the receipt is an old one: {known}")
            return
        await self._on_fault(
            Fault(
                code="POOL_WENT_BACK",
                severity="warning",
                words=f"The pool has receipted less after more: {known} since {self._pool_time_s}.",
                remedy="Ask the pool whether it has lost records or runs twice; the journal keeps"
                " all of them.",
            )
        )

    async def _is_of_another_past(self, receipt: Receipt) -> bool:
        """Whether the pool has what we signed and do not hold: then this log ends here."""
        cosigned_at_s(parse_note(receipt.note), self._pool)
        return bool(await self._journal.refute(receipt.note))

    async def _verified_time_s(self, receipt: Receipt) -> int:
        size = receipt.claimed.size
        if await self._is_of_another_past(receipt):
            raise NoteError("this device has signed it, and this disk does not know it")
        if size > self._journal.size:
            raise NoteError(
                f"it is for {size} records and we hold {self._journal.size}: if the pool is right,"
                " this disk went back in time"
            )
        stored = await self._journal.checkpoint_at_or_after(size)
        if stored is None or stored.size != size:
            raise NoteError(f"it is for size {size}, which we never signed")
        own = parse_checkpoint(parse_note(stored.note).text)
        is_late = size <= self._journal.cosigned_size
        return verified_receipt_time_s(
            receipt, own=own, pool=self._pool, previous_s=0 if is_late else self._pool_time_s
        )


def _up_to_a_change_of_keys(records: list[bytes]) -> list[bytes]:
    """What the checkpoint right over it covers: the pool must learn of a key before it signs."""
    at = next((at for at, line in enumerate(records, 1) if is_of_kind(line, "key")), len(records))
    return records[:at]


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
