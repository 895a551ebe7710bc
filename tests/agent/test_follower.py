"""Machines that a new lease has moved, over real sockets: found by MAC, read at the new address."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from agent.follower import Follower, Pace
from agent.poller import Poller
from agent.posts import MinerPost
from agent.settings_devices import MinerSettings
from agent.siteclock import SiteClock
from drivers.miners.registry import open_miner
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

# Two networks of the same machines: one that is gone in the first and stands in the second, or
# the other way round, has moved.
HERE = f"127.{64 + os.getpid() % 64}"
THERE = f"127.{128 + os.getpid() % 64}"
QUICK = Pace(lost_s=0.2, check_s=0.05, step_s=0.01, rest_s=0.5)
COUNT = 3


def farm(base: str) -> Network:
    document = {
        "addresses": {"base": f"{base}.0.0", "has_web": False},
        "machines": [
            {"model": "s21", "count": 2},
            {"family": "whatsminer-v3", "model": "m60s", "count": 1},
        ],
        "meters": [{"id": "site", "port": 0, "serial": 12345678}],
    }
    return Network(farm=build_farm(FarmFile.model_validate(document), started_now()))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "agent.follower"]


@dataclass
class Rig:
    here: Network
    there: Network
    posts: list[MinerPost]
    follower: Follower
    loops: list[asyncio.Future[None]] = field(default_factory=list)

    async def move(self, index: int, *, back: bool = False) -> None:
        """A machine leaves one network and appears in the other."""
        for network, is_gone in ((self.here, not back), (self.there, back)):
            network.farm.switch_fault(FaultKind.MINER_GONE, [index], is_active=is_gone, value=None)
            await network.apply_faults()

    async def seen(self, index: int, base: str) -> None:
        """Wait until the machine is identified and read at its place in a network."""
        address = f"{base}.0.{index + 1}"
        post = self.posts[index]
        await until(
            lambda: post.address.endswith(address) and post.identity is not None and not post.fault
        )
        assert post.identity is not None
        assert post.identity.mac == self.here.farm.labels[index].mac

    def commands(self) -> int:
        return sum(one.farm.plant.totals().commands for one in (self.here, self.there))


Start = Callable[..., Awaitable[Rig]]


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Start]:
    """All machines stand in the first network, and the poller reads them."""
    async with AsyncExitStack() as stack:

        async def start(*, pace: Pace = QUICK, uris: dict[int, str] | None = None) -> Rig:
            here, there = farm(HERE), farm(THERE)
            for network in (here, there):
                await network.open()
                stack.push_async_callback(network.close)
            gone = list(range(COUNT))
            there.farm.switch_fault(FaultKind.MINER_GONE, gone, is_active=True, value=None)
            await there.apply_faults()
            miners = [
                MinerSettings(
                    id=f"m{label.index}",
                    uri=(uris or {}).get(label.index, f"{label.family}://{label.address}"),
                    mac=label.mac,
                )
                for label in here.farm.labels
            ]
            posts = [
                MinerPost(
                    miner_id=one.id,
                    address=one.uri,
                    family=one.uri.partition("://")[0],
                    device=open_miner(one.uri, miner_id=one.id, mac=one.mac),
                )
                for one in miners
            ]
            clock = SiteClock()
            poller = Poller(clock=clock, meters=(), miners=posts, miner_period_s=0.05)
            follower = Follower(
                clock=clock,
                posts=posts,
                miners={one.id: one for one in miners},
                hosts=[f"{base}.0.{last}" for base in (THERE, HERE) for last in range(1, 9)],
                moved={},
                pace=pace,
            )
            made = Rig(here=here, there=there, posts=posts, follower=follower)
            made.loops = [
                asyncio.ensure_future(poller.poll_miner(post, first_after_s=0.0)) for post in posts
            ]
            made.loops.append(asyncio.ensure_future(follower.run()))
            stack.push_async_callback(_close, posts)
            stack.push_async_callback(_stop, made.loops)
            return made

        yield start


async def _close(posts: list[MinerPost]) -> None:
    for post in posts:
        await post.device.close()


async def _stop(loops: list[asyncio.Future[None]]) -> None:
    for loop in loops:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


async def test_a_machine_that_left_is_found_and_read_where_it_is_now(
    rig: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.follower")
    site = await rig()
    for index in range(COUNT):
        await site.seen(index, HERE)
    await site.move(0)
    await site.move(2)
    await site.seen(0, THERE)
    await site.seen(2, THERE)
    assert site.follower.moved == {
        "m0": f"luxos://{THERE}.0.1",
        "m2": f"whatsminer-v3://{THERE}.0.3",
    }
    await asyncio.sleep(0.3)
    remedy = "remedy='kwota discover --write'"
    v3 = f"whatsminer-v3://{HERE}.0.3 to=whatsminer-v3://{THERE}.0.3"
    assert sorted(line for line in said(caplog) if "event=moved" in line) == [
        f"miner=m0 event=moved from=luxos://{HERE}.0.1 to=luxos://{THERE}.0.1 {remedy}",
        f"miner=m2 event=moved from={v3} {remedy}",
    ]
    assert site.posts[1].address == f"luxos://{HERE}.0.2"
    assert site.commands() == 0


async def test_one_that_comes_back_is_no_longer_shown_as_moved(rig: Start) -> None:
    site = await rig()
    await site.seen(0, HERE)
    await site.move(0)
    await site.seen(0, THERE)
    await site.move(0, back=True)
    await site.seen(0, HERE)
    assert site.follower.moved == {}


async def test_two_that_have_changed_places_are_followed_both(rig: Start) -> None:
    site = await rig(uris={0: f"luxos://{HERE}.0.2", 1: f"luxos://{HERE}.0.1"})
    await until(lambda: len(site.follower.moved) == 2)
    await until(lambda: all(post.identity is not None for post in site.posts))
    assert site.follower.moved == {"m0": f"luxos://{HERE}.0.1", "m1": f"luxos://{HERE}.0.2"}


async def test_as_long_as_everybody_answers_nobody_is_asked(
    rig: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.follower")
    site = await rig()
    for index in range(COUNT):
        await site.seen(index, HERE)
    await asyncio.sleep(0.5)
    assert said(caplog) == []


async def test_a_short_absence_is_no_reason_to_look(
    rig: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.follower")
    site = await rig(pace=Pace(lost_s=30.0, check_s=0.02, step_s=0.01))
    await site.seen(0, HERE)
    await site.move(0)
    await until(lambda: site.posts[0].identity is None)
    await asyncio.sleep(0.3)
    assert said(caplog) == []
    assert site.posts[0].address == f"luxos://{HERE}.0.1"


async def test_who_is_nowhere_is_looked_for_again_only_after_a_rest(
    rig: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.follower")
    site = await rig(pace=Pace(lost_s=0.1, check_s=0.02, step_s=0.005, rest_s=60.0))
    await site.seen(0, HERE)
    site.here.farm.switch_fault(FaultKind.MINER_GONE, [0], is_active=True, value=None)
    await site.here.apply_faults()
    await until(lambda: len(said(caplog)) == 1)
    await asyncio.sleep(1.0)
    assert said(caplog) == ["event=looking_for_miners count=1 addresses=16"]
    # One more that is lost is looked for at once.
    site.here.farm.switch_fault(FaultKind.MINER_GONE, [1], is_active=True, value=None)
    await site.here.apply_faults()
    await until(lambda: len(said(caplog)) == 2)


async def test_where_a_known_machine_answers_nobody_is_asked(rig: Start) -> None:
    """A machine may serve one caller only: the one that polls it."""
    calls = {"known": 0, "free": 0}

    def counting(name: str) -> Callable[..., Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls[name] += 1
            writer.close()

        return serve

    known, free = f"{HERE}.1.1", f"{HERE}.1.2"
    servers = [
        await asyncio.start_server(counting(name), host, 4028)
        for name, host in (("known", known), ("free", free))
    ]
    site = await rig()
    await site.seen(1, HERE)
    site.follower.hosts = [known, free]
    site.loops[1].cancel()  # its poller is not what is counted here
    site.posts[1].address = f"luxos://{known}"
    await site.move(0)
    await until(lambda: calls["free"] > 0)
    assert calls["known"] == 0
    for server in servers:
        server.close()


async def test_a_password_file_that_is_gone_stops_nothing(
    rig: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = await rig()
    await site.seen(2, HERE)
    miner = site.follower.miners["m2"]
    lost = MinerSettings(
        id=miner.id, uri=miner.uri, mac=miner.mac, password_file=tmp_path / "secret"
    )
    site.follower.miners = {**site.follower.miners, "m2": lost}
    await site.move(2)
    await asyncio.sleep(1.0)
    assert site.posts[2].address == miner.uri
    assert not site.loops[-1].done()
