"""What pyasic and asic-rs make of simulated Avalons: identify, read, control.

Not read, or read wrongly, and why (their own code, not the machines):

- pyasic 0.79 knows the A1246, the A15 ("15-194"), Q, Mini and Nano of the current series. An A1366
  and an A1466 are an ``AvalonUnknown`` without a number of boards, so ``_get_hashboards`` gives
  none and the hashrate is that of ``devs``.
- pyasic cuts the Q's MAC, which has colons already, into pairs of characters (``_get_mac`` of
  ``avalonminer.py``). Its firmware version is that of CGMiner.
- pyasic's ``set_power_limit`` sends work levels 0 to 2; what they do on a real machine is not
  known, the simulated one takes them as its operating points. Level 0 never leaves: ``ascset`` of
  its ``cgminer.py`` leaves out a value that is 0.
- asic-rs 0.8.6 calls an obeyed pause or resume a failure, though the machine answered 118 with the
  word success: this version takes 119 for the only yes.
- asic-rs takes the fifth value of PS for the watts: what the supply gives, without its loss.
- asic-rs has no A1366 in ``AvalonMinerModel``: its number of boards is unknown, so it reads none.
- asic-rs has no serial number of a Q, and sends watts as a work level, which no firmware takes.
- neither has the faults (ECHU, ECMM, CRC) of this family.
"""

import asyncio
import importlib
import os
import time
import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pyasic_rs
import pytest

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [
    pytest.mark.strangers,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Partially supported miner"),
]

MODELS = ("a1366", "a1466", "a1566", "avalon-q")
TRUTH = {0: (130.0, 3250), 1: (150.0, 3230), 2: (185.0, 3420), 3: (80.0, 1300)}
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "restart_gap_s": 0.0}
QUICK |= {"sleep_s": 0.2, "wake_s": 0.4}
SUPPLY_LOSS = 1.07  # between what the simulated power supply gives and takes


@pytest.fixture
async def site(open_site):
    """One machine of each model."""
    site = await open_site(
        addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
        machines=[{"family": "avalon", "model": model, "count": 1} for model in MODELS],
        spread={"reporting": 0.0, "tolerance": 0.0},
    )
    for machine in site.farm.plant.machines:
        machine.timings = replace(machine.timings, **QUICK)
    return site


PYASIC = [(0, "", 0, 0), (1, "", 0, 0), (2, "Avalon 1566", 3, 160), (3, "Avalon Q Home", 1, 160)]


@pytest.mark.parametrize(("index", "model", "boards", "chips"), PYASIC)
async def test_pyasic_identifies_and_reads_a_machine(
    site: Any, index: int, model: str, boards: int, chips: int
) -> None:
    data = await (await pyasic.get_miner(site.address(index))).get_data()
    ths, watts = TRUTH[index]
    label = site.farm.labels[index]
    assert (data.make, data.model, data.firmware) == ("AvalonMiner", model, "Stock")
    in_ths = float(data.hashrate) if boards else float(data.hashrate) / 1e12
    assert in_ths == pytest.approx(ths, rel=0.005)
    assert (data.wattage, data.wattage_limit) == (watts, watts)
    assert [board.chips for board in data.hashboards] == [chips] * boards
    assert [float(board.hashrate) for board in data.hashboards] == pytest.approx(
        [ths / max(boards, 1)] * boards, rel=1e-4
    )
    assert [pool.active for pool in data.pools] == [True, False, False]
    assert data.pools[0].user == f"farm.{label.hostname}"
    assert data.fw_ver == "4.11.1"
    cut = [label.mac.upper()[place : place + 2] for place in range(0, 17, 2)]
    assert data.mac == (":".join(cut) if index == 3 else label.mac.upper())
    assert data.is_mining


ASIC_RS = [(0, "1366", 0, 0), (1, "Avalon1466", 3, 176), (2, "Avalon15", 3, 160)]
ASIC_RS += [(3, "AvalonHomeQ", 1, 160)]


@pytest.mark.parametrize(("index", "model", "boards", "chips"), ASIC_RS)
async def test_asic_rs_identifies_and_reads_a_machine(
    site: Any, index: int, model: str, boards: int, chips: int
) -> None:
    data = await (await pyasic_rs.MinerFactory().get_miner(site.address(index))).get_data()
    ths, watts = TRUTH[index]
    label = site.farm.labels[index]
    assert (data.device_info.model, str(data.device_info.firmware)) == (model, "AvalonMiner Stock")
    assert data.mac.lower() == label.mac
    dna = f"0201{label.mac.replace(':', '')}"
    assert data.serial_number == (None if index == 3 else dna)
    assert data.hashrate.value == pytest.approx(ths, rel=0.005)
    assert data.wattage * SUPPLY_LOSS == pytest.approx(watts, abs=1.0)
    assert [board.working_chips for board in data.hashboards] == [chips] * boards
    assert [board.hashrate.value for board in data.hashboards] == pytest.approx(
        [ths / max(boards, 1)] * boards, rel=1e-4
    )
    assert [pool.active for pool in data.pools[0].pools] == [True, False, False]
    assert data.is_mining


@pytest.mark.parametrize("index", [1, 2, 3])
async def test_pyasic_puts_a_machine_to_sleep_and_wakes_it(
    site: Any, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It tells the machine to stop five seconds from now; here its now is five seconds ago.
    late = SimpleNamespace(time=lambda: time.time() - 5)
    monkeypatch.setattr("pyasic.miners.backends.avalonminer.time", late)
    miner = await pyasic.get_miner(site.address(index))
    machine = site.farm.plant.machines[index]
    assert await miner.stop_mining()
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    assert machine.watts.value(site.farm.clock.now_s()) < 60.0
    assert await miner.resume_mining()
    assert machine.is_awake
    assert machine.counters.mining_restarts == 1


@pytest.mark.parametrize("index", [0, 1, 2, 3])
async def test_asic_rs_pauses_and_resumes_a_machine(site: Any, index: int) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(index))
    machine = site.farm.plant.machines[index]
    assert miner.supports_pause
    assert not await miner.pause(0)
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    assert (await miner.get_data()).hashrate.value == 0.0
    assert not await miner.resume(0)
    assert machine.is_awake


async def test_pyasic_moves_the_plant_with_its_work_levels(site: Any) -> None:
    miner = await pyasic.get_miner(site.address(3))
    machine = site.farm.plant.machines[3]
    for watts, name in ((150, "super"), (90, "standard")):
        assert await miner.set_power_limit(watts)
        assert machine.point.name == name
    assert not await miner.set_power_limit(70)
    assert machine.point.name == "standard"
    unlevelled = await pyasic.get_miner(site.address(1))
    assert not await unlevelled.set_power_limit(3000)  # level 2, where there are two points


async def test_asic_rs_sends_watts_that_no_firmware_takes(site: Any) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(3))
    assert miner.supports_set_power_limit
    machine = site.farm.plant.machines[3]
    with pytest.raises(Exception, match="unknown argument"):
        await miner.set_power_limit(800.0)
    assert machine.point.name == "standard"
