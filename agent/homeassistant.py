"""The site in Home Assistant: discovery by MQTT on the household's own broker.

Sensors announce themselves with retained messages (MQTT discovery of Home Assistant, "sensor"
platform); the state follows every few seconds and says by the will when the agent is gone. Nothing
is ever received: a household has no say in what is bought or drawn.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from agent.backoff import Backoff, Jitter, full_jitter
from agent.broker import Broker, Credentials, Message, MqttError, Session
from agent.mqtt import Connection, connect
from agent.status.view import SiteView, StatusView

_log = logging.getLogger(__name__)

_GOODBYE_S: Final = 2.0
_ALARMS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeTarget:
    """Whose broker, as whom, and how often."""

    broker: Broker
    farm: str
    agent: str
    version: str
    discovery_prefix: str = "homeassistant"
    every_s: float = 5.0
    credentials: Credentials = field(default_factory=Credentials)
    retry_min_s: float = 1.0
    retry_max_s: float = 120.0

    @property
    def topic(self) -> str:
        """Beside the pool's topics, so that one access list may cover both."""
        return f"kwota/v1/{self.farm}/{self.agent}/home"


# Object id: name, key of the state, and what Home Assistant wants to know of the number.
_SENSORS: Final[Mapping[str, tuple[str, str, Mapping[str, str]]]] = {
    "site_power": (
        "Site power",
        "power_w",
        {"device_class": "power", "unit_of_measurement": "W", "state_class": "measurement"},
    ),
    "budget_left": (
        "Budget left",
        "left_wh",
        {
            "device_class": "energy_storage",
            "unit_of_measurement": "Wh",
            "state_class": "measurement",
        },
    ),
    "alarms": ("Alarms", "alarms", {"icon": "mdi:alert", "state_class": "measurement"}),
}


def announcements(target: HomeTarget) -> list[Message]:
    """The retained messages by which Home Assistant learns of the sensors."""
    node = f"kwota_{target.farm}_{target.agent}".replace("-", "_")
    messages = []
    for name, (title, key, traits) in _SENSORS.items():
        config: dict[str, Any] = {
            "name": title,
            "unique_id": f"{node}_{name}",
            "object_id": f"{node}_{name}",
            "state_topic": f"{target.topic}/state",
            # None renders as the word by which Home Assistant shows a state as unknown.
            "value_template": f"{{{{ value_json.{key} }}}}",
            "availability_topic": f"{target.topic}/availability",
            "expire_after": max(60, int(target.every_s * 4)),
            "device": {
                "identifiers": [node],
                "name": f"kwota {target.farm}/{target.agent}",
                "manufacturer": "kwota",
                "sw_version": target.version,
            },
            "origin": {"name": "kwota", "sw_version": target.version},
            **traits,
        }
        if name == "alarms":
            config["json_attributes_topic"] = f"{target.topic}/state"
            config["json_attributes_template"] = "{{ {'standing': value_json.standing} | tojson }}"
        topic = f"{target.discovery_prefix}/sensor/{node}/{name}/config"
        messages.append(Message(topic=topic, payload=orjson.dumps(config), is_retained=True))
    return messages


def state_of(status: StatusView) -> bytes:
    """What the sensors show. Without a purchase nothing is left; a number nobody knows is null."""
    critical_first = status.alarms[:_ALARMS_SHOWN]
    return orjson.dumps(
        {
            "power_w": None if status.power_w is None else round(status.power_w),
            "left_wh": 0 if status.window is None else status.window.left_wh,
            "alarms": len(status.alarms),
            "standing": [f"{one.code} {one.source}: {one.words}" for one in critical_first],
            "at_ms": status.at_ms,
        }
    )


class HomeAssistant:
    """Keeps the sensors alive. ``run`` is started by the application."""

    def __init__(
        self,
        target: HomeTarget,
        view: Callable[[], SiteView | None],
        *,
        is_healthy: Callable[[], bool],
        jitter: Jitter = full_jitter,
    ) -> None:
        self._target = target
        self._view = view
        self._is_healthy = is_healthy
        self._backoff = Backoff(
            least_s=target.retry_min_s, most_s=target.retry_max_s, jitter=jitter
        )
        self._told = ""

    async def run(self) -> None:
        """Connect and connect again for ever; ends by cancellation."""
        while True:
            try:
                await self._show()
            except MqttError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    _log.warning("homeassistant event=lost reason=%r", self._told)
            await self._backoff.rest()

    async def _show(self) -> None:
        """One connection from start to end. Raises the MqttError by which it ended."""
        target = self._target
        session = Session(
            broker=target.broker,
            client_id=f"kwota-home-{target.farm}-{target.agent}",
            version="3.1.1",  # which every household's broker speaks
            credentials=target.credentials,
            will=self._availability("offline"),
        )
        async with connect(session) as connection:
            for message in announcements(target):
                await connection.publish(message)
            _log.info("homeassistant event=connected broker=%s", target.broker)
            self._backoff.reset()
            self._told = ""
            try:
                await self._tell(connection)
            except asyncio.CancelledError:
                with suppress(MqttError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await connection.publish(self._availability("offline"))
                raise

    async def _tell(self, connection: Connection) -> None:
        is_shown: bool | None = None
        while True:
            view = self._view()
            is_live = view is not None and self._is_healthy()
            if is_live is not is_shown:
                word = "online" if is_live else "offline"
                await connection.publish(self._availability(word))
                is_shown = is_live
            if view is not None and is_live:
                topic = f"{self._target.topic}/state"
                payload = state_of(view.status)
                await connection.publish(Message(topic=topic, payload=payload, is_retained=True))
            await asyncio.sleep(self._target.every_s)

    def _availability(self, word: str) -> Message:
        topic = f"{self._target.topic}/availability"
        return Message(topic=topic, payload=word.encode(), is_retained=True)
