"""Poller and actuator with the driver of Braiins OS, over real sockets: the watts follow."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.card import Steps
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.failsafe import Bounds, Machine, Sleeper
from agent.poller import Poller
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.device import ReadsMiner
from drivers.miners.registry import open_miner
from drivers.readings import Activity, MinerReading
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080
FARM = {
    "addresses": {"base": NET, "web_port": PORT},
    "spread": {"reporting": 0.0, "tolerance": 0.0},
    "machines": [{"family": "braiins", "model": "s19-xp", "count": 1}],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
FAMILY = "braiins"
ALL = frozenset({1, 2, 3})
WHOLE = Setpoint(is_awake=True, profile="3010W", boards_on=ALL)
WHY = Because(limit="purchase", source="t1", words="for a test")
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}
CARD = replace(
    CARDS[FAMILY],
    **dict.fromkeys(("board_off_s", "board_on_s", "sleep_s", "wake_s"), 5.0),
    **dict.fromkeys(("profile_down_s", "profile_up_s"), 4.0),
)


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

    async def seen(self, is_so: Callable[[MinerReading], bool]) -> None:
        """Wait until the poller has seen this."""
        async with asyncio.timeout(10.0):
            while True:
                reading = self.post.view().reading
                if reading is not None and is_so(reading):
                    return
                await asyncio.sleep(0.05)

    async def order(self, setpoint: Setpoint, expected_w: float) -> Actuation:
        """Submit and wait for the end of it."""
        command = Command(
            miner_id="b",
            setpoint=setpoint,
            expected_w=expected_w,
            is_urgent=True,
            because=WHY,
            card=CARD,
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
        f"{FAMILY}://{label.address}:{PORT}",
        miner_id="b",
        mac=label.mac,
        password_file=password_file,
    )


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    machine = network.farm.plant.machines[0]
    machine.timings = replace(
        machine.timings, profile_down_s=0.4, sleep_s=0.3, wake_s=0.8, board_on_s=0.5
    )
    await network.open()
    secret = tmp_path / "secret"
    secret.write_text("farm-pass\n")
    device = device_at(network, secret)
    post = MinerPost(miner_id="b", address="", family=FAMILY, device=device)
    told: asyncio.Queue[Actuation] = asyncio.Queue()
    clock = SiteClock()
    actuator = Actuator(clock=clock, posts={"b": post}, tell=told.put_nowait)
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


async def test_abilities_agree_with_the_card(rig: Rig, tmp_path: Path) -> None:
    view = rig.post.view()
    assert (view.can_switch_boards, view.can_select_profile, view.can_sleep) == (True, True, True)
    assert CARDS[FAMILY].steps == {Steps.BOARDS, Steps.WATTS, Steps.SLEEP}
    reader = device_at(rig.network, None)
    view = MinerPost(miner_id="r", address="", family=FAMILY, device=reader).view()
    assert not any((view.can_sleep, view.can_select_profile, view.can_switch_boards))


async def test_boards_target_pause_and_resume_are_confirmed_by_the_watts(rig: Rig) -> None:
    await rig.seen(lambda reading: reading.profile == "3010W" and bool(rig.post.view().profiles))
    watts = {profile.name: profile.power_w for profile in rig.post.view().profiles}
    two_boards = replace(WHOLE, boards_on=frozenset({1, 3}))
    assert (await rig.order(two_boards, 2033.0)).stage is Stage.CONFIRMED
    assert abs(rig.true_w - 2033.0) < 20.0
    lower = replace(WHOLE, profile="2260W")
    assert (await rig.order(lower, watts["2260W"])).stage is Stage.CONFIRMED
    await asyncio.sleep(0.6)  # near enough is confirmed; the board that came back has the rest
    assert abs(rig.true_w - 2260.0) < 20.0
    asleep = await rig.order(replace(lower, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert rig.true_w < 100.0
    await rig.seen(lambda reading: reading.activity is Activity.SLEEPING)
    assert (await rig.order(lower, watts["2260W"])).stage is Stage.CONFIRMED
    await rig.seen(lambda reading: reading.activity is Activity.HASHING)


async def test_a_machine_that_says_yes_and_does_nothing_is_ineffective(rig: Rig) -> None:
    await rig.seen(lambda reading: reading.profile == "3010W")
    rig.network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    last = await rig.order(replace(WHOLE, profile="2260W"), 2260.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_the_failsafe_pauses_it_with_its_password_and_names_it_without(
    rig: Rig, tmp_path: Path
) -> None:
    label = rig.network.farm.labels[0]
    machine = Machine(name="b", uri=f"{FAMILY}://{label.address}:{PORT}", mac=label.mac)
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([machine], bounds) as helpless:
        await helpless.run()
    assert "password_file" in helpless.awake[machine]
    assert rig.network.farm.plant.machines[0].is_awake
    async with Sleeper([replace(machine, password_file=tmp_path / "secret")], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not rig.network.farm.plant.machines[0].is_awake
