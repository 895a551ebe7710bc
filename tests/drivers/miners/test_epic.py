"""The driver of ePIC's PowerPlay against simulated machines and against broken ones."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink
from drivers.link.tcp import NoAnswerError
from drivers.miners import epic
from drivers.miners.epic import EpicMiner, EpicReader
from drivers.readings import Activity, PowerProvenance
from simulator.clock import started_now
from simulator.epic import EpicFarm
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PASSWORD = "letmein"  # the simulator's own
QUICK = {"board_off_s": 0.1, "board_on_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4, "reboot_s": 0.3}

Open = Callable[..., Awaitable["Hall"]]


class Hall:
    """One simulated S19 XP, and drivers for it that are closed at the end."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.farm = network.farm
        self.machine = network.farm.plant.machines[0]
        self.label = network.farm.labels[0]
        self.links: list[HttpLink] = []

    @property
    def dialect(self) -> EpicFarm:
        dialect = self.network.dialects["epic"]
        assert isinstance(dialect, EpicFarm)
        return dialect

    @property
    def true_w(self) -> float:
        return self.machine.watts.value(self.farm.clock.now_s())

    def link(self, *, answer_s: float = 2.0) -> HttpLink:
        host = self.label.address
        self.links.append(HttpLink(host=host, port=4028, answer_s=answer_s, connect_s=0.3))
        return self.links[-1]

    def miner(self, *, password: str = PASSWORD, mac: str = "") -> EpicMiner:
        pinned = mac or self.label.mac
        return EpicMiner(miner_id="e", link=self.link(), mac=pinned, password=password)

    async def fault(self, kind: FaultKind) -> None:
        self.farm.switch_fault(kind, [0], is_active=True, value=None)
        await self.network.apply_faults()


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall; the arguments are the [epic] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Hall:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "epic": table,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "epic", "model": "s19-xp", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            machine.timings = replace(machine.timings, **QUICK)
            await network.open()
            stack.push_async_callback(network.close)
            opened = Hall(network)

            async def close_links() -> None:
                for link in opened.links:
                    await link.close()

            stack.push_async_callback(close_links)
            return opened

        yield start


async def test_it_identifies_by_two_signs_and_reads_what_is_true(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    identity = await miner.identify()
    assert (identity.family, identity.model) == ("epic", "ANTMINER S19 XP")
    assert (identity.mac, identity.serial) == (site.label.mac, site.label.serial)
    assert (identity.firmware, identity.board_count) == ("PowerPlay-BM v1.30.0", 3)
    assert identity.nameplate_hashrate_hs == pytest.approx(140e12)
    assert identity.is_writable
    reading = await miner.read()
    assert (reading.activity, reading.profile) == (Activity.HASHING, "preset")
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.hashrate_hs == pytest.approx(140e12)
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx([140e12 / 3] * 3)
    assert tuple(board.serial for board in reading.boards) == site.label.board_serials
    assert all(board.is_enabled and not board.is_ramping for board in reading.boards)
    assert reading.requested_at_s < reading.replied_at_s


async def test_details_have_serials_pools_target_fans_and_one_point(hall: Open) -> None:
    site = await hall()
    details = await site.miner().read_details()
    assert details.board_serials == site.label.board_serials
    assert details.power_supply_serial == f"PS{site.label.serial}"
    assert [(pool.slot, pool.is_active) for pool in details.pools] == [(0, True), (1, False)]
    assert details.pools[0].user == f"farm.{site.label.hostname}"
    assert (details.pools[0].rejected, details.pools[1].accepted) == (0, None)
    assert details.power_limit_w == 3010.0
    assert [(point.name, point.step, point.power_w) for point in details.profiles] == [
        ("preset", 0, 3010.0)
    ]
    assert details.fan_speeds_rpm == (4230, 4260, 4290, 4320)
    assert details.uptime_s is not None
    assert details.faults == ()


async def test_older_firmware_tells_the_control_boards_serial(hall: Open) -> None:
    site = await hall(version="1.22.5")
    identity = await site.miner().identify()
    assert identity.serial == f"CPU{site.label.serial}"
    assert (await site.miner().read()).power_provenance is PowerProvenance.METERED_PSU


async def test_a_power_supply_that_does_not_measure_is_an_estimate(hall: Open) -> None:
    site = await hall(is_power_measured=False)
    assert (await site.miner().read()).power_provenance is PowerProvenance.FIRMWARE_ESTIMATE


async def test_a_board_is_switched_off_and_on_and_the_watts_follow(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.switch_board(1, is_on=False)
    await asyncio.sleep(0.2)
    assert [board.is_enabled for board in site.machine.boards] == [True, False, True]
    reading = await miner.read()
    assert reading.activity is Activity.HASHING
    assert [board.is_enabled for board in reading.boards] == [True, False, True]
    assert reading.boards[1].hashrate_hs == 0.0
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    assert site.true_w == pytest.approx(80 + (3010 - 80) * 2 / 3, rel=0.01)
    await miner.switch_board(1, is_on=True)
    reading = await miner.read()
    assert [board.is_ramping for board in reading.boards] == [False, True, False]
    await asyncio.sleep(0.3)
    assert site.true_w == pytest.approx(3010, rel=0.01)


async def test_with_every_board_off_it_is_awake_and_a_board_brings_it_back(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    for board in range(3):
        await miner.switch_board(board, is_on=False)
    await asyncio.sleep(0.2)
    reading = await miner.read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.STOPPED, 0.0)
    assert "NoHashboardsEnabled" in {fault.code for fault in (await miner.read_details()).faults}
    await miner.switch_board(0, is_on=True)
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(0.3)
    assert (await miner.read()).activity is Activity.HASHING


async def test_it_sleeps_and_wakes_and_the_plant_follows(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    falling = await miner.read()
    assert (falling.activity, falling.hashrate_hs) == (Activity.STOPPED, 0.0)
    assert falling.power_w is not None
    assert falling.power_w > 100.0  # still on the way down
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert [board.is_enabled for board in asleep.boards] == [True] * 3
    assert site.true_w < 60.0
    assert asleep.power_w == pytest.approx(site.true_w, abs=1.0)
    assert (await miner.read_details()).pools[0].is_active is False
    await miner.wake()
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(0.6)
    assert (await miner.read()).activity is Activity.HASHING
    assert site.true_w == pytest.approx(3010, rel=0.01)


async def test_a_machine_that_idles_without_its_pool_says_so_before_it_does(hall: Open) -> None:
    site = await hall(is_idle_on_loss=True, has_schedule=True)
    miner = site.miner()
    words = {fault.code: fault.words for fault in (await miner.read_details()).faults}
    assert "its power moves without kwota" in words["IdleOnConnectionLost"]
    assert "schedule" in words["Scheduler"]
    site.dialect.lose_pool(0, is_lost=True)
    await asyncio.sleep(0.3)
    assert (await miner.read()).activity is Activity.SLEEPING
    site.dialect.lose_pool(0, is_lost=False)
    assert (await miner.read()).activity is Activity.RAMPING
    assert site.machine.counters.own_wakes == 1


async def test_faults_stand_with_the_vendors_name_and_words_of_ours(hall: Open) -> None:
    site = await hall()
    traits = site.dialect.traits(0)
    traits.last_error = {"CriticalTempReached": [1, 105.0]}
    traits.missing.add(2)
    miner = site.miner()
    words = {fault.code: fault.words for fault in (await miner.read_details()).faults}
    assert "so high that the machine stopped ([1, 105.0])" in words["CriticalTempReached"]
    assert words["HBStatus 2"] == "Hashboard 2 is switched on but not found."
    reading = await miner.read()
    assert reading.boards[2].is_enabled
    assert reading.hashrate_hs == pytest.approx(140e12 * 2 / 3)


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner(mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep, miner.wake):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert site.machine.counters.commands == 0


async def test_a_machine_without_a_mac_is_read_but_not_written_to(hall: Open) -> None:
    site = await hall()
    site.farm.labels[0] = replace(site.label, mac="")  # type: ignore[index] # a list
    miner = EpicMiner(miner_id="e", link=site.link(), mac=None, password=PASSWORD)
    assert not (await miner.identify()).is_writable
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.sleep()
    assert site.machine.counters.commands == 0


async def test_a_wrong_password_is_refused_and_kept_secret(
    hall: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site = await hall()
    miner = site.miner(password="hunter2")
    with pytest.raises(RefusedError, match="password file") as caught:
        await miner.sleep()
    assert "hunter2" not in f"{caught.value} {caught.value.reply!r} {caplog.text} {miner!r}"
    assert site.machine.is_awake


async def test_a_busy_machine_is_tried_again_later(hall: Open) -> None:
    site = await hall()
    site.dialect.traits(0).pending = "Tune"
    with pytest.raises(BusyError, match="LastCmdStillPending: Tune"):
        await site.miner().switch_board(0, is_on=False)


async def test_a_board_that_is_not_there_is_not_switched(hall: Open) -> None:
    site = await hall()
    with pytest.raises(UnsupportedError, match="no hashboard 3"):
        await site.miner().switch_board(3, is_on=False)
    assert site.machine.counters.commands == 0


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    site = await hall()
    await site.fault(FaultKind.MINER_IGNORES)
    miner = site.miner()
    await miner.switch_board(0, is_on=False)  # accepted, and nothing else
    assert (await miner.read()).boards[0].is_enabled


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.MINER_SILENT, NoAnswerError),
        (FaultKind.MINER_GONE, UnreachableError),
        (FaultKind.MINER_GARBAGE, BadReplyError),
    ],
)
async def test_a_broken_machine_is_a_driver_error_and_works_again_after_it(
    hall: Open, kind: FaultKind, expected: type[DriverError]
) -> None:
    site = await hall()
    miner = EpicReader(miner_id="e", link=site.link(answer_s=0.3), mac=None)
    await site.fault(kind)
    for _ in range(3):
        with pytest.raises(expected):
            await miner.read()
    site.farm.clear_faults()
    await site.network.apply_faults()
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_rebooting_machine_is_unreachable_and_then_itself_again(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.switch_board(2, is_on=False)
    site.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
    with pytest.raises(UnreachableError):
        await miner.read()
    await asyncio.sleep(0.4)
    reading = await miner.read()
    assert all(board.is_enabled for board in reading.boards)


async def test_a_slow_machine_is_waited_for_up_to_its_limit(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(answer_delay_s=0.2)
    miner = site.miner()
    assert (await miner.read()).activity is Activity.HASHING
    for limit_s, verb in ((0.1, miner.read), (0.3, miner.read), (0.3, miner.read_details)):
        monkeypatch.setattr(epic, "READ_LIMIT_S", limit_s)
        with pytest.raises(UnreachableError, match="did not answer everything within"):
            await verb()
    monkeypatch.setattr(epic, "WRITE_LIMIT_S", 0.55)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    monkeypatch.setattr(epic, "WRITE_LIMIT_S", 0.3)
    with pytest.raises(UnreachableError, match="was not sent"):
        await miner.sleep()
