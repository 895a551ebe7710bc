"""The driver of VNish against machines that are broken, slow, gone or somebody else.

What is written where is seen by a server of the test's own: it answers as it is told and keeps
every request.
"""

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
from drivers.link.http import HttpLink
from drivers.link.tcp import NoAnswerError
from drivers.miners import vnish
from drivers.miners.vnish import VnishMiner
from drivers.readings import Activity
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080
PASSWORD = "farm-pass"
MAC = "02:00:00:00:00:01"

Open = Callable[..., Awaitable[Network]]
Listen = Callable[[Any], Awaitable[int]]
Make = Callable[..., VnishMiner]

WHO = {
    "info": {
        "miner": "Antminer S21",
        "fw_name": "Vnish",
        "fw_version": "1.3.4",
        "hr_measure": "GH/s",
        "serial": "N/A",
        "system": {"uptime": "0:06", "network_status": {"mac": MAC.upper()}},
    },
    "model": {"full_name": "Antminer S21", "chain": {"num_chains": 3}},
    "perf-summary": {"current_preset": None},
}
SILENCE, HANG_UP = object(), object()
PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "web_port": PORT},
                "vnish": {"has_older_reads": False, **table},
                "machines": [{"family": "vnish", "model": "s21", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            await network.open()
            stack.push_async_callback(network.close)
            return network

        yield start


@pytest_asyncio.fixture
async def miner_at() -> AsyncIterator[Make]:
    made: list[VnishMiner] = []

    def make(host: str, port: int = PORT, *, answer_s: float = 0.4) -> VnishMiner:
        link = HttpLink(host=host, port=port, connect_s=0.2, answer_s=answer_s)
        made.append(VnishMiner(miner_id="v", link=link, mac=None, password=PASSWORD))
        return made[-1]

    yield make
    for miner in made:
        await miner.close()
    await asyncio.sleep(0.02)  # until the servers have seen it


class Scripted:
    """Answers by path with a body, a status and a body, or none at all; keeps the requests."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {name: json.dumps(told) for name, told in WHO.items()}
        self.answers |= {"unlock": '{"token": "t1"}'} | answers
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            sizes = [
                line for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"
            ]
            if sizes:
                await reader.readexactly(int(sizes[0][15:]))
            name = head.split()[1].decode().removeprefix("/api/v1/")
            self.asked.append(name)
            if self.answers.get(name) is SILENCE:
                await reader.read()  # until the caller has gone
            if not await self.say(name, writer):
                return

    async def say(self, name: str, writer: asyncio.StreamWriter) -> bool:
        told = self.answers.get(name, (404, b""))
        if told is HANG_UP or told is SILENCE:
            return False
        status, body = (200, told) if isinstance(told, str | bytes) else told
        body = body.encode() if isinstance(body, str) else body
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        return True


SIMULATED = [
    (FaultKind.MINER_SILENT, NoAnswerError),
    (FaultKind.MINER_GONE, UnreachableError),
    (FaultKind.MINER_GARBAGE, BadReplyError),
]


@pytest.mark.parametrize(("kind", "expected"), SIMULATED)
async def test_a_broken_machine_is_a_driver_error_and_works_again_after_it(
    hall: Open, miner_at: Make, kind: FaultKind, expected: type[DriverError]
) -> None:
    network = await hall()
    miner = miner_at(network.farm.labels[0].address)
    network.farm.switch_fault(kind, [0], is_active=True, value=None)
    await network.apply_faults()
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(expected):
            await verb()
    assert network.farm.plant.machines[0].counters.commands == 0
    network.farm.clear_faults()
    await network.apply_faults()
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_rebooting_machine_is_unreachable_and_then_itself_again(
    hall: Open, miner_at: Make
) -> None:
    network = await hall()
    machine = network.farm.plant.machines[0]
    machine.timings = replace(machine.timings, reboot_s=0.3, board_off_s=0.1)
    miner = miner_at(network.farm.labels[0].address)
    await miner.read()
    network.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
    with pytest.raises(UnreachableError):
        await miner.read()
    await asyncio.sleep(0.4)
    assert (await miner.read()).activity is Activity.RAMPING


async def test_a_slow_machine_is_waited_for(hall: Open, miner_at: Make) -> None:
    network = await hall(answer_delay_s=0.1)
    miner = miner_at(network.farm.labels[0].address, answer_s=3.0)
    assert (await miner.read()).activity is Activity.HASHING


async def test_everything_together_has_a_limit_and_says_whether_a_write_was_sent(
    listen: Listen, miner_at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vnish, "READ_LIMIT_S", 0.3)
    monkeypatch.setattr(vnish, "WRITE_LIMIT_S", 0.7)
    server = Scripted(**{"mining/pause": SILENCE, "summary": SILENCE})
    miner = miner_at("127.0.0.1", await listen(server), answer_s=9.0)
    with pytest.raises(UnreachableError, match="did not answer everything within"):
        await miner.identify()
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    server.answers["model"] = SILENCE
    with pytest.raises(UnreachableError, match="was not sent"):
        await miner.sleep()
    assert server.asked.count("mining/pause") == 1


READS = [
    (SILENCE, NoAnswerError),
    (HANG_UP, NoAnswerError),
    (b"", BadReplyError),
    (PAGE, BadReplyError),
    (b'{"miner": "Antm', BadReplyError),
    (b"[]", BadReplyError),
    (b"x" * (2 << 20), BadReplyError),
    ((502, PAGE), BadReplyError),
    ((404, b""), UnsupportedError),
    ((429, b""), BusyError),
    ((403, b""), RefusedError),
    ((401, b""), RefusedError),
    ((302, b""), BadReplyError),
    (json.dumps(WHO["info"] | {"fw_name": "Other"}).encode(), WrongDeviceError),
    (json.dumps({"STATUS": "S"}).encode(), BadReplyError),
]


@pytest.mark.parametrize(("told", "expected"), READS)
async def test_strange_answers_to_who_are_driver_errors_in_bounded_time(
    listen: Listen, miner_at: Make, told: Any, expected: type[DriverError]
) -> None:
    server = Scripted(info=told)
    miner = miner_at("127.0.0.1", await listen(server), answer_s=0.2)
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep, miner.wake):
        started_s = time.monotonic()
        with pytest.raises(expected):
            await verb()
        assert time.monotonic() - started_s < 2.0
    assert not [name for name in server.asked if name.startswith("mining/")]


async def test_half_an_answer_is_no_answer(listen: Listen, miner_at: Make) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"miner"')
        await writer.drain()

    with pytest.raises(NoAnswerError):
        await miner_at("127.0.0.1", await listen(half)).read()


@pytest.mark.parametrize(
    "told",
    [SILENCE, HANG_UP, PAGE, b'{"half', (502, PAGE), (500, b""), (302, b""), b"x" * (2 << 20)],
)
async def test_a_write_without_a_usable_answer_is_unknown_and_sent_once(
    listen: Listen, miner_at: Make, monkeypatch: pytest.MonkeyPatch, told: Any
) -> None:
    monkeypatch.setattr(vnish, "WRITE_ANSWER_S", 0.2)
    server = Scripted(**{"mining/pause": told, "mining/resume": told})
    miner = miner_at("127.0.0.1", await listen(server))
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.wake()
    told_names = [name for name in server.asked if name.startswith("mining/")]
    assert told_names == ["mining/pause", "mining/resume"]


async def test_a_login_that_the_machine_forgets_at_once_is_renewed_once_only(
    listen: Listen, miner_at: Make
) -> None:
    server = Scripted(**{"mining/pause": (401, b"")})
    with pytest.raises(RefusedError, match="no permission"):
        await miner_at("127.0.0.1", await listen(server)).sleep()
    assert server.asked == ["info", "model", *["unlock", "mining/pause"] * 2]


async def test_a_login_without_an_answer_leaves_the_write_unsent(
    listen: Listen, miner_at: Make
) -> None:
    server = Scripted(unlock=HANG_UP)
    miner = miner_at("127.0.0.1", await listen(server))
    with pytest.raises(NoAnswerError):
        await miner.sleep()
    server.answers["unlock"] = '{"tok": 1}'
    with pytest.raises(BadReplyError, match="no token"):
        await miner.sleep()
    server.answers["unlock"] = (500, b"boom")
    with pytest.raises(RefusedError, match=r"refuses the login \(HTTP 500\)"):
        await miner.sleep()
    assert "mining/pause" not in server.asked


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((429, b""), BusyError),
        ((404, b""), UnsupportedError),
        ((500, b'{"err":"x"}'), RefusedError),
    ],
)
async def test_a_clear_no_to_a_write_is_told_as_it_is(
    listen: Listen, miner_at: Make, told: Any, expected: type[DriverError]
) -> None:
    server = Scripted(**{"mining/pause": told})
    with pytest.raises(expected):
        await miner_at("127.0.0.1", await listen(server)).sleep()


async def test_a_busy_machine_is_not_told_to_start_instead_of_to_resume(
    listen: Listen, miner_at: Make
) -> None:
    server = Scripted(**{"mining/resume": (429, b"")})
    with pytest.raises(BusyError):
        await miner_at("127.0.0.1", await listen(server)).wake()
    assert "mining/start" not in server.asked


async def test_two_pages_that_disagree_are_no_machine_to_write_to(
    listen: Listen, miner_at: Make
) -> None:
    server = Scripted(model=json.dumps(WHO["model"] | {"full_name": "Antminer S19"}))
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner_at("127.0.0.1", await listen(server)).sleep()
    assert server.asked == ["info", "model"]


async def test_what_answers_while_the_mining_program_starts_is_said(
    listen: Listen, miner_at: Make
) -> None:
    factory = json.dumps({"chains": None, "psu_serial": None})
    server = Scripted(summary='{"miner": null}', **{"chains/factory-info": factory})
    with pytest.raises(BadReplyError, match="may be starting"):
        await miner_at("127.0.0.1", await listen(server)).read()


async def test_watts_are_measured_by_the_preset_where_it_is_above_the_nameplate(
    listen: Listen, miner_at: Make
) -> None:
    """And a new firmware that shows no throttle has none."""
    summary = {
        "miner_status": {"miner_state": "mining"},
        "hr_realtime": 260_000,
        "power_consumption": 5500,
        "cooling": {"fans": []},
    }
    preset = {"name": "5600", "pretty": "5600 watt ~ 265 TH", "status": "tuned"}
    server = Scripted(
        summary=json.dumps({"miner": summary}),
        status="{}",
        **{"chains/factory-info": "{}", "perf-summary": json.dumps({"current_preset": preset})},
    )
    port = await listen(server)
    miner = miner_at("127.0.0.1", port)
    assert (await miner.read()).power_w == 5500.0
    assert [profile.name for profile in (await miner.read_details()).profiles] == ["100%"]
    server.answers["perf-summary"] = json.dumps({"current_preset": None})
    with pytest.raises(BadReplyError, match="5500 W, more than"):
        await miner_at("127.0.0.1", port).read()


async def test_a_model_that_nobody_knows_has_no_points_to_plan_with(
    listen: Listen, miner_at: Make
) -> None:
    """Set by hand, and no nameplate: neither the preset nor the table tells its watts."""
    name = {"miner": "Antminer S99", "full_name": "Antminer S99"}
    summary = {
        "miner_status": {"miner_state": "mining", "throttled": 100},
        "hr_realtime": 1000,
        "power_consumption": 50,
        "cooling": {"fans": []},
    }
    server = Scripted(
        info=json.dumps(WHO["info"] | name),
        model=json.dumps(WHO["model"] | name),
        summary=json.dumps({"miner": summary}),
        status="{}",
        **{"chains/factory-info": "{}"},
    )
    miner = miner_at("127.0.0.1", await listen(server))
    details = await miner.read_details()
    assert (details.profiles, details.power_limit_w) == ((), None)
    assert details.identity.nameplate_hashrate_hs is None
    assert (await miner.read()).power_w == 50.0
