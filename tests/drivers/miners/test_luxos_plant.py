"""The driver of LuxOS against simulated machines: values are the plant's, abilities move it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import (
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    WrongDeviceError,
)
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners.luxos import LuxosMiner
from drivers.readings import Activity, PowerProvenance
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.luxos import LuxosFarm
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
QUICK = {"board_on_s": 0.2, "board_off_s": 0.1, "profile_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}
QUICK |= {"reboot_s": 0.3}

Open = Callable[..., Awaitable[Network]]
Listen = Callable[[Any], Awaitable[int]]


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one quick S21; the arguments are the [luxos] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "luxos": table,
                "timings": QUICK,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"model": "s21", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            await network.open()
            stack.push_async_callback(network.close)
            return network

        yield start


def miner_in(network: Network, *, mac: str = "", answer_s: float = 2.0) -> LuxosMiner:
    label = network.farm.labels[0]
    link = TcpExchange(host=label.address, port=4028, answer_s=answer_s)
    return LuxosMiner(miner_id="l", link=link, mac=mac or label.mac)


def luxos_of(network: Network) -> LuxosFarm:
    dialect = network.dialects["luxos"]
    assert isinstance(dialect, LuxosFarm)
    return dialect


def true_w(network: Network) -> float:
    return network.farm.plant.machines[0].watts.value(network.farm.clock.now_s())


@pytest.mark.parametrize("is_metered", [False, True])
async def test_what_it_reads_is_what_is_true(hall: Open, is_metered: bool) -> None:
    network = await hall(has_metering_supply=is_metered)
    miner, label = miner_in(network), network.farm.labels[0]
    identity = await miner.identify()
    assert (identity.model, identity.mac, identity.serial) == (
        "Antminer S21",
        label.mac,
        label.serial,
    )
    assert identity.is_writable
    reading = await miner.read()
    assert (reading.activity, reading.profile) == (Activity.HASHING, "default")
    assert reading.hashrate_hs == pytest.approx(200e12, rel=0.011)
    assert [board.serial for board in reading.boards] == list(label.board_serials)
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    told = PowerProvenance.METERED_PSU if is_metered else PowerProvenance.FIRMWARE_ESTIMATE
    assert reading.power_provenance is told


async def test_older_firmware_has_no_supply_report_and_no_power_target(hall: Open) -> None:
    details = await miner_in(await hall()).read_details()
    assert (details.power_supply_serial, details.power_limit_w, details.faults) == (None, None, ())
    assert len(details.fan_speeds_rpm) == 4
    assert details.uptime_s is not None
    assert details.uptime_s > 3_000
    assert [pool.is_active for pool in details.pools] == [True, False]


async def test_newer_firmware_tells_supply_target_and_faults(hall: Open) -> None:
    network = await hall(has_supply_report=True, has_power_target=True)
    luxos_of(network).troubles[0] = [
        ("FAN_FAILURE", "Fan failure.", None),
        ("BOARD_HIGH_TEMPERATURE", "Board temperature is above.", 1),
        ("InputPowerWarning", "", None),
    ]
    details = await miner_in(network).read_details()
    assert details.power_supply_serial == f"PS{network.farm.labels[0].serial}"
    assert details.power_limit_w == 3500.0
    faults = {fault.code: fault.words for fault in details.faults}
    assert list(faults) == ["FAN_FAILURE", "BOARD_HIGH_TEMPERATURE", "InputPowerWarning"]
    assert faults["BOARD_HIGH_TEMPERATURE"].startswith("Hashboard 1: it is hotter")


async def test_a_sleeper_and_a_switched_board_are_no_faults(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.switch_board(1, is_on=False)
    await miner.sleep()
    assert (await miner.read_details()).faults == ()


async def test_every_ability_moves_the_plant_and_is_read_back(hall: Open) -> None:
    network = await hall(has_tuned_profiles=True)
    miner = miner_in(network)
    await miner.switch_board(2, is_on=False)
    await asyncio.sleep(0.3)
    reading = await miner.read()
    assert [board.is_enabled for board in reading.boards] == [True, True, False]
    assert true_w(network) == pytest.approx(80 + (3500 - 80) * 2 / 3, rel=0.01)
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    await miner.switch_board(2, is_on=True)
    await miner.select_profile("340MHz")
    await asyncio.sleep(0.5)
    assert (await miner.read()).profile == "340MHz"
    assert true_w(network) == pytest.approx(2234, rel=0.01)
    await miner.sleep()
    await asyncio.sleep(0.3)
    assert (await miner.read()).activity is Activity.SLEEPING
    assert true_w(network) < 60.0
    await miner.wake()
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(0.7)
    assert (await miner.read()).activity is Activity.HASHING
    assert true_w(network) == pytest.approx(2234, rel=0.01)


async def test_a_profile_that_is_not_tuned_is_refused_before_anything_is_sent(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    for _ in range(2):
        with pytest.raises(RefusedError, match="no tuned profile '340MHz'"):
            await miner.select_profile("340MHz")
        await miner.read_details()
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_somebody_elses_session_is_busy_and_changes_nothing(hall: Open) -> None:
    network = await hall()
    luxos_of(network).sessions.open(0, network.farm.clock.now_s())
    with pytest.raises(BusyError):
        await miner_in(network).sleep()
    assert network.farm.plant.machines[0].is_awake


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network, mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep, miner.wake):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_that_moved_between_two_writes_is_not_written_to(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.sleep()
    label = network.farm.labels[0]
    network.farm.labels[0] = replace(label, mac="02:00:00:00:00:77")  # type: ignore[index] # a list
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:77"):
        await miner.read()
    with pytest.raises(WrongDeviceError):
        await miner.wake()
    assert network.farm.plant.machines[0].counters.commands == 1


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
    network = await hall()
    miner = miner_in(network, answer_s=0.3)
    await miner.read()
    network.farm.switch_fault(kind, [0], is_active=True, value=None)
    await network.apply_faults()
    for _ in range(3):
        with pytest.raises(expected):
            await miner.read()
    network.farm.clear_faults()
    await network.apply_faults()
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    network = await hall()
    network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    miner = miner_in(network)
    await miner.sleep()  # accepted, and nothing else
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_rebooting_machine_is_unreachable_and_then_itself_again(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.read()
    network.farm.act(0, lambda one, now_s: one.reboot_device(now_s=now_s))
    with pytest.raises(UnreachableError):
        await miner.read()
    await asyncio.sleep(0.4)
    assert (await miner.read()).boards


async def test_a_command_in_the_wrong_case_is_a_refusal_that_changes_nothing(hall: Open) -> None:
    network = await hall()
    answer = await miner_in(network).ask("DISABLEBOARD", "x,1")
    with pytest.raises(RefusedError, match="Invalid command"):
        answer.accepted("DISABLEBOARD")


async def test_a_board_switch_lost_on_the_way_back_is_unknown_sent_once_and_read_back(
    hall: Open, listen: Listen
) -> None:
    network = await hall()
    asked: list[bytes] = []

    async def lossy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes everything on and loses the answer to the write."""
        question = await reader.readline()
        asked.append(question)
        reply = luxos_of(network).reply(0, question) or b""
        writer.write(reply[:20] if b"disableboard" in question else reply)
        await writer.drain()

    link = TcpExchange(host="127.0.0.1", port=await listen(lossy), answer_s=0.5)
    miner = LuxosMiner(miner_id="l", link=link, mac=network.farm.labels[0].mac)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.switch_board(0, is_on=False)
    assert sum(b"disableboard" in question for question in asked) == 1
    assert [board.is_enabled for board in (await miner.read()).boards] == [False, True, True]
