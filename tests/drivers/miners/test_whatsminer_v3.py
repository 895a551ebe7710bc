"""The driver of Whatsminer API v3 against simulated machines and against broken ones."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.frames import FramedLink
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners import whatsminer_v3
from drivers.miners.whatsminer_v3 import WhatsminerV3Miner, WhatsminerV3Reader
from drivers.readings import Activity, PowerProvenance
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network
from simulator.whatsminer_compat import CompatFarm
from simulator.whatsminer_v3 import WhatsminerFarm

OPENED: list[FramedLink] = []
NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PASSWORD = "farm-pass"  # the simulator's own

Open = Callable[..., Awaitable[Network]]
Listen = Callable[[Any], Awaitable[int]]


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one quick M60S; the arguments are the [whatsminer] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "whatsminer": table,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "whatsminer-v3", "model": "m60s", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            quick = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}
            machine.timings = replace(machine.timings, **quick)
            await network.open()
            stack.push_async_callback(network.close)
            return network

        yield start


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_open() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().close()


def whatsminers(network: Network) -> WhatsminerFarm:
    dialect = network.dialects["whatsminer-v3"]
    assert isinstance(dialect, CompatFarm)
    return dialect.whatsminers


def link_to(network: Network, answer_s: float = 2.0) -> FramedLink:
    OPENED.append(FramedLink(host=network.farm.labels[0].address, port=4433, answer_s=answer_s))
    return OPENED[-1]


def miner_in(network: Network, *, password: str = PASSWORD, mac: str = "") -> WhatsminerV3Miner:
    pinned = mac or network.farm.labels[0].mac
    return WhatsminerV3Miner(miner_id="w", link=link_to(network), mac=pinned, password=password)


def true_w(network: Network) -> float:
    return network.farm.plant.machines[0].watts.value(network.farm.clock.now_s())


async def test_it_identifies_by_two_signs_and_reads_what_is_true(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    identity = await miner.identify()
    label = network.farm.labels[0]
    assert (identity.family, identity.model) == ("whatsminer-v3", "WhatsMiner M60S")
    assert (identity.mac, identity.serial) == (label.mac, label.serial)
    assert identity.nameplate_hashrate_hs == pytest.approx(186e12)
    assert identity.is_writable
    reading = await miner.read()
    assert reading.activity is Activity.HASHING
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.hashrate_hs == pytest.approx(186e12)
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx([62e12] * 3)
    assert reading.profile == "100%"
    assert reading.requested_at_s < reading.replied_at_s


async def test_details_have_serials_pools_limit_and_percents(hall: Open) -> None:
    network = await hall(api="3.0.1", has_heartbeats=True)
    details = await miner_in(network).read_details()
    label = network.farm.labels[0]
    assert details.board_serials == label.board_serials
    assert details.power_supply_serial == f"PS{label.serial}"
    assert [pool.is_active for pool in details.pools] == [True, False]
    assert details.power_limit_w == 3613.0
    assert (details.profiles[0].name, details.profiles[-1].power_w) == ("60%", 3441.0)
    assert details.fan_speeds_rpm == (5000, 5040)
    assert details.faults == ()


def with_older_reads(network: Network, host: str = "", port: int = 4028) -> WhatsminerV3Reader:
    label = network.farm.labels[0]
    older = TcpExchange(host=host or label.address, port=port, answer_s=0.3)
    return WhatsminerV3Reader(miner_id="w", link=link_to(network), mac=label.mac, older=older)


async def test_shares_are_counted_where_the_firmware_still_answers_the_older_reads(
    hall: Open,
) -> None:
    network = await hall()
    network.farm.plant.machines[0].hashes = 7 * 2.0**50
    pools = (await with_older_reads(network).read_details()).pools
    assert [(pool.accepted, pool.rejected) for pool in pools] == [(7, 0), (0, 0)]


async def test_without_the_older_reads_shares_are_not_counted_and_all_else_is_read(
    hall: Open, listen: Listen
) -> None:
    async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b'{"STATUS":"E","Code":14,"Msg":"invalid cmd"}')

    network = await hall(has_older_reads=False)
    refusing = with_older_reads(network, "127.0.0.1", await listen(strange))
    for miner in (with_older_reads(network), refusing):
        pools = (await miner.read_details()).pools
        assert [(pool.accepted, pool.rejected) for pool in pools] == [(None, None)] * 2


async def test_faults_and_random_delays_are_said(hall: Open) -> None:
    network = await hall(time_randomized_s=90)
    whatsminers(network).traits(0).faults.append({"541": "2026-01-01", "reason": "Slot1 not found"})
    codes = {fault.code: fault.words for fault in (await miner_in(network).read_details()).faults}
    assert "Slot1 not found" in codes["541"]
    assert "up to 90 s" in codes["time-randomized"]


async def test_a_percent_moves_the_watts_and_is_read_back(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.select_profile("70%")
    await asyncio.sleep(0.3)
    reading = await miner.read()
    assert (reading.profile, reading.activity) == ("70%", Activity.HASHING)
    assert true_w(network) == pytest.approx(0.7 * 3441.0, rel=0.01)
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)


async def test_sleep_and_wake_and_a_start_forgets_the_percent(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.select_profile("60%")
    await miner.sleep()
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.profile, len(asleep.boards)) == (Activity.SLEEPING, "100%", 3)
    assert true_w(network) < 60.0
    assert (await miner.read_details()).pools[0].is_active is False
    await miner.wake()
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(0.6)
    awake = await miner.read()
    assert (awake.activity, awake.profile) == (Activity.HASHING, "100%")
    assert true_w(network) == pytest.approx(3441.0, rel=0.01)


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network, mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_without_a_serial_is_read_but_not_written_to(hall: Open) -> None:
    network = await hall()
    network.farm.labels[0] = replace(network.farm.labels[0], serial="")  # type: ignore[index] # a list
    miner = miner_in(network)
    assert not (await miner.identify()).is_writable
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.sleep()
    assert network.farm.plant.machines[0].counters.commands == 0


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"password": "another"}, "password file"),
    ({"password": "super"}, "default password"),
    ({"is_api_on": False}, "API switch"),
]


@pytest.mark.parametrize(("table", "word"), REFUSALS)
async def test_no_permission_says_what_to_do_and_keeps_the_secret(
    hall: Open, caplog: pytest.LogCaptureFixture, table: dict[str, Any], word: str
) -> None:
    caplog.set_level(logging.DEBUG)
    network = await hall(**table)
    password = "super" if table.get("password") == "super" else "hunter2"
    with pytest.raises(RefusedError, match=word) as caught:
        await miner_in(network, password=password).sleep()
    assert "hunter2" not in f"{caught.value} {caught.value.reply!r} {caplog.text}"
    assert network.farm.plant.machines[0].is_awake


@pytest.mark.parametrize("skew_s", [-500_000, 500_000])
async def test_a_wrong_clock_of_the_machine_does_not_matter(hall: Open, skew_s: int) -> None:
    network = await hall(clock_skew_s=skew_s)
    await miner_in(network).sleep()
    assert not network.farm.plant.machines[0].is_awake


async def test_a_busy_machine_is_tried_again_later(hall: Open) -> None:
    network = await hall()
    whatsminers(network).traits(0).is_busy = True
    with pytest.raises(BusyError):
        await miner_in(network).select_profile("80%")


async def test_without_fast_boot_there_is_no_percent_to_choose(hall: Open) -> None:
    network = await hall(is_fast_boot=False)
    miner = miner_in(network)
    assert [profile.name for profile in (await miner.read_details()).profiles] == ["100%"]
    with pytest.raises(RefusedError, match="Fast Boot is off"):
        await miner.select_profile("80%")
    for name in ("+5", ""):
        with pytest.raises(UnsupportedError, match="not the name"):
            await miner.select_profile(name)
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    network = await hall()
    network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    miner = miner_in(network)
    await miner.select_profile("60%")  # accepted, and nothing else
    assert (await miner.read()).profile == "100%"


async def test_a_slow_machine_is_waited_for_up_to_its_limit(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await hall(answer_delay_s=0.3)
    miner = miner_in(network)
    assert (await miner.read()).activity is Activity.HASHING
    monkeypatch.setattr(whatsminer_v3, "READ_LIMIT_S", 0.5)
    with pytest.raises(UnreachableError, match="did not answer everything within"):
        await miner.read()
    monkeypatch.setattr(whatsminer_v3, "WRITE_LIMIT_S", 0.45)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    assert not network.farm.plant.machines[0].is_awake  # it came through all the same
    monkeypatch.setattr(whatsminer_v3, "WRITE_LIMIT_S", 0.2)
    with pytest.raises(UnreachableError, match="was not sent"):
        await miner.wake()
    assert not network.farm.plant.machines[0].is_awake


async def test_ten_callers_are_served_and_the_eleventh_is_turned_away(hall: Open) -> None:
    network = await hall()
    reader = WhatsminerV3Reader(miner_id="w", link=link_to(network), mac=None)
    async with AsyncExitStack() as stack:
        talks = [await stack.enter_async_context(link_to(network).conversation()) for _ in "x" * 10]
        assert len(talks) == 10
        with pytest.raises(UnreachableError):
            await reader.read()
    await asyncio.sleep(0.05)
    assert (await reader.read()).activity is Activity.HASHING


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
    network = await hall()
    miner = WhatsminerV3Reader(miner_id="w", link=link_to(network, answer_s=0.3), mac=None)
    network.farm.switch_fault(kind, [0], is_active=True, value=None)
    await network.apply_faults()
    for _ in range(3):
        with pytest.raises(expected):
            await miner.read()
    network.farm.clear_faults()
    await network.apply_faults()
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_rebooting_machine_is_unreachable_and_then_itself_again(hall: Open) -> None:
    network = await hall()
    machine = network.farm.plant.machines[0]
    machine.timings = replace(machine.timings, reboot_s=0.3)
    miner = miner_in(network)
    async with link_to(network).conversation() as talk:
        network.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
        with pytest.raises(NoAnswerError):
            await talk.ask(b'{"cmd":"get.device.info"}')
    with pytest.raises(UnreachableError):
        await miner.read()
    await asyncio.sleep(0.4)
    assert (await miner.read()).boards


HALVES = [
    (b"", NoAnswerError),
    (b"\x10\x00", NoAnswerError),
    (b"\x20\x00\x00\x00{", NoAnswerError),
    (b"\xff\xff\xff\xff", BadReplyError),
    (bytes(4) * 100, BadReplyError),
    (b"\x02\x00\x00\x00[]", BadReplyError),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", BadReplyError),
]


@pytest.mark.parametrize(("reply", "expected"), HALVES)
async def test_half_answers_and_strangers_are_driver_errors_in_bounded_time(
    listen: Listen, reply: bytes, expected: type[DriverError]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(reply)
        await writer.drain()

    link = FramedLink(host="127.0.0.1", port=await listen(answer), answer_s=0.5)
    reader = WhatsminerV3Reader(miner_id="w", link=link, mac=None)
    started_s = time.monotonic()
    with pytest.raises(expected):
        await reader.read()
    assert time.monotonic() - started_s < 2.0


@pytest.mark.parametrize("last", [b"", b"\x02\x00\x00\x00[]", b"\x20\x00\x00\x00{"])
async def test_a_write_without_a_usable_answer_is_unknown_and_sent_once(
    hall: Open, listen: Listen, last: bytes
) -> None:
    network = await hall()
    sent: list[bytes] = []

    async def lossy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes the question on and loses the answer to what comes after it."""
        for is_write in (False, True):
            frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
            sent.append(frame)
            writer.write(last if is_write else whatsminers(network).reply(0, frame) or b"")
            await writer.drain()

    link = FramedLink(host="127.0.0.1", port=await listen(lossy), answer_s=0.5)
    miner = WhatsminerV3Miner(miner_id="w", link=link, mac=None, password=PASSWORD)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    assert len(sent) == 2
    assert PASSWORD.encode() not in b"".join(sent)


async def test_a_write_may_take_longer_than_a_read(hall: Open, listen: Listen) -> None:
    network = await hall()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for pause_s in (0.0, 0.6):
            frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
            await asyncio.sleep(pause_s)
            writer.write(whatsminers(network).reply(0, frame) or b"")
            await writer.drain()

    link = FramedLink(host="127.0.0.1", port=await listen(slow), answer_s=0.4)
    await WhatsminerV3Miner(miner_id="w", link=link, mac=None, password=PASSWORD).sleep()
    assert not network.farm.plant.machines[0].is_awake
