"""The driver of Canaan's Avalons against simulated machines."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.device import ReadsMiner, SelectsProfile, Sleeps, SwitchesBoards
from drivers.errors import (
    RefusedError,
    UnknownOutcomeError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.tcp import TcpExchange
from drivers.miners import avalon
from drivers.miners.avalon import AvalonMiner
from drivers.readings import Activity, PowerProvenance
from simulator.avalon import AvalonFarm
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "restart_gap_s": 0.0}
QUICK |= {"sleep_s": 0.2, "wake_s": 0.4, "reboot_s": 0.3}

Open = Callable[..., Awaitable[Network]]


@pytest_asyncio.fixture
async def hall(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Opens a hall of one quick machine; the arguments are its model and the [avalon] table."""
    monkeypatch.setattr(avalon, "LEAD_S", 0)
    async with AsyncExitStack() as stack:

        async def start(model: str = "a1466", **table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "has_web": False},
                "avalon": table,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "avalon", "model": model, "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            machine.timings = replace(machine.timings, **QUICK)
            await network.open()
            stack.push_async_callback(network.close)
            return network

        yield start


def avalons(network: Network) -> AvalonFarm:
    dialect = network.dialects["avalon"]
    assert isinstance(dialect, AvalonFarm)
    return dialect


def miner_in(network: Network, *, mac: str = "", answer_s: float = 2.0) -> AvalonMiner:
    label = network.farm.labels[0]
    link = TcpExchange(host=label.address, port=4028, answer_s=answer_s)
    return AvalonMiner(miner_id="a", link=link, mac=mac or label.mac)


def true_w(network: Network) -> float:
    return network.farm.plant.machines[0].watts.value(network.farm.clock.now_s())


def is_awake(network: Network) -> bool:
    return network.farm.plant.machines[0].is_awake


async def test_it_has_the_abilities_of_its_family(hall: Open) -> None:
    miner = miner_in(await hall())
    assert all(isinstance(miner, one) for one in (ReadsMiner, Sleeps, SelectsProfile))
    assert not isinstance(miner, SwitchesBoards)


@pytest.mark.parametrize(
    ("model", "name", "ths", "boards"),
    [
        ("a1366", "Avalon A1366", 130, 3),
        ("a1466", "Avalon A1466", 150, 3),
        ("a1566", "Avalon A1566", 194, 3),
        ("avalon-q", "Avalon Q", 90, 1),
    ],
)
async def test_it_identifies_by_two_signs(
    hall: Open, model: str, name: str, ths: int, boards: int
) -> None:
    network = await hall(model)
    identity = await miner_in(network).identify()
    label = network.farm.labels[0]
    assert (identity.family, identity.model, identity.mac) == ("avalon", name, label.mac)
    assert identity.serial == f"0201{label.mac.replace(':', '')}"
    assert identity.firmware == "24102401_25462b2_9ddf522"
    assert identity.board_count == boards
    assert identity.nameplate_hashrate_hs == ths * 1e12
    assert identity.is_writable


@pytest.mark.parametrize("is_text", [False, True])
@pytest.mark.parametrize(("model", "ths"), [("a1466", 150.0), ("avalon-q", 80.0)])
async def test_it_reads_what_is_true_in_either_shape(
    hall: Open, model: str, ths: float, is_text: bool
) -> None:
    network = await hall(model, answers_text_only=is_text)
    miner = miner_in(network)
    for _ in range(2):
        reading = await miner.read()
        assert reading.activity is Activity.HASHING
        assert reading.hashrate_hs == pytest.approx(ths * 1e12, rel=0.005)
        share = reading.hashrate_hs / len(reading.boards)
        assert [board.hashrate_hs for board in reading.boards] == pytest.approx(
            [share] * len(reading.boards), rel=1e-4
        )
        assert all(board.is_enabled and not board.is_ramping for board in reading.boards)
        assert all((board.temperature_c or 0) > 40 for board in reading.boards)
        assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
        assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
        assert reading.profile == ("standard" if model == "avalon-q" else None)
        assert reading.requested_at_s < reading.replied_at_s
    assert avalons(network).most_at_once == 1


@pytest.mark.parametrize("is_text", [False, True])
async def test_details_have_pools_fans_limit_and_uptime(hall: Open, is_text: bool) -> None:
    network = await hall("avalon-q", answers_text_only=is_text)
    details = await miner_in(network).read_details()
    machine = network.farm.plant.machines[0]
    assert [pool.is_active for pool in details.pools] == [True, False, False]
    assert details.pools[0].user == f"farm.{network.farm.labels[0].hostname}"
    assert details.pools[0].accepted is not None
    assert details.pools[0].accepted > 0
    assert details.fan_speeds_rpm == (4277, 4284, 4291, 4298)
    assert details.power_limit_w == machine.point.watts == 1300
    assert details.uptime_s == pytest.approx(
        network.farm.clock.now_s() - machine.started_s, abs=2.0
    )
    assert [profile.name for profile in details.profiles] == ["eco", "standard", "super"]
    assert (details.board_serials, details.power_supply_serial) == ((), None)
    assert details.faults == ()


async def test_the_fast_read_is_one_question_once_the_machine_is_known(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    miner = miner_in(await hall())
    asked: list[str] = []
    ask = miner._ask

    async def counted(command: str, parameter: str | None = None) -> Any:
        asked.append(command)
        return await ask(command, parameter)

    monkeypatch.setattr(miner, "_ask", counted)
    await miner.read()
    await miner.read()
    assert asked == ["litestats", "version", "litestats"]


async def test_a_firmware_without_the_short_report_is_asked_for_the_longer_one(
    hall: Open,
) -> None:
    network = await hall(has_lite_stats=False)
    miner = miner_in(network)
    assert (await miner.read()).activity is Activity.HASHING
    assert miner._report_command == "estats"
    assert (await miner.read()).activity is Activity.HASHING


async def test_a_firmware_without_the_present_rate_is_asked_for_its_summary(hall: Open) -> None:
    network = await hall(has_present_rate=False)
    reading = await miner_in(network).read()
    assert reading.hashrate_hs == pytest.approx(150e12, rel=0.005)


@pytest.mark.parametrize(
    ("table", "tolerance"),
    [
        ({"has_wall_power": False}, 0.001),
        ({"has_wall_power": False, "has_input_power": False}, 0.02),
    ],
)
async def test_without_watts_at_the_wall_the_supply_is_asked_and_never_the_set_point(
    hall: Open, table: dict[str, bool], tolerance: float
) -> None:
    network = await hall("a1566", **table)
    reading = await miner_in(network).read()
    assert reading.power_w == pytest.approx(true_w(network), rel=tolerance)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    avalons(network).complaints[0] = {"MPO": "9"}
    assert (await miner_in(network).read()).power_w == reading.power_w


@pytest.mark.parametrize("model", ["a1366", "avalon-q"])
@pytest.mark.parametrize("counts_from_start", [False, True])
@pytest.mark.parametrize("has_wall_power", [False, True])
async def test_sleep_and_wake_move_the_plant_and_are_read_back(
    hall: Open, model: str, counts_from_start: bool, has_wall_power: bool
) -> None:
    network = await hall(model, counts_from_start=counts_from_start, has_wall_power=has_wall_power)
    miner = miner_in(network)
    await miner.sleep()
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert all(board.hashrate_hs == 0.0 for board in asleep.boards)
    assert asleep.power_w is not None
    assert asleep.power_w < 60.0
    assert true_w(network) < 60.0
    await miner.wake()
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(0.6)
    awake = await miner.read()
    assert awake.activity is Activity.HASHING
    assert awake.power_w == pytest.approx(true_w(network), rel=0.01)
    assert network.farm.plant.machines[0].counters.commands == 2


async def test_a_command_takes_effect_some_seconds_ahead_on_the_machines_own_clock(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avalon, "LEAD_S", 1)
    network = await hall(counts_from_start=True)
    await miner_in(network).sleep()
    assert is_awake(network)
    await asyncio.sleep(1.1)
    assert not is_awake(network)


async def test_a_slow_machine_is_told_a_time_that_has_not_passed_when_it_arrives(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await hall(answer_delay_s=0.7)
    miner = miner_in(network)
    told: list[str] = []
    ask = miner._ask

    async def noted(command: str, parameter: str | None = None) -> Any:
        told.append(f"{command} {parameter}")
        return await ask(command, parameter)

    monkeypatch.setattr(miner, "_ask", noted)
    await miner.sleep()
    assert [words.split()[0] for words in told] == ["version", "litestats", "version", "ascset"]
    now_s = network.farm.clock.ms_at(network.farm.clock.now_s()) // 1000
    assert int(told[-1].rpartition(":")[2]) >= now_s - 1  # one second for the slow answer
    await asyncio.sleep(0.8)
    assert not is_awake(network)


async def test_a_work_mode_of_the_q_moves_the_plant_and_is_read_back(hall: Open) -> None:
    network = await hall("avalon-q")
    miner = miner_in(network)
    watts = {one.name: one.power_w for one in (await miner.read_details()).profiles}
    for name in ("eco", "super", "standard"):
        await miner.select_profile(name)
        await asyncio.sleep(0.3)
        reading = await miner.read()
        assert (reading.profile, reading.activity) == (name, Activity.HASHING)
        assert true_w(network) == pytest.approx(watts[name], rel=0.01)
        assert reading.power_w == pytest.approx(true_w(network), abs=1.0)


async def test_a_work_mode_of_the_a_series_is_refused_and_none_is_listed(hall: Open) -> None:
    network = await hall("a1566")
    miner = miner_in(network)
    assert (await miner.read_details()).profiles == ()
    with pytest.raises(UnsupportedError, match="Avalon A1566 draw is not known"):
        await miner.select_profile("eco")
    with pytest.raises(UnsupportedError, match="not the name"):
        await miner.select_profile("+1")
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_softon_without_a_word_is_an_unknown_outcome_sent_once(hall: Open) -> None:
    network = await hall(is_softon_silent=True)
    miner = miner_in(network)
    await miner.sleep()
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.wake()
    assert network.farm.plant.machines[0].counters.commands == 2
    assert is_awake(network)


async def test_a_firmware_that_only_a_reboot_wakes_shows_it_when_read_back(hall: Open) -> None:
    network = await hall(wakes_by_reboot_only=True)
    miner = miner_in(network)
    await miner.sleep()
    await miner.wake()  # accepted, and nothing else
    assert (await miner.read()).activity is Activity.SLEEPING


async def test_a_firmware_without_softoff_is_planned_without_it(hall: Open) -> None:
    network = await hall(has_soft_switch=False)
    with pytest.raises(UnsupportedError, match="does not know softoff"):
        await miner_in(network).sleep()
    assert is_awake(network)


async def test_faults_have_the_vendors_code_and_our_words(hall: Open) -> None:
    network = await hall()
    avalons(network).complaints[0] = {"ECHU": "0 513 128", "ECMM": "7", "CRC": "0 0 12"}
    faults = (await miner_in(network).read_details()).faults
    assert [fault.code for fault in faults] == ["ECHU 513", "ECHU 128", "CRC 12", "ECMM 7"]
    assert "Hashboard 1 reports a fault: the board is abnormal" in faults[0].words
    assert "Hashboard 2 reports a fault: the board is too hot" in faults[1].words


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network, mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_that_moves_in_between_reads_is_noticed_by_its_dna(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.read()
    label = network.farm.labels[0]
    network.farm.labels[0] = replace(label, mac="02:00:00:00:00:77")  # type: ignore[index] # a list
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:77"):
        await miner.read()
    with pytest.raises(WrongDeviceError):
        await miner.sleep()
    assert network.farm.plant.machines[0].counters.commands == 0


@pytest.mark.parametrize("complaint", [{"DNA": "0102"}, {"DNA": ""}, {"Ver": "1246-83-1"}])
async def test_a_report_of_another_module_is_read_and_not_written_to(
    hall: Open, complaint: dict[str, str]
) -> None:
    network = await hall()
    avalons(network).complaints[0] = complaint
    miner = miner_in(network)
    assert not (await miner.identify()).is_writable
    assert (await miner.read()).activity is Activity.HASHING
    with pytest.raises(WrongDeviceError, match="not written to"):
        await miner.sleep()
    assert network.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    network = await hall()
    network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    miner = miner_in(network)
    await miner.sleep()  # accepted, and nothing else
    assert (await miner.read()).activity is Activity.HASHING


async def test_reads_and_writes_are_one_connection_at_a_time(hall: Open) -> None:
    network = await hall()
    miner = miner_in(network)
    await asyncio.gather(*[miner.read() for _ in range(4)], miner.sleep(), miner.read_details())
    assert avalons(network).most_at_once == 1
    await miner.close()


async def test_a_refusal_carries_the_machines_words(hall: Open, listen: Any) -> None:
    network = await hall()

    async def stubborn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(1000)
        reply = avalons(network).reply(0, question)
        if b"ascset" in question:
            reply = b"STATUS=E,When=1,Code=120,Msg=ASC 0 set failed: not now,Description=x|\0"
        writer.write(reply or b"")
        await writer.drain()

    link = TcpExchange(host="127.0.0.1", port=await listen(stubborn), answer_s=0.5)
    with pytest.raises(RefusedError, match="not now"):
        await AvalonMiner(miner_id="a", link=link, mac=None).sleep()
