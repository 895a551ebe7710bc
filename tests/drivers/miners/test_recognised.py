"""On a connection on which a machine was recognised a fast read asks only what it does.

A server of the test's own stands for an address at which the machine can be exchanged: that breaks
every connection, as pulling a cable does sooner or later. It keeps what was asked.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import BadReplyError, DriverError, RefusedError, WrongDeviceError
from drivers.link.http import HttpLink
from drivers.link.recognition import Recognition
from drivers.miners.epic import EpicMiner
from drivers.miners.vnish import VnishMiner
from drivers.readings import Activity
from simulator.antminer import AntminerFarm

Listen = Callable[[Any], Awaitable[int]]
Open = Callable[..., Awaitable[Any]]
Miner = EpicMiner | VnishMiner

EPIC, VNISH = "epic", "vnish"
MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
EPIC_ANSWERS = Path(__file__).parents[1] / "answers" / "epic-s19xp"
DOES = {EPIC: "/summary", VNISH: "/api/v1/summary"}
IS = {EPIC: "/network", VNISH: "/api/v1/info"}
PASSWORD = "farm-pass"


def epic_pages(mac: str) -> dict[str, Any]:
    pages = {f"/{one.stem}": json.loads(one.read_bytes()) for one in EPIC_ANSWERS.glob("*.json")}
    return pages | {"/network": {"dhcp": {"mac_address": mac}}, "/miner": {"result": True}}


def vnish_pages(mac: str) -> dict[str, Any]:
    pages = {
        "info": {
            "miner": "Antminer S21",
            "fw_name": "Vnish",
            "fw_version": "1.3.4",
            "hr_measure": "GH/s",
            "system": {"uptime": "0:06", "network_status": {"mac": mac}},
        },
        "model": {"full_name": "Antminer S21", "chain": {"num_chains": 3}},
        "perf-summary": {"current_preset": None},
        "chains/factory-info": {},
        "summary": {
            "miner": {
                "miner_status": {"miner_state": "mining", "throttled": 100},
                "hr_realtime": 200_000,
                "power_consumption": 3500,
                "cooling": {"fans": []},
            }
        },
        "status": {},
        "unlock": {"token": "t1"},
        "mining/pause": {},
    }
    return {f"/api/v1/{name}": body for name, body in pages.items()}


class Address:
    """Whoever stands here answers with ``pages``; an Exception there cuts the connection."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.pages: dict[str, Any] = {}
        self.asked: list[str] = []
        self.closes_each = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.stand(MAC)

    def stand(self, mac: str) -> None:
        self.pages = epic_pages(mac) if self.family == EPIC else vnish_pages(mac)

    async def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.02)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(size or 0))
            path = head.split()[1].decode()
            self.asked.append(path)
            page = self.pages[path]
            if callable(page):
                page = page(head)
                if page is None:
                    return
            status, page = page if isinstance(page, tuple) else (200, page)
            body = json.dumps(page).encode()
            end = b"Connection: close\r\n" if self.closes_each else b""
            start = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body))
            writer.write(start + end + b"\r\n" + body)
            await writer.drain()
            if self.closes_each:
                return

    async def asked_by(self, verb: Callable[[], Awaitable[object]]) -> list[str]:
        self.asked.clear()
        await verb()
        return list(self.asked)


class Place:
    """An address and a driver for the machine that is pinned there."""

    def __init__(self, address: Address, miner: Miner) -> None:
        self.address, self.miner = address, miner
        self.does, self.who = DOES[address.family], IS[address.family]

    async def refused(self, expected: type[DriverError] = WrongDeviceError) -> list[str]:
        self.address.asked.clear()
        with pytest.raises(expected):
            await self.miner.read()
        return list(self.address.asked)


@pytest_asyncio.fixture(params=[EPIC, VNISH])
async def place(request: pytest.FixtureRequest, listen: Listen) -> AsyncIterator[Place]:
    """A machine that has been read once."""
    address = Address(request.param)
    link = HttpLink(host="127.0.0.1", port=await listen(address.serve), answer_s=2.0)
    kind = EpicMiner if request.param == EPIC else VnishMiner
    place = Place(address, kind(miner_id="m", link=link, mac=MAC, password=PASSWORD))
    await place.miner.read()
    yield place
    await link.close()


async def test_a_fast_read_is_one_question(place: Place) -> None:
    first = await place.miner.read()
    assert await place.address.asked_by(place.miner.read) == [place.does]
    again = await place.miner.read()
    assert (again.power_w, again.boards) == (first.power_w, first.boards)
    assert first.replied_at_s < again.requested_at_s < again.replied_at_s


async def test_all_else_asks_who_is_there(place: Place) -> None:
    for verb in (place.miner.identify, place.miner.read_details, place.miner.sleep):
        assert place.who in await place.address.asked_by(verb)


async def test_on_another_connection_it_is_asked_who_is_there(place: Place) -> None:
    await place.address.cut()
    assert await place.address.asked_by(place.miner.read) == [place.does, place.who]
    assert await place.address.asked_by(place.miner.read) == [place.does]


async def test_where_each_answer_closes_each_read_asks(place: Place) -> None:
    place.address.closes_each = True
    await place.miner.read()
    for _ in range(3):
        assert await place.address.asked_by(place.miner.read) == [place.does, place.who]


async def test_another_machine_is_noticed_before_anything_of_it_is_believed(place: Place) -> None:
    await place.address.cut()
    place.address.stand(OTHER)
    assert await place.refused() == [place.does, place.who]
    assert await place.refused() == [place.does, place.who]  # also on the kept connection
    place.address.stand(MAC)
    assert await place.address.asked_by(place.miner.read) == [place.does, place.who]


async def test_a_machine_exchanged_while_it_is_asked_is_noticed(place: Place) -> None:
    """The link asks once more on a new connection, and there somebody else answers."""

    def exchanged(_head: bytes) -> None:
        place.address.stand(OTHER)

    place.address.pages[place.does] = exchanged
    assert await place.refused() == [place.does, place.does, place.who]


async def test_after_a_read_that_failed_it_is_asked_who_is_there(place: Place) -> None:
    """On the same connection: what failed once is doubted as a whole."""
    whole = place.address.pages[place.does]
    for broken in ((503, {}), {**whole, "HBs": [], "miner": {}, "Status": {}}, ["no table"]):
        place.address.pages[place.does] = broken
        assert await place.refused(DriverError) == [place.does]
        place.address.pages[place.does] = whole
        assert await place.address.asked_by(place.miner.read) == [place.does, place.who]
        assert await place.address.asked_by(place.miner.read) == [place.does]


async def test_a_write_that_met_another_machine_leaves_nobody_recognised(place: Place) -> None:
    place.address.stand(OTHER)  # on the same connection, which no machine can do
    with pytest.raises(WrongDeviceError):
        await place.miner.sleep()
    assert await place.refused() == [place.does, place.who]


@pytest.mark.parametrize("place", [VNISH], indirect=True)
async def test_another_machine_is_sent_no_login(place: Place) -> None:
    await place.address.cut()
    place.address.stand(OTHER)
    place.address.pages[place.does] = (401, {})
    assert await place.refused() == [place.does, place.who]
    place.address.stand(MAC)
    open_page = place.address.pages[place.does]

    def closed(head: bytes) -> Any:
        return open_page if b"Bearer t1" in head else (401, {})

    place.address.pages[place.does] = closed
    unlock = "/api/v1/unlock"
    asked = await place.address.asked_by(place.miner.read)
    assert asked == [place.does, place.who, unlock, place.does]
    assert await place.address.asked_by(place.miner.read) == [place.does]


@pytest.mark.parametrize("place", [VNISH], indirect=True)
async def test_a_login_that_is_refused_is_asked_for_by_a_machine_that_is_recognised(
    place: Place,
) -> None:
    place.address.pages[place.does] = (401, {})
    place.address.pages["/api/v1/unlock"] = (403, {})
    assert await place.refused(RefusedError) == [place.does, place.who, "/api/v1/unlock"]
    assert await place.refused(RefusedError) == [place.does, place.who]  # not tried again yet


class Pages:
    """A simulated Antminer whose pages are counted: name and status."""

    def __init__(self, site: Any) -> None:
        self.site = site
        dialect = site.network.dialects["antminer"]
        assert isinstance(dialect, AntminerFarm)
        self.callers = dialect.pages
        self.asked: list[tuple[str, int]] = []
        answer = dialect.pages.answer

        async def counted(index: int, request: Any) -> Any:
            said = await answer(index, request)
            self.asked.append((request.path.rpartition("/")[2].removesuffix(".cgi"), said.status))
            return said

        dialect.pages.answer = counted

    async def exchange(self, mac: str) -> None:
        self.site.farm.labels[0] = replace(self.site.farm.labels[0], mac=mac)
        await self.callers.close()

    async def asked_by(self, verb: Callable[[], Awaitable[object]]) -> list[tuple[str, int]]:
        self.asked.clear()
        await verb()
        return list(self.asked)


CONFIG, INFO = "get_miner_conf", "get_system_info"


async def test_a_fast_read_of_an_antminer_is_one_page_at_most(hall: Open) -> None:
    """And the login's nonce is used again, so that nothing is refused first."""
    site = await hall(nonce_uses=100)
    pages, miner = Pages(site), site.miner()
    await miner.read()
    assert await pages.asked_by(miner.read) == []
    assert await pages.asked_by(miner.identify) == [(INFO, 200), (CONFIG, 200)]
    assert await pages.asked_by(miner.read) == [(CONFIG, 200)]
    assert (await pages.asked_by(miner.sleep))[:2] == [(INFO, 200), (CONFIG, 200)]
    await pages.callers.close()
    assert await pages.asked_by(miner.read) == [(CONFIG, 200), (INFO, 200)]


async def test_an_antminer_whose_nonces_serve_once_refuses_each_page_first(hall: Open) -> None:
    site = await hall(nonce_uses=1)
    pages, miner = Pages(site), site.miner()
    await miner.identify()
    assert await pages.asked_by(miner.read) == [(CONFIG, 401), (CONFIG, 200)]


async def test_another_antminer_is_noticed_before_anything_of_it_is_believed(hall: Open) -> None:
    site = await hall(nonce_uses=100)
    pages, miner, mac = Pages(site), site.miner(), site.farm.labels[0].mac
    await miner.read()
    await pages.exchange(OTHER)
    site.traits.mining_since_s -= 1000.0  # which mines for longer
    site.machine.started_s -= 1000.0
    site.traits.mode = "soon"  # a configuration that cannot be read
    for _ in range(2):
        with pytest.raises(WrongDeviceError, match=OTHER):
            await miner.read()
    site.traits.mode = 0
    await pages.exchange(mac)
    assert (await miner.read()).activity is Activity.HASHING


async def test_an_antminer_that_failed_once_is_asked_who_it_is(hall: Open) -> None:
    site = await hall(nonce_uses=100)
    pages, miner = Pages(site), site.miner()
    await miner.identify()
    site.traits.mode = "soon"
    with pytest.raises(BadReplyError):
        await miner.read()
    site.traits.mode = 0
    assert await pages.asked_by(miner.read) == [(CONFIG, 200), (INFO, 200)]
    assert await pages.asked_by(miner.read) == []


async def test_a_write_that_met_another_antminer_leaves_nobody_recognised(hall: Open) -> None:
    site = await hall(nonce_uses=100)
    miner = site.miner()
    await miner.read()
    site.farm.labels[0] = replace(site.farm.labels[0], mac=OTHER)  # on the same connection
    for verb in (miner.sleep, miner.read):
        with pytest.raises(WrongDeviceError, match=OTHER):
            await verb()
    assert site.machine.counters.commands == 0


def test_a_recognition_holds_for_its_connection_until_something_fails() -> None:
    seen: Recognition[str] = Recognition()
    assert seen.on(1) is None
    seen.keep(MAC, 1)
    with seen.lasting():
        assert (seen.on(1), seen.on(2)) == (MAC, None)
    assert seen.on(1) == MAC
    with pytest.raises(KeyboardInterrupt), seen.lasting():
        raise KeyboardInterrupt
    assert seen.on(1) is None
