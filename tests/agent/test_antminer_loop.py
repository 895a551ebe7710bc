"""Poller and actuator with the driver of stock Antminers, which say no watts: the plant follows.

What such a machine draws is what its configuration means; the core counts the most it may draw.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.core.fleet import Memory, Taught, assess
from agent.failsafe import Bounds, Machine, Sleeper
from agent.poller import Poller
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.device import ReadsMiner
from drivers.miners.registry import open_miner
from drivers.readings import Activity, PowerProvenance
from simulator.antminer import AntminerFarm
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
FAMILY = "antminer"
FARM = {
    "addresses": {"base": NET, "web_port": 8080},
    "antminer": {"password": "farm-pass", "form_s": 0.3},
    "spread": {"reporting": 0.0, "tolerance": 0.0},
    "machines": [{"family": FAMILY, "model": "s19j-pro", "count": 1}],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
WHOLE = Setpoint(is_awake=True, profile="normal", boards_on=frozenset({0, 1, 2}))
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

    @property
    def writes(self) -> int:
        dialect = self.network.dialects[FAMILY]
        assert isinstance(dialect, AntminerFarm)
        return dialect.traits(0).writes

    async def seen(self, activity: Activity) -> None:
        """Wait until the poller has seen this."""
        async with asyncio.timeout(10.0):
            while True:
                reading = self.post.view().reading
                if reading is not None and reading.activity is activity:
                    return
                await asyncio.sleep(0.05)

    async def order(self, setpoint: Setpoint, expected_w: float) -> Actuation:
        """Submit and wait for the end of it."""
        card = replace(CARDS[FAMILY], sleep_s=1.5, wake_s=3.0, profile_down_s=3.0, profile_up_s=3.0)
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


def device_at(network: Network, password_file: Path | None) -> ReadsMiner:
    label = network.farm.labels[0]
    uri = f"{FAMILY}://{label.address}?web=8080"
    return open_miner(uri, miner_id="a", mac=label.mac, password_file=password_file)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    machine = network.farm.plant.machines[0]
    quick: dict[str, Any] = {"profile_down_s": 0.3, "profile_up_s": 0.3, "restart_gap_s": 0.1}
    machine.timings = replace(machine.timings, **quick, sleep_s=0.3, wake_s=0.6)
    await network.open()
    secret = tmp_path / "secret"
    secret.write_text("farm-pass\n")
    device = device_at(network, secret)
    post = MinerPost(miner_id="a", address="", family=FAMILY, device=device)
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


async def test_a_machine_without_watts_is_throttled_stopped_and_held_down_for_its_flash(
    rig: Rig,
) -> None:
    await rig.seen(Activity.HASHING)
    view = rig.post.view()
    watts = {profile.name: profile.power_w for profile in view.profiles}
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    throttled = await rig.order(replace(WHOLE, profile="low"), watts["low"])
    assert (throttled.stage, throttled.power_w) == (Stage.CONFIRMED, None)
    await asyncio.sleep(0.5)
    assert rig.true_w < watts["low"]  # no less is saved than was counted on
    asleep = await rig.order(replace(WHOLE, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    await asyncio.sleep(0.4)
    assert rig.true_w < CARDS[FAMILY].standby_w
    woken = await rig.order(WHOLE, watts["normal"])
    assert woken.stage is Stage.REFUSED
    assert "keeps modes in flash" in woken.detail
    assert rig.writes == 2


async def test_a_wake_into_the_low_power_mode_is_one_write(rig: Rig, tmp_path: Path) -> None:
    await rig.seen(Activity.HASHING)
    other = device_at(rig.network, tmp_path / "secret")
    await other.sleep()  # type: ignore[attr-defined] # with a password it can
    await other.close()
    await rig.seen(Activity.SLEEPING)
    woken = await rig.order(replace(WHOLE, profile="low"), 2600.0)
    assert woken.stage is Stage.CONFIRMED
    assert rig.writes == 2
    assert rig.network.farm.plant.machines[0].point.name == "low"


async def test_a_machine_that_says_ok_and_does_nothing_is_ineffective(rig: Rig) -> None:
    await rig.seen(Activity.HASHING)
    rig.network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    last = await rig.order(replace(WHOLE, is_awake=False), 60.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_the_core_counts_what_a_machine_without_watts_may_draw(rig: Rig) -> None:
    await rig.seen(Activity.HASHING)
    taught = Taught(card=CARDS[FAMILY])
    view = rig.post.view()
    assert view.reading is not None
    assert view.reading.power_provenance is PowerProvenance.ABSENT
    awake = assess(view, Memory(), taught, view.reading.replied_at_s)
    assert awake.is_controllable
    assert awake.upper_w == pytest.approx(3068.0)
    await rig.order(replace(WHOLE, is_awake=False), 60.0)
    await rig.seen(Activity.SLEEPING)
    view = rig.post.view()
    assert view.reading is not None
    # It says that it sleeps, and for the card's time nobody knows whether its watts have followed.
    memory = Memory(high_w=awake.upper_w)
    assert assess(view, memory, taught, view.reading.replied_at_s).upper_w >= 3068.0
    assert assess(view, Memory(), taught, view.reading.replied_at_s).upper_w <= 100.0


async def test_the_failsafe_puts_it_to_sleep_with_its_password_and_names_it_without(
    rig: Rig, tmp_path: Path
) -> None:
    label = rig.network.farm.labels[0]
    machine = Machine(name="a", uri=f"{FAMILY}://{label.address}?web=8080", mac=label.mac)
    bounds = Bounds(tries=2, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([machine], replace(bounds, tries=1)) as helpless:
        await helpless.run()
    assert list(helpless.awake) == [machine]
    assert rig.network.farm.plant.machines[0].is_awake
    async with Sleeper([replace(machine, password_file=tmp_path / "secret")], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not rig.network.farm.plant.machines[0].is_awake
    assert rig.writes == 1
