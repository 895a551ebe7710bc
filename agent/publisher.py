"""Delivery of the journal to the pool: connects, keeps connecting, and says how it stands.

Everything to send stands in the journal, so this part may lose every connection and every answer.
"""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from agent.backoff import Backoff, Jitter, full_jitter
from agent.broker import (
    Broker,
    Credentials,
    Message,
    MqttError,
    MqttFileError,
    RefusedError,
    Session,
)
from agent.core.note import NoteError, VerifierKey, cosigned_at_s, parse_note
from agent.journal import Journal
from agent.mqtt import Connection, connect
from agent.poolnote import PoolRefusalError, digest_of
from agent.poolrecords import refused_record
from agent.receipts import Receipt
from agent.records import JournalFullError, NewRecord
from agent.siteclock import SiteClock
from agent.uplink import Accepted, Fault, Pace, Uplink

_log = logging.getLogger(__name__)

_STEADY_S = 60.0
_FRUITLESS_MAX = 3
_ALARM_EVERY_S = 600.0
_GOODBYE_S = 2.0
STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherSettings:
    """Where evidence goes. Brokers are tried in order; ``version`` is "5" or "3.1.1"."""

    farm: str
    agent: str
    brokers: tuple[Broker, ...]
    version: str = "5"
    credentials: Credentials = field(default_factory=Credentials)
    pace: Pace = field(default_factory=Pace)
    ack_every_s: float = 10.0
    retry_min_s: float = 1.0
    retry_max_s: float = 120.0
    connect_s: float = 10.0
    acknowledge_s: float = 20.0

    @property
    def topic(self) -> str:
        return f"kwota/v1/{self.farm}/{self.agent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How delivery stands now. ``broker`` is connected, connecting or off."""

    broker: str
    last_receipt_ms: int | None
    words: str
    faults: tuple[Fault, ...]


class Publisher:
    """Sends the journal and collects receipts. ``run`` is started by the application."""

    def __init__(
        self,
        *,
        journal: Journal,
        clock: SiteClock,
        settings: PublisherSettings,
        origin: str,
        pool: VerifierKey,
        jitter: Jitter = full_jitter,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._settings = settings
        self._origin = origin
        self._pool = pool
        self._live: bytes | None = None
        self._broker = "connecting" if settings.brokers else "off"
        self._words = "No broker is configured." if not settings.brokers else "Connecting."
        self._last_receipt_ms: int | None = None
        self._faults: dict[str, Fault] = {}
        self._alarm_after_s: dict[str, float] = {}
        self._ack_after_s = 0.0
        self._backoff = Backoff(
            least_s=settings.retry_min_s, most_s=settings.retry_max_s, jitter=jitter
        )
        self._fruitless = 0
        self._stale = 0
        self._pool_time_s = _stored_pool_time_s(journal, pool)
        if self._pool_time_s:
            self._last_receipt_ms = self._pool_time_s * 1000

    @property
    def delivery(self) -> Delivery:
        return Delivery(
            broker=self._broker,
            last_receipt_ms=self._last_receipt_ms,
            words=self._words,
            faults=tuple(self._faults.values()),
        )

    def set_live(self, payload: bytes) -> None:
        """The latest image of the site for the ``live`` topic: sent when possible, else dropped."""
        self._live = payload

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Deliver for ever, or return at once where no broker is configured.

        Ends otherwise by cancellation; a JournalError of a connection ends ``group``.
        """
        brokers = self._settings.brokers
        while brokers:
            for broker in brokers:
                started_s = _now_s()
                if not await self._attempt(group, broker):
                    return
                if _now_s() - started_s > _STEADY_S:
                    self._backoff.reset()
                if self._broker == "connected":
                    break  # it worked, so after a loss the first broker has its turn again
            self._broker = "connecting"
            await self._backoff.rest()

    async def _attempt(self, group: asyncio.TaskGroup, broker: Broker) -> bool:
        """One connection, in a task of its own; False where it ended by more than a loss.

        A task group that lives in Python 3.11's task forgets the cancellation of that task where a
        child fails in the same moment. The loop that connects again must never miss one.
        """
        connection = group.create_task(self._deliver_or_note(broker), name=f"delivery {broker}")
        try:
            await asyncio.wait({connection})
        finally:
            connection.cancel()
        return not connection.cancelled() and connection.exception() is None

    async def _deliver_or_note(self, broker: Broker) -> None:
        try:
            await self._deliver(broker)
        except MqttError as error:
            await self._note_failure(broker, error)

    async def _deliver(self, broker: Broker) -> None:
        """One connection from start to end. Raises the MqttError by which it ended."""
        settings = self._settings
        session = Session(
            broker=broker,
            client_id=f"kwota-{settings.farm}-{settings.agent}",
            version=settings.version,
            credentials=settings.credentials,
            will=self._state("offline"),
            connect_s=settings.connect_s,
            acknowledge_s=settings.acknowledge_s,
        )
        async with connect(session) as connection:
            await connection.subscribe(f"{settings.topic}/receipt")
            await connection.publish(self._state("online"))
            self._broker, self._words = "connected", f"Connected to {broker}."
            _log.info("broker=%s state=connected", broker)
            try:
                await self._run_uplink(connection)
            except asyncio.CancelledError:
                with suppress(MqttError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await connection.publish(self._state("offline"))
                raise

    async def _run_uplink(self, connection: Connection) -> None:
        settings = self._settings
        uplink = Uplink(
            journal=self._journal,
            connection=connection,
            pool=self._pool,
            origin=self._origin,
            topic=f"{settings.topic}/evidence",
            pace=settings.pace,
            pool_time_s=self._pool_time_s,
            on_receipt=self._note_receipt,
            on_fault=self._note_fault,
            on_stale=self._note_stale,
        )
        ended: MqttError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_raise_at_end(connection), name="connection")
                group.create_task(uplink.receive(), name="receipts")
                group.create_task(uplink.send(group), name="evidence")
                group.create_task(
                    uplink.send_live(lambda: self._live, f"{settings.topic}/live"), name="live"
                )
        except* MqttError as errors:
            ended = _first(errors)
        if ended is not None:
            if uplink.has_open_evidence:
                self._fruitless += 1
            raise ended

    async def _note_failure(self, broker: Broker, error: MqttError) -> None:
        _log.warning("broker=%s state=lost reason=%r", broker, str(error))
        self._words = str(error)
        needs_person = isinstance(error, RefusedError | MqttFileError)
        code = "BROKER_UNUSABLE"
        remedy = "Look at the broker's log, and at brokers and certificates in the configuration."
        if self._fruitless >= _FRUITLESS_MAX:
            code = "DELIVERY_STUCK"
            remedy = (
                f"The broker drops us whenever we send evidence from record"
                f" {self._journal.cosigned_size} on: check its access list and message size."
            )
        elif not needs_person and self._backoff.attempts < _FRUITLESS_MAX:
            return  # a single loss is the life of a network, not an alarm
        await self._note_fault(
            Fault(code=code, severity="warning", words=str(error), remedy=remedy)
        )

    async def _note_fault(self, fault: Fault) -> None:
        """Show a fault, and journal it once in a while: a fault must not fill the journal."""
        self._faults[fault.code] = fault
        self._words = fault.words
        now_s = _now_s()
        if now_s < self._alarm_after_s.get(fault.code, 0.0):
            return
        self._alarm_after_s[fault.code] = now_s + _ALARM_EVERY_S
        _log.warning("delivery fault=%s words=%r", fault.code, fault.words)
        data = {
            "code": fault.code,
            "severity": fault.severity,
            "words": fault.words,
            "remedy": fault.remedy,
        }
        await self._append(NewRecord(kind="alarm", source="agent", data=data, state="F"))

    async def _note_stale(self, receipt: Receipt, words: str) -> None:
        """An old receipt came once more, which a network does by itself: a record and no alarm."""
        now_s = _now_s()
        if now_s < self._alarm_after_s.get(STALE, 0.0):
            self._stale += 1
            return
        self._alarm_after_s[STALE] = now_s + _ALARM_EVERY_S
        payload = receipt.note.encode()
        refusal = PoolRefusalError(STALE, words)
        record = refused_record(
            "receipt", refusal, digest_of(payload), len(payload), unrecorded=self._stale
        )
        self._stale = 0
        await self._append(record)

    async def _note_receipt(self, accepted: Accepted) -> None:
        self._backoff.reset()
        self._fruitless = 0
        self._pool_time_s = accepted.pool_time_s
        self._last_receipt_ms = self._clock.now_ms()
        self._faults.clear()
        self._words = f"The pool has everything up to record {accepted.size - 1}."
        now_s = _now_s()
        if now_s < self._ack_after_s:
            return  # the next ack covers this one
        self._ack_after_s = now_s + self._settings.ack_every_s
        data = {
            "size": accepted.size,
            "pool_time_s": accepted.pool_time_s,
            "note": accepted.note,
        }
        await self._append(NewRecord(kind="ack", source="agent", data=data))

    async def _append(self, record: NewRecord) -> None:
        try:
            await self._journal.append([record], urgent=False)
        except JournalFullError as error:
            # Delivery goes on: it is what lets somebody make room.
            _log.warning("journal kind=%s state=full reason=%r", record.kind, str(error))

    def _state(self, state: str) -> Message:
        payload = orjson.dumps({"v": 1, "state": state, "at_ms": self._clock.now_ms()})
        return Message(topic=f"{self._settings.topic}/state", payload=payload, is_retained=True)


async def _raise_at_end(connection: Connection) -> None:
    raise await connection.ended()


def _first(errors: BaseExceptionGroup[MqttError]) -> MqttError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _stored_pool_time_s(journal: Journal, pool: VerifierKey) -> int:
    """The time of the receipt that the journal remembers; 0 before the first."""
    if not journal.cosigned_note:
        return 0
    try:
        return cosigned_at_s(parse_note(journal.cosigned_note), pool)
    except NoteError as error:
        # The pool has a new key: its next receipt is judged on its own.
        _log.warning("receipt stored=unverifiable reason=%r", str(error))
        return 0


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
