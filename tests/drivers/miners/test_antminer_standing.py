"""When the driver of stock Antminers asks the pages for mode and MAC, and when the API alone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import DriverError, WrongDeviceError
from drivers.link.antminer_api import AntminerApi
from drivers.link.cgi import CgiPages
from drivers.link.http import HttpReply
from drivers.link.tcp import TcpExchange
from drivers.miners import antminer
from drivers.miners.antminer import AntminerMiner
from drivers.readings import Activity, MinerReading
from simulator.faults import FaultKind

Open = Callable[..., Awaitable[Any]]

OTHER = "02:00:00:00:00:99"
STATS, CONFIG, INFO = "api", "get_miner_conf", "get_system_info"
ANEW = [STATS, CONFIG, INFO, STATS]  # something was held, and did not stand


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that were asked for, and the API; whoever looks takes them out."""
    names: list[str] = []
    page, ask = CgiPages.page, TcpExchange.ask

    async def told(pages: CgiPages, name: str) -> HttpReply:
        names.append(name)
        return await page(pages, name)

    async def answered(rpc: TcpExchange, question: bytes) -> Any:
        names.append(STATS)
        return await ask(rpc, question)

    monkeypatch.setattr(CgiPages, "page", told)
    monkeypatch.setattr(TcpExchange, "ask", answered)
    return names


async def taken(asked: list[str], miner: AntminerMiner) -> tuple[list[str], MinerReading]:
    """What one fast read asks for, and gives."""
    asked.clear()
    reading = await miner.read()
    return list(asked), reading


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets all clocks leap, that of the simulated machine as well."""
    real, ahead = antminer.time.clock_gettime, [0.0]
    monkeypatch.setattr(antminer.time, "clock_gettime", lambda clock: real(clock) + ahead[0])

    def leap(seconds: float) -> None:
        ahead[0] += seconds

    return leap


@pytest.mark.parametrize("stats", ["legacy", "new_api"])
async def test_what_the_pages_said_stands_for_a_minute_while_it_hashes_on(
    hall: Open, asked: list[str], later: Callable[[float], None], stats: str
) -> None:
    site = await hall(stats=stats)
    miner = site.miner()
    assert (await taken(asked, miner))[0] == [CONFIG, INFO, STATS]
    for _ in range(5):
        pages, reading = await taken(asked, miner)
        assert (pages, reading.activity, reading.profile) == ([STATS], Activity.HASHING, "normal")
        assert reading.hashrate_hs == pytest.approx(104e12)
        assert reading.requested_at_s < reading.replied_at_s
        later(10.0)
    later(10.0)
    assert (await taken(asked, miner))[0] == [CONFIG, INFO, STATS]
    assert (await taken(asked, miner))[0] == [STATS]


async def test_a_low_power_mode_stands_as_well(hall: Open, asked: list[str]) -> None:
    site = await hall()
    await site.miner().select_profile("low")
    site.traits.mining_since_s -= 60.0
    await asyncio.sleep(0.4)
    miner = site.miner()
    await miner.read()
    pages, reading = await taken(asked, miner)
    assert (pages, reading.profile) == ([STATS], "low")


async def test_without_a_password_nothing_changes(hall: Open, asked: list[str]) -> None:
    site = await hall()
    reader = site.reader()
    for _ in range(3):
        pages, reading = await taken(asked, reader)
        assert (pages, reading.activity, reading.profile) == ([STATS], Activity.HASHING, None)


@pytest.mark.parametrize("shows", ["empty", "zeros"])
async def test_a_sleep_by_somebody_else_is_seen_in_the_same_read_and_nothing_stands_in_it(
    hall: Open, asked: list[str], shows: str
) -> None:
    site = await hall(sleep_shows=shows, stats="new_api")
    miner = site.miner()
    await miner.read()
    await site.miner().sleep()
    await asyncio.sleep(0.3)
    pages, reading = await taken(asked, miner)
    assert (pages, reading.activity) == (ANEW, Activity.SLEEPING)
    for _ in range(2):
        assert (await taken(asked, miner))[0] == [CONFIG, STATS]


async def test_a_mode_that_somebody_else_sets_is_seen_by_the_run_that_it_begins(
    hall: Open, asked: list[str]
) -> None:
    site = await hall()
    miner = site.miner()
    await miner.read()
    await site.miner().select_profile("low")
    await asyncio.sleep(0.4)
    pages, reading = await taken(asked, miner)
    assert (pages, reading.profile) == (ANEW, "low")
    assert (await taken(asked, miner))[0] == [CONFIG, STATS]  # the run is too short to be known


async def test_where_the_port_has_closed_the_pages_are_asked(hall: Open) -> None:
    """As where some firmware ends its mining program in sleep."""
    site = await hall()
    miner = site.miner()
    await miner.read()
    await site.miner().sleep()
    closed = TcpExchange(host=site.farm.labels[0].address, port=4999)  # nothing listens there
    miner._api = AntminerApi(closed)
    reading = await miner.read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)


async def test_another_machine_at_the_address_is_noticed_by_its_run(
    hall: Open, asked: list[str]
) -> None:
    """Also where the connection of the pages is still there."""
    site = await hall()
    miner, label = site.miner(), site.farm.labels[0]
    await miner.read()
    site.farm.labels[0] = replace(label, mac=OTHER)
    site.traits.mining_since_s -= 1000.0
    site.machine.started_s -= 1000.0
    asked.clear()
    for _ in range(2):
        with pytest.raises(WrongDeviceError, match=OTHER):
            await miner.read()
    assert asked == [STATS, CONFIG, INFO, CONFIG, INFO]


async def test_other_boards_are_asked_who_they_belong_to(hall: Open, asked: list[str]) -> None:
    site = await hall(stats="new_api")
    miner, label = site.miner(), site.farm.labels[0]
    await miner.read()
    site.farm.labels[0] = replace(label, board_serials=("A", *label.board_serials[1:]))
    assert (await taken(asked, miner))[0] == ANEW


async def test_after_a_write_the_mode_is_asked_until_it_must_have_taken_effect(
    hall: Open, asked: list[str], later: Callable[[float], None]
) -> None:
    site = await hall(needs_reboot=True)
    miner = site.miner()
    await miner.read()
    await miner.select_profile("low")
    for _ in range(12):
        pages, reading = await taken(asked, miner)
        assert (CONFIG in pages, reading.profile) == (True, "low")
        later(10.0)
    assert CONFIG in (await taken(asked, miner))[0]
    assert (await taken(asked, miner))[0] == [STATS]
    await miner.locate(is_on=True)
    for _ in range(2):
        assert CONFIG in (await taken(asked, miner))[0]


async def test_a_read_that_began_before_a_write_leaves_nothing_standing(
    hall: Open, asked: list[str]
) -> None:
    site = await hall(needs_reboot=True)
    miner = site.miner()
    await miner.read()
    await asyncio.gather(miner.read(), miner.sleep())
    assert site.traits.mode == 1
    assert CONFIG in (await taken(asked, miner))[0]


@pytest.mark.parametrize("verb", ["identify", "read_details"])
async def test_all_else_asks_everything_anew(hall: Open, asked: list[str], verb: str) -> None:
    miner = (await hall()).miner()
    await miner.read()
    asked.clear()
    await getattr(miner, verb)()
    assert asked[:3] == [INFO, CONFIG, STATS]
    assert (await taken(asked, miner))[0] == [CONFIG, STATS]


async def test_nothing_stands_after_a_read_that_failed(hall: Open, asked: list[str]) -> None:
    site = await hall()
    miner = site.miner()
    await miner.read()
    site.farm.switch_fault(FaultKind.MINER_GARBAGE, [0], is_active=True, value=None)
    with pytest.raises(DriverError):
        await miner.read()
    site.farm.clear_faults()
    assert (await taken(asked, miner))[0] == [CONFIG, INFO, STATS]


async def test_nothing_stands_after_watts_that_failed(hall: Open, asked: list[str]) -> None:
    site = await hall(power="service")
    miner = site.miner()
    await miner.read_details()
    await miner.read()
    assert (await taken(asked, miner))[0] == [STATS]
    site.traits.is_service_old = True
    with pytest.raises(DriverError, match="any more"):
        await miner.read()
    site.traits.is_service_old = False
    assert (await taken(asked, miner))[0] == [CONFIG, INFO, STATS]
