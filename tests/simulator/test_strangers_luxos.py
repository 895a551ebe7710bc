"""Every value that pyasic and asic-rs have of a simulated LuxOS machine, and all that they control.

How they find a machine is in ``test_strangers.py``, with what they do not read. Besides that:

- pyasic 0.79 has no serials, neither of the machine nor of boards: ``luxminer.py`` names no place
  for them. Its ``errors`` stay empty: it does not ask for ``events``.
- asic-rs 0.8.6 says of LuxOS that it supports no power limit, no presets, no percent and no single
  boards, and raises where it is asked for one; its messages are empty, it does not ask for
  ``events`` either. Its uptime and pools are the machine's.
- neither knows ``psuget``, so neither has the power supply's serial.
"""

import asyncio
import importlib
import os
import warnings
from typing import Any

import pyasic_rs
import pytest

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    pyasic = importlib.import_module("pyasic")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

MODELS = [(0, 121.8, 2794), (1, 200.0, 3500)]
URLS = ["stratum+tcp://stratum.pool.example:3333", "stratum+tcp://backup.pool.example:3333"]


@pytest.fixture
def open_exact(open_site):
    """An S19k Pro and an S21 without a bias; the arguments are the [luxos] table."""

    async def make(*, is_atm_enabled: bool = False, **table: Any) -> Any:
        return await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
            machines=[
                {"model": model, "count": 1, "is_atm_enabled": is_atm_enabled}
                for model in ("s19k-pro", "s21")
            ],
            luxos=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )

    return make


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize(("index", "ths", "watts"), MODELS)
async def test_pyasic_reads_what_is_true(
    open_exact, index: int, ths: float, watts: int, is_new: bool
) -> None:
    site = await open_exact(has_power_target=is_new, has_supply_report=is_new)
    data = await (await pyasic.get_miner(site.address(index))).get_data()
    assert float(data.hashrate) == pytest.approx(ths, rel=1e-4)
    assert (data.wattage, data.wattage_limit) == (watts, watts)
    assert [float(board.hashrate) for board in data.hashboards] == pytest.approx(
        [ths / 3] * 3, rel=1e-4
    )
    assert [(str(pool.url), pool.user) for pool in data.pools] == [
        (url, f"farm.{site.farm.labels[index].hostname}") for url in URLS
    ]
    assert [pool.alive for pool in data.pools] == [True, False]
    assert [fan.speed for fan in data.fans] == [5760, 5790, 5820, 5850]
    assert data.uptime == pytest.approx(elapsed_s(site, index), abs=3)
    assert (data.mac, data.serial_number, data.errors) == (None, None, [])


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize(("index", "ths", "watts"), MODELS)
async def test_asic_rs_reads_what_is_true(
    open_exact, index: int, ths: float, watts: int, is_new: bool
) -> None:
    site = await open_exact(has_power_target=is_new, has_supply_report=is_new)
    data = await (await pyasic_rs.MinerFactory().get_miner(site.address(index))).get_data()
    label = site.farm.labels[index]
    assert (data.mac.lower(), data.serial_number) == (label.mac, label.serial)
    assert data.hashrate.value == pytest.approx(ths, rel=0.011)
    assert data.expected_hashrate.value == pytest.approx(ths)
    assert data.wattage == watts
    assert [board.hashrate.value for board in data.hashboards] == pytest.approx(
        [ths / 3] * 3, rel=1e-4
    )
    assert {board.serial_number for board in data.hashboards} == set(label.board_serials)
    pools = data.pools[0].pools
    assert [str(pool.url) for pool in pools] == URLS
    assert [(pool.active, pool.alive) for pool in pools] == [(True, True), (False, False)]
    assert data.uptime.total_seconds() == pytest.approx(elapsed_s(site, index), abs=3)
    assert data.messages == []


def elapsed_s(site: Any, index: int) -> float:
    machine = site.farm.plant.machines[index]
    return float(site.farm.clock.now_s() - machine.started_s)


@pytest.mark.parametrize("index", [0, 1])
async def test_both_put_a_machine_to_sleep_and_wake_it_and_the_watts_follow(
    open_exact, index: int
) -> None:
    site = await open_exact()
    machine = site.farm.plant.machines[index]
    theirs = await pyasic.get_miner(site.address(index))
    rusty = await pyasic_rs.MinerFactory().get_miner(site.address(index))
    for sleep, wake in ((theirs.stop_mining, theirs.resume_mining), (rusty.pause, rusty.resume)):
        assert await sleep()
        assert not machine.is_awake
        await asyncio.sleep(0.3)
        assert machine.watts.value(site.farm.clock.now_s()) < 60.0
        assert await wake()
        assert machine.is_awake
    assert machine.counters.mining_restarts == 2


@pytest.mark.parametrize("is_atm_enabled", [False, True])
@pytest.mark.parametrize(("limit_w", "name"), [(2000, "440MHz"), (900, "215MHz"), (783, "default")])
async def test_pyasic_chooses_the_strongest_profile_under_a_limit_also_where_atm_is_on(
    open_exact, limit_w: int, name: str, is_atm_enabled: bool
) -> None:
    site = await open_exact(is_atm_enabled=is_atm_enabled)
    miner = await pyasic.get_miner(site.address(0))
    assert bool(await miner.set_power_limit(limit_w)) is (name != "default")
    assert site.farm.plant.machines[0].point.name == name
    assert (0 in site.farm.atm) is is_atm_enabled


async def test_asic_rs_sets_no_power_limit_and_switches_no_board(open_exact) -> None:
    site = await open_exact(has_power_target=True)
    miner = await pyasic_rs.MinerFactory().get_miner(site.address(0))
    assert not miner.supports_set_power_limit
    assert not miner.supports_presets
    assert not miner.supports_set_hashboards_enabled
    assert not miner.supports_set_tuning_percent
    with pytest.raises(RuntimeError, match="not supported"):
        await miner.set_power_limit(2000.0)
    with pytest.raises(RuntimeError, match="not supported"):
        await miner.set_hashboards_enabled([1], enabled=False)
    machine = site.farm.plant.machines[0]
    assert machine.point.name == "default"
    assert all(board.is_enabled for board in machine.boards)
