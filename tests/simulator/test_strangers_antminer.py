"""What other projects' clients make of simulated Antminers: identify, read, control.

Both expect the pages on port 80 and the vendor's own password. Not read, and why (their own code,
not the machines):

- pyasic 0.79 has no watts of any Antminer: ``ANTMINER_MODERN_DATA_LOC`` has no entry for wattage.
  Its fw_ver is the date of the mining program, because it asks ``version`` for "CompileTime".
- pyasic has a serial number only where the firmware calls it "serinum": it asks for no other key.
- asic-rs 0.8.6 has no board serials: its boards are made of rates, chips and temperatures alone.
- neither sets a power limit: the firmware has none, and both say so.
"""

import asyncio
import importlib
import os
import socket
import warnings
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyasic_rs
import pytest

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.3}


def require_port_80() -> None:
    with closing(socket.socket()) as sock:
        try:
            sock.bind((f"127.{192 + os.getpid() % 60}.9.9", 80))
        except PermissionError:
            pytest.skip("NOT TESTED: port 80, where other clients look, needs more rights")


@pytest.fixture
def open_hall(open_site):
    """An S19j Pro and an S19 XP on the ports that other clients look at."""

    async def make(**table: Any) -> Any:
        require_port_80()
        site = await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0"},
            machines=[
                {"family": "antminer", "model": "s19j-pro", "count": 1},
                {"family": "antminer", "model": "s19-xp", "count": 1},
            ],
            antminer={"form_s": 0.0} | table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        for machine in site.farm.plant.machines:
            machine.timings = replace(machine.timings, **QUICK)
        return site

    return make


TABLES = [{"stats": "legacy", "power": "chain_power"}, {"stats": "new_api", "flaw": "nul"}]
MODELS = [
    (0, {"pyasic": "S19j Pro", "asic-rs": "S19jPro", "ths": 104.0, "chips": 126}),
    (1, {"pyasic": "S19 XP", "asic-rs": "S19XP", "ths": 140.0, "chips": 110}),
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("index", "expected"), MODELS)
async def test_pyasic_identifies_and_reads_a_machine(
    open_hall, table: dict[str, Any], index: int, expected: dict[str, Any]
) -> None:
    ths = expected["ths"]
    site = await open_hall(**table)
    label = site.farm.labels[index]
    miner = await pyasic.get_miner(label.address)
    data = await miner.get_data()
    assert (data.make, data.model, data.firmware) == ("AntMiner", expected["pyasic"], "Stock")
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert float(data.hashrate) == pytest.approx(ths, rel=0.02)
    assert float(data.expected_hashrate) == pytest.approx(ths, rel=0.02)
    assert [float(board.hashrate) for board in data.hashboards] == pytest.approx([ths / 3] * 3)
    assert [board.chips for board in data.hashboards] == [expected["chips"]] * 3
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert [pool.active for pool in data.pools] == [True, False, False]
    assert [pool.user for pool in data.pools] == [f"farm.{label.hostname}"] * 3
    assert [fan.speed for fan in data.fans] == [5880, 6000, 5040, 5040]
    assert data.is_mining
    assert (data.wattage, data.wattage_limit) == (None, None)
    assert data.fw_ver.endswith("2025" if table["stats"] == "new_api" else "2022")


async def test_pyasic_puts_a_machine_to_sleep_and_wakes_it(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[0]
    miner = await pyasic.get_miner(site.address(0))
    assert await miner.stop_mining()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    assert machine.watts.value(site.farm.clock.now_s()) == machine.timings.standby_w
    assert await miner.resume_mining()
    assert machine.is_awake
    assert await miner.set_power_limit(2000) is False


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("index", "expected"), MODELS)
async def test_asic_rs_identifies_and_reads_a_machine(
    open_hall, table: dict[str, Any], index: int, expected: dict[str, Any]
) -> None:
    ths = expected["ths"]
    site = await open_hall(**table)
    label, machine = site.farm.labels[index], site.farm.plant.machines[index]
    miner = await pyasic_rs.MinerFactory().get_miner(label.address)
    data = await miner.get_data()
    assert (data.device_info.make, data.device_info.model) == ("Antminer", expected["asic-rs"])
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert data.hashrate.value == pytest.approx(ths, rel=0.02)
    boards = [board.hashrate.value for board in data.hashboards]
    assert boards == pytest.approx([ths / 3] * 3, rel=1e-4)
    assert [board.serial_number for board in data.hashboards] == [None] * 3
    assert [fan.rpm for fan in data.fans] == [5880, 6000, 5040, 5040]
    assert [board.working_chips for board in data.hashboards] == [expected["chips"]] * 3
    assert [pool.active for pool in data.pools[0].pools] == [True, False, False]
    assert data.is_mining
    expected_w = machine.reported_w(site.farm.clock.now_s()) if "power" in table else None
    assert data.wattage == expected_w


async def test_a_serial_under_its_other_name_is_read_by_asic_rs_alone(open_hall) -> None:
    site = await open_hall(serial_key="serial_no")
    first = await (await pyasic.get_miner(site.address(0))).get_data()
    other = await (await pyasic_rs.MinerFactory().get_miner(site.address(0))).get_data()
    assert (first.serial_number, other.serial_number) == (None, site.farm.labels[0].serial)


async def test_asic_rs_pauses_and_resumes_a_machine(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[0]
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert await miner.pause()
    assert not machine.is_awake
    assert await miner.resume()
    assert machine.is_awake
    assert not miner.supports_set_power_limit
