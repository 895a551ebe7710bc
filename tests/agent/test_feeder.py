"""Relays of the daemon against a simulated board with contactors and a meter, on real sockets."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from agent.core.decisions import Because, RelayOrder
from agent.core.snapshot import RelayView
from agent.feeder import Feeder
from agent.feedproof import Proof
from agent.poller import Poller
from agent.posts import MeterPost, MinerPost
from agent.records import NewRecord
from agent.relaypost import RelayPost
from agent.siteclock import SiteClock
from drivers.meters.registry import open_meter
from drivers.miners.registry import open_miner
from drivers.relays.registry import open_relay
from drivers.relays.relay import Guard
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network
from simulator.relay_board import RelayBoard

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
FARM = {
    "addresses": {"base": NET, "has_web": False},
    "machines": [{"model": "s21", "count": 3}],
    "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
    "relays": [{"id": "board", "contactors": [{"channel": 2, "machines": [0, 1]}]}],
}
WHY = Because(limit="purchase", source="t1", words="for a test")


def order(*, is_open: bool, is_repeated: bool = False) -> list[RelayOrder]:
    return [RelayOrder(relay_id="row", is_open=is_open, because=WHY, is_repeated=is_repeated)]


@dataclass
class Rig:
    """A farm of three machines, two of them behind channel 2, and the daemon's loops on it."""

    network: Network
    poller: Poller
    feeder: Feeder
    post: RelayPost
    records: list[NewRecord] = field(default_factory=list)
    is_healthy: bool = True

    @property
    def board(self) -> RelayBoard:
        return self.network.farm.relays[0]

    @property
    def events(self) -> list[str]:
        return [record.data["event"] for record in self.records]

    def fault(self, kind: FaultKind, *, is_active: bool = True) -> None:
        self.network.farm.switch_fault(kind, [0], is_active=is_active, value=None)

    def powered(self) -> list[bool]:
        return [machine.is_powered for machine in self.network.farm.plant.machines]

    def codes(self) -> list[str]:
        return [condition.code for condition in self.feeder.conditions()]

    def view(self) -> RelayView:
        (view,) = self.poller.snapshot().relays
        return view

    async def until(self, is_so: Callable[[], bool], within_s: float = 12.0) -> None:
        """As the tick does: an image twenty times a second, until something is so."""
        async with asyncio.timeout(within_s):
            while True:
                self.network.farm.step(self.network.farm.clock.now_s())
                self.view()
                if is_so():
                    return
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def rig_of() -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    """Build a rig; ``board`` changes the board, ``guard`` is the driver's."""
    networks: list[Network] = []
    closing: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def build(guard: Guard | None = None, **board: Any) -> Rig:
        table = {**FARM["relays"][0], **board}  # type: ignore[dict-item]
        file = FarmFile.model_validate({**FARM, "relays": [table]})
        network = Network(farm=build_farm(file, started_now()))
        networks.append(network)
        await network.open()
        clock = SiteClock()
        miners = [_miner(network, index) for index in range(3)]
        meter, post = _meter(network), _relay(network, guard)
        records: list[NewRecord] = []
        feeder = Feeder(clock=clock, posts=[post], tell=records.append)
        poller = Poller(
            clock=clock, meters=[meter], miners=miners, miner_period_s=0.3, relays=feeder.views
        )
        rig = Rig(network=network, poller=poller, feeder=feeder, post=post, records=records)
        feeder.feed_on(lambda: rig.is_healthy)
        closing.extend([post.device, meter.device, *(one.device for one in miners)])
        runs = [poller.poll_meter(meter), feeder.drive(post)]
        runs += [poller.poll_miner(one, first_after_s=0.0) for one in miners]
        tasks.extend(asyncio.get_running_loop().create_task(run) for run in runs)
        fed = [
            one for one in miners if network.farm.plant.machines[int(one.miner_id[1:])].is_powered
        ]
        await rig.until(lambda: all(one.reading is not None for one in fed))
        await rig.until(lambda: meter.reading is not None and post.is_known)
        return rig

    yield build
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    for device in closing:
        await device.close()
    for network in networks:
        await network.close()


def _miner(network: Network, index: int) -> MinerPost:
    uri, label = network.machine_uri(index), network.farm.labels[index]
    device = open_miner(uri, miner_id=f"m{index}", mac=label.mac, password_file=None)
    return MinerPost(miner_id=f"m{index}", address=uri, family="luxos", device=device)


def _meter(network: Network) -> MeterPost:
    host, port = network.meter_address(0)
    uri = f"modbus://{host}:{port}/1?profile=sdm630"
    device = open_meter(uri, meter_id="site", serial=None, rated_power_w=50_000.0)
    traits: Any = None  # nobody here keeps books
    return MeterPost(
        meter_id="site",
        address=uri,
        profile="sdm630",
        poll_s=0.1,
        device=device,
        traits=traits,
        step_wh=lambda _: 10,
    )


def _relay(network: Network, guard: Guard | None) -> RelayPost:
    host, port = network.relay_address(0)
    uri = f"modbus://{host}:{port}/1?profile=wb-mr6"
    return RelayPost(
        relay_id="row",
        address=uri,
        meter_point="mp",
        meter_id="site",
        miner_ids=frozenset({"m0", "m1"}),
        beside_ids=frozenset({"m2"}),
        device=open_relay(uri, relay_id="row", channel=2, guard=guard),
        poll_s=0.2,
    )


RigOf = Callable[..., Awaitable[Rig]]


async def test_an_opened_relay_is_open_when_the_meter_shows_it_and_not_before(
    rig_of: RigOf,
) -> None:
    rig = await rig_of()
    assert rig.view().is_open is False
    rig.feeder.submit(order(is_open=True))
    await rig.until(lambda: rig.post.gone is not None)
    assert rig.view().is_open is None  # the coil is off; that is not enough
    await rig.until(lambda: rig.view().is_open is True)
    assert rig.powered() == [False, False, True]
    assert rig.codes() == ["RELAY_OPEN"]
    assert rig.events == ["closed", "tested", "sent", "coil_off", "proven"]
    (sent,) = [record for record in rig.records if record.data["event"] == "sent"]
    assert (sent.kind, sent.source, sent.data["is_open"]) == ("relay", "row", True)


async def test_a_contactor_that_hangs_is_never_taken_for_open(rig_of: RigOf) -> None:
    rig = await rig_of()
    rig.fault(FaultKind.RELAY_WELDED)
    rig.feeder.submit(order(is_open=True))
    await rig.until(lambda: rig.post.proof is Proof.DOUBTED)
    assert rig.board.coils[1] is False
    assert rig.view().is_open is None
    assert rig.codes() == ["RELAY_STUCK"]
    assert all(rig.powered())
    rig.fault(FaultKind.RELAY_WELDED, is_active=False)
    await rig.until(lambda: not any(rig.powered()[:2]))


async def test_an_order_said_again_is_not_written_again(rig_of: RigOf) -> None:
    rig = await rig_of()
    rig.feeder.submit(order(is_open=True))
    await rig.until(lambda: rig.post.gone is not None)
    writes = rig.board.writes
    for _ in range(5):
        rig.feeder.submit(order(is_open=True, is_repeated=True))
        await asyncio.sleep(0.05)
    assert rig.board.writes == writes
    assert rig.events.count("sent") == 1


async def test_a_coil_that_a_hand_closes_again_is_seen_and_opened_by_the_next_order(
    rig_of: RigOf,
) -> None:
    rig = await rig_of()
    rig.feeder.submit(order(is_open=True))
    await rig.until(lambda: rig.view().is_open is True)
    rig.board.reply(1, b"\5\0\1\xff\0")
    await rig.until(lambda: rig.view().is_open is False)
    rig.feeder.submit(order(is_open=True))
    await rig.until(lambda: rig.board.coils[1] is False)


@pytest.mark.parametrize("is_closed", [True, False])
async def test_the_self_test_writes_and_never_moves_a_contactor(
    rig_of: RigOf, is_closed: bool
) -> None:
    rig = await rig_of(is_closed=is_closed)
    await rig.until(lambda: "tested" in rig.events)
    assert rig.board.writes == 1
    assert rig.board.coils[1] is is_closed
    assert rig.powered()[0] is is_closed
    await asyncio.sleep(0.5)
    assert rig.board.writes == 1  # once in its period


async def test_a_board_that_is_lost_is_told_and_nothing_is_known_of_it(rig_of: RigOf) -> None:
    rig = await rig_of()
    rig.fault(FaultKind.RELAY_SILENT)
    await rig.until(lambda: rig.codes() == ["RELAY_LOST"])
    assert rig.view().is_open is None
    rig.fault(FaultKind.RELAY_SILENT, is_active=False)
    await rig.until(lambda: rig.codes() == [] and rig.view().is_open is False)


async def test_a_loop_that_does_not_decide_feeds_no_watchdog(rig_of: RigOf) -> None:
    rig = await rig_of(watchdog_s=1)
    await asyncio.sleep(1.5)
    assert rig.board.timeouts == 0
    rig.is_healthy = False
    await rig.until(lambda: not any(rig.powered()[:2]), 3.0)
    assert rig.board.timeouts >= 1
    rig.is_healthy = True
    await rig.until(lambda: rig.post.gone is not None)
    assert not rig.board.coils[1]
    (off,) = [r.data for r in rig.records if r.data["event"] == "coil_off"]
    assert off["words"] == "nobody here told it to"


async def test_a_relay_whose_watchdog_is_not_set_opens_and_is_never_closed(rig_of: RigOf) -> None:
    rig = await rig_of(guard=Guard(after_s=10))
    assert rig.board.watchdog_s == 0
    await rig.until(lambda: rig.codes() == ["RELAY_UNGUARDED"])
    rig.feeder.submit(order(is_open=True))
    await rig.until(lambda: rig.board.coils[1] is False)
    rig.feeder.submit(order(is_open=False))
    await rig.until(lambda: "refused" in rig.events)
    assert rig.board.coils[1] is False
    rig.board.reply(1, b"\6\0\x08\0\x0a")


async def test_a_guarded_relay_is_closed_again_when_it_is_told_to(rig_of: RigOf) -> None:
    rig = await rig_of(guard=Guard(after_s=10, is_written=True), is_closed=False)
    assert rig.board.watchdog_s == 10
    await rig.until(lambda: rig.post.unset == ())
    rig.feeder.submit(order(is_open=False))
    await rig.until(lambda: all(rig.powered()))
    await rig.until(lambda: rig.view().is_open is False)
