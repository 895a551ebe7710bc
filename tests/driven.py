"""One simulated machine with the agent's two loops on it, over real sockets: the plant follows."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest_asyncio

from agent.actuator import Actuation, Actuator
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Setpoint, Stage
from agent.failsafe import Machine
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
from simulator.machine import Machine as PlantMachine
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
WEB_PORT = 8080
MINER_ID = "m"
WHY = Because(limit="purchase", source="t1", words="for a test")
ENDS = {Stage.CONFIRMED, Stage.INEFFECTIVE, Stage.REFUSED, Stage.UNKNOWN}

_Found = TypeVar("_Found")

Drive = Callable[["Kind"], Awaitable["Driven"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A machine as a test wants it: how it is reached, and how quick plant and card are."""

    family: str
    model: str
    end: str = ""
    """What follows the address in the URI."""
    password: str | None = None
    """What is in its password file. None: it has no such file."""
    has_web: bool = False
    tables: dict[str, Any] = field(default_factory=dict)
    """Tables of the farm's file beside those that every farm has."""
    plant_s: dict[str, float] = field(default_factory=dict)
    card_s: dict[str, float] = field(default_factory=dict)

    @property
    def farm(self) -> FarmFile:
        return FarmFile.model_validate(
            {
                "addresses": {"base": NET, "has_web": self.has_web, "web_port": WEB_PORT},
                "machines": [{"family": self.family, "model": self.model, "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
                **self.tables,
            }
        )


@dataclass(slots=True)
class Driven:
    """The machine, what the agent sees of it, and what the actuator tells."""

    kind: Kind
    network: Network
    secret: Path | None
    post: MinerPost = field(init=False)
    actuator: Actuator = field(init=False)
    told: asyncio.Queue[Actuation] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.post = self.watched(self.opened())
        self.actuator = Actuator(
            clock=SiteClock(), posts={MINER_ID: self.post}, tell=self.told.put_nowait
        )

    @property
    def plant(self) -> PlantMachine:
        return self.network.farm.plant.machines[0]

    @property
    def true_w(self) -> float:
        self.network.farm.step(self.network.farm.clock.now_s())
        return self.network.farm.plant.machines_w

    @property
    def failsafe(self) -> Machine:
        """The machine as the failsafe is told of it."""
        label = self.network.farm.labels[0]
        uri = f"{self.kind.family}://{label.address}{self.kind.end}"
        return Machine(name=MINER_ID, uri=uri, mac=label.mac, password_file=self.secret)

    def opened(self, *, has_password: bool = True) -> ReadsMiner:
        named = self.failsafe
        secret = named.password_file if has_password else None
        return open_miner(named.uri, miner_id=MINER_ID, mac=named.mac, password_file=secret)

    def watched(self, device: ReadsMiner) -> MinerPost:
        return MinerPost(miner_id=MINER_ID, address="", family=self.kind.family, device=device)

    def ignore_commands(self) -> None:
        """From now on the machine says yes to everything and does nothing."""
        self.network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)

    async def seen(
        self, activity: Activity = Activity.HASHING, profile: str | None = None
    ) -> MinerReading:
        """What the poller has seen as soon as it is this."""
        return await _soon(
            lambda: (
                reading
                if (reading := self.post.view().reading) is not None
                and reading.activity is activity
                and profile in {None, reading.profile}
                else None
            )
        )

    async def profiles_w(self) -> dict[str, float]:
        """Watts by the name of each profile, as soon as the machine was read in full."""
        profiles = await _soon(lambda: self.post.view().profiles)
        return {profile.name: profile.power_w for profile in profiles}

    async def order(self, setpoint: Setpoint, expected_w: float, **card_s: float) -> Actuation:
        """Submit a set point and wait for its end."""
        card = replace(CARDS[self.kind.family], **(self.kind.card_s | card_s))  # type: ignore[arg-type] # all seconds
        command = Command(
            miner_id=MINER_ID,
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


async def _soon(look: Callable[[], _Found | None]) -> _Found:
    """What the look finds as soon as it finds something."""
    async with asyncio.timeout(10.0):
        while True:
            if found := look():
                return found
            await asyncio.sleep(0.05)


async def _stopped(loop: asyncio.Future[None]) -> None:
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop


@pytest_asyncio.fixture
async def drive(tmp_path: Path) -> AsyncIterator[Drive]:
    """Starts a machine with poller and actuator."""
    async with AsyncExitStack() as stack:

        async def start(kind: Kind) -> Driven:
            network = Network(farm=build_farm(kind.farm, started_now()))
            machine = network.farm.plant.machines[0]
            machine.timings = replace(machine.timings, **kind.plant_s)  # type: ignore[arg-type] # seconds all
            await network.open()
            stack.push_async_callback(network.close)
            secret = tmp_path / "secret" if kind.password else None
            if secret is not None:
                secret.write_text(f"{kind.password}\n")
            driven = Driven(kind=kind, network=network, secret=secret)
            stack.push_async_callback(driven.post.device.close)
            poller = Poller(clock=SiteClock(), meters=(), miners=(driven.post,), miner_period_s=0.2)
            loops = (
                driven.actuator.drive(driven.post),
                poller.poll_miner(driven.post, first_after_s=0.0),
            )
            for loop in loops:
                stack.push_async_callback(_stopped, asyncio.ensure_future(loop))
            return driven

        yield start
