"""Meters' own clocks on real sockets: what is told of them, and that nothing goes by them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.clockwatch import ClockWatch, clock_record, offsets_s
from agent.core.meterclock import showed_nothing
from agent.core.meterfusion import observe
from agent.core.samples import Fusion, MeterTraits
from agent.poller import Poller
from agent.posts import MeterPost
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.testimony import reading_from, reading_record
from drivers.meters.registry import open_meter
from drivers.readings import MeterReading, TimeQuality
from simulator.clock import started_now
from simulator.farm import Farm, build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

ALMATY = ZoneInfo("Asia/Almaty")
TRAITS = MeterTraits(refresh_s=0.1, step_wh=10, power_error_share=0.01, rated_power_w=50_000.0)


@dataclass(slots=True, kw_only=True)
class Watched:
    """A simulated meter, its place in the daemon, and the watch over its clock."""

    network: Network
    post: MeterPost
    watch: ClockWatch
    poller: Poller
    records: list[NewRecord] = field(default_factory=list)

    @property
    def farm(self) -> Farm:
        return self.network.farm

    def switch(
        self, kind: FaultKind, *, value: float | None = None, is_active: bool = True
    ) -> None:
        self.farm.switch_fault(kind, [0], is_active=is_active, value=value)

    async def read(self) -> MeterReading:
        """One poll of the meter, as the poller does it."""
        polling = asyncio.ensure_future(self.poller.poll_meter(self.post))
        seen = self.post.reading
        async with asyncio.timeout(8):
            while self.post.reading is seen:  # noqa: ASYNC110 - a poll tells nobody
                await asyncio.sleep(0.01)
        polling.cancel()
        assert self.post.reading is not None
        return self.post.reading

    @property
    def told(self) -> list[tuple[str, str]]:
        """What has gone on record: the letter, and whose clock it is."""
        return [(record.data["quality"], record.source) for record in self.records]


Watch = Callable[..., Awaitable[Watched]]


@pytest.fixture
async def watched() -> AsyncIterator[Watch]:
    opened: list[Any] = []

    async def make(*, model: str = "pm5000", every_s: float = 0.0) -> Watched:
        file = {
            "machines": [{"model": "s21", "count": 0}],
            "meters": [{"id": "site", "model": model, "port": 0, "serial": 7, "refresh_s": 0.1}],
            "base_load": {"constant_w": 3_000.0},
        }
        network = Network(farm=build_farm(FarmFile.model_validate(file), started_now()))
        await network.open()
        opened.append(network)
        uri = network.meter_uri(0)
        device = open_meter(uri, meter_id="site", serial=None, rated_power_w=50_000.0)
        opened.append(device)
        post = MeterPost(
            meter_id="site",
            address=uri,
            profile=model,
            poll_s=0.05,
            device=device,
            traits=TRAITS,
            step_wh=device.profile.energy_step_wh,
        )
        clock, records = SiteClock(), list[NewRecord]()
        watch = ClockWatch(
            clock=clock,
            posts=[post],
            bounds_s={"site": 60.0},
            zone=ALMATY,
            keep=records.extend,
            every_s=every_s,
            again_s=every_s,
        )
        poller = Poller(clock=clock, meters=(post,), miners=(), miner_period_s=1.0)
        made = Watched(network=network, post=post, watch=watch, poller=poller, records=records)
        await made.read()
        return made

    yield make
    for one in reversed(opened):
        await one.close()


@pytest.mark.parametrize("ahead_s", [0.0, 5 * 3600.0])
async def test_a_clock_of_utc_or_of_the_sites_own_time_is_right(
    watched: Watch, ahead_s: float
) -> None:
    site = await watched()
    site.switch(FaultKind.METER_CLOCK_OFF, value=ahead_s)
    await site.watch.look(site.post)
    assert site.told == [("S", "site")]
    assert list(site.watch.conditions()) == []
    assert (await site.read()).clock is None


async def test_a_clock_that_is_off_stands_with_every_reading_in_a_record_and_in_an_alarm(
    watched: Watch,
) -> None:
    site = await watched()
    site.switch(FaultKind.METER_CLOCK_OFF, value=-400.0)
    await site.watch.look(site.post)
    assert site.told == [("U", "site")]  # one look does not tell whether it goes
    await asyncio.sleep(0.01)
    await site.watch.look(site.post)
    await site.watch.look(site.post)
    assert site.told == [("U", "site"), ("R", "site")]
    (alarm,) = site.watch.conditions()
    assert (alarm.code, alarm.source, alarm.severity) == ("METER_CLOCK", "site", "warning")
    assert "400 s behind the site's time" in alarm.words
    reading = await site.read()
    assert reading.clock is TimeQuality.RELATIVE
    record = reading_record(reading)
    assert record.data["more"]["clock"] == "R"
    assert reading_from("site", record.data, reading.taken_at_ms).clock is TimeQuality.RELATIVE
    site.switch(FaultKind.METER_CLOCK_OFF, is_active=False)
    await site.watch.look(site.post)
    assert site.told[2:] == [("S", "site")]
    assert list(site.watch.conditions()) == []
    assert (await site.read()).clock is None


async def test_a_clock_that_was_never_set_is_told_and_the_meter_is_believed(
    watched: Watch,
) -> None:
    site = await watched()
    site.switch(FaultKind.METER_CLOCK_UNSET)
    await site.watch.look(site.post)
    (alarm,) = site.watch.conditions()
    assert "shows no time" in alarm.words
    reading = await site.read()
    assert reading.clock is TimeQuality.UNKNOWN
    view = site.post.view()
    assert (view.fault, view.refusal, view.is_faulty) == (None, "", False)


async def test_a_clock_that_stands_while_the_meter_answers_may_be_a_gateways_memory(
    watched: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.core.meterclock.GOES_AFTER_MS", 100)  # half a minute otherwise
    site = await watched()
    site.switch(FaultKind.METER_CLOCK_STOPPED)
    await site.watch.look(site.post)
    await asyncio.sleep(0.05)
    await site.watch.look(site.post)
    assert list(site.watch.conditions()) == []
    await asyncio.sleep(0.1)
    await site.watch.look(site.post)
    (alarm,) = site.watch.conditions()
    assert "it has stopped, or a gateway answers out of its memory" in alarm.words
    assert site.told == [("S", "site"), ("U", "site")]


@pytest.mark.parametrize("model", ["umg96", "sdm120", "sunspec-203"])
async def test_a_meter_whose_profile_has_no_clock_is_never_asked(
    watched: Watch, model: str
) -> None:
    site = await watched(model=model)
    asked = site.network.meters[0].requests
    await site.watch.look(site.post)
    await site.watch.look(site.post)
    assert site.network.meters[0].requests == asked
    assert (site.told, list(site.watch.conditions())) == ([], [])


@pytest.mark.parametrize(
    "kind", [FaultKind.METER_BUSY, FaultKind.METER_EMPTY, FaultKind.METER_STRANGER]
)
async def test_one_that_does_not_answer_for_its_clock_is_left_alone_for_long(
    watched: Watch, kind: FaultKind
) -> None:
    """A time-out on the purchase's own line is dear: once in an hour is enough.

    And an answer that is none says nothing about the clock.
    """
    site = await watched()
    site.switch(kind)
    asked = site.network.meters[0].requests
    for _ in range(3):
        await site.watch.look(site.post)
    assert site.network.meters[0].requests == asked + 1
    assert (site.told, list(site.watch.conditions())) == ([], [])


async def test_a_meter_that_is_away_or_was_exchanged_is_looked_at_anew(watched: Watch) -> None:
    site = await watched(every_s=3600.0)
    await site.watch.look(site.post)
    site.post.missed_polls = 1
    await site.watch.look(site.post)
    site.post.missed_polls = 0
    await site.watch.look(site.post)
    assert site.told == [("S", "site")]
    assert site.post.identity is not None
    site.post.identity = replace(site.post.identity, serial="8")
    await site.watch.look(site.post)
    assert site.told == [("S", "site")] * 2


@pytest.mark.parametrize("letter", TimeQuality)
async def test_nothing_is_booked_by_it(watched: Watch, letter: TimeQuality) -> None:
    reading = await (await watched()).read()
    plain = observe(Fusion(traits=TRAITS), reading)
    assert observe(Fusion(traits=TRAITS), replace(reading, clock=letter)) == plain


@pytest.mark.parametrize(
    ("zone", "at_ms", "hours"),
    [
        (ALMATY, 1_795_376_000_000, (5, 5, 0)),
        (ZoneInfo("Europe/Berlin"), 1_782_000_000_000, (2, 1, 0)),
        (ZoneInfo("Europe/Berlin"), 1_795_376_000_000, (1, 1, 0)),
    ],
)
def test_a_clock_may_be_of_the_zone_with_or_without_summer_time_or_of_utc(
    zone: ZoneInfo, at_ms: int, hours: tuple[int, ...]
) -> None:
    assert offsets_s(zone, at_ms) == tuple(hour * 3600 for hour in hours)


def test_a_clock_that_shows_nothing_has_no_figures_on_record() -> None:
    data = clock_record("site", showed_nothing(5)).data
    assert data == {"what": "meter", "quality": "U", "shows_ms": None, "deviation_ms": None}
