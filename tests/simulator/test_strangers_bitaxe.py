"""What other projects' clients make of simulated Bitaxes and NerdQAxes.

Not read or not done, and why (their own code, not the machines):

- pyasic 0.79 shows no pools, no serial number and no limit: ``ESPMINER_DATA_LOC`` has no place for
  them. It pauses nothing: ``ESPMiner`` leaves ``stop_mining`` to its base class, an empty one.
- it does not know a NerdQAxe: ``_parse_web_type`` looks for "AxeOS" on the page and finds none.
- asic-rs 0.8.6 has no serial number: its ``GetSerialNumber`` of both families is empty, as is the
  machines' own. It pauses a Bitaxe from 2.14 on and no NerdQAxe; it sets no power limit.
- it counts the shares of a Bitaxe twice, at both pools: the firmware has one pair of counters.
"""

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
GAMMA, NERD = 0, 1


@pytest.fixture
def open_axes(open_site):
    """A Gamma and a NerdQAxe++ on port 80; the arguments are the [bitaxe] table."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((NET[:-1] + "1", 80))
        except PermissionError:
            pytest.skip("NOT TESTED: the others look for machines on port 80, not free to bind")

    async def make(**table: Any) -> Any:
        return await open_site(
            addresses={"base": NET},
            bitaxe=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
            machines=[
                {"family": "bitaxe", "model": "gamma", "count": 1},
                {"family": "bitaxe", "model": "nerdqaxe", "count": 1},
            ],
        )

    return make


def truth(site: Any, index: int) -> tuple[float, float]:
    """Watts and terahashes per second of the plant."""
    machine, now_s = site.farm.plant.machines[index], site.farm.clock.now_s()
    return machine.watts.value(now_s), machine.hashrate_hs.value(now_s) / 1e12


async def test_pyasic_identifies_and_reads_a_bitaxe(open_axes) -> None:
    site = await open_axes()
    miner = await pyasic.get_miner(site.address(GAMMA))
    assert type(miner).__name__ == "BitAxeGamma"
    data, label = await miner.get_data(), site.farm.labels[GAMMA]
    watts, ths = truth(site, GAMMA)
    assert (data.make, data.model, data.fw_ver) == ("BitAxe", "Gamma", "v2.14.0")
    assert (data.mac.lower(), data.hostname) == (label.mac, label.hostname)
    assert float(data.hashrate) == pytest.approx(ths)
    assert float(data.expected_hashrate) == pytest.approx(525 * 2040 / 1e6)
    assert data.wattage == pytest.approx(watts, abs=0.5)
    assert [float(board.hashrate) for board in data.hashboards] == pytest.approx([ths])
    assert [fan.speed for fan in data.fans] == [4800]
    assert (data.pools, data.serial_number, data.wattage_limit) == ([], None, None)


async def test_pyasic_moves_nothing_of_a_bitaxe(open_axes) -> None:
    site = await open_axes()
    miner = await pyasic.get_miner(site.address(GAMMA))
    assert not await miner.stop_mining()
    assert not await miner.resume_mining()
    assert not await miner.set_power_limit(15)
    assert site.farm.plant.machines[GAMMA].counters.commands == 0


async def test_pyasic_does_not_know_a_nerdqaxe(open_axes) -> None:
    site = await open_axes()
    assert await pyasic.get_miner(site.address(NERD)) is None


@pytest.mark.parametrize(
    ("index", "model", "firmware", "chips"),
    [(GAMMA, "Gamma", "v2.14.0", 1), (NERD, "NerdQAxe", "v1.0.36", 4)],
)
async def test_asic_rs_identifies_and_reads_both(open_axes, index, model, firmware, chips) -> None:
    site = await open_axes()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(index))
    data, label = await miner.get_data(), site.farm.labels[index]
    watts, ths = truth(site, index)
    assert (data.device_info.model, data.firmware_version) == (model, firmware)
    assert (data.mac.lower(), data.serial_number) == (label.mac, None)
    assert data.hashrate.value == pytest.approx(ths)
    assert data.wattage == pytest.approx(watts, abs=0.01)
    assert [board.hashrate.value for board in data.hashboards] == pytest.approx([ths])
    assert [board.working_chips for board in data.hashboards] == [chips]
    assert [fan.rpm for fan in data.fans] == pytest.approx([4800])
    pools = data.pools[0].pools
    assert [(pool.active, pool.user) for pool in pools] == [
        (True, f"farm.{label.hostname}"),
        (False, f"farm.{label.hostname}"),
    ]
    assert data.is_mining


async def test_asic_rs_pauses_and_resumes_a_bitaxe(open_axes) -> None:
    site = await open_axes()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(GAMMA))
    machine = site.farm.plant.machines[GAMMA]
    assert await miner.pause()
    assert not machine.is_awake
    assert await miner.resume()
    assert machine.is_awake
    assert not miner.supports_set_power_limit


@pytest.mark.parametrize(("index", "table"), [(GAMMA, {"version": "v2.9.0"}), (NERD, {})])
async def test_asic_rs_pauses_no_firmware_that_cannot(open_axes, index, table) -> None:
    site = await open_axes(**table)
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(index))
    assert not miner.supports_pause
    with pytest.raises(RuntimeError, match="not supported"):
        await miner.pause()
    assert site.farm.plant.machines[index].is_awake
