"""The household's view over a real mosquitto: what is announced, shown, and said at the end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agent.broker import Broker, MqttError, Session
from agent.homeassistant import HomeAssistant, HomeTarget, announcements, state_of
from agent.mqtt import connect

TOPIC = "kwota/v1/farm-1/edge-1/home"


class Site:
    """What the agent shows; a test changes it as a tick would."""

    def __init__(self, **changes: Any) -> None:
        self.is_healthy = True
        self.changes = changes

    def view(self) -> Any:
        alarm = SimpleNamespace(code="METER", source="site", words="it is silent")
        shown = {
            "power_w": 180_460.4,
            "window": SimpleNamespace(left_wh=587_250),
            "alarms": [alarm],
            "at_ms": 1_795_680_000_000,
        }
        return SimpleNamespace(status=SimpleNamespace(**(shown | self.changes)))


class Household:
    """What Home Assistant would have received, newest of each topic."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}

    def json(self, topic: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.seen[topic])
        return told


def target(port: int) -> HomeTarget:
    return HomeTarget(
        broker=Broker(host="127.0.0.1", port=port, is_tls=False),
        farm="farm-1",
        agent="edge-1",
        version="0.1.0",
        every_s=0.05,
        retry_min_s=0.05,
        retry_max_s=0.1,
    )


@contextlib.asynccontextmanager
async def household(port: int) -> AsyncIterator[Household]:
    """Another client that listens to everything."""
    home = Household()
    session = Session(
        broker=Broker(host="127.0.0.1", port=port, is_tls=False), client_id="household"
    )
    async with connect(session) as connection:
        await connection.subscribe("homeassistant/#")
        await connection.subscribe(f"{TOPIC}/#")

        async def listen() -> None:
            while True:
                message = await connection.next_message()
                home.seen[message.topic] = message.payload

        task = asyncio.create_task(listen())
        try:
            yield home
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, MqttError):
                await task


@contextlib.asynccontextmanager
async def running(shown: HomeAssistant) -> AsyncIterator[None]:
    task = asyncio.create_task(shown.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(is_so: Callable[[], bool], within_s: float = 8.0) -> None:
    for _ in range(int(within_s / 0.02)):
        if is_so():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not come about in time")


def shown(port: int, site: Site) -> HomeAssistant:
    return HomeAssistant(target(port), site.view, is_healthy=lambda: site.is_healthy)


async def test_a_home_that_comes_later_finds_sensors_and_state(mosquitto) -> None:
    async with mosquitto() as broker, running(shown(broker.port, Site())):
        await asyncio.sleep(0.3)
        async with household(broker.port) as home:
            await until(lambda: f"{TOPIC}/state" in home.seen and len(home.seen) == 5)
            state = home.json(f"{TOPIC}/state")
            assert (state["power_w"], state["left_wh"], state["alarms"]) == (180_460, 587_250, 1)
            assert state["standing"] == ["METER site: it is silent"]
            assert home.seen[f"{TOPIC}/availability"] == b"online"
            topic = "homeassistant/sensor/kwota_farm_1_edge_1/site_power/config"
            config = home.json(topic)
            assert config["state_topic"] == f"{TOPIC}/state"
            assert config["availability_topic"] == f"{TOPIC}/availability"
            assert (config["unit_of_measurement"], config["device_class"]) == ("W", "power")


async def test_an_agent_that_stops_or_hangs_is_shown_as_gone(mosquitto) -> None:
    site = Site()
    async with mosquitto() as broker, household(broker.port) as home:
        async with running(shown(broker.port, site)):
            await until(lambda: home.seen.get(f"{TOPIC}/availability") == b"online")
            site.is_healthy = False
            await until(lambda: home.seen.get(f"{TOPIC}/availability") == b"offline")
            site.is_healthy = True
            await until(lambda: home.seen.get(f"{TOPIC}/availability") == b"online")
        await until(lambda: home.seen.get(f"{TOPIC}/availability") == b"offline")


async def test_a_broker_that_comes_back_is_shown_everything_again(mosquitto) -> None:
    async with mosquitto() as broker, running(shown(broker.port, Site())):
        async with household(broker.port) as home:
            await until(lambda: f"{TOPIC}/state" in home.seen)
        await broker.stop()
        await broker.start()
        async with household(broker.port) as home:
            await until(lambda: len(home.seen) == 5)


def test_every_sensor_reads_a_key_that_the_state_has() -> None:
    state = json.loads(state_of(Site().view().status))
    names = set()
    for message in announcements(target(1)):
        assert message.is_retained
        config = json.loads(message.payload)
        names.add(config["unique_id"])
        key = config["value_template"].removeprefix("{{ value_json.").removesuffix(" }}")
        assert key in state
        assert config["device"]["identifiers"] == ["kwota_farm_1_edge_1"]
    assert names == {
        f"kwota_farm_1_edge_1_{one}" for one in ("site_power", "budget_left", "alarms")
    }


def test_what_nobody_knows_is_null_and_without_a_purchase_nothing_is_left() -> None:
    state = json.loads(state_of(Site(power_w=None, window=None, alarms=[]).view().status))
    assert (state["power_w"], state["left_wh"], state["alarms"]) == (None, 0, 0)
