"""Poller and actuator with the driver of Canaan's Avalons, over real sockets: the watts follow."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.failsafe import Bounds, Machine, Sleeper
from agent.poller import Poller
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.miners import avalon
from drivers.miners.registry import open_miner
from drivers.readings import Activity
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
WHY = Because(limit="purchase", source="t1", words="for a test")
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}
Q = Setpoint(is_awake=True, profile="standard", boards_on=frozenset({0}))
QUICK = {"profile_up_s": 0.4, "profile_down_s": 0.4, "restart_gap_s": 0.0}
QUICK |= {"sleep_s": 0.4, "wake_s": 1.0}


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

    async def seen(self, activity: Activity) -> None:
        async with asyncio.timeout(10.0):
            while True:
                if self.post.reading is not None and self.post.reading.activity is activity:
                    return
                await asyncio.sleep(0.05)

    async def order(
        self, setpoint: Setpoint, expected_w: float, *, wake_s: float = 5.0
    ) -> Actuation:
        card = replace(CARDS["avalon"], sleep_s=4.0, wake_s=wake_s, profile_down_s=4.0)
        command = Command(
            miner_id="a",
            setpoint=setpoint,
            expected_w=expected_w,
            is_urgent=True,
            because=WHY,
            card=card,
        )
        self.actuator.submit([command])
        async with asyncio.timeout(15.0):
            while (actuation := await self.told.get()).stage not in ENDS:
                pass
            return actuation


@pytest_asyncio.fixture
async def rig(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    monkeypatch.setattr(avalon, "LEAD_S", 0)
    farm = {
        "addresses": {"base": NET, "has_web": False},
        "avalon": request.param,
        "machines": [{"family": "avalon", "model": "avalon-q", "count": 1}],
        "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
    }
    network = Network(farm=build_farm(FarmFile.model_validate(farm), started_now()))
    machine = network.farm.plant.machines[0]
    machine.timings = replace(machine.timings, **QUICK)
    await network.open()
    label = network.farm.labels[0]
    device = open_miner(f"avalon://{label.address}", miner_id="a", mac=label.mac)
    post = MinerPost(miner_id="a", address="", family="avalon", device=device)
    told: asyncio.Queue[Actuation] = asyncio.Queue()
    clock = SiteClock()
    actuator = Actuator(clock=clock, posts={"a": post}, tell=told.put_nowait)
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


@pytest.mark.parametrize("rig", [{}, {"is_softon_silent": True}], indirect=True)
async def test_a_machine_changes_its_mode_sleeps_and_wakes_and_the_plant_follows(rig: Rig) -> None:
    await rig.seen(Activity.HASHING)
    view = rig.post.view()
    watts = {profile.name: profile.power_w for profile in view.profiles}
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    eco = await rig.order(replace(Q, profile="eco"), watts["eco"])
    assert eco.stage is Stage.CONFIRMED
    assert rig.true_w == pytest.approx(watts["eco"], rel=0.05)
    asleep = await rig.order(replace(Q, is_awake=False), CARDS["avalon"].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert rig.true_w < 100.0
    await rig.seen(Activity.SLEEPING)
    # Also where the machine closes without a word: what it did is read back.
    woken = await rig.order(replace(Q, profile="eco"), watts["eco"])
    assert woken.stage is Stage.CONFIRMED


@pytest.mark.parametrize("rig", [{"wakes_by_reboot_only": True}], indirect=True)
async def test_a_machine_that_only_a_reboot_would_wake_is_ineffective(rig: Rig) -> None:
    await rig.seen(Activity.HASHING)
    await rig.order(replace(Q, is_awake=False), CARDS["avalon"].standby_w)
    await rig.seen(Activity.SLEEPING)
    last = await rig.order(Q, 1300.0, wake_s=1.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


@pytest.mark.parametrize("rig", [{}], indirect=True)
@pytest.mark.parametrize("lead_s", [0, 2])
async def test_the_failsafe_puts_it_to_sleep_without_a_password(
    rig: Rig, lead_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avalon, "LEAD_S", lead_s)
    label = rig.network.farm.labels[0]
    machine = Machine(name="a", uri=f"avalon://{label.address}", mac=label.mac)
    async with Sleeper([machine], Bounds()) as sleeper:
        await sleeper.run()
    assert sleeper.awake == {}
    assert not rig.network.farm.plant.machines[0].is_awake
