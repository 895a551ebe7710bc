"""The loop out against a simulated machine on real sockets: what the core hears of a command."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.cards import LUXOS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.link.tcp import TcpExchange
from drivers.miners.luxos import LuxosMiner
from drivers.readings import PowerProvenance
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
FARM = {
    "addresses": {"base": NET, "has_web": False},
    "timings": {"board_on_s": 0.4, "board_off_s": 0.3, "profile_s": 0.3, "sleep_s": 0.2},
    "machines": [
        {"model": "s21", "count": 1},
        {"model": "s21", "count": 1, "is_atm_enabled": True, "is_asleep": True},
    ],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
}
WHY = Because(limit="purchase", source="t1", words="for a test")
AWAKE = Setpoint(is_awake=True, profile="default", boards_on=frozenset({0, 1, 2}))
DARK = replace(AWAKE, boards_on=frozenset())
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}


@dataclass
class Rig:
    actuator: Actuator
    post: MinerPost
    told: asyncio.Queue[Actuation]
    network: Network

    async def order(self, command: Command) -> Actuation:
        """Submit and wait for the end of it."""
        self.actuator.submit([command])
        async with asyncio.timeout(15.0):
            while True:
                actuation = await self.told.get()
                if actuation.stage in ENDS:
                    return actuation


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    network = Network(farm=build_farm(FarmFile.model_validate(FARM), started_now()))
    await network.open()
    address = network.farm.labels[0].address
    device = LuxosMiner(miner_id="m", link=TcpExchange(host=address, port=4028), mac=None)
    post = MinerPost(miner_id="m", address=address, family="luxos", device=device)
    post.reading = await device.read()
    told: asyncio.Queue[Actuation] = asyncio.Queue()
    actuator = Actuator(clock=SiteClock(), posts={"m": post}, tell=told.put_nowait)
    driving = asyncio.ensure_future(actuator.drive(post))
    yield Rig(actuator=actuator, post=post, told=told, network=network)
    driving.cancel()
    with suppress(asyncio.CancelledError):
        await driving
    await device.close()
    await network.close()


def to_dark(board_off_s: float, expected_w: float = 100.0) -> Command:
    return Command(
        miner_id="m",
        setpoint=DARK,
        expected_w=expected_w,
        is_urgent=True,
        because=WHY,
        card=replace(LUXOS, board_off_s=board_off_s),
    )


async def test_a_confirmation_says_from_where_how_long_and_who_measured_it(rig: Rig) -> None:
    last = await rig.order(to_dark(5.0))
    assert last.stage is Stage.CONFIRMED
    assert (last.origin, rig.post.pending) == (AWAKE, None)
    confirmed, reading = rig.post.confirmed, rig.post.reading
    assert confirmed is not None
    assert reading is not None
    assert (confirmed.origin, confirmed.setpoint) == (AWAKE, DARK)
    took_s = confirmed.confirmed_at_s - confirmed.sent_at_s
    assert 0.3 * 0.9 <= took_s <= last.after_s + 0.1
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    assert not confirmed.is_measured  # the rig's machines have no wattmeter in their supply
    assert rig.post.view().confirmed is confirmed


async def test_the_card_of_the_command_says_how_long_to_wait_for_the_watts(rig: Rig) -> None:
    """Watts that nobody will ever see: given up three looks after the card's time."""
    last = await rig.order(to_dark(2.0, expected_w=9000.0))
    assert last.stage is Stage.INEFFECTIVE
    assert 5.0 <= last.after_s < 7.0
    assert rig.post.confirmed is None
    assert rig.post.pending is not None
    assert rig.post.pending.origin == AWAKE


async def test_machines_that_hang_at_one_meter_point_keep_no_other_waiting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.actuator.CONCURRENT_WRITES", 2)
    hanging = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    link = TcpExchange(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    for name in ("a", "b", "c"):
        device = LuxosMiner(miner_id=name, link=link, mac=None)
        post = MinerPost(
            miner_id=name, address="", family="luxos", device=device, meter_point="other"
        )
        post.reading = rig.post.reading
        rig.actuator.posts[name] = post
    posts = [rig.actuator.posts[name] for name in ("a", "b", "c")]
    driving = [asyncio.ensure_future(rig.actuator.drive(post)) for post in posts]
    rig.actuator.submit([replace(to_dark(5.0), miner_id=post.miner_id) for post in posts])
    await asyncio.sleep(0.1)  # two of them write, the third one waits
    try:
        last = await rig.order(to_dark(5.0))
    finally:
        hanging.set()
        for task in driving:
            task.cancel()
        await asyncio.gather(*driving, return_exceptions=True)
        server.close()
        await server.wait_closed()
    assert (last.miner_id, last.stage) == ("m", Stage.CONFIRMED)
    assert last.after_s < 3.0


async def test_a_machine_that_was_woken_and_then_takes_no_profile_goes_back_to_sleep(
    rig: Rig,
) -> None:
    """Its own tuner refuses profiles; awake it would draw its whole power, more than told."""
    farm = rig.network.farm
    machine, address = farm.plant.machines[1], farm.labels[1].address
    device = LuxosMiner(miner_id="n", link=TcpExchange(host=address, port=4028), mac=None)
    post = MinerPost(miner_id="n", address=address, family="luxos", device=device)
    post.reading = await device.read()
    rig.actuator.posts["n"] = post
    driving = asyncio.ensure_future(rig.actuator.drive(post))
    command = replace(to_dark(5.0), miner_id="n", setpoint=replace(AWAKE, profile="290MHz"))
    try:
        last = await rig.order(command)
    finally:
        driving.cancel()
        with suppress(asyncio.CancelledError):
            await driving
        await device.close()
    assert last.stage is Stage.REFUSED
    assert machine.counters.mining_restarts == 1  # it had been woken
    assert not machine.is_awake
