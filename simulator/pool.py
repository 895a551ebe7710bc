"""The reference pool on MQTT: subscribes to evidence, answers with cosigned checkpoints.

paho runs in its own thread and reconnects by itself; everything it hears goes to the witness, which
keeps its own lock.
"""

import logging
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from simulator.device_log import MAX_MESSAGE_BYTES
from simulator.witness import Witness

_log = logging.getLogger(__name__)
_EVIDENCE = "kwota/v1/+/+/evidence"
_TOPIC_LEVELS = 5
_KEEPALIVE_S = 30


class BrokerError(ValueError):
    """A broker address that cannot be used."""


@dataclass(slots=True, kw_only=True)
class Pool:
    """``start`` and ``stop``; in between it serves by itself."""

    witness: Witness
    broker: str
    _client: mqtt.Client = field(init=False)
    _is_connected: bool = field(init=False, default=False)
    _host: str = field(init=False)
    _port: int = field(init=False)

    def __post_init__(self) -> None:
        self._host, self._port = _address(self.broker)
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="kwota-reference-pool",
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
        client.subscribe(_EVIDENCE, qos=1)

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
        if len(levels) != _TOPIC_LEVELS or len(message.payload) > MAX_MESSAGE_BYTES:
            return
        farm, agent = levels[2], levels[3]
        receipt = self.witness.take(farm, agent, bytes(message.payload))
        if receipt is not None:
            client.publish(f"kwota/v1/{farm}/{agent}/receipt", receipt, qos=1)


def _address(broker: str) -> tuple[str, int]:
    try:
        parts = urlsplit(broker)
        port = parts.port or 1883
    except ValueError as error:
        raise BrokerError(f"{broker}: not a broker address: {error}") from error
    if parts.scheme != "mqtt" or not parts.hostname:
        raise BrokerError(f"{broker}: give the broker as mqtt://host:port")
    return parts.hostname, port
