"""What other projects' clients make of simulated Whatsminers with API v2: identify, read, control.

Not read or not done by them, and why (their own code, not the machines):

- pyasic 0.79 has no API version: its ``_get_api_ver`` looks for "rpc_ver", which no firmware says.
- pyasic joins three commands; where the machine keeps to the manual's two, it has no hashrate, no
  watts and no boards (its ``multicommand`` answers an error with nothing at all).
- pyasic's power limit is ``adjust_power_limit``, which restarts mining; neither knows the percent.
- asic-rs 0.8.6 has no serial number: its ``GetSerialNumber`` of this family is empty. It asks for a
  token with every command. Where a machine refuses, it tries to open its write API, and says that
  it paused the machine even if that failed as well.
- asic-rs cannot command the oldest firmware at all: its backend of API v1 has no writes.
- neither reads what the power supply measures, nor its serial number.
"""

import asyncio
import importlib
import os
import warnings
from dataclasses import replace
from typing import Any

import pyasic_rs
import pytest

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FAMILY = "whatsminer-v2"
PASSWORD = "farmpass"
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}

MODELS: list[tuple[int, dict[str, Any]]] = [
    (0, {"pyasic": "M50 VH30", "asic-rs": "M50VH30", "chips": 117, "ths": 118.0, "limit": 3518}),
    (
        1,
        {
            "pyasic": "M30S++ VH40",
            "asic-rs": "M30SPlusPlusVH40",
            "chips": 70,
            "ths": 110.0 * 0.79,
            "limit": 3646,
        },
    ),
]


@pytest.fixture
def open_hall(open_site):
    """An M50 and a throttled M30S++; the arguments are the [whatsminer_v2] table."""

    async def make(**table: Any) -> Any:
        site = await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
            machines=[
                {"family": FAMILY, "model": "m50", "count": 1},
                {"family": FAMILY, "model": "m30s++", "count": 1, "profile": "80%"},
            ],
            whatsminer_v2=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        for machine in site.farm.plant.machines:
            machine.timings = replace(machine.timings, **QUICK)
        return site

    return make


def traits(site: Any, index: int = 0) -> Any:
    return site.network.dialects[FAMILY].traits(index)


def watts(site: Any, index: int) -> int:
    told: int = site.farm.plant.machines[index].reported_w(site.farm.clock.now_s())
    return told


@pytest.mark.parametrize(("index", "expected"), MODELS)
async def test_pyasic_identifies_and_reads_a_machine(open_hall, index, expected) -> None:
    site = await open_hall()
    label = site.farm.labels[index]
    traits(site, index).faults["541"] = "2026-01-01 00:00:00"
    data = await (await pyasic.get_miner(label.address)).get_data()
    assert (data.make, data.model) == ("WhatsMiner", expected["pyasic"])
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert (data.fw_ver, data.api_ver) == ("20230714.15.Rel", None)
    assert float(data.hashrate) == pytest.approx(expected["ths"], rel=1e-3)
    assert (data.wattage, data.wattage_limit) == (watts(site, index), expected["limit"])
    assert [board.chips for board in data.hashboards] == [expected["chips"]] * 3
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert sum(float(board.hashrate) for board in data.hashboards) == pytest.approx(
        expected["ths"], rel=1e-3
    )
    assert [pool.active for pool in data.pools] == [True, False, False]
    assert [error.error_code for error in data.errors] == [541]
    assert [fan.speed for fan in data.fans] == [5000, 5040]
    assert data.is_mining


@pytest.mark.parametrize(("index", "expected"), MODELS)
async def test_asic_rs_identifies_and_reads_a_machine(open_hall, index, expected) -> None:
    site = await open_hall()
    label = site.farm.labels[index]
    traits(site, index).faults["541"] = "2026-01-01 00:00:00"
    data = await (await pyasic_rs.MinerFactory().get_miner(label.address)).get_data()
    assert (data.device_info.make, data.device_info.model) == ("Whatsminer", expected["asic-rs"])
    assert (data.mac.lower(), data.serial_number) == (label.mac, None)
    assert data.hashrate.value == pytest.approx(expected["ths"], rel=1e-3)
    assert data.wattage == watts(site, index)
    assert [board.working_chips for board in data.hashboards] == [expected["chips"]] * 3
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert [pool.active for pool in data.pools[0].pools] == [True, False, False]
    assert [message.code for message in data.messages] == [541]
    assert data.is_mining


async def test_pyasic_stops_resumes_and_limits_a_machine(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[0]
    miner = await pyasic.get_miner(site.address(0))
    miner.rpc.pwd = PASSWORD
    assert await miner.stop_mining()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    asleep = await miner.get_data()
    assert (asleep.is_mining, asleep.wattage, float(asleep.hashrate)) == (False, 25, 0.0)
    assert await miner.resume_mining()
    assert machine.is_awake
    assert await miner.set_power_limit(2700)
    assert machine.point.name == "80%"
    assert traits(site).tokens_given == 1


async def test_asic_rs_pauses_resumes_and_limits_a_machine(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[1]
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(1))
    miner.set_auth("admin", PASSWORD)
    assert await miner.pause()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    asleep = await miner.get_data()
    assert (asleep.is_mining, asleep.wattage) == (False, 25)
    assert await miner.resume()
    assert machine.is_awake
    assert await miner.set_power_limit(2500)
    assert machine.point.name == "70%"
    assert traits(site, 1).tokens_given == 3


async def test_the_wrong_password_moves_nothing(open_hall) -> None:
    site = await open_hall()
    miner = await pyasic.get_miner(site.address(0))
    miner.rpc.pwd = "wrong"
    assert not await miner.stop_mining()
    assert site.farm.plant.machines[0].is_awake


async def test_asic_rs_tries_to_open_a_machine_that_refuses_and_pyasic_does_not(open_hall) -> None:
    site = await open_hall(is_api_on=False)
    miner = await pyasic.get_miner(site.address(0))
    miner.rpc.pwd = PASSWORD
    assert not await miner.stop_mining()
    assert traits(site).unlock_tries == 0
    other = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    other.set_auth("admin", PASSWORD)
    assert await other.pause()
    assert traits(site).unlock_tries == 1
    assert site.farm.plant.machines[0].is_awake


async def test_pyasic_reads_nothing_where_only_two_commands_are_joined(open_hall) -> None:
    site = await open_hall(joined_max=2)
    data = await (await pyasic.get_miner(site.address(0))).get_data()
    assert data.model == "M50 VH30"
    assert (data.hashrate, data.wattage, data.mac, data.pools) == (None, None, None, [])


@pytest.mark.parametrize("table", [{"flaw": "newline"}, {"flaw": "comma"}, {"ends_with_nul": True}])
async def test_pyasic_reads_a_machine_whose_json_is_broken(open_hall, table) -> None:
    site = await open_hall(**table)
    data = await (await pyasic.get_miner(site.address(0))).get_data()
    assert data.model == "M50 VH30"
    assert float(data.hashrate) == pytest.approx(118.0, rel=1e-3)
    assert data.wattage == watts(site, 0)


async def test_the_oldest_firmware_is_read_by_both_and_commanded_by_pyasic_alone(open_hall) -> None:
    site = await open_hall(api="1.4.0")
    label, machine = site.farm.labels[0], site.farm.plant.machines[0]
    miner = await pyasic.get_miner(label.address)
    data = await miner.get_data()
    assert (data.mac.lower(), data.serial_number) == (label.mac, None)
    assert float(data.hashrate) == pytest.approx(118.0, rel=1e-3)
    assert data.is_mining
    other = await pyasic_rs.MinerFactory().get_miner(label.address)
    told = await other.get_data()
    assert told.mac.lower() == label.mac
    assert told.wattage == watts(site, 0)
    assert told.is_mining
    assert not other.supports_pause
    with pytest.raises(RuntimeError, match="not supported"):
        await other.pause()
    miner.rpc.pwd = PASSWORD
    assert await miner.stop_mining()
    assert not machine.is_awake
