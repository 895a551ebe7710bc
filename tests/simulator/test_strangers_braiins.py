"""What other projects' clients make of the simulated machines with Braiins OS.

asic-rs 0.8 (pyasic_rs 0.8.6) finds the machine by the text of its RPC and its page, asks GraphQL
for model and version, and then uses REST alone: it reads and controls everything, single boards
included. One thing it does not return: of a board that is off it does not say that it is off.

pyasic 0.79 finds the machine by the same text and its model by the RPC's ``devdetails``; its class
for these models (``BOSer`` in its ``braiins_os.py``) takes API version, hashrate, uptime, errors
and whether it mines from the RPC, and everything else from gRPC, by which it controls the machine
too. It has no REST for this family. What it does not return, each for the reason in that class or
its table of places: no air temperature and no fan of the supply (it asks nobody for them), no
voltage, temperatures of inlet and outlet, tuning and whether a board hashes (``_get_hashboards``
takes chips, temperatures, hashrate and serial alone), and the pools' rejections as a device's own
failures (always 0). The vendor's errors are never read: ``_get_errors`` takes what the RPC says of
tuning.
"""

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

MODELS = [
    (0, {"pyasic": "S19 XP", "asic-rs": "S19XP", "chips": 110, "ths": 140.0, "watts": 3010}),
    (
        1,
        {
            "pyasic": "S19k Pro No PIC",
            "asic-rs": "S19KPro",
            "chips": 77,
            "ths": 120.0,
            "watts": 2760,
        },
    ),
]


@pytest.fixture
async def site(open_site):
    """Two machines on the ports that both libraries take for granted."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: both libraries ask on port 80, which only root may open")
    return await open_site(
        addresses={"base": f"127.{192 + os.getpid() % 60}.0.0"},
        braiins={"password": "root"},  # what both libraries try first
        machines=[
            {"family": "braiins", "model": "s19-xp", "count": 1},
            {"family": "braiins", "model": "s19k-pro", "count": 1},
        ],
    )


def true_w(site, index: int) -> float:
    return site.farm.plant.machines[index].watts.value(site.farm.clock.now_s())


@pytest.mark.parametrize(("index", "expected"), MODELS)
async def test_asic_rs_identifies_and_reads_a_machine(site, index, expected) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(index))
    data = await miner.get_data()
    label = site.farm.labels[index]
    assert (data.device_info.model, str(data.device_info.firmware)) == (
        expected["asic-rs"],
        "Braiins",
    )
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert (data.hostname, data.api_version) == (label.hostname, "1.0.0")
    assert data.firmware_version == "2025-08-06-0-3881c51d-25.07-plus"
    assert data.hashrate.value == pytest.approx(expected["ths"], rel=0.001)
    assert data.expected_hashrate.value == pytest.approx(expected["ths"])
    assert data.wattage == pytest.approx(true_w(site, index), rel=0.04)  # its estimate is off
    assert data.tuning_target.watts == expected["watts"]
    assert [board.working_chips for board in data.hashboards] == [expected["chips"]] * 3
    assert [board.serial_number for board in data.hashboards] == list(label.board_serials)
    assert [board.hashrate.value for board in data.hashboards] == pytest.approx(
        [expected["ths"] / 3] * 3
    )
    assert all(board.active for board in data.hashboards)
    assert [fan.rpm for fan in data.fans] == pytest.approx([5880, 5886, 5892, 5898])
    pools = data.pools[0].pools
    assert [(pool.active, pool.user) for pool in pools] == [
        (True, f"farm.{label.hostname}"),
        (False, f"farm.{label.hostname}"),
    ]
    assert data.is_mining


async def test_asic_rs_takes_the_newer_firmware_as_well(open_site) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: asic-rs asks on port 80, which only root may open")
    site = await open_site(
        addresses={"base": f"127.{192 + os.getpid() % 60}.0.0"},
        braiins={"firmware": "26.04"},
        machines=[{"family": "braiins", "model": "s19-xp", "count": 1}],
    )
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert (await miner.get_data()).hashrate is None  # another password than the usual one
    miner.set_auth("root", "farm-pass")
    data = await miner.get_data()
    assert (data.api_version, data.hashrate.value) == ("1.10.0", pytest.approx(140.0))


async def test_asic_rs_pauses_and_resumes_a_machine(site) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.pause()
    assert not machine.is_awake
    assert await miner.resume()
    assert machine.is_awake


async def test_both_read_a_paused_machine_as_one_that_does_not_mine(open_site) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: both libraries ask on port 80, which only root may open")
    site = await open_site(
        addresses={"base": f"127.{192 + os.getpid() % 60}.0.0"},
        braiins={"password": "root"},
        machines=[{"family": "braiins", "model": "s19-xp", "count": 1, "is_asleep": True}],
    )
    data = await (await pyasic_rs.MinerFactory().get_miner(site.address(0))).get_data()
    assert (data.hashrate.value, data.is_mining) == (0.0, False)
    assert data.wattage < 30
    data = await (await pyasic.get_miner(site.address(0))).get_data()
    assert (float(data.hashrate), data.is_mining) == (0.0, False)
    assert data.wattage < 30


async def test_asic_rs_sets_a_power_target_and_the_plant_follows(site) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.set_power_limit(2345)
    assert machine.point.watts == 2345
    assert (await miner.get_data()).tuning_target.watts == 2345
    with pytest.raises(RuntimeError, match="412: power target must be between 1806 and 3010"):
        await miner.set_power_limit(9000)
    assert machine.point.watts == 2345


async def test_asic_rs_switches_boards(site) -> None:
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.set_hashboards_enabled([1], enabled=False)
    assert [board.is_enabled for board in machine.boards] == [True, False, True]
    # A board that is off is not said to be off, though "enabled" is false in what it reads; the
    # published source takes that value as it stands and is of another version.
    assert [board.active for board in (await miner.get_data()).hashboards] == [True, None, True]


@pytest.mark.parametrize(("index", "expected"), MODELS)
async def test_pyasic_identifies_and_reads_a_machine(site, index, expected) -> None:
    miner = await pyasic.get_miner(site.address(index))
    assert type(miner).__name__.startswith("BOSMinerS19")
    data = await miner.get_data()
    machine, label = site.farm.plant.machines[index], site.farm.labels[index]
    assert (data.make, data.model, data.firmware) == ("AntMiner", expected["pyasic"], "BOS+")
    assert (data.mac.lower(), data.hostname) == (label.mac, label.hostname)
    assert (data.serial_number, data.psu_serial_number) == (label.serial, f"PS{label.serial}")
    assert (data.api_ver, data.fw_ver) == ("3.7", "25.07")
    assert float(data.hashrate) == pytest.approx(expected["ths"])
    assert float(data.expected_hashrate) == pytest.approx(expected["ths"])
    assert data.wattage == pytest.approx(true_w(site, index), rel=0.04)  # its estimate is off
    assert data.wattage_limit == expected["watts"]
    assert (data.is_mining, data.errors, data.fault_light) == (True, [], False)
    assert data.uptime == pytest.approx(site.farm.clock.now_s() - machine.started_s, abs=2)
    assert [fan.speed for fan in data.fans] == pytest.approx([5880, 5886, 5892, 5898])
    assert [
        (board.slot, board.chips, board.serial_number, board.missing) for board in data.hashboards
    ] == [(slot, expected["chips"], label.board_serials[slot], False) for slot in range(3)]
    for slot, board in enumerate(data.hashboards):
        watts = machine.boards[slot].watts.value(site.farm.clock.now_s())
        assert float(board.hashrate) == pytest.approx(expected["ths"] / 3)
        assert board.temp == int(24.0 + watts * 0.03)
        assert board.chip_temp == board.temp + 15
    assert [(str(pool.url), pool.user, pool.active, pool.alive) for pool in data.pools] == [
        (f"stratum+tcp://pool{slot}.example:3333", f"farm.{label.hostname}", slot == 0, True)
        for slot in range(2)
    ]


async def test_pyasic_does_not_return_these(site) -> None:
    data = await (await pyasic.get_miner(site.address(0))).get_data()
    assert (data.env_temp, data.fan_psu, data.voltage) == (None, None, None)
    for board in data.hashboards:
        absent = (board.voltage, board.inlet_temp, board.outlet_temp, board.tuned, board.active)
        assert absent == (None,) * 5


async def test_pyasic_pauses_and_resumes_a_machine(site) -> None:
    miner = await pyasic.get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.stop_mining()
    assert not machine.is_awake
    assert await miner.resume_mining()
    assert machine.is_awake
    assert machine.counters.commands == 2


async def test_pyasic_sets_a_power_target_and_the_plant_follows(site) -> None:
    miner = await pyasic.get_miner(site.address(0))
    machine = site.farm.plant.machines[0]
    assert await miner.set_power_limit(2345)
    assert machine.point.watts == 2345
    assert (await miner.get_data()).wattage_limit == 2345
    assert not await miner.set_power_limit(9000)  # beyond what the machine takes
    assert machine.point.watts == 2345


async def test_pyasic_lights_the_lamp(site) -> None:
    miner = await pyasic.get_miner(site.address(0))
    assert await miner.fault_light_on()
    assert (await miner.get_data()).fault_light is True
    assert await miner.fault_light_off()
    assert (await miner.get_data()).fault_light is False
