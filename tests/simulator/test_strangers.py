"""What other projects' clients make of the simulated machines: identify, read, control.

Not read, and why (their own code, not the machines):

- pyasic 0.79 never reports a LuxOS MAC: ``_get_mac`` in its ``luxminer.py`` returns before it looks
  at the answer. Its hashrate is the sum of the boards from ``stats`` for the same reason.
- asic-rs 0.8 numbers boards by their position in ``devs``; LuxOS lists them as 2, 0, 1, so board
  serials land on other boards than the firmware's numbers say.
- asic-rs 0.8.6 calls a sleeping machine mining, though it reads ``summary`` with a hashrate of 0.0;
  the published source of that verb is of another version, so the reason is not known.
- neither reads or switches single boards.
"""

import asyncio
import importlib
import os
import warnings

import pyasic_rs
import pytest

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

READINGS = [
    (0, {"pyasic": "S19k Pro", "asic-rs": "S19KPro", "chips": 77, "ths": 121.8, "watts": 2794}),
    (2, {"pyasic": "S21", "asic-rs": "S21", "chips": 108, "ths": 200.0, "watts": 3500}),
]


@pytest.fixture
async def site(open_site):
    """A farm on the ports that discovery tools look at, web page included where root may."""
    return await open_site(addresses={"base": f"127.{192 + os.getpid() % 60}.0.0"})


@pytest.mark.parametrize(("index", "expected"), READINGS)
async def test_pyasic_identifies_and_reads_a_machine(site, index, expected) -> None:
    miner = await pyasic.get_miner(site.address(index))
    assert type(miner).__name__.startswith("LUXMiner")
    data = await miner.get_data()
    assert (data.make, data.model, data.firmware) == ("AntMiner", expected["pyasic"], "LuxOS")
    assert float(data.hashrate) == pytest.approx(expected["ths"], rel=0.02)
    assert data.wattage == pytest.approx(expected["watts"], rel=0.06)
    assert data.wattage_limit == expected["watts"]
    assert [board.chips for board in data.hashboards] == [expected["chips"]] * 3
    assert [pool.active for pool in data.pools] == [True, False]
    assert data.fw_ver == "2025.4.8.220305"
    assert data.mac is None


@pytest.mark.parametrize(("index", "expected"), READINGS)
async def test_asic_rs_identifies_and_reads_a_machine(site, index, expected) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(index))
    data = await miner.get_data()
    assert (data.device_info.model, str(data.device_info.firmware)) == (
        expected["asic-rs"],
        "LuxOS",
    )
    assert data.mac.lower() == site.farm.labels[index].mac
    assert data.serial_number == site.farm.labels[index].serial
    assert data.hashrate.value == pytest.approx(expected["ths"], rel=0.02)
    assert data.wattage == pytest.approx(expected["watts"], rel=0.06)
    assert [board.working_chips for board in data.hashboards] == [expected["chips"]] * 3
    assert len(data.pools) == 1
    assert data.is_mining
    numbers = [board.serial_number[-6:-5] for board in data.hashboards]
    assert numbers == ["2", "0", "1"]


async def test_pyasic_puts_a_machine_to_sleep_and_wakes_it(site) -> None:
    miner = await pyasic.get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.stop_mining()
    assert not machine.is_awake
    assert await miner.resume_mining()
    assert machine.is_awake
    assert machine.counters.mining_restarts == 1


async def test_pyasic_chooses_the_profile_under_a_power_limit(site) -> None:
    miner = await pyasic.get_miner(site.address(0))
    assert await miner.set_power_limit(2000)
    assert site.farm.plant.machines[0].point.name == "440MHz"


async def test_asic_rs_pauses_and_resumes_a_machine(site) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.pause()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    data = await miner.get_data()
    assert data.hashrate.value == 0.0
    assert data.wattage < 30
    assert await miner.resume()
    assert machine.is_awake
