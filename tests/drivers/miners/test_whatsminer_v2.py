"""The driver of Whatsminer API v2 reads simulated machines of every firmware, and broken ones."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import BadReplyError, DriverError, UnreachableError, WrongDeviceError
from drivers.link.frames import FramedLink
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners import whatsminer_v2
from drivers.miners.registry import open_miner
from drivers.miners.whatsminer_v2 import Links, WhatsminerV2Reader
from drivers.readings import Activity, PowerProvenance
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network
from simulator.whatsminer_v2 import WhatsminerV2Farm

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
FAMILY = "whatsminer-v2"

Open = Callable[..., Awaitable[Network]]
Listen = Callable[[Any], Awaitable[int]]


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one quick M50; the arguments are the [whatsminer_v2] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "whatsminer_v2": table,
                "spread": {"reporting": 0.02, "tolerance": 0.0},
                "machines": [
                    {"family": FAMILY, "model": "m50", "count": 1},
                    {"family": "whatsminer-v3", "model": "m60s", "count": 1},
                ],
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


def whatsminers(network: Network) -> WhatsminerV2Farm:
    dialect = network.dialects[FAMILY]
    assert isinstance(dialect, WhatsminerV2Farm)
    return dialect


def links_to(host: str, *, port: int = 4028, newer: int = 4433, answer_s: float = 2.0) -> Links:
    return Links(
        reads=TcpExchange(host=host, port=port, answer_s=answer_s),
        newer=FramedLink(host=host, port=newer, connect_s=0.5, answer_s=0.5),
    )


def reader_in(network: Network, *, mac: str = "", answer_s: float = 2.0) -> WhatsminerV2Reader:
    label = network.farm.labels[0]
    links = links_to(label.address, answer_s=answer_s)
    return WhatsminerV2Reader(miner_id="w", links=links, mac=mac or label.mac)


def true_w(network: Network) -> float:
    return network.farm.plant.machines[0].watts.value(network.farm.clock.now_s())


async def test_it_identifies_by_two_signs_and_reads_what_is_true(hall: Open) -> None:
    network = await hall()
    reader, label = reader_in(network), network.farm.labels[0]
    identity = await reader.identify()
    assert (identity.family, identity.model) == (FAMILY, "WhatsMiner M50")
    assert (identity.mac, identity.serial) == (label.mac, label.serial)
    assert (identity.firmware, identity.board_count) == ("20230714.15.Rel", 3)
    assert identity.nameplate_hashrate_hs == pytest.approx(118e12)
    assert identity.is_writable
    reading = await reader.read()
    assert reading.activity is Activity.HASHING
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx([118e12 / 3] * 3)
    assert tuple(board.serial for board in reading.boards) == label.board_serials
    assert reading.profile == "100%"
    assert reading.requested_at_s < reading.replied_at_s


async def test_details_have_serials_pools_limit_faults_and_percents(hall: Open) -> None:
    network = await hall()
    whatsminers(network).traits(0).faults["541"] = "2026-01-01 00:00:00"
    details = await reader_in(network).read_details()
    label = network.farm.labels[0]
    assert details.board_serials == label.board_serials
    assert details.power_supply_serial == f"PS{label.serial}"
    assert [(pool.slot, pool.is_active) for pool in details.pools] == [
        (1, True),
        (2, False),
        (3, False),
    ]
    assert details.pools[0].user == "farm.sim-00000"
    assert details.power_limit_w == 3518.0
    assert (details.profiles[0].name, details.profiles[-1].power_w) == ("60%", 3276.0)
    assert details.fan_speeds_rpm == (5000, 5040)
    assert [fault.code for fault in details.faults] == ["541"]
    assert details.uptime_s is not None


async def test_a_power_supply_that_measures_nothing_leaves_the_firmwares_figure(
    hall: Open,
) -> None:
    network = await hall(has_meter=False)
    reading = await reader_in(network).read()
    machine = network.farm.plant.machines[0]
    assert reading.power_w == machine.reported_w(network.farm.clock.now_s())
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE


SHAPES: list[dict[str, Any]] = [
    {"api": "2.0.4"},
    {"api": "2.2.0", "ends_with_nul": True},
    {"flaw": "newline"},
    {"flaw": "comma"},
    {"flaw": "joint"},
    {"flaw": "inf", "ends_with_nul": True},
]


@pytest.mark.parametrize("table", SHAPES)
async def test_every_firmwares_json_says_the_same(hall: Open, table: dict[str, Any]) -> None:
    network = await hall(**table)
    whatsminers(network).traits(0).faults |= {"110": "2026-01-01", "2010": "2026-01-02"}
    reader = reader_in(network)
    reading = await reader.read()
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    details = await reader.read_details()
    assert details.identity.is_writable
    assert details.identity.mac == network.farm.labels[0].mac
    assert [fault.code for fault in details.faults] == ["110", "2010"]


async def test_firmware_with_api_v1_is_read(hall: Open) -> None:
    network = await hall(api="1.4.0")
    whatsminers(network).traits(0).faults["110"] = "x"
    reader = reader_in(network)
    identity = await reader.identify()
    assert (identity.mac, identity.serial) == (network.farm.labels[0].mac, "")
    assert not identity.is_writable
    reading = await reader.read()
    assert reading.activity is Activity.HASHING
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    details = await reader.read_details()
    assert [profile.name for profile in details.profiles] == ["100%"]
    assert [fault.code for fault in details.faults] == ["110"]
    assert details.power_supply_serial is None


async def test_a_sleeper_whose_mining_program_is_gone_is_read_all_the_same(hall: Open) -> None:
    network = await hall(answers_asleep=False)
    reader = reader_in(network)
    assert (await reader.read()).activity is Activity.HASHING
    network.farm.act(0, lambda machine, now_s: machine.sleep(now_s=now_s))
    await asyncio.sleep(0.3)
    reading = await reader.read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert (reading.power_w, len(reading.boards)) == (25.0, 3)
    details = await reader.read_details()
    assert (details.pools, details.fan_speeds_rpm, details.uptime_s) == ((), (), None)
    assert details.identity.board_count == 3
    stranger = reader_in(network)
    assert (await stranger.read()).boards == ()
    assert (await stranger.identify()).model == "WhatsMiner"


async def test_a_machine_that_starts_is_ramping(hall: Open) -> None:
    network = await hall()
    network.farm.act(0, lambda machine, now_s: machine.sleep(now_s=now_s))
    traits = whatsminers(network).traits(0)
    traits.tuned_from_s = network.farm.clock.now_s() + 60.0
    network.farm.act(0, lambda machine, now_s: machine.wake(now_s=now_s))
    assert (await reader_in(network).read()).activity is Activity.RAMPING


async def test_another_mac_is_not_read(hall: Open) -> None:
    network = await hall()
    reader = reader_in(network, mac="02:00:00:00:00:99")
    for verb in (reader.identify, reader.read, reader.read_details):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()


async def test_a_machine_exchanged_between_two_reads_is_noticed(hall: Open) -> None:
    network = await hall()
    reader = reader_in(network)
    await reader.read()
    moved = replace(network.farm.labels[0], mac="02:00:00:00:00:98")
    network.farm.labels[0] = moved  # type: ignore[index] # a list
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:98"):
        await reader.read()


async def test_firmware_with_api_v3_is_told_to_be_configured_as_such(hall: Open) -> None:
    network = await hall()
    label = network.farm.labels[1]
    reader = WhatsminerV2Reader(miner_id="n", links=links_to(label.address), mac=label.mac)
    for verb in (reader.identify, reader.read, reader.read_details):
        with pytest.raises(WrongDeviceError, match="configure it as whatsminer-v3"):
            await verb()


async def test_a_machine_that_listens_on_the_newer_port_as_well_is_of_api_v3(hall: Open) -> None:
    network = await hall()
    old, new = network.farm.labels
    links = Links(
        reads=TcpExchange(host=old.address, port=4028),
        newer=FramedLink(host=new.address, port=4433),
    )
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=old.mac)
    with pytest.raises(WrongDeviceError, match=rf"by {new.address}:4433"):
        await reader.identify()


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_newer_port_that_says_nothing_usable_leaves_it_open(
    hall: Open, listen: Listen, reply: bytes
) -> None:
    network = await hall()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(reply)
        await writer.drain()

    label = network.farm.labels[0]
    links = Links(
        reads=TcpExchange(host=label.address, port=4028),
        newer=FramedLink(host="127.0.0.1", port=await listen(mute), answer_s=0.3),
    )
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=label.mac)
    with pytest.raises(UnreachableError, match="does not say whether it speaks API v3"):
        await reader.identify()
    assert (await reader.read()).activity is Activity.HASHING


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.MINER_SILENT, NoAnswerError),
        (FaultKind.MINER_GONE, UnreachableError),
        (FaultKind.MINER_GARBAGE, BadReplyError),
    ],
)
async def test_a_broken_machine_is_a_driver_error_and_works_again_after_it(
    hall: Open, kind: FaultKind, expected: type[DriverError]
) -> None:
    network = await hall()
    reader = reader_in(network, answer_s=0.3)
    network.farm.switch_fault(kind, [0], is_active=True, value=None)
    await network.apply_faults()
    for _ in range(3):
        with pytest.raises(expected):
            await reader.read()
    network.farm.clear_faults()
    await network.apply_faults()
    assert (await reader.read()).activity is Activity.HASHING


async def test_half_an_answer_is_a_bad_reply(hall: Open) -> None:
    network = await hall(flaw="truncated")
    with pytest.raises(BadReplyError, match="cut off"):
        await reader_in(network).read()


async def test_a_machine_that_reboots_in_mid_answer_is_unreachable_and_then_itself(
    hall: Open,
) -> None:
    network = await hall(answer_delay_s=0.1)
    machine = network.farm.plant.machines[0]
    machine.timings = replace(machine.timings, reboot_s=0.3)
    reader = reader_in(network)
    reading = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0.15)
    network.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
    with pytest.raises(UnreachableError):
        await reading
    await asyncio.sleep(0.4)
    assert (await reader.read()).boards


async def test_a_slow_machine_is_waited_for_up_to_a_limit(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await hall(answer_delay_s=0.15)
    reader = reader_in(network)
    assert (await reader.read()).activity is Activity.HASHING
    monkeypatch.setattr(whatsminer_v2, "READ_LIMIT_S", 0.2)
    started_s = time.monotonic()
    with pytest.raises(UnreachableError, match="did not answer everything"):
        await reader.read()
    assert time.monotonic() - started_s < 1.0


async def test_questions_come_one_at_a_time(hall: Open, listen: Listen) -> None:
    network = await hall()
    at_once: list[int] = [0, 0]

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        question = await reader.readline()
        await asyncio.sleep(0.01)
        writer.write(whatsminers(network).reply(0, question) or b"")
        await writer.drain()
        at_once[0] -= 1

    links = links_to("127.0.0.1", port=await listen(counting), newer=1)
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=network.farm.labels[0].mac)
    readings = await asyncio.gather(reader.read(), reader.read(), reader.read_details())
    assert len(readings) == 3
    assert at_once[1] == 1


STRANGERS: list[tuple[bytes, type[DriverError]]] = [
    (b"", UnreachableError),
    (b"\0", BadReplyError),
    (b"<html></html>", BadReplyError),
    (b"Socket connect failed: Connection refused\n", BadReplyError),
    (b'{"STATUS":"S","Code":131,"Msg":"ok"}', BadReplyError),
    (b'{"STATUS":"S","Code":131,"Msg":{"api_ver":"9","fw_ver":"1"}}', WrongDeviceError),
    (b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"invalid"}]}', DriverError),
    (b'{"error":"unknown command"}', DriverError),
]


@pytest.mark.parametrize(("reply", "expected"), STRANGERS)
async def test_what_is_no_whatsminer_is_a_driver_error_in_bounded_time(
    listen: Listen, reply: bytes, expected: type[DriverError]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(reply)
        await writer.drain()

    links = links_to("127.0.0.1", port=await listen(answer), answer_s=0.5)
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=None)
    started_s = time.monotonic()
    with pytest.raises(expected):
        await reader.identify()
    assert time.monotonic() - started_s < 2.0


async def test_firmware_without_edevs_devdetails_and_psu_is_read_by_what_it_has(
    hall: Open, listen: Listen
) -> None:
    network = await hall()
    asked: list[str] = []

    async def poorer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.readline()
        asked.append(json.loads(question)["command"])
        if asked[-1] in {"edevs", "devdetails", "get_psu"}:
            question = b'{"cmd":"no.such.command"}'
        writer.write(whatsminers(network).reply(0, question) or b"")
        await writer.drain()

    links = links_to("127.0.0.1", port=await listen(poorer), newer=1)
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=None)
    identity = await reader.identify()
    assert (identity.model, identity.board_count) == ("WhatsMiner", 3)
    reading = await reader.read()
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    assert asked.count("edevs") == 1  # found out once


async def test_closing_is_always_possible(hall: Open) -> None:
    network = await hall()
    label = network.farm.labels[0]
    miner = open_miner(f"{FAMILY}://{label.address}?v3=4433", miner_id="w", mac=label.mac)
    assert isinstance(miner, WhatsminerV2Reader)
    assert (await miner.read()).miner_id == "w"
    await miner.close()
