"""Simulated Whatsminers as a caller without our driver sees them, and as other projects do.

Not read by the others, and why (their own code, not the machines):

- pyasic 0.79 never has pools here: it looks for them in the answer to "summary". Of an M63S it adds
  up three boards of four: it asks for a count that API v3 does not have and takes its default.
- asic-rs 0.8.6 has no serial number: its ``GetSerialNumber`` of this family is empty.
- pool counters and the PSU's own watts are asked for by neither; API v3 has no counters.
- both find the machine by its older reads on 4028 only; without them pyasic takes it for API v2.
"""

import asyncio
import importlib
import json
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyasic_rs
import pytest

from simulator.farm_file import FarmFileError, SpokenFamily, load_farm_file
from simulator.whatsminer_v3 import MAX_CALLERS
from simulator.whatsminer_v3_wire import token_of

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

V3 = "whatsminer-v3"
PASSWORD = "farm-pass"
FARMS = Path(__file__).parents[2] / "simulator" / "farms"
MIXED = [
    {"family": V3, "model": "m60s", "count": 1},
    {"model": "s21", "count": 1},
    {"family": V3, "model": "m63s", "count": 1, "profile": "80%"},
]
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}


@pytest.fixture
def open_mixed(open_site):
    """A farm of two families; the arguments are the [whatsminer] table."""

    async def make(**table: Any) -> Any:
        site = await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
            machines=MIXED,
            whatsminer=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        for machine in site.farm.plant.machines:
            machine.timings = replace(machine.timings, **QUICK)
        return site

    return make


async def ask(site: Any, index: int, *requests: Any) -> list[dict[str, Any]]:
    """Several questions on one connection; bytes go as they are."""
    async with connected(site, index) as (reader, writer):
        answers = []
        for request in requests:
            body = request if isinstance(request, bytes) else json.dumps(request).encode()
            writer.write(len(body).to_bytes(4, "little") + body)
            size = int.from_bytes(await reader.readexactly(4), "little")
            answers.append(json.loads(await reader.readexactly(size)))
        return answers


@asynccontextmanager
async def connected(site: Any, index: int) -> AsyncIterator[Any]:
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(site.address(index), 4433)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def order(site: Any, index: int, command: str, param: Any, **changes: Any) -> dict[str, Any]:
    (info,) = await ask(site, index, {"cmd": "get.device.info", "param": "salt"})
    ts = changes.pop("ts", info["when"])
    token = token_of(command, PASSWORD, info["msg"]["salt"], ts)
    request = {"cmd": command, "param": param, "ts": ts, "token": token, "account": "super"}
    return (await ask(site, index, request | changes))[0]


def test_the_token_is_the_vendors() -> None:
    assert token_of("set.miner.service", "super", "BQ5hoXV9", 1700000000) == "n5JRDCDx"


async def test_a_farm_may_mix_families(open_mixed) -> None:
    site = await open_mixed()
    (info,) = await ask(site, 0, {"cmd": "get.device.info"})
    label = site.farm.labels[0]
    assert (info["code"], info["desc"]) == (0, "get.device.info")
    assert info["msg"]["network"]["mac"] == label.mac
    assert info["msg"]["miner"]["type"] == "M60S_VK31"
    assert (await site.ask(1, "version"))["VERSION"][0]["LUXminer"]
    (setting,) = await ask(site, 2, {"cmd": "get.miner.setting"})
    assert setting["msg"]["power-percent"] == 80
    assert [len(label.board_serials) for label in site.farm.labels] == [3, 3, 4]


async def test_one_connection_carries_several_questions_and_what_is_wrong_has_its_code(
    open_mixed,
) -> None:
    site = await open_mixed()
    answers = await ask(
        site,
        0,
        {"cmd": "get.miner.status"},
        {"cmd": "get.miner.status", "param": "everything"},
        {"cmd": "get.device.info", "param": "everything"},
        {"cmd": "make.coffee"},
        {"param": "summary"},
        b"{half",
        {"cmd": "get.miner.status", "param": "summary+pools+edevs"},
    )
    assert [one["code"] for one in answers] == [-3, -2, -2, -2, -2, -1, 0]
    assert set(answers[-1]["msg"]) == {"summary", "pools", "edevs"}


async def test_a_heartbeat_is_answered_and_nonsense_hung_up_on(open_mixed) -> None:
    site = await open_mixed()
    async with connected(site, 0) as (reader, writer):
        writer.write(bytes(4))
        assert await reader.readexactly(4) == bytes(4)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""


async def test_ten_callers_are_served(open_mixed) -> None:
    site = await open_mixed()
    async with AsyncExitStack() as stack:
        for _ in range(MAX_CALLERS):
            await stack.enter_async_context(connected(site, 0))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await ask(site, 0, {"cmd": "get.device.info"})


async def test_a_percent_and_a_stop_move_the_plant(open_mixed) -> None:
    site = await open_mixed()
    machine = site.farm.plant.machines[0]
    fast = {"percent": "62", "mode": "fast"}
    assert (await order(site, 0, "set.miner.power_percent", fast))["msg"] == "ok"
    assert machine.point.name == "60%"
    (setting,) = await ask(site, 0, {"cmd": "get.miner.setting"})
    assert setting["msg"]["power-percent"] == 62
    assert (await order(site, 0, "set.miner.service", "stop"))["code"] == 0
    await asyncio.sleep(0.3)
    assert machine.watts.value(site.farm.clock.now_s()) == machine.timings.standby_w
    asleep = await ask(
        site,
        0,
        {"cmd": "get.miner.status", "param": "pools"},
        {"cmd": "get.miner.status", "param": "summary+pools+edevs"},
    )
    assert asleep[0]["code"] == -1
    assert asleep[1]["msg"]["edevs"] == []
    assert (await order(site, 0, "set.miner.power_percent", fast))["code"] == -1
    assert (await order(site, 0, "set.miner.service", "start"))["code"] == 0
    assert (machine.is_awake, machine.point.name) == (True, "100%")
    (status,) = await ask(site, 0, {"cmd": "get.miner.status", "param": "summary"})
    assert status["msg"]["summary"]["up-freq-finish"] == 0


WRONG = [
    ("set.miner.service", "stop", {"token": "AAAAAAAA"}, -4),
    ("set.miner.service", "stop", {"account": "user1"}, -4),
    ("set.miner.service", "stop", {"ts": 1}, -4),
    ("set.miner.service", None, {}, -3),
    ("set.miner.service", "explode", {}, -2),
    ("set.miner.power_percent", "80", {}, -3),
    ("set.miner.power_percent", {"percent": 80, "mode": "fast"}, {}, -2),
    ("set.miner.power_percent", {"percent": "101", "mode": "fast"}, {}, -2),
    ("set.miner.power_percent", {"percent": "80", "mode": "quick"}, {}, -2),
    ("set.miner.power_limit", [], {}, -3),
    ("set.miner.power_limit", -1, {}, -2),
    ("set.miner.factory_reset", None, {}, -2),
]


@pytest.mark.parametrize(("command", "param", "changes", "code"), WRONG)
async def test_a_wrong_write_is_refused_and_changes_nothing(
    open_mixed, command: str, param: Any, changes: dict[str, Any], code: int
) -> None:
    site = await open_mixed()
    machine = site.farm.plant.machines[0]
    assert (await order(site, 0, command, param, **changes))["code"] == code
    assert (machine.is_awake, machine.point.name) == (True, "100%")


@pytest.mark.parametrize("table", [{"is_api_on": False}, {"password": "super"}])
async def test_writes_are_closed_as_they_come_from_the_factory(open_mixed, table) -> None:
    site = await open_mixed(**table)
    assert (await order(site, 0, "set.miner.service", "stop"))["code"] == -4


async def test_a_reboot_hangs_up_and_forgets_the_percent(open_mixed) -> None:
    site = await open_mixed()
    machine = site.farm.plant.machines[2]
    machine.timings = replace(machine.timings, reboot_s=0.3)
    await order(site, 2, "set.system.reboot", None)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await ask(site, 2, {"cmd": "get.device.info"})
    await asyncio.sleep(0.4)
    (setting,) = await ask(site, 2, {"cmd": "get.miner.setting"})
    assert setting["msg"]["power-percent"] == 0


async def test_the_older_port_tells_pools_with_counters(open_mixed) -> None:
    site = await open_mixed()

    async def older(body: bytes) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await site.raw(0, body))
        return document

    pools = await older(b'{"cmd":"pools"}')
    assert [row["Stratum Active"] for row in pools["POOLS"]] == [True, False]
    assert (await older(b'{"command":"get_version"}'))["Msg"]["miner_type"] == "M60S_VK31"
    assert (await older(b'{"cmd":"set_led"}'))["Code"] == 14
    assert (await older(b"[]"))["Code"] == 23


async def test_the_older_port_has_other_units_and_takes_no_writes(open_mixed) -> None:
    site = await open_mixed()

    async def older(**request: Any) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await site.raw(2, json.dumps(request).encode()))
        return document

    summary = await older(cmd="summary")
    assert "SUMMARY" not in summary
    assert summary["Msg"]["MHS av"] == pytest.approx(390e6 * 0.795)
    assert (summary["Msg"]["Hash Stable"], summary["Msg"]["Power Limit"]) == ("true", 7560)
    boards = (await older(cmd="edevs"))["DEVS"]
    assert [row["HS RT"] for row in boards] == pytest.approx([390 * 0.795 / 4] * 4)
    assert (await older(cmd="status"))["Msg"]["power_pct"] == 80
    assert (await older(cmd="get_miner_info"))["Msg"]["mac"] == site.farm.labels[2].mac.upper()
    assert (await older(cmd="get_error_code"))["Msg"]["error_code"] == []
    for refused in (await older(cmd="get_token"), await older(enc=1, data="AAAA")):
        assert (refused["STATUS"], refused["Code"]) == ("E", 132)
    assert site.farm.plant.machines[2].counters.commands == 0


async def test_a_farm_without_older_reads_has_that_port_closed(open_mixed) -> None:
    site = await open_mixed(has_older_reads=False)
    with pytest.raises(ConnectionRefusedError):
        await site.raw(0, b'{"cmd":"pools"}')


def test_a_model_of_another_family_is_a_fault_of_the_farm_file(tmp_path) -> None:
    path = tmp_path / "farm.toml"
    rest = '[[meters]]\nid = "site"\nserial = 1\n'
    path.write_text(f'[[machines]]\nfamily = "{V3}"\nmodel = "s21"\ncount = 1\n{rest}')
    with pytest.raises(FarmFileError, match="there is no model 's21'; known: m60, m60s, m63s"):
        load_farm_file(path)
    path.write_text(
        f'[[machines]]\nfamily = "{V3}"\nmodel = "m60"\ncount = 1\nprofile = "1%"\n{rest}'
    )
    with pytest.raises(FarmFileError, match="m60 has no profile '1%'"):
        load_farm_file(path)


def test_the_mixed_farm_of_the_folder_has_both_families() -> None:
    file = load_farm_file(FARMS / "mixed.toml")
    assert {group.family for group in file.machines} == set(get_args(SpokenFamily))


stranger = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@stranger
@pytest.mark.strangers
async def test_pyasic_identifies_reads_and_stops_a_machine(open_mixed) -> None:
    site = await open_mixed()
    machine, label = site.farm.plant.machines[0], site.farm.labels[0]
    miner = await pyasic.get_miner(label.address)
    data = await miner.get_data()
    assert (data.make, data.model) == ("WhatsMiner", "M60S VK30")
    assert (data.mac, data.serial_number) == (label.mac, label.serial)
    assert float(data.hashrate) == pytest.approx(186.0, rel=0.02)
    assert data.wattage == machine.reported_w(site.farm.clock.now_s())
    assert data.wattage_limit == 3613
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert [float(board.hashrate) for board in data.hashboards] == pytest.approx([62.0] * 3)
    assert data.is_mining
    assert data.pools == []
    miner.rpc.pwd = PASSWORD
    assert await miner.stop_mining()
    assert not machine.is_awake
    assert await miner.resume_mining()
    assert machine.is_awake
    assert await miner.set_power_limit(2500)
    assert machine.point.name == "70%"


@stranger
@pytest.mark.strangers
async def test_asic_rs_identifies_reads_and_pauses_a_machine(open_mixed) -> None:
    site = await open_mixed()
    machine, label = site.farm.plant.machines[2], site.farm.labels[2]
    miner = await pyasic_rs.MinerFactory().get_miner(label.address)
    data = await miner.get_data()
    assert (data.device_info.make, data.device_info.model) == ("Whatsminer", "M63SVK30")
    assert (data.mac.lower(), data.serial_number) == (label.mac, None)
    assert data.hashrate.value == pytest.approx(390.0 * 0.795, rel=0.02)
    assert data.wattage == machine.reported_w(site.farm.clock.now_s())
    assert [board.working_chips for board in data.hashboards] == [370] * 4
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert [pool.active for pool in data.pools[0].pools] == [True, False]
    assert data.is_mining
    miner.set_auth("super", PASSWORD)
    assert await miner.pause()
    assert not machine.is_awake
    assert await miner.resume()
    assert machine.is_awake
    assert miner.supports_set_power_limit
    before = machine.point
    assert await miner.set_power_limit(0.7 * machine.model.profiles[-1].watts)
    assert machine.point.watts < before.watts
