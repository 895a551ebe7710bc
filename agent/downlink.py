"""The connection on which the pool speaks to this agent: purchases in, answers out, reports in.

A connection of its own beside the one that delivers evidence: its session outlives a loss for an
hour, so that what the pool sends meanwhile is not lost, whereas the other one's begins anew each
time. What the broker has handed over and we have not answered the pool sends again.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.alarms import Condition
from agent.backoff import Backoff, Jitter, full_jitter
from agent.broker import (
    Broker,
    Credentials,
    Message,
    MqttError,
    Session,
)
from agent.mqtt import connect
from agent.pooldesk import PoolDesk

_log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 3_600
PACKET_MAX_BYTES = 1_048_576
LOST_AFTER_S = 120.0
_AFTER_MESSAGE_S = 0.02  # so that no flood of messages takes the loop for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class DownlinkSettings:
    """Where the pool is listened to. Brokers are tried in order."""

    farm: str
    agent: str
    brokers: tuple[Broker, ...]
    version: str = "5"
    credentials: Credentials = field(default_factory=Credentials)
    retry_min_s: float = 1.0
    retry_max_s: float = 120.0
    connect_s: float = 10.0
    acknowledge_s: float = 20.0

    @property
    def topic(self) -> str:
        return f"kwota/v1/{self.farm}/{self.agent}"


class Downlink:
    """Listens to the pool for ever. ``run`` is started by the application."""

    def __init__(
        self,
        desk: PoolDesk,
        settings: DownlinkSettings,
        jitter: Jitter = full_jitter,
    ) -> None:
        self._desk = desk
        self._settings = settings
        self._backoff = Backoff(
            least_s=settings.retry_min_s, most_s=settings.retry_max_s, jitter=jitter
        )
        self._words = "not connected yet"
        self._lost_since_s: float | None = _now_s()

    @property
    def is_connected(self) -> bool:
        """Whether the pool can reach us now, as far as we know."""
        return self._lost_since_s is None

    def conditions(self) -> Iterator[Condition]:
        """What is wrong with it."""
        if self._lost_since_s is not None and _now_s() - self._lost_since_s > LOST_AFTER_S:
            yield Condition(
                code="DOWNLINK_LOST",
                severity="warning",
                source="pool",
                words=f"the pool cannot send purchases: {self._words}",
                remedy="look at the broker's log, and let it allow this agent a second client and"
                " its topics transactions and equivocation; until then import purchases by hand:"
                " kwota transactions import FILE",
            )
        yield from self._desk.conditions()

    async def run(self) -> None:
        """Connect and keep connecting. Ends by cancellation or with the journal's error."""
        while True:
            for broker in self._settings.brokers:
                try:
                    await self._listen(broker)
                except MqttError as error:
                    self._note_loss(broker, error)
            await self._backoff.rest()

    async def _listen(self, broker: Broker) -> None:
        """One connection from start to end. Raises the MqttError by which it ended."""
        settings = self._settings
        session = Session(
            broker=broker,
            client_id=f"kwota-{settings.farm}-{settings.agent}-downlink",
            version=settings.version,
            credentials=settings.credentials,
            connect_s=settings.connect_s,
            acknowledge_s=settings.acknowledge_s,
            expiry_s=SESSION_EXPIRY_S,
            packet_max_bytes=PACKET_MAX_BYTES,
        )
        async with connect(session) as connection:
            await connection.subscribe(f"{settings.topic}/transactions")
            await connection.subscribe(f"{settings.topic}/equivocation")
            self._backoff.reset()
            self._lost_since_s = None
            _log.info("broker=%s state=listening", broker)
            while True:
                message = await connection.next_message()
                if message.topic == f"{settings.topic}/equivocation":
                    await self._desk.take_report(message.payload)
                elif message.topic == f"{settings.topic}/transactions":
                    answer = await self._desk.take_batch(message.payload)
                    await connection.publish(
                        Message(topic=f"{settings.topic}/transactions/ack", payload=answer)
                    )
                await asyncio.sleep(_AFTER_MESSAGE_S)

    def _note_loss(self, broker: Broker, error: MqttError) -> None:
        self._words = str(error)
        if self._lost_since_s is None:
            self._lost_since_s = _now_s()
        _log.warning("broker=%s state=deaf reason=%r", broker, str(error))


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
