"""Poller, actuator and failsafe with the driver of VNish, over real sockets: the watts follow."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080
FARM: dict[str, Any] = {
    "addresses": {"base": NET, "has_web": False, "web_port": PORT},
    "vnish": {"has_older_reads": False},
    "machines": [{"family": "vnish", "model": "s21", "count": 1}],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
WHOLE = Setpoint(is_awake=True, profile="100%", boards_on=frozenset({0, 1, 2}))
ASLEEP = Setpoint(is_awake=False, profile=None, boards_on=frozenset())
WHY = Because(limit="purchase", source="t1", words="for a test")
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}


@dataclass
class Rig:
    network: Network
    actuator: Actuator
    post: MinerPost
    told: asyncio.Queue[Actuation]
    machine: Machine

    @property
    def true_w(self) -> float:
        self.network.farm.step(self.network.farm.clock.now_s())
        return self.network.farm.plant.machines_w

    async def details(self) -> dict[str, float]:
        """Wait until the poller has seen everything; watts by profile."""
        async with asyncio.timeout(10.0):
            while True:
                seen, details = self.post.reading, self.post.details
                if seen is not None and details is not None:
                    assert seen.activity is Activity.HASHING
                    return {profile.name: profile.power_w for profile in details.profiles}
                await asyncio.sleep(0.05)

    async def order(self, setpoint: Setpoint, expected_w: float) -> Actuation:
        """Submit and wait for the end of it."""
        card = replace(CARDS["vnish"], wake_s=6.0, profile_down_s=4.0, profile_up_s=4.0)
        command = Command(
            miner_id="v",
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
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    quick = {"profile_down_s": 0.4, "profile_up_s": 0.4, "sleep_s": 0.4, "wake_s": 1.0}
    machine = network.farm.plant.machines[0]
    machine.timings = replace(machine.timings, **quick)
    await network.open()
    secret = tmp_path / "secret"
    secret.write_text("farm-pass\n")
    label = network.farm.labels[0]
    uri = f"vnish://{label.address}:{PORT}"
    device = open_miner(uri, miner_id="v", mac=label.mac, password_file=secret)
    post = MinerPost(miner_id="v", address="", family="vnish", device=device)
    told: asyncio.Queue[Actuation] = asyncio.Queue()
    clock = SiteClock()
    actuator = Actuator(clock=clock, posts={"v": post}, tell=told.put_nowait)
    poller = Poller(clock=clock, meters=(), miners=(post,), miner_period_s=0.2)
    loops = [
        asyncio.ensure_future(actuator.drive(post)),
        asyncio.ensure_future(poller.poll_miner(post, first_after_s=0.0)),
    ]
    named = Machine(name="v", uri=uri, mac=label.mac, password_file=secret)
    yield Rig(network=network, actuator=actuator, post=post, told=told, machine=named)
    for loop in loops:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
    await device.close()
    await network.close()


async def test_a_machine_is_throttled_put_to_sleep_and_woken_and_the_plant_follows(
    rig: Rig,
) -> None:
    watts = await rig.details()
    view = rig.post.view()
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    for percent in ("20%", "60%"):
        throttled = await rig.order(replace(WHOLE, profile=percent), watts[percent])
        assert throttled.stage is Stage.CONFIRMED
        assert abs(rig.true_w - watts[percent]) < 0.05 * watts[percent]
    asleep = await rig.order(ASLEEP, CARDS["vnish"].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert rig.true_w < 200.0
    # The start forgets the percent: it is told again without anybody remembering it.
    woken = await rig.order(replace(WHOLE, profile="80%"), watts["80%"])
    assert woken.stage is Stage.CONFIRMED
    assert abs(rig.true_w - watts["80%"]) < 0.15 * watts["80%"]


async def test_a_machine_that_says_yes_and_does_nothing_is_ineffective(rig: Rig) -> None:
    watts = await rig.details()
    rig.network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    last = await rig.order(replace(WHOLE, profile="60%"), watts["60%"])
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_the_failsafe_puts_it_to_sleep_with_its_password_and_names_it_without(
    rig: Rig,
) -> None:
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([replace(rig.machine, password_file=None)], bounds) as helpless:
        await helpless.run()
    assert len(helpless.awake) == 1
    assert rig.network.farm.plant.machines[0].is_awake
    async with Sleeper([rig.machine], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not rig.network.farm.plant.machines[0].is_awake
