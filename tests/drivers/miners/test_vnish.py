"""The driver of VNish against simulated machines."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.device import SelectsProfile, Sleeps, SwitchesBoards
from drivers.errors import (
    RefusedError,
    WrongDeviceError,
)
from drivers.link.http import HttpLink
from drivers.miners.registry import open_miner
from drivers.miners.vnish import VnishMiner, VnishReader
from drivers.readings import Activity, PowerProvenance
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network
from simulator.vnish import VnishFarm

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080
PASSWORD = "farm-pass"  # the simulator's own
MOVED = {"unlock", "mining/pause", "mining/resume", "mining/start", "mining/throttle", "settings"}

Open = Callable[..., Awaitable[Network]]
Make = Callable[..., VnishMiner]


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one quick S21; the arguments are the [vnish] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "has_web": False, "web_port": PORT},
                "vnish": {"has_older_reads": False, **table},
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "vnish", "model": "s21", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            quick = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}
            machine.timings = replace(machine.timings, **quick)
            await network.open()
            stack.push_async_callback(network.close)
            return network

        yield start


@pytest_asyncio.fixture
async def miner_in() -> AsyncIterator[Make]:
    made: list[VnishReader] = []

    def make(
        network: Network, *, password: str | None = PASSWORD, mac: str = "", answer_s: float = 2.0
    ) -> VnishMiner:
        label = network.farm.labels[0]
        link = HttpLink(host=label.address, port=PORT, answer_s=answer_s)
        pinned = mac or label.mac
        made.append(VnishMiner(miner_id="v", link=link, mac=pinned, password=password))
        return made[-1]

    yield make
    for miner in made:
        await miner.close()


def vnishes(network: Network) -> VnishFarm:
    dialect = network.dialects["vnish"]
    assert isinstance(dialect, VnishFarm)
    return dialect


def true_w(network: Network) -> float:
    return network.farm.plant.machines[0].watts.value(network.farm.clock.now_s())


def asked(network: Network) -> list[str]:
    return [name for _, name in vnishes(network).asked]


async def test_it_identifies_by_two_signs_and_reads_what_is_true(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    miner = miner_in(network)
    identity = await miner.identify()
    label = network.farm.labels[0]
    assert (identity.family, identity.model) == ("vnish", "Antminer S21")
    assert (identity.mac, identity.serial, identity.firmware) == (label.mac, label.serial, "1.3.4")
    assert (identity.board_count, identity.nameplate_hashrate_hs) == (3, 200e12)
    assert identity.is_writable
    reading = await miner.read()
    assert reading.activity is Activity.HASHING
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.hashrate_hs == pytest.approx(200e12)
    assert [board.board for board in reading.boards] == [0, 1, 2]
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx([200e12 / 3] * 3)
    assert tuple(board.serial for board in reading.boards) == label.board_serials
    assert reading.profile == "100%"
    assert reading.requested_at_s < reading.replied_at_s
    assert "unlock" not in asked(network)


async def test_a_fast_read_is_one_question_on_the_connection_on_which_it_was_recognised(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.read()
    vnishes(network).asked.clear()
    first = await miner.read()
    assert asked(network) == ["summary"]
    assert (await miner.read()).boards == first.boards
    await vnishes(network).pages.close()
    vnishes(network).asked.clear()
    assert (await miner.read()).boards == first.boards
    assert asked(network) == ["summary", "info"]


async def test_everything_but_a_fast_read_asks_who_is_there(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.read()
    for verb in (miner.identify, miner.read_details, miner.sleep):
        vnishes(network).asked.clear()
        await verb()
        assert asked(network)[0] == "info"


async def test_details_have_serials_pools_preset_and_percents(hall: Open, miner_in: Make) -> None:
    network = await hall()
    machine = network.farm.plant.machines[0]
    machine.started_s = network.farm.clock.now_s() - 3 * 86_400 - 3_700
    machine.hashes = 5 * 2.0**50
    details = await miner_in(network).read_details()
    label = network.farm.labels[0]
    assert details.board_serials == label.board_serials
    assert details.power_supply_serial == f"PS{label.serial}"
    assert [(pool.slot, pool.is_active, pool.is_alive) for pool in details.pools] == [
        (0, True, True),
        (1, False, True),
        (2, False, False),
    ]
    assert [pool.accepted for pool in details.pools] == [5, 0, 0]
    assert {pool.user for pool in details.pools} == {f"farm.{label.hostname}"}
    assert details.power_limit_w == 3500.0
    names = [profile.name for profile in details.profiles]
    assert (names[0], names[-1], len(names)) == ("20%", "100%", 17)
    assert (details.profiles[-1].power_w, details.profiles[-1].step) == (3500.0, 0)
    assert details.profiles[0].power_w == pytest.approx(0.264 * 3500.0)
    assert details.profiles[0].hashrate_hs == pytest.approx(40e12)
    assert details.fan_speeds_rpm == (5400, 5420, 5440, 5460)
    assert details.uptime_s == 3 * 86_400 + 3_660
    assert details.faults == ()


@pytest.mark.parametrize(
    ("is_metered", "provenance"),
    [(True, PowerProvenance.METERED_PSU), (False, PowerProvenance.FIRMWARE_ESTIMATE)],
)
async def test_the_power_supply_says_whether_watts_are_measured(
    hall: Open, miner_in: Make, is_metered: bool, provenance: PowerProvenance
) -> None:
    network = await hall(has_power_metering=is_metered)
    assert (await miner_in(network).read()).power_provenance is provenance


async def test_exchanged_boards_are_seen_with_the_next_details(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    before = (await miner.read()).boards
    exchanged = replace(network.farm.labels[0], board_serials=("N0", "N1", "N2"))
    network.farm.labels[0] = exchanged  # type: ignore[index] # a list
    assert (await miner.read()).boards[0].serial == before[0].serial
    assert (await miner.read_details()).board_serials == ("N0", "N1", "N2")
    assert (await miner.read()).boards[0].serial == "N0"


async def test_another_machine_at_an_address_without_a_pin_is_known_by_its_own_parts(
    hall: Open,
) -> None:
    network = await hall()
    link = HttpLink(host=network.farm.labels[0].address, port=PORT)
    reader = VnishReader(miner_id="v", link=link, mac=None)
    await reader.read()
    other = replace(network.farm.labels[0], mac="02:00:00:00:00:78", board_serials=("X", "Y", "Z"))
    network.farm.labels[0] = other  # type: ignore[index] # a list
    await vnishes(network).pages.close()
    assert [board.serial for board in (await reader.read()).boards] == ["X", "Y", "Z"]
    await reader.close()


async def test_what_is_broken_is_said(hall: Open, miner_in: Make) -> None:
    network = await hall(is_switching_presets=True)
    traits = vnishes(network).traits(0)
    traits.board_states = {1: "failure"}
    traits.lost_fans = {2}
    traits.is_restart_due = True
    traits.disabled = {2}
    network.farm.plant.machines[0].switch_board(2, is_on=False, now_s=network.farm.clock.now_s())
    miner = miner_in(network)
    words = {fault.code: fault.words for fault in (await miner.read_details()).faults}
    assert set(words) == {"chain-2", "chain-3", "fan-2", "restart-required", "preset-switcher"}
    assert words["chain-3"] == "Hashboard 3 is switched off in the settings."
    traits.failure = {"description": "Failed to parse miner configuration", "failure_code": 1002}
    words = {fault.code: fault.words for fault in (await miner.read_details()).faults}
    assert words["1002"] == "Mining has failed (Failed to parse miner configuration)."
    assert (await miner.read()).activity is Activity.FAULT


async def test_reads_that_want_a_login_get_one(hall: Open, miner_in: Make) -> None:
    network = await hall(has_open_summary=False)
    miner = miner_in(network)
    assert (await miner.read()).activity is Activity.HASHING
    await miner.read()
    assert vnishes(network).logins(0).granted == 1
    vnishes(network).logins(0).tokens.clear()
    assert (await miner.read()).activity is Activity.HASHING
    assert vnishes(network).logins(0).granted == 2


async def test_without_a_password_a_machine_is_read_and_has_no_abilities(
    hall: Open, tmp_path: Any
) -> None:
    network = await hall()
    label = network.farm.labels[0]
    uri = f"vnish://{label.address}:{PORT}"
    reader = open_miner(uri, miner_id="v", mac=label.mac)
    assert not isinstance(reader, SelectsProfile | Sleeps | SwitchesBoards)
    assert (await reader.read()).activity is Activity.HASHING
    await reader.close()
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    miner = open_miner(uri, miner_id="v", mac=label.mac, password_file=secret)
    assert isinstance(miner, SelectsProfile)
    assert isinstance(miner, Sleeps)
    assert not isinstance(miner, SwitchesBoards)
    await miner.sleep()
    await miner.close()
    assert not network.farm.plant.machines[0].is_awake


async def test_a_closed_read_without_a_password_says_what_to_do(hall: Open) -> None:
    network = await hall(has_open_summary=False)
    link = HttpLink(host=network.farm.labels[0].address, port=PORT)
    reader = VnishReader(miner_id="v", link=link, mac=None)
    with pytest.raises(RefusedError, match="name a password_file"):
        await reader.read()
    await reader.close()


async def test_another_mac_is_neither_read_nor_written_to(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network, mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep, miner.wake):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert not MOVED & set(asked(network))
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_without_a_mac_is_read_but_not_written_to(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    network.farm.labels[0] = replace(network.farm.labels[0], mac="n/a")  # type: ignore[index] # a list
    link = HttpLink(host=network.farm.labels[0].address, port=PORT)
    miner = VnishMiner(miner_id="v", link=link, mac=None, password=PASSWORD)
    identity = await miner.identify()
    assert (identity.mac, identity.is_writable) == ("", False)
    assert (await miner.read()).activity is Activity.HASHING
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.sleep()
    await miner.close()
    assert not MOVED & set(asked(network))


async def test_a_machine_without_a_serial_is_as_good_as_any(hall: Open, miner_in: Make) -> None:
    network = await hall(has_serial=False)
    identity = await miner_in(network).identify()
    assert (identity.serial, identity.is_writable) == ("", True)


async def test_a_lower_preset_bounds_what_percents_mean(hall: Open, miner_in: Make) -> None:
    network = await hall()
    vnishes(network).traits(0).preset = "2852"
    details = await miner_in(network).read_details()
    assert (details.power_limit_w, details.profiles[-1].power_w) == (2852.0, 2852.0)
    assert details.profiles[-1].hashrate_hs == 160e12
