"""Poller and actuator with the driver of Whatsminer API v2, over real sockets: the watts follow."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.failsafe import Bounds, Machine, Sleeper
from agent.poller import Poller
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.miners.registry import open_miner
from drivers.readings import Activity
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
FAMILY = "whatsminer-v2"
WHOLE = Setpoint(is_awake=True, profile="100%", boards_on=frozenset({0, 1, 2}))
WHY = Because(limit="purchase", source="t1", words="for a test")
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}


@dataclass
class Rig:
    network: Network
    actuator: Actuator
    post: MinerPost
    told: asyncio.Queue[Actuation]

    @property
    def true_w(self) -> float:
        self.network.farm.step(self.network.farm.clock.now_s())
        return self.network.farm.plant.machines_w

    async def seen(self, activity: Activity, profile: str) -> None:
        """Wait until the poller has seen this."""
        async with asyncio.timeout(10.0):
            while True:
                reading = self.post.view().reading
                if reading and (reading.activity, reading.profile) == (activity, profile):
                    return
                await asyncio.sleep(0.05)

    async def order(self, setpoint: Setpoint, expected_w: float) -> Actuation:
        """Submit and wait for the end of it."""
        card = replace(CARDS[FAMILY], wake_s=5.0, profile_down_s=1.5, profile_up_s=2.0, sleep_s=2.0)
        command = Command(
            miner_id="w",
            setpoint=setpoint,
            expected_w=expected_w,
            is_urgent=True,
            because=WHY,
            card=card,
        )
        self.actuator.submit([command])
        async with asyncio.timeout(15.0):
            while True:
                actuation = await self.told.get()
                if actuation.stage in ENDS:
                    return actuation


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    """One quick M50 with its loops; the arguments are the [whatsminer_v2] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Rig:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "whatsminer_v2": table,
                "machines": [{"family": FAMILY, "model": "m50", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine, label = network.farm.plant.machines[0], network.farm.labels[0]
            machine.timings = replace(
                machine.timings, profile_down_s=0.4, profile_up_s=0.4, sleep_s=0.4, wake_s=1.0
            )
            await network.open()
            stack.push_async_callback(network.close)
            secret = tmp_path / "secret"
            secret.write_text("farmpass\n")
            uri = f"{FAMILY}://{label.address}"
            device = open_miner(uri, miner_id="w", mac=label.mac, password_file=secret)
            post = MinerPost(miner_id="w", address="", family=FAMILY, device=device)
            told: asyncio.Queue[Actuation] = asyncio.Queue()
            clock = SiteClock()
            actuator = Actuator(clock=clock, posts={"w": post}, tell=told.put_nowait)
            poller = Poller(clock=clock, meters=(), miners=(post,), miner_period_s=0.2)
            for loop in (actuator.drive(post), poller.poll_miner(post, first_after_s=0.0)):
                stack.push_async_callback(stop, asyncio.ensure_future(loop))
            return Rig(network=network, actuator=actuator, post=post, told=told)

        yield start


async def stop(loop: asyncio.Future[None]) -> None:
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop


async def test_a_machine_is_throttled_put_to_sleep_and_woken_and_the_plant_follows(rig) -> None:
    machine = await rig()
    await machine.seen(Activity.HASHING, "100%")
    view = machine.post.view()
    watts = {profile.name: profile.power_w for profile in view.profiles}
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    throttled = await machine.order(replace(WHOLE, profile="60%"), watts["60%"])
    assert throttled.stage is Stage.CONFIRMED
    assert abs(machine.true_w - watts["60%"]) < 0.05 * watts["60%"]
    asleep = await machine.order(replace(WHOLE, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert machine.true_w < 200.0
    await machine.seen(Activity.SLEEPING, "100%")
    woken = await machine.order(replace(WHOLE, profile="80%"), watts["80%"])
    assert woken.stage is Stage.CONFIRMED
    assert abs(machine.true_w - watts["80%"]) < 0.15 * watts["80%"]


LIES = [
    (replace(WHOLE, is_awake=False), 60.0),
    (replace(WHOLE, profile="60%"), 1966.0),
]


@pytest.mark.parametrize(("setpoint", "expected_w"), LIES)
async def test_a_machine_that_lies_about_itself_is_ineffective(rig, setpoint, expected_w) -> None:
    machine = await rig(is_lying=True)
    await machine.seen(Activity.HASHING, "100%")
    last = await machine.order(setpoint, expected_w)
    assert last.stage is Stage.INEFFECTIVE
    assert "the watts did not follow" in last.detail


async def test_a_machine_whose_api_is_off_is_refused_with_the_way_out(rig) -> None:
    machine = await rig(is_api_on=False)
    await machine.seen(Activity.HASHING, "100%")
    last = await machine.order(replace(WHOLE, profile="60%"), 1966.0)
    assert last.stage is Stage.REFUSED
    assert "Miner API Switch" in last.detail


async def test_the_failsafe_puts_it_to_sleep(rig, tmp_path: Path) -> None:
    site = (await rig()).network
    label = site.farm.labels[0]
    machine = Machine(
        name="w",
        uri=f"{FAMILY}://{label.address}",
        mac=label.mac,
        password_file=tmp_path / "secret",
    )
    async with Sleeper(
        [machine], Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    ) as sleeper:
        await sleeper.run()
    assert sleeper.awake == {}
    assert not site.farm.plant.machines[0].is_awake
