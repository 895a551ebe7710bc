"""Poller and actuator with the driver of Whatsminer API v3, over real sockets: the watts follow."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.failsafe import Bounds, Machine, Sleeper
from agent.poller import Poller
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.device import ReadsMiner
from drivers.miners.registry import open_miner
from drivers.readings import Activity
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
FARM = {
    "addresses": {"base": NET, "has_web": False},
    "machines": [{"family": "whatsminer-v3", "model": "m60s", "count": 1}],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
FAMILY = "whatsminer-v3"
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
                if reading is not None and (reading.activity, reading.profile) == (
                    activity,
                    profile,
                ):
                    return
                await asyncio.sleep(0.05)

    async def order(self, setpoint: Setpoint, expected_w: float) -> Actuation:
        """Submit and wait for the end of it."""
        card = replace(CARDS[FAMILY], wake_s=5.0, profile_down_s=4.0, profile_up_s=4.0)
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


def device_at(network: Network, password_file: Path | None) -> ReadsMiner:
    label = network.farm.labels[0]
    return open_miner(
        f"{FAMILY}://{label.address}", miner_id="w", mac=label.mac, password_file=password_file
    )


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    machine = network.farm.plant.machines[0]
    machine.timings = replace(machine.timings, profile_down_s=0.4, sleep_s=0.4, wake_s=1.0)
    await network.open()
    secret = tmp_path / "secret"
    secret.write_text("farm-pass\n")
    device = device_at(network, secret)
    post = MinerPost(miner_id="w", address="", family=FAMILY, device=device)
    told: asyncio.Queue[Actuation] = asyncio.Queue()
    clock = SiteClock()
    actuator = Actuator(clock=clock, posts={"w": post}, tell=told.put_nowait)
    poller = Poller(clock=clock, meters=(), miners=(post,), miner_period_s=0.2)
    loops = [
        asyncio.ensure_future(actuator.drive(post)),
        asyncio.ensure_future(poller.poll_miner(post, first_after_s=0.0)),
    ]
    yield Rig(network=network, actuator=actuator, post=post, told=told)
    for loop in loops:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
    await device.close()
    await network.close()


async def test_a_machine_is_throttled_put_to_sleep_and_woken_and_the_plant_follows(
    rig: Rig,
) -> None:
    await rig.seen(Activity.HASHING, "100%")
    view = rig.post.view()
    watts = {profile.name: profile.power_w for profile in view.profiles}
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    throttled = await rig.order(replace(WHOLE, profile="60%"), watts["60%"])
    assert throttled.stage is Stage.CONFIRMED
    assert abs(rig.true_w - watts["60%"]) < 0.05 * watts["60%"]
    asleep = await rig.order(replace(WHOLE, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert rig.true_w < 200.0
    await rig.seen(Activity.SLEEPING, "100%")
    # The start forgets the percent: it is told again without anybody remembering it.
    woken = await rig.order(replace(WHOLE, profile="80%"), watts["80%"])
    assert woken.stage is Stage.CONFIRMED
    assert abs(rig.true_w - watts["80%"]) < 0.15 * watts["80%"]


async def test_a_machine_that_says_ok_and_does_nothing_is_ineffective(rig: Rig) -> None:
    await rig.seen(Activity.HASHING, "100%")
    rig.network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    last = await rig.order(replace(WHOLE, profile="60%"), 2065.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_a_machine_without_a_password_shows_that_it_can_only_be_read(rig: Rig) -> None:
    reader = device_at(rig.network, None)
    view = MinerPost(miner_id="r", address="", family=FAMILY, device=reader).view()
    assert not any((view.can_sleep, view.can_select_profile, view.can_switch_boards))


async def test_the_failsafe_puts_it_to_sleep_with_its_password_and_names_it_without(
    rig: Rig, tmp_path: Path
) -> None:
    label = rig.network.farm.labels[0]
    machine = Machine(name="w", uri=f"{FAMILY}://{label.address}", mac=label.mac)
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([machine], bounds) as helpless:
        await helpless.run()
    assert list(helpless.awake) == [machine]
    assert rig.network.farm.plant.machines[0].is_awake
    async with Sleeper([replace(machine, password_file=tmp_path / "secret")], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not rig.network.farm.plant.machines[0].is_awake
