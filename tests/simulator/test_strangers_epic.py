"""What other projects' clients make of simulated machines with ePIC's PowerPlay.

Not read or not done, and why (their own code, not the machines):

- pyasic 0.79 has no place for serial number and power limit in its ``EPIC_DATA_LOC``, and shows the
  pool in use only: ``_get_pools`` in its ``epic.py`` builds a list of one.
- its ``stop_mining`` and ``resume_mining`` work and answer False: they look for "success" in the
  verdict, where PowerPlay says "result".
- where no tuner runs its ``get_data`` fails: ``MiningModeConfig.from_epic`` calls itself for ever.
- its ``set_power_limit`` is the base class's, which does nothing; it switches no boards.
- asic-rs 0.8.6 sets no power limit for this family and says so.
"""

import asyncio
import importlib
import os
import socket
import warnings
from typing import Any

import pyasic_rs
import pytest

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NET = f"127.{192 + os.getpid() % 60}.0.0"


@pytest.fixture
def open_epic(open_site):
    """One S19 XP on the ports that the others assume; the arguments are the [epic] table."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((NET[:-1] + "1", 80))
        except PermissionError:
            pytest.skip("NOT TESTED: the others look for the page on port 80, not free to bind")

    async def make(**table: Any) -> Any:
        return await open_site(
            addresses={"base": NET},
            epic=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
            machines=[{"family": "epic", "model": "s19-xp", "count": 1}],
        )

    return make


def truth(site: Any) -> tuple[float, float]:
    """Watts and terahashes per second of the plant."""
    machine, now_s = site.farm.plant.machines[0], site.farm.clock.now_s()
    return machine.watts.value(now_s), machine.hashrate_hs.value(now_s) / 1e12


async def test_pyasic_identifies_and_reads_a_machine(open_epic) -> None:
    site = await open_epic()
    miner = await pyasic.get_miner(site.address(0))
    assert type(miner).__name__ == "ePICS19XP"
    data, label = await miner.get_data(), site.farm.labels[0]
    watts, ths = truth(site)
    assert (data.make, data.model, data.firmware) == ("AntMiner", "S19 XP", "ePIC")
    assert (data.fw_ver, data.mac) == ("1.30.0", label.mac)
    assert float(data.hashrate) == pytest.approx(ths)
    assert float(data.expected_hashrate) == pytest.approx(140.0)
    assert data.wattage == pytest.approx(watts, abs=1.0)
    assert [float(board.hashrate) for board in data.hashboards] == pytest.approx([ths / 3] * 3)
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert [fan.speed for fan in data.fans] == [4230, 4260, 4290, 4320]
    assert [(pool.active, pool.user) for pool in data.pools] == [(True, f"farm.{label.hostname}")]
    assert (data.is_mining, data.errors) == (True, [])
    assert (data.serial_number, data.wattage_limit) == (None, None)


async def test_pyasic_fails_where_no_tuner_runs(open_epic) -> None:
    site = await open_epic(has_tuner=False)
    miner = await pyasic.get_miner(site.address(0))
    with pytest.raises(pyasic.APIError, match="config"):
        await miner.get_data()
    assert (await miner.get_wattage()) == pytest.approx(truth(site)[0], abs=1.0)


async def test_pyasic_stops_and_starts_a_machine_and_believes_that_it_failed(open_epic) -> None:
    site = await open_epic()
    miner = await pyasic.get_miner(site.address(0))
    assert not await miner.stop_mining()
    assert not site.farm.plant.machines[0].is_awake
    assert not await miner.resume_mining()
    assert site.farm.plant.machines[0].is_awake
    assert not await miner.set_power_limit(2000)
    assert site.farm.plant.machines[0].counters.commands == 2


async def test_asic_rs_identifies_and_reads_a_machine(open_epic) -> None:
    site = await open_epic()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    data, label = await miner.get_data(), site.farm.labels[0]
    watts, ths = truth(site)
    assert (data.device_info.model, str(data.device_info.firmware)) == ("S19XP", "UMC OS")
    assert data.firmware_version == "PowerPlay-BM v1.30.0"
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert data.hashrate.value == pytest.approx(ths)
    assert data.expected_hashrate.value == pytest.approx(140.0)
    assert data.wattage == pytest.approx(watts, abs=1.0)
    assert [board.hashrate.value for board in data.hashboards] == pytest.approx([ths / 3] * 3)
    assert tuple(board.serial_number for board in data.hashboards) == label.board_serials
    assert [board.working_chips for board in data.hashboards] == [110] * 3
    assert [fan.rpm for fan in data.fans] == pytest.approx([4230, 4260, 4290, 4320])
    pools = data.pools[0].pools
    assert [(pool.active, pool.user) for pool in pools] == [
        (True, f"farm.{label.hostname}"),
        (False, f"farm.{label.hostname}"),
    ]
    assert data.is_mining


async def test_asic_rs_pauses_resumes_and_switches_single_boards(open_epic) -> None:
    site = await open_epic()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.set_hashboards_enabled([1], enabled=False)
    assert [board.is_enabled for board in machine.boards] == [True, False, True]
    await asyncio.sleep(0.2)
    assert [board.active for board in await miner.get_hashboards()] == [True, False, True]
    assert await miner.set_hashboards_enabled([1], enabled=True)
    assert all(board.is_enabled for board in machine.boards)
    assert await miner.pause()
    assert not machine.is_awake
    assert await miner.resume()
    assert machine.is_awake


async def test_asic_rs_with_another_password_moves_nothing(open_epic) -> None:
    site = await open_epic(password="of-the-farm")
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert not await miner.pause()
    assert site.farm.plant.machines[0].is_awake
    miner.set_auth("root", "of-the-farm")
    assert await miner.pause()
    assert not site.farm.plant.machines[0].is_awake


async def test_asic_rs_sets_no_power_limit(open_epic) -> None:
    site = await open_epic()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert not miner.supports_set_power_limit
    with pytest.raises(RuntimeError, match="not supported"):
        await miner.set_power_limit(2000.0)
