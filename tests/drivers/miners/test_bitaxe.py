"""The driver of Bitaxe and NerdQAxe against simulated machines and against broken ones."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import (
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink
from drivers.link.tcp import NoAnswerError
from drivers.miners import bitaxe
from drivers.miners.bitaxe import BitaxeMiner
from drivers.readings import Activity, PowerProvenance
from simulator.bitaxe import BitaxeFarm
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080  # not everybody may bind 80
QUICK = {"profile_up_s": 0.1, "profile_down_s": 0.1, "sleep_s": 0.1, "wake_s": 0.3, "reboot_s": 0.3}
GAMMA, NERD = "gamma", "nerdqaxe"

Open = Callable[..., Awaitable["Hall"]]


class Hall:
    """One simulated machine, and drivers for it that are closed at the end."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.farm = network.farm
        self.machine = network.farm.plant.machines[0]
        self.label = network.farm.labels[0]
        self.links: list[HttpLink] = []

    @property
    def traits(self) -> Any:
        dialect = self.network.dialects["bitaxe"]
        assert isinstance(dialect, BitaxeFarm)
        return dialect.traits(0)

    @property
    def true_w(self) -> float:
        return self.machine.watts.value(self.farm.clock.now_s())

    def link(self, *, answer_s: float = 2.0) -> HttpLink:
        host = self.label.address
        self.links.append(HttpLink(host=host, port=PORT, answer_s=answer_s, connect_s=0.3))
        return self.links[-1]

    def miner(self, *, mac: str = "") -> BitaxeMiner:
        return BitaxeMiner(miner_id="b", link=self.link(), mac=mac or self.label.mac)

    async def fault(self, kind: FaultKind) -> None:
        self.farm.switch_fault(kind, [0], is_active=True, value=None)
        await self.network.apply_faults()


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one model; the other arguments are the [bitaxe] table."""
    async with AsyncExitStack() as stack:

        async def start(model: str = GAMMA, **table: Any) -> Hall:
            document = {
                "addresses": {"base": NET, "web_port": PORT},
                "bitaxe": table,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "bitaxe", "model": model, "count": 1}],
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
    assert (identity.family, identity.model) == ("bitaxe", "Bitaxe Gamma")
    assert (identity.mac, identity.serial) == (site.label.mac, "")
    assert (identity.firmware, identity.board_count) == ("v2.14.0", 1)
    assert identity.nameplate_hashrate_hs == pytest.approx(525e6 * 2040)
    assert identity.is_writable
    reading = await miner.read()
    assert (reading.activity, reading.profile) == (Activity.HASHING, "525MHz")
    assert reading.power_w == pytest.approx(site.true_w, abs=0.01)
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.hashrate_hs == pytest.approx(1.2e12)
    assert [board.board for board in reading.boards] == [0]
    assert reading.boards[0].temperature_c == pytest.approx(24.0 + 18 * 1.8, abs=0.1)
    assert reading.requested_at_s < reading.replied_at_s


async def test_details_have_the_stock_points_pools_and_fan(hall: Open) -> None:
    site = await hall()
    details = await site.miner().read_details()
    names = [(point.name, point.step) for point in details.profiles]
    assert names == [("400MHz", -2), ("450MHz", -1), ("525MHz", 0)]
    assert details.profiles[-1].power_w == 19.0
    watts = [point.power_w for point in details.profiles]
    assert watts == sorted(watts)
    assert [(pool.url, pool.is_active, pool.is_alive) for pool in details.pools] == [
        ("pool0.example:3333", True, True),
        ("pool1.example:3333", False, False),
    ]
    assert (details.pools[0].rejected, details.pools[1].rejected) == (0, None)
    assert details.fan_speeds_rpm == (4800,)
    assert details.uptime_s is not None
    assert (details.board_serials, details.faults, details.power_limit_w) == ((), (), None)
    assert details.can_sleep
    assert [one.board for one in details.chip_temperatures] == [0]


async def test_a_nerdqaxe_names_itself_and_has_its_eco_point(hall: Open) -> None:
    site = await hall(NERD)
    miner = site.miner()
    identity = await miner.identify()
    assert (identity.model, identity.firmware) == ("NerdQAxe++", "v1.0.36")
    assert identity.nameplate_hashrate_hs == pytest.approx(4 * 525e6 * 2040)
    reading = await miner.read()
    assert reading.hashrate_hs == pytest.approx(4.8e12)
    assert reading.power_w == pytest.approx(site.true_w, abs=0.01)
    await miner.select_profile("450MHz")
    assert site.traits.writes == [{"frequency": 450, "coreVoltage": 1060}]
    await asyncio.sleep(0.15)
    reading = await miner.read()
    assert (reading.profile, site.machine.point.name) == ("450MHz", "450MHz")
    assert reading.power_w == pytest.approx(site.true_w, abs=0.01)


async def test_a_frequency_moves_the_watts_and_is_read_back(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.select_profile("400MHz")
    assert site.traits.writes == [{"frequency": 400, "coreVoltage": 1150}]
    await asyncio.sleep(0.15)
    reading = await miner.read()
    assert (reading.profile, reading.activity) == ("400MHz", Activity.HASHING)
    assert site.true_w == pytest.approx(0.7 * 18, rel=0.05)
    assert reading.power_w == pytest.approx(site.true_w, abs=0.01)
    assert reading.hashrate_hs == pytest.approx(0.76 * 1.2e12)


@pytest.mark.parametrize("name", ["550MHz", "575MHz", "625MHz", "+25", "475MHz", ""])
async def test_nothing_above_the_default_and_nothing_of_our_own_is_ever_set(
    hall: Open, name: str
) -> None:
    site = await hall()
    with pytest.raises(UnsupportedError, match="not the name of a profile"):
        await site.miner().select_profile(name)
    assert site.traits.writes == []


async def test_settings_of_somebodys_own_are_no_profile(hall: Open) -> None:
    site = await hall()
    site.traits.core_voltage_mv = 1200
    assert (await site.miner().read()).profile is None


async def test_it_pauses_and_resumes_and_the_plant_follows(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    await asyncio.sleep(0.2)
    asleep = await miner.read()
    assert (asleep.activity, asleep.profile, asleep.hashrate_hs) == (
        Activity.SLEEPING,
        "525MHz",
        0.0,
    )
    assert site.true_w < 5.0
    assert asleep.power_w == pytest.approx(site.true_w, abs=0.01)
    await miner.wake()
    awake = await miner.read()
    assert (awake.activity, awake.boards[0].is_ramping) == (Activity.RAMPING, True)
    await asyncio.sleep(0.5)
    assert (await miner.read()).activity is Activity.HASHING
    assert site.true_w == pytest.approx(18.0, rel=0.01)


@pytest.mark.parametrize(
    ("model", "table", "version"),
    [(GAMMA, {"version": "v2.9.0"}, "v2.9.0"), (NERD, {}, "v1.0.36")],
)
async def test_firmware_without_pause_says_so_and_still_takes_frequencies(
    hall: Open, model: str, table: dict[str, Any], version: str
) -> None:
    site = await hall(model, **table)
    miner = site.miner()
    for verb in (miner.sleep, miner.wake):
        with pytest.raises(UnsupportedError, match=rf"{version}: ESP-Miner can from 2\.14 on"):
            await verb()
    assert not (await miner.read_details()).can_sleep
    assert site.machine.counters.commands == 0
    await miner.select_profile("400MHz")
    assert site.machine.point.name == "400MHz"


async def test_a_nerdqaxe_that_its_owner_shut_down_sleeps(hall: Open) -> None:
    site = await hall(NERD)
    await site.link().send("POST", "/api/system/shutdown")
    await asyncio.sleep(0.2)
    reading = await site.miner().read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)
    with pytest.raises(UnsupportedError, match="cannot pause and resume"):
        await site.miner().wake()


async def test_firmware_that_does_not_describe_its_chips_is_read_but_not_written_to(
    hall: Open,
) -> None:
    site = await hall(version="v2.6.0")
    miner = site.miner()
    identity = await miner.identify()
    assert (identity.model, identity.nameplate_hashrate_hs) == ("Bitaxe BM1370", None)
    assert not identity.is_writable
    reading = await miner.read()
    assert (reading.activity, reading.profile) == (Activity.HASHING, None)
    assert (await miner.read_details()).profiles == ()
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.select_profile("400MHz")
    assert site.machine.counters.commands == 0


async def test_outside_a_private_network_it_is_refused_with_the_way_out(hall: Open) -> None:
    site = await hall(is_private=False)
    miner = site.miner()
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(RefusedError, match="run kwota in its network"):
            await verb()


async def test_a_one_time_password_is_not_guessed(hall: Open) -> None:
    site = await hall(NERD, has_otp=True)
    miner = site.miner()
    assert (await miner.read()).activity is Activity.HASHING
    with pytest.raises(RefusedError, match="demands a one-time password"):
        await miner.select_profile("400MHz")
    assert site.traits.writes == []


async def test_an_overheated_machine_is_left_alone_and_named(hall: Open) -> None:
    site = await hall()
    site.traits.is_overheated, site.traits.power_fault = True, "VIN undervoltage"
    miner = site.miner()
    words = {fault.code: fault.words for fault in (await miner.read_details()).faults}
    assert "too hot" in words["overheat_mode"]
    assert "VIN undervoltage" in words["power_fault"]
    with pytest.raises(RefusedError, match="check fan and air"):
        await miner.select_profile("400MHz")
    assert site.traits.writes == []
    await miner.sleep()
    assert not site.machine.is_awake


async def test_on_its_fallback_pool_the_shares_stand_there(hall: Open) -> None:
    site = await hall()
    site.traits.is_on_fallback = True
    pools = (await site.miner().read_details()).pools
    assert [(pool.is_active, pool.accepted is None) for pool in pools] == [
        (False, True),
        (True, False),
    ]


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner(mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep, miner.wake):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
        await miner.select_profile("400MHz")
    assert site.machine.counters.commands == 0


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    site = await hall()
    await site.fault(FaultKind.MINER_IGNORES)
    miner = site.miner()
    await miner.select_profile("400MHz")  # accepted, and nothing else
    await miner.sleep()
    reading = await miner.read()
    assert (reading.profile, reading.activity) == ("525MHz", Activity.HASHING)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.MINER_SILENT, NoAnswerError),
        (FaultKind.MINER_GONE, UnreachableError),
        (FaultKind.MINER_GARBAGE, DriverError),
    ],
)
async def test_a_broken_machine_is_a_driver_error_and_works_again_after_it(
    hall: Open, kind: FaultKind, expected: type[DriverError]
) -> None:
    site = await hall()
    miner = BitaxeMiner(miner_id="b", link=site.link(answer_s=0.3), mac=None)
    await site.fault(kind)
    for _ in range(3):
        with pytest.raises(expected):
            await miner.read()
    site.farm.clear_faults()
    await site.network.apply_faults()
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_rebooting_machine_is_unreachable_and_forgets_its_pause(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    await site.link().send("POST", "/api/system/restart")
    with pytest.raises(UnreachableError):
        await miner.read()
    await asyncio.sleep(0.7)
    assert (await miner.read()).activity is not Activity.SLEEPING


async def test_a_slow_machine_is_waited_for_up_to_its_limit(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(answer_delay_s=0.2)
    miner = site.miner()
    assert (await miner.read()).activity is Activity.HASHING
    monkeypatch.setattr(bitaxe, "READ_LIMIT_S", 0.1)
    with pytest.raises(UnreachableError, match="did not answer everything within"):
        await miner.read()
    monkeypatch.setattr(bitaxe, "WRITE_LIMIT_S", 0.5)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    monkeypatch.setattr(bitaxe, "WRITE_LIMIT_S", 0.3)
    with pytest.raises(UnreachableError, match="was not sent"):
        await miner.sleep()
