"""Poller and actuator with the drivers of ePIC and Bitaxe, over real sockets: the plant follows."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.card import Steps
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.poller import Poller
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.miners.registry import open_miner
from drivers.readings import MinerReading
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORTS = {"epic": 4028, "bitaxe": 8080}
QUICK = {"board_off_s": 0.2, "sleep_s": 0.2, "wake_s": 0.5, "profile_down_s": 0.2}
WHY = Because(limit="purchase", source="t1", words="for a test")
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}

Rigs = Callable[..., Awaitable["Rig"]]


@dataclass
class Rig:
    network: Network
    actuator: Actuator
    post: MinerPost
    told: asyncio.Queue[Actuation]

    @property
    def true_w(self) -> float:
        return self.network.farm.plant.machines[0].watts.value(self.network.farm.clock.now_s())

    async def seen(self) -> MinerReading:
        """What the poller sees, with the list of profiles."""
        for _ in range(200):
            view = self.post.view()
            if view.reading is not None and view.profiles:
                return view.reading
            await asyncio.sleep(0.05)
        raise AssertionError("the poller saw nothing")

    async def order(self, setpoint: Setpoint, expected_w: float) -> Actuation:
        """Submit and wait for the end of it."""
        command = Command(
            miner_id="m",
            setpoint=setpoint,
            expected_w=expected_w,
            is_urgent=True,
            because=WHY,
            card=replace(CARDS[self.post.family], wake_s=5.0),
        )
        self.actuator.submit([command])
        async with asyncio.timeout(15.0):
            while (actuation := await self.told.get()).stage not in ENDS:
                pass
        return actuation


@pytest_asyncio.fixture
async def rigs(tmp_path: Path) -> AsyncIterator[Rigs]:
    """Starts a machine of a family with the agent's two loops."""
    async with AsyncExitStack() as stack:

        async def start(family: str, model: str, **table: Any) -> Rig:
            document = {
                "addresses": {"base": NET, "has_web": False, "web_port": PORTS["bitaxe"]},
                "machines": [{"family": family, "model": model, "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
                family: table,
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine, label = network.farm.plant.machines[0], network.farm.labels[0]
            machine.timings = replace(machine.timings, **QUICK)
            await network.open()
            stack.push_async_callback(network.close)
            secret = tmp_path / "secret"
            secret.write_text("letmein\n")
            device = open_miner(
                f"{family}://{label.address}:{PORTS[family]}",
                miner_id="m",
                mac=label.mac,
                password_file=secret if family == "epic" else None,
            )
            stack.push_async_callback(device.close)
            post = MinerPost(miner_id="m", address="", family=family, device=device)
            told: asyncio.Queue[Actuation] = asyncio.Queue()
            actuator = Actuator(clock=SiteClock(), posts={"m": post}, tell=told.put_nowait)
            poller = Poller(clock=SiteClock(), meters=(), miners=(post,), miner_period_s=0.2)
            for loop in (actuator.drive(post), poller.poll_miner(post, first_after_s=0.0)):
                stack.push_async_callback(stopped, asyncio.ensure_future(loop))
            return Rig(network=network, actuator=actuator, post=post, told=told)

        yield start


async def stopped(loop: asyncio.Future[None]) -> None:
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop


def abilities(rig: Rig) -> set[Steps]:
    """What the agent may use of a machine, in the words of the cards."""
    view = rig.post.view()
    can = {
        Steps.BOARDS: view.can_switch_boards,
        Steps.PROFILES: view.can_select_profile,
        Steps.SLEEP: view.can_sleep,
    }
    return {step for step, is_able in can.items() if is_able}


async def test_an_epic_switches_a_board_sleeps_and_wakes(rigs: Rigs) -> None:
    rig = await rigs("epic", "s19-xp")
    await rig.seen()
    assert abilities(rig) == CARDS["epic"].steps
    watts = rig.post.view().profiles[0].power_w
    two = Setpoint(is_awake=True, profile="preset", boards_on=frozenset({0, 2}))
    switched = await rig.order(two, 80 + (watts - 80) * 2 / 3)
    assert switched.stage is Stage.CONFIRMED
    assert abs(rig.true_w - (80 + (watts - 80) * 2 / 3)) < 0.1 * watts
    asleep = await rig.order(replace(two, is_awake=False), CARDS["epic"].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert rig.true_w < 100.0
    woken = await rig.order(two, 80 + (watts - 80) * 2 / 3)
    assert woken.stage is Stage.CONFIRMED
    boards = rig.network.farm.plant.machines[0].boards
    assert [board.is_enabled for board in boards] == [True, False, True]


async def test_a_bitaxe_steps_down_and_one_that_cannot_pause_says_so(rigs: Rigs) -> None:
    rig = await rigs("bitaxe", "gamma", version="v2.9.0")
    reading = await rig.seen()
    assert abilities(rig) == CARDS["bitaxe"].steps - {Steps.SLEEP}
    assert reading.profile == "525MHz"
    low = Setpoint(is_awake=True, profile="400MHz", boards_on=frozenset({0}))
    assert (await rig.order(low, rig.post.view().profiles[0].power_w)).stage is Stage.CONFIRMED
    await asyncio.sleep(0.3)
    assert rig.true_w < 0.75 * 18
    refused = await rig.order(replace(low, is_awake=False), 5.0)
    assert refused.stage is Stage.REFUSED
    assert "cannot pause and resume with its firmware v2.9.0" in refused.detail
    assert rig.network.farm.plant.machines[0].is_awake
