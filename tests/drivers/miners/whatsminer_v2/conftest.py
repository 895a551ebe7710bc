"""A hall with one simulated M50 of API v2 and one M60S of API v3, on addresses of its own."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.link.frames import FramedLink
from drivers.link.sealed import SealedLink
from drivers.link.tcp import TcpExchange
from drivers.miners.whatsminer_v2 import Links, WhatsminerV2Miner, WhatsminerV2Reader
from simulator.clock import started_now
from simulator.farm import Farm, build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network
from simulator.whatsminer_v2 import WhatsminerV2Farm
from simulator.whatsminer_v2_reads import Traits
from simulator.whatsminer_v2_writes import WRITES

Open = Callable[..., Awaitable[Any]]
Listen = Callable[[Any], Awaitable[int]]
Reply = Callable[[str], bytes | None]

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PASSWORD = "farmpass"  # the simulator's own
QUICK: dict[str, Any] = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}


@dataclass(slots=True, kw_only=True)
class Hall:
    """The hall, and drivers of its machines."""

    network: Network

    @property
    def farm(self) -> Farm:
        return self.network.farm

    @property
    def whatsminers(self) -> WhatsminerV2Farm:
        dialect = self.network.dialects["whatsminer-v2"]
        assert isinstance(dialect, WhatsminerV2Farm)
        return dialect

    @property
    def traits(self) -> Traits:
        return self.whatsminers.traits(0)

    @property
    def true_w(self) -> float:
        return self.farm.plant.machines[0].watts.value(self.farm.clock.now_s())

    def links(
        self, *, index: int = 0, port: int = 0, newer_index: int = -1, answer_s: float = 2.0
    ) -> Links:
        """The ways to a machine, or to a port of 127.0.0.1 that stands between."""
        host = self.farm.labels[index].address
        newer = host if newer_index < 0 else self.farm.labels[newer_index].address
        return Links(
            reads=TcpExchange(
                host="127.0.0.1" if port else host, port=port or 4028, answer_s=answer_s
            ),
            newer=FramedLink(host=newer, port=4433, connect_s=0.5, answer_s=0.5),
        )

    def reader(self, *, index: int = 0, mac: str = "", **ways: Any) -> WhatsminerV2Reader:
        return WhatsminerV2Reader(
            miner_id="w",
            links=self.links(index=index, **ways),
            mac=mac or self.farm.labels[index].mac,
        )

    def miner(
        self, *, index: int = 0, mac: str = "", password: str = PASSWORD, **ways: Any
    ) -> WhatsminerV2Miner:
        links = self.links(index=index, **ways)
        writes = self.links(index=index, **ways).reads
        return WhatsminerV2Miner(
            miner_id="w",
            links=links,
            sealed=SealedLink(exchange=writes, password=password),
            mac=mac or self.farm.labels[index].mac,
        )


class Between:
    """Hands questions on to the simulated machine, unless ``replies`` knows better; None is what
    it does not know, and b"" is a close without a word."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.asked: list[str] = []
        self.replies: Reply = lambda command: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(1 << 16)  # a small question comes in one piece
        document = json.loads(question)
        self.asked.append(document.get("command", document.get("cmd", "write")))
        reply = self.replies(self.asked[-1])
        writer.write(self.site.whatsminers.reply(0, question) or b"" if reply is None else reply)
        await writer.drain()

    def act(self, write: str, **fields: str) -> None:
        """Somebody else's write."""
        WRITES[write](self.site.whatsminers.moment(0), fields)

    def taken(self) -> list[str]:
        """What was asked since this was asked last."""
        taken, self.asked = self.asked, []
        return taken


class Clock:
    """The clock that drivers and simulated machines share, for whoever cannot wait."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._clock_gettime = time.clock_gettime

    def read(self, which: int) -> float:
        """Seconds of the system's clock, and those that were skipped."""
        return self._clock_gettime(which) + self.ahead_s

    def skip(self, span_s: float) -> None:
        """Go on as if this time had passed."""
        self.ahead_s += span_s


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Callable[..., Awaitable[Hall]]]:
    """Opens a hall; the arguments are the [whatsminer_v2] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Hall:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "whatsminer_v2": table,
                "spread": {"reporting": 0.02, "tolerance": 0.0},
                "machines": [
                    {"family": "whatsminer-v2", "model": "m50", "count": 1},
                    {"family": "whatsminer-v3", "model": "m60s", "count": 1},
                ],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            machine.timings = replace(machine.timings, **QUICK)
            await network.open()
            stack.push_async_callback(network.close)
            return Hall(network=network)

        yield start


@pytest.fixture
def between(hall: Open, listen: Listen) -> Callable[..., Awaitable[tuple[Between, Any]]]:
    """A machine, what stands before it, and a driver; the arguments are the [whatsminer_v2]."""

    async def make(**table: Any) -> tuple[Between, Any]:
        site = await hall(**table)
        between = Between(site)
        return between, site.miner(port=await listen(between.serve))

    return make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "clock_gettime", clock.read)
    return clock
