"""What other projects' clients make of the simulated VNish machines: identify, read, control.

Both ask HTTP on port 80 only, so these tests need the right to listen there.

Not read, or read as something else, and why (their own code, not the machines):

- pyasic 0.79 has no serials here: its table of VNish values names none. Hostname is None, as it
  looks for it in ``/summary``, where it is not. Hashrate, boards and pools are those of TCP 4028.
- pyasic's ``set_power_limit`` is always False: ``MiningModeConfig.from_vnish`` means to hand on to
  the preset's reader, but reaches itself by the same name, finds no "miner" and settles for normal.
- asic-rs 0.8.6 gives every board the machine's serial, as it looks for "serial" where no board has
  one. The firmware's own pool for its fee is a pool to it, and one that waits counts as active.
- asic-rs calls a machine that starts not mining, pyasic calls it mining; both go by the state.
- asic-rs chooses presets that are not tuned, on purpose; pyasic would not, if it could.
- neither tells whether the watts are metered, and neither switches boards.
"""

import asyncio
import importlib
import os
import warnings
from dataclasses import replace
from typing import Any

import pyasic_rs
import pytest

from simulator.network import PortError

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def open_vnish(open_site):
    async def make(**table: Any) -> Any:
        try:
            site = await open_site(
                addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
                machines=[
                    {"family": "vnish", "model": "s21", "count": 1},
                    {"family": "vnish", "model": "s19j-pro", "count": 1, "profile": "60%"},
                ],
                vnish={"password": "admin", **table},
                spread={"reporting": 0.0, "tolerance": 0.0},
            )
        except PortError as error:
            pytest.skip(f"NOT TESTED: the clients ask port 80 only, and {error}")
        for machine in site.farm.plant.machines:
            quick = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}
            machine.timings = replace(machine.timings, **quick)
        return site

    return make


READINGS = [
    (0, {"pyasic": "S21", "asic-rs": "S21", "chips": 108, "ths": 200.0, "watts": 3500}),
    (1, {"pyasic": "S19j Pro", "asic-rs": "S19jPro", "chips": 126, "ths": 62.4, "watts": 1933}),
]
VERSIONS = ["1.2.6", "1.3.4"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("index", "expected"), READINGS)
async def test_pyasic_identifies_and_reads_a_machine(
    open_vnish, version: str, index: int, expected: dict[str, Any]
) -> None:
    site = await open_vnish(version=version)
    label, machine = site.farm.labels[index], site.farm.plant.machines[index]
    machine.hashes = 3 * 2.0**50
    miner = await pyasic.get_miner(label.address)
    data = await miner.get_data()
    assert (data.make, data.model, data.firmware) == ("AntMiner", expected["pyasic"], "VNish")
    assert (data.mac.lower(), data.fw_ver) == (label.mac, version)
    assert float(data.hashrate) == pytest.approx(expected["ths"], rel=0.01)
    assert data.wattage == machine.reported_w(site.farm.clock.now_s()) == expected["watts"]
    assert data.wattage_limit == max(point.watts for point in machine.model.profiles)
    boards_ths = [float(board.hashrate) for board in data.hashboards]
    assert boards_ths == pytest.approx([expected["ths"] / 3] * 3, rel=0.01)
    assert [board.chips for board in data.hashboards] == [expected["chips"]] * 3
    assert [(pool.active, pool.alive) for pool in data.pools] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert [pool.accepted for pool in data.pools] == [3, 0, 0]
    assert {pool.user for pool in data.pools} == {f"farm.{label.hostname}"}
    assert data.is_mining
    assert (data.serial_number, data.hostname) == (None, None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("index", "expected"), READINGS)
async def test_asic_rs_identifies_and_reads_a_machine(
    open_vnish, version: str, index: int, expected: dict[str, Any]
) -> None:
    site = await open_vnish(version=version)
    label, machine = site.farm.labels[index], site.farm.plant.machines[index]
    machine.hashes = 3 * 2.0**50
    miner = await pyasic_rs.MinerFactory().get_miner(label.address)
    data = await miner.get_data()
    device = data.device_info
    assert (device.model, str(device.firmware)) == (expected["asic-rs"], "VNish")
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert (data.hostname, data.firmware_version) == (label.hostname, version)
    assert data.hashrate.value == pytest.approx(expected["ths"], rel=0.01)
    assert data.wattage == expected["watts"]
    boards_ths = [board.hashrate.value for board in data.hashboards]
    assert boards_ths == pytest.approx([expected["ths"] / 3] * 3, rel=0.01)
    assert [board.working_chips for board in data.hashboards] == [expected["chips"]] * 3
    assert {board.serial_number for board in data.hashboards} == {label.serial}
    pools = data.pools[0].pools
    assert [(pool.active, pool.alive) for pool in pools] == [
        (True, True),
        (True, True),
        (False, False),
        (True, True),
    ]
    assert [pool.accepted_shares for pool in pools][:3] == [3, 0, 0]
    assert pools[3].user == "DevFee"
    assert data.is_mining
    assert data.tuning_percent == (None if version == "1.2.6" else 100 if index == 0 else 60)


@pytest.mark.parametrize("version", VERSIONS)
async def test_pyasic_stops_and_resumes_a_machine(open_vnish, version: str) -> None:
    site = await open_vnish(version=version)
    machine = site.farm.plant.machines[0]
    miner = await pyasic.get_miner(site.address(0))
    assert await miner.stop_mining()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    data = await miner.get_data()
    assert (data.is_mining, data.wattage) == (False, machine.timings.standby_w)
    assert await miner.resume_mining()
    assert machine.is_awake


async def test_pyasic_has_no_power_limit_but_its_login_and_settings_work(open_vnish) -> None:
    site = await open_vnish()
    machine = site.farm.plant.machines[0]
    miner = await pyasic.get_miner(site.address(0))
    assert not await miner.set_power_limit(3000)
    assert machine.point.name == "100%"
    await miner.web.set_power_limit(2852)  # the request that it would send
    assert machine.point.name == "80%"


@pytest.mark.parametrize("version", VERSIONS)
async def test_asic_rs_pauses_resumes_and_limits_a_machine(open_vnish, version: str) -> None:
    site = await open_vnish(version=version)
    machine = site.farm.plant.machines[0]
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert await miner.pause()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    data = await miner.get_data()
    assert (data.is_mining, data.wattage) == (False, machine.timings.standby_w)
    assert await miner.resume()
    assert machine.is_awake
    assert not (await miner.get_data()).is_mining  # it starts
    assert await miner.set_power_limit(3000)
    assert machine.point.name == "80%"


async def test_asic_rs_takes_a_preset_that_is_not_tuned(open_vnish) -> None:
    site = await open_vnish()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert await miner.set_power_limit(3200)
    assert site.farm.plant.machines[0].point.name == "90%"
    assert str((await miner.get_data()).operating_state).lower().startswith("tuning")


async def test_asic_rs_throttles_where_the_firmware_can(open_vnish) -> None:
    site = await open_vnish()
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert await miner.set_tuning_percent(50)
    await asyncio.sleep(0.3)
    machine = site.farm.plant.machines[0]
    assert machine.point.name == "50%"
    assert (await miner.get_data()).wattage == machine.point.watts


async def test_asic_rs_knows_that_older_firmware_cannot_throttle(open_vnish) -> None:
    site = await open_vnish(version="1.2.6")
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    with pytest.raises(RuntimeError, match="not supported"):
        await miner.set_tuning_percent(50)
