"""A hall of one simulated machine with Braiins OS, and drivers for it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest_asyncio

from drivers.link.http import HttpLink
from drivers.miners.braiins import BraiinsMiner, BraiinsReader
from simulator.braiins import BraiinsFarm
from simulator.braiins_grpc import BraiinsGrpcFarm
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.machine import Machine
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080
PASSWORD = "farm-pass"  # the simulator's own

Open = Callable[..., Awaitable["Hall"]]


class Hall:
    """One machine with its sockets, and drivers for it that end with the test."""

    def __init__(self, network: Network, stack: AsyncExitStack) -> None:
        self.network = network
        self._stack = stack

    @property
    def machine(self) -> Machine:
        return self.network.farm.plant.machines[0]

    @property
    def dialect(self) -> BraiinsFarm:
        dialect = self.network.dialects["braiins"]
        assert isinstance(dialect, BraiinsGrpcFarm)
        return dialect.machines

    @property
    def true_w(self) -> float:
        return self.machine.watts.value(self.network.farm.clock.now_s())

    def link(self, answer_s: float = 2.0) -> HttpLink:
        host = self.network.farm.labels[0].address
        link = HttpLink(host=host, port=PORT, connect_s=0.5, answer_s=answer_s)
        self._stack.push_async_callback(link.close)
        return link

    def miner(self, *, password: str = PASSWORD, mac: str | None = "") -> BraiinsMiner:
        pinned = self.network.farm.labels[0].mac if mac == "" else mac
        return BraiinsMiner(miner_id="b", link=self.link(), mac=pinned, password=password)

    def reader(self, *, answer_s: float = 2.0) -> BraiinsReader:
        return BraiinsReader(miner_id="b", link=self.link(answer_s), mac=None)

    async def fault(self, kind: FaultKind) -> None:
        self.network.farm.switch_fault(kind, [0], is_active=True, value=None)
        await self.network.apply_faults()


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one quick S19 XP; the arguments are the [braiins] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Hall:
            document = {
                "addresses": {"base": NET, "web_port": PORT},
                "braiins": table,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "braiins", "model": "s19-xp", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            quick = {"profile_up_s": 1.0, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 1.0}
            boards = {"board_on_s": 0.3, "board_off_s": 0.1}
            machine.timings = replace(machine.timings, **quick, **boards)
            await network.open()
            stack.push_async_callback(network.close)
            return Hall(network, stack)

        yield start
