"""The schedule of polls in virtual time: hours of a fleet in a moment, and what it promises."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import LoopClock, VirtualLoop

from agent.lanes import Lanes, Sizes
from agent.poller import Poller
from agent.posts import Limits, MinerPost
from agent.rota import BACKOFF_LAST_S, DETAILS_EVERY_S
from agent.siteclock import SiteClock
from drivers.errors import BadReplyError, UnreachableError
from drivers.readings import (
    Activity,
    MinerDetails,
    MinerIdentity,
    MinerReading,
    PowerProvenance,
)

PERIOD_S = 10.0
HOLD_S = 1.0
LIMITS = Limits(fast_s=8.0, full_s=15.0)


@dataclass
class Fleet:
    """How many machines are being asked now, and how many were at most."""

    asked: int = 0
    asked_most: int = 0


@dataclass
class Device:
    """A machine of a test: it takes ``answer_s``, and while ``dead`` it hangs or refuses."""

    fleet: Fleet
    miner_id: str = ""
    answer_s: float = 0.05
    hangs_s: float = 2.0
    dead: tuple[float, float] = (math.inf, math.inf)
    has_details: bool = True
    tried_s: list[float] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)
    details_s: list[float] = field(default_factory=list)

    async def _exchange(self) -> float:
        now_s = asyncio.get_running_loop().time()
        self.tried_s.append(now_s)
        self.fleet.asked += 1
        self.fleet.asked_most = max(self.fleet.asked, self.fleet.asked_most)
        try:
            if self.dead[0] <= now_s < self.dead[1]:
                await asyncio.sleep(self.hangs_s)
                raise UnreachableError("it is away")
            await asyncio.sleep(self.answer_s)
        finally:
            self.fleet.asked -= 1
        return asyncio.get_running_loop().time()

    async def read(self) -> MinerReading:
        now_s = await self._exchange()
        self.read_s.append(now_s)
        return MinerReading(
            miner_id=self.miner_id,
            requested_at_s=now_s,
            replied_at_s=now_s,
            taken_at_ms=0,
            activity=Activity.HASHING,
            hashrate_hs=1e14,
            power_w=3000.0,
            power_provenance=PowerProvenance.METERED_PSU,
            profile=None,
            boards=(),
        )

    async def identify(self) -> MinerIdentity:
        return MinerIdentity(
            family="luxos",
            model="",
            mac="",
            serial="",
            firmware="",
            board_count=3,
            nameplate_hashrate_hs=None,
            signs=(),
        )

    async def read_details(self) -> MinerDetails:
        now_s = await self._exchange()
        if not self.has_details:
            raise BadReplyError("pools without a number")
        self.details_s.append(now_s)
        return MinerDetails(
            identity=await self.identify(),
            pools=(),
            profiles=(),
            board_serials=(),
            fan_speeds_rpm=(),
            uptime_s=None,
        )

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Site:
    devices: list[Device]
    poller: Poller

    @property
    def posts(self) -> list[MinerPost]:
        return list(self.poller.miners)


def site_of(devices: list[Device], sizes: Sizes) -> Site:
    posts = [
        MinerPost(miner_id=f"m{place}", address="", family="luxos", device=one, limits=LIMITS)
        for place, one in enumerate(devices)
    ]
    poller = Poller(
        clock=cast("SiteClock", LoopClock()),
        meters=(),
        miners=posts,
        miner_period_s=PERIOD_S,
        lanes=Lanes(sizes),
    )
    return Site(devices=devices, poller=poller)


def lived(
    site: Site, span_s: float, later: Callable[[Site], Awaitable[None]] | None = None
) -> None:
    """Poll the site for so many virtual seconds."""

    async def live() -> None:
        jobs = [
            asyncio.ensure_future(site.poller.poll_miner(post, place=place))
            for place, post in enumerate(site.posts)
        ]
        if later is not None:
            await later(site)
        await asyncio.sleep(span_s)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live())


def gaps(instants: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(instants)]


def seats_for(count: int) -> int:
    """What docs/polling.md asks for: the polls of one hold, and a few."""
    return math.ceil(count / PERIOD_S * HOLD_S) + 2


@pytest.mark.timeout(180)
@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(10, 150),
    share=st.floats(0.0, 1.0),
    hangs_s=st.floats(0.0, 20.0),
    dies_after_s=st.floats(0.0, 60.0),
    seed=st.integers(0, 2**32),
)
def test_machines_that_are_away_delay_nobody_and_are_found_again(
    count: int, share: float, hangs_s: float, dies_after_s: float, seed: int
) -> None:
    rng, fleet = random.Random(seed), Fleet()
    begin_s, back_s = 1000.0 + dies_after_s, 1000.0 + dies_after_s + 300.0
    devices = [Device(fleet=fleet, answer_s=rng.uniform(0.001, 0.3)) for _ in range(count)]
    dying = rng.sample(devices, round(share * count))
    for one in dying:
        one.dead, one.hangs_s = (begin_s, back_s), hangs_s
    sizes = Sizes(live=seats_for(count), slow=6, hold_s=HOLD_S)
    longest_s = min(hangs_s, LIMITS.full_s) + 1.0
    queue_s = len(dying) * longest_s / sizes.slow
    span_s = dies_after_s + 300.0 + BACKOFF_LAST_S + 2 * PERIOD_S + 2 * queue_s
    lived(site_of(devices, sizes), span_s)
    assert fleet.asked_most <= sizes.live + sizes.slow
    for one in devices:
        if one not in dying:
            assert max(gaps(one.read_s)) <= 1.5 * PERIOD_S + 2 * HOLD_S
            # In its rhythm, once it is in it: the rota, not the others, says when.
            assert max(gaps(one.read_s)[2:]) <= PERIOD_S + HOLD_S + 1.0
        else:
            tried = [at for at in one.tried_s if begin_s + 100.0 <= at < back_s]
            assert len(tried) <= 300.0 / BACKOFF_LAST_S + 3
            assert one.read_s[-1] > back_s


def test_a_whole_hall_that_hangs_at_once_costs_the_others_less_than_a_second() -> None:
    fleet = Fleet()
    devices = [Device(fleet=fleet) for _ in range(3000)]
    for one in devices[::2]:
        one.dead, one.hangs_s = (1035.0, math.inf), 60.0
    sizes = Sizes.of_fleet(len(devices) / PERIOD_S)
    lived(site_of(devices, sizes), 80.0)
    assert fleet.asked_most <= sizes.live + sizes.slow
    assert max(max(gaps(one.read_s)[2:]) for one in devices[1::2]) < PERIOD_S + 1.0


@dataclass
class Bottleneck(Device):
    """A machine behind something that serves one after the other, for all of them."""

    busy: list[float] = field(default_factory=list)

    async def _exchange(self) -> float:
        now_s = asyncio.get_running_loop().time()
        self.busy[0] = max(self.busy[0], now_s) + 0.1
        await asyncio.sleep(self.busy[0] - now_s)
        return asyncio.get_running_loop().time()


def test_where_everybody_is_slow_polls_become_rarer_and_nobody_is_cut_short() -> None:
    busy = [0.0]
    devices: list[Device] = [Bottleneck(fleet=Fleet(), busy=busy) for _ in range(150)]
    site = site_of(devices, Sizes(live=40, slow=6, hold_s=HOLD_S))
    lived(site, 300.0)
    assert all(post.missed_polls == 0 for post in site.posts)
    # Ten polls a second are possible, fifteen are wanted: whoever is late takes the next turn.
    for one in devices:
        assert max(gaps(one.read_s)[2:]) <= 3 * PERIOD_S


def test_slow_machines_are_not_cut_short_while_there_is_room() -> None:
    fleet = Fleet()
    devices = [Device(fleet=fleet, answer_s=3.0) for _ in range(100)]
    site = site_of(devices, Sizes())
    lived(site, 100.0)
    assert all(post.missed_polls == 0 for post in site.posts)
    assert min(len(one.read_s) for one in devices) >= 8


def test_full_reads_are_spread_over_the_ten_minutes_and_fast_ones_over_the_period() -> None:
    fleet = Fleet()
    devices = [Device(fleet=fleet, answer_s=0.01) for _ in range(300)]
    lived(site_of(devices, Sizes()), 3 * DETAILS_EVERY_S)
    every = sorted(at for one in devices for at in one.details_s if at > 1000.0 + DETAILS_EVERY_S)
    per_minute = [0] * 40
    for at in every:
        per_minute[int((at - 1000.0) // 60.0)] += 1
    assert all(24 <= number <= 36 for number in per_minute[11:29])
    # An even stream never needs many at once: no second has more than its share and a little.
    assert fleet.asked_most <= 4
    for one in devices:
        assert max(gaps(one.details_s)) <= 1.5 * DETAILS_EVERY_S + PERIOD_S


def test_a_full_read_that_fails_does_not_stop_the_fast_ones() -> None:
    device = Device(fleet=Fleet())
    site = site_of([device], Sizes())

    async def break_details(site: Site) -> None:
        await asyncio.sleep(30.0)
        device.has_details = False

    lived(site, 1.7 * DETAILS_EVERY_S, cast("Any", break_details))
    broken_s = device.details_s[-1]
    later = [at for at in device.read_s if at > broken_s + DETAILS_EVERY_S / 2]
    assert len(later) > 50
    assert max(gaps(later)) <= 2 * PERIOD_S + 1.0


def test_a_machine_that_was_away_is_identified_anew() -> None:
    device = Device(fleet=Fleet(), dead=(1030.0, 1200.0))
    site = site_of([device], Sizes())
    lived(site, 350.0)
    assert len(device.details_s) == 2
    assert device.details_s[1] > 1200.0
    assert site.posts[0].identity is not None
    assert site.posts[0].fault is None
