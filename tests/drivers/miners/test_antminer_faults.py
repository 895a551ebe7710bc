"""What the driver of stock Antminers reports of machines that are broken, slow or another's.

The family has no session that somebody else could hold, so there is no busy machine among them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import (
    BadReplyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    WrongDeviceError,
)
from drivers.link.cgi import CgiPages
from drivers.link.http import HttpLink, Login
from drivers.link.power_service import PowerService
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners import antminer
from drivers.miners.antminer import AntminerMiner, AntminerReader, Links
from drivers.readings import Activity
from simulator.faults import FaultKind

Open = Callable[..., Awaitable[Any]]
Listen = Callable[[Any], Awaitable[int]]
LOGIN = Login(user="root", password="hunter2")


def links_to(site: Any, *, rpc: int = 4028, web: int = 8080, answer_s: float = 0.4) -> Links:
    host = site.farm.labels[0].address
    pages = CgiPages(host=host, port=web, login=LOGIN, answer_s=answer_s)
    pages._link._connect_s = 0.3  # else it would be most of what a test waits for
    return Links(
        rpc=TcpExchange(host=host, port=rpc, answer_s=answer_s),
        service=PowerService(HttpLink(host=host, port=6060, answer_s=answer_s)),
        pages=pages,
    )


def miner_over(site: Any, links: Links) -> AntminerMiner:
    miner = AntminerMiner(miner_id="a", links=links, mac=site.farm.labels[0].mac)
    site.close_later(miner)
    return miner


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.MINER_SILENT, NoAnswerError),
        (FaultKind.MINER_GONE, UnreachableError),
        (FaultKind.MINER_GARBAGE, DriverError),
    ],
)
async def test_a_broken_machine_is_a_driver_error_and_works_again_after_it(
    hall: Open, kind: FaultKind, expected: type[DriverError]
) -> None:
    site = await hall()
    miner = miner_over(site, links_to(site))
    reader = AntminerReader(
        miner_id="r", links=replace(links_to(site), pages=None), mac=site.farm.labels[0].mac
    )
    site.close_later(reader)
    site.farm.switch_fault(kind, [0], is_active=True, value=None)
    await site.network.apply_faults()
    for verb in (
        miner.read,
        miner.read_details,
        miner.sleep,
        reader.read,
        reader.read,
        reader.read,
    ):
        with pytest.raises(expected):
            await verb()
    site.farm.clear_faults()
    await site.network.apply_faults()
    assert (await miner.read()).activity is Activity.HASHING
    assert (await reader.read()).activity is Activity.HASHING
    assert site.machine.counters.commands == 0


async def test_a_slow_machine_is_given_up_in_time(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(page_s=0.3)
    miner = miner_over(site, links_to(site, answer_s=1.0))
    assert (await miner.read()).activity is Activity.HASHING
    miner = miner_over(site, links_to(site, answer_s=1.0))  # of which nothing stands
    for limit_s, verb in ((0.2, miner.read), (0.4, miner.read), (0.4, miner.sleep)):
        monkeypatch.setattr(antminer, "READ_LIMIT_S", limit_s)
        with pytest.raises(UnreachableError, match="did not answer everything within"):
            await verb()
    monkeypatch.setattr(antminer, "READ_LIMIT_S", 5.0)
    monkeypatch.setattr(antminer, "WRITE_LIMIT_S", 0.4)
    with pytest.raises(UnreachableError, match="no mode was sent"):
        await miner.sleep()
    assert site.traits.writes == 0


async def test_a_form_may_take_much_longer_than_a_page(hall: Open) -> None:
    site = await hall(form_s=0.9)
    miner = miner_over(site, links_to(site))
    await miner.sleep()
    assert not site.machine.is_awake
    assert antminer.FORM_LIMIT_S >= 30.0


async def test_a_form_that_is_not_answered_in_time_is_unknown_and_sent_once(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(form_s=3.0)
    monkeypatch.setattr(antminer, "FORM_LIMIT_S", 0.1)
    miner = miner_over(site, links_to(site))
    with pytest.raises(UnknownOutcomeError, match="read back what it did"):
        await miner.sleep()
    assert (site.traits.writes, site.machine.is_awake) == (1, False)
    monkeypatch.setattr(antminer, "FORM_LIMIT_S", 30.0)
    monkeypatch.setattr(antminer, "WRITE_LIMIT_S", 0.3)
    with pytest.raises(RefusedError):
        await miner.wake()  # the write that nobody answered wears the flash as well
    other = miner_over(site, links_to(site))
    with pytest.raises(UnknownOutcomeError):
        await other.wake()
    assert (site.traits.writes, site.machine.is_awake) == (2, True)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", UnknownOutcomeError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", UnknownOutcomeError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", UnknownOutcomeError),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", UnknownOutcomeError),
        (b"nonsense\r\n\r\n", UnknownOutcomeError),
        (b"", UnknownOutcomeError),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"code":"M001"}', RefusedError),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", RefusedError),
    ],
)
async def test_a_form_without_a_usable_answer_is_unknown(
    hall: Open, listen: Listen, reply: bytes, expected: type[DriverError]
) -> None:
    site = await hall()
    posted: list[bytes] = []

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes pages on and answers forms itself."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            posted.append(head)
            writer.write(reply)
            await writer.drain()
            return
        host = site.farm.labels[0].address
        far_reader, far_writer = await asyncio.open_connection(host, 8080)
        far_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        writer.write(await far_reader.read())
        await writer.drain()
        far_writer.close()

    links = links_to(site)
    pages = CgiPages(host="127.0.0.1", port=await listen(between), login=LOGIN, answer_s=0.5)
    miner = miner_over(site, Links(rpc=links.rpc, service=links.service, pages=pages))
    with pytest.raises(expected):
        await miner.sleep()
    assert len(posted) == 1
    if b" 403 " in reply:  # nothing was written, so nothing has to wait
        for _ in range(3):
            with pytest.raises(RefusedError, match="password file"):
                await miner.sleep()
    assert b"hunter2" not in posted[0]
    assert site.machine.counters.commands == 0


HALVES = [
    (b"", NoAnswerError),
    (b'{"STATUS":[{"STATUS":"S"', BadReplyError),
    (b"Socket connect failed: Connection refused\n", BadReplyError),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", BadReplyError),
    (b'{"STATUS":[{"STATUS":"E","Msg":"no"}]}', RefusedError),
    (b'{"STATUS":[{"STATUS":"S"}],"STATS":[],"VERSION":[{"BTMiner":"1"}]}', WrongDeviceError),
    (b'{"STATUS":[{"STATUS":"S"}],"STATS":[],"VERSION":[]}', BadReplyError),
]


@pytest.mark.parametrize(("reply", "expected"), HALVES)
async def test_half_answers_and_strangers_are_driver_errors_in_bounded_time(
    hall: Open, listen: Listen, reply: bytes, expected: type[DriverError]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(reply)
        await writer.drain()

    site = await hall()
    port = await listen(answer)
    rpc = TcpExchange(host="127.0.0.1", port=port, answer_s=0.4)
    reader = AntminerReader(
        miner_id="r", links=Links(rpc=rpc, service=links_to(site).service), mac=None
    )
    site.close_later(reader)
    started_s = time.monotonic()
    with pytest.raises(expected):
        await reader.read()
    assert time.monotonic() - started_s < 2.0


async def test_firmware_that_refuses_the_flag_is_asked_without_it_from_then_on(
    hall: Open, listen: Listen
) -> None:
    asked: list[bool] = []

    async def strict(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.readline()
        asked.append(b"new_api" in question)
        answer = b'{"STATUS":[{"STATUS":"E","Code":23,"Msg":"Invalid JSON"}]}'
        if not asked[-1]:
            host = site.farm.labels[0].address
            far_reader, far_writer = await asyncio.open_connection(host, 4028)
            far_writer.write(question)
            answer = await far_reader.read()
            far_writer.close()
        writer.write(answer)
        await writer.drain()

    site = await hall()
    rpc = TcpExchange(host="127.0.0.1", port=await listen(strict), answer_s=0.5)
    links = Links(rpc=rpc, service=links_to(site).service)
    reader = AntminerReader(miner_id="r", links=links, mac=None)
    site.close_later(reader)
    for _ in range(2):
        assert (await reader.read()).hashrate_hs == pytest.approx(104e12)
    assert asked == [True, False, False]


async def test_a_service_that_breaks_off_is_a_failure_once(hall: Open, listen: Listen) -> None:
    is_well = True

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"miner power:3000"
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body if is_well else b"")
        await writer.drain()

    site = await hall()
    link = HttpLink(host="127.0.0.1", port=await listen(service), answer_s=0.5)
    links = links_to(site)
    miner = miner_over(site, Links(rpc=links.rpc, pages=links.pages, service=PowerService(link)))
    await miner.read_details()
    assert (await miner.read()).power_w == 3000.0
    is_well = False
    with pytest.raises(UnreachableError):
        await miner.read()
    with pytest.raises(UnreachableError):
        await miner.read_details()
    await miner.read_details()
    assert (await miner.read()).power_w is None


async def test_a_sleeper_whose_mining_program_is_down_is_read_and_woken(hall: Open) -> None:
    site = await hall()
    await site.miner().sleep()
    await asyncio.sleep(0.3)
    miner = miner_over(site, links_to(site, rpc=4999))  # nothing listens there
    reading = await miner.read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)
    details = await miner.read_details()
    assert [pool.is_active for pool in details.pools] == [False] * 3
    assert details.identity.signs[-1] == "the web page asks for the login of an Antminer"
    await miner.wake()
    assert site.machine.is_awake
    with pytest.raises(UnreachableError):
        await miner.read()  # awake, its API has to answer


async def test_a_rebooting_machine_is_unreachable_and_then_itself_again(hall: Open) -> None:
    site = await hall()
    miner = miner_over(site, links_to(site))
    await miner.read()
    site.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
    for verb in (miner.read, miner.sleep):
        with pytest.raises(UnreachableError):
            await verb()
    await asyncio.sleep(0.4)
    assert (await miner.read()).boards
    assert site.traits.writes == 0


async def test_a_machine_without_a_whole_mac_is_not_written_to(hall: Open) -> None:
    site = await hall()
    site.farm.labels[0] = replace(site.farm.labels[0], mac="02:55:97:22:3m:72")
    miner = AntminerMiner(miner_id="a", links=links_to(site), mac=None)
    site.close_later(miner)
    assert not (await miner.identify()).is_writable
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.sleep()
    assert site.machine.counters.commands == 0


async def test_an_unknown_model_that_nobody_saw_hash_is_not_woken(hall: Open) -> None:
    site = await hall()
    site.machine.model = replace(site.machine.model, name="Antminer S99")
    miner = miner_over(site, links_to(site))
    assert (await miner.read()).hashrate_hs == pytest.approx(104e12)
    details = await miner.read_details()
    assert details.profiles[0].power_w == pytest.approx(104 * 45.0)  # the worst it could draw
    await miner.sleep()
    other = miner_over(site, links_to(site))
    assert (await other.read_details()).profiles == ()
    with pytest.raises(RefusedError, match="Nobody knows what machine a draws"):
        await other.wake()
    assert site.traits.writes == 1


async def test_pools_that_the_machine_does_not_list_are_not_erased(hall: Open) -> None:
    site = await hall()
    site.traits.hides_pools = True
    with pytest.raises(RefusedError, match="could erase them"):
        await site.miner().sleep()
    assert site.traits.writes == 0
