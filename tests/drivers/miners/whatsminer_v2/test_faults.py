"""What the driver of Whatsminer API v2 says of broken machines and of strangers."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import BadReplyError, DriverError, UnreachableError, WrongDeviceError
from drivers.link.frames import FramedLink
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners import whatsminer_v2
from drivers.miners.whatsminer_v2 import Links, WhatsminerV2Reader
from drivers.readings import Activity
from simulator.faults import FaultKind

Open = Callable[..., Awaitable[Any]]
Listen = Callable[[Any], Awaitable[int]]


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_newer_port_that_says_nothing_usable_leaves_it_open(
    hall: Open, listen: Listen, reply: bytes
) -> None:
    site = await hall()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(reply)
        await writer.drain()

    label = site.farm.labels[0]
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
    site = await hall()
    reader = site.reader(answer_s=0.3)
    site.farm.switch_fault(kind, [0], is_active=True, value=None)
    await site.network.apply_faults()
    for _ in range(3):
        with pytest.raises(expected):
            await reader.read()
    site.farm.clear_faults()
    await site.network.apply_faults()
    assert (await reader.read()).activity is Activity.HASHING


async def test_half_an_answer_is_a_bad_reply(hall: Open) -> None:
    site = await hall(flaw="truncated")
    with pytest.raises(BadReplyError, match="cut off"):
        await site.reader().read()


async def test_a_machine_that_reboots_in_mid_answer_is_unreachable_and_then_itself(
    hall: Open,
) -> None:
    site = await hall(answer_delay_s=0.1)
    machine = site.farm.plant.machines[0]
    machine.timings = replace(machine.timings, reboot_s=0.3)
    reader = site.reader()
    reading = asyncio.ensure_future(reader.read())
    await asyncio.sleep(0.15)
    site.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
    with pytest.raises(UnreachableError):
        await reading
    await asyncio.sleep(0.4)
    assert (await reader.read()).boards


async def test_a_slow_machine_is_waited_for_up_to_a_limit(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(answer_delay_s=0.15)
    reader = site.reader()
    assert (await reader.read()).activity is Activity.HASHING
    monkeypatch.setattr(whatsminer_v2, "READ_LIMIT_S", 0.1)
    started_s = time.monotonic()
    with pytest.raises(UnreachableError, match="did not answer everything"):
        await reader.read()
    assert time.monotonic() - started_s < 1.0


async def test_one_verb_at_a_time_asks_one_question_at_a_time(hall: Open, listen: Listen) -> None:
    site = await hall()
    at_once: list[int] = [0, 0]
    asked: list[str] = []

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        question = await reader.readline()
        asked.append(json.loads(question)["command"])
        await asyncio.sleep(0.01)
        writer.write(site.whatsminers.reply(0, question) or b"")
        await writer.drain()
        at_once[0] -= 1

    reader = site.reader(port=await listen(counting))
    await asyncio.gather(reader.read(), reader.read(), reader.read())
    assert at_once[1] == 1
    once = ["status", "summary+edevs", "get_psu"]
    again = ["summary+edevs"]  # of a machine that goes on as it did
    assert asked == ["get_version", "get_miner_info", *once, *again * 2]


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

    port = await listen(answer)
    links = Links(
        reads=TcpExchange(host="127.0.0.1", port=port, answer_s=0.5),
        newer=FramedLink(host="127.0.0.1", port=4433),
    )
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=None)
    started_s = time.monotonic()
    with pytest.raises(expected):
        await reader.identify()
    assert time.monotonic() - started_s < 2.0
