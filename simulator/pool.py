"""The reference pool on MQTT: subscribes to evidence, answers with cosigned checkpoints.

paho runs in its own thread and reconnects by itself; everything it hears goes to the witness, which
keeps its own lock.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from simulator.device_log import MAX_MESSAGE_BYTES
from simulator.seller import Seller, SignedBatch, Trick
from simulator.witness import Witness, open_witness

_log = logging.getLogger(__name__)
_EVIDENCE = "kwota/v1/+/+/evidence"
_ANSWERS = "kwota/v1/+/+/transactions/ack"
_TOPIC_LEVELS = 5
_ANSWERS_KEPT = 200
_ANSWER_MAX_BYTES = 1_000_000
_KEEPALIVE_S = 30


class BrokerError(ValueError):
    """A broker address that cannot be used."""


@dataclass(slots=True, kw_only=True)
class Pool:
    """``start`` and ``stop``; in between it serves by itself."""

    witness: Witness
    broker: str
    seller: Seller | None = None
    is_seller_only: bool = False
    _answers: dict[str, dict[str, Any]] = field(init=False, default_factory=dict)
    _client: mqtt.Client = field(init=False)
    _is_connected: bool = field(init=False, default=False)
    _host: str = field(init=False)
    _port: int = field(init=False)

    def __post_init__(self) -> None:
        self._host, self._port = _address(self.broker)
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="kwota-reference-pool" + ("-desk" if self.is_seller_only else ""),
            # Every broker speaks 3.1.1, and the pool needs nothing that is newer.
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.reconnect_delay_set(min_delay=1, max_delay=10)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._received

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._is_connected

    def start(self) -> None:
        """Connect and keep trying."""
        self._client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and wait for the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, farm: str, agent: str, batch: SignedBatch) -> None:
        """Publish a batch; the answer comes later, or the same has to be sent again."""
        self._client.publish(f"kwota/v1/{farm}/{agent}/transactions", batch.payload, qos=1)

    def answer(self, batch: SignedBatch) -> dict[str, Any] | None:
        """What the agent said to exactly these bytes, and forget it; None: nothing yet."""
        return self._answers.pop(hashlib.sha256(batch.payload).hexdigest(), None)

    def batch(
        self, farm: str, agent: str, rows: Sequence[dict[str, Any]], trick: Trick
    ) -> SignedBatch:
        """Sign a batch. Raises NothingSentError, and BrokerError where there is no seller."""
        if self.seller is None:
            raise BrokerError("this pool has no key to sign purchases with")
        return self.seller.batch(farm, agent, rows, trick)

    def state(self) -> dict[str, object]:
        """What the witness knows, and whether the broker is there."""
        return {"broker": self.broker, "is_connected": self._is_connected, **self.witness.state()}

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: Any,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            _log.warning("broker=%s refused=%s", self.broker, reason)
            return
        self._is_connected = True
        topics = [_ANSWERS] if self.is_seller_only else [_ANSWERS, _EVIDENCE]
        client.subscribe([(topic, 1) for topic in topics])

    def _disconnected(
        self,
        _client: mqtt.Client,
        _userdata: Any,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._is_connected = False
        _log.info("broker=%s disconnected=%s", self.broker, reason)

    def _received(self, client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        levels = message.topic.split("/")
        if levels[-1] == "ack":
            self._note_answer(bytes(message.payload))
            return
        if len(levels) != _TOPIC_LEVELS or len(message.payload) > MAX_MESSAGE_BYTES:
            return
        farm, agent = levels[2], levels[3]
        receipt = self.witness.take(farm, agent, bytes(message.payload))
        if receipt is not None:
            for one in self.witness.handed_out(receipt):
                client.publish(f"kwota/v1/{farm}/{agent}/receipt", one, qos=1)
        report = self.witness.report(farm, agent)
        if report is not None:
            client.publish(f"kwota/v1/{farm}/{agent}/equivocation", report, qos=1)

    def _note_answer(self, payload: bytes) -> None:
        if len(payload) > _ANSWER_MAX_BYTES:
            return
        try:
            answer = json.loads(payload)
            digest = answer["sha256"]
        except (ValueError, TypeError, KeyError, RecursionError):
            _log.warning("answer=unreadable bytes=%d", len(payload))
            return
        while len(self._answers) >= _ANSWERS_KEPT:
            self._answers.pop(next(iter(self._answers)))
        self._answers[str(digest)] = answer


def open_pool(
    directory: Path,
    registry: Path | None,
    name: str,
    broker: str,
    *,
    is_seller_only: bool = False,
) -> Pool:
    """A pool with its keys in a directory. Raises NoteError, BrokerError, OSError.

    ``is_seller_only``: it takes no evidence, and may run beside one that does.
    """
    witness = open_witness(directory, registry, name)
    seller = None
    if witness.signer is not None:
        seller = Seller(directory=directory, signer=witness.signer)
    return Pool(witness=witness, broker=broker, seller=seller, is_seller_only=is_seller_only)


def _address(broker: str) -> tuple[str, int]:
    try:
        parts = urlsplit(broker)
        port = parts.port or 1883
    except ValueError as error:
        raise BrokerError(f"{broker}: not a broker address: {error}") from error
    if parts.scheme != "mqtt" or not parts.hostname:
        raise BrokerError(f"{broker}: give the broker as mqtt://host:port")
    return parts.hostname, port
