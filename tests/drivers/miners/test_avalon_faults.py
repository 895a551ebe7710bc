"""What the Avalon driver reports of machines that are broken, slow, moved or somebody else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import (
    BadReplyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    WrongDeviceError,
)
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners import avalon
from drivers.miners.avalon import AvalonMiner
from drivers.readings import Activity
from simulator.avalon import AvalonFarm
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind

Listen = Callable[[Any], Awaitable[int]]
Fault = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Machine:
    """A simulated A1466 behind a socket that a test may spoil: fault by command."""

    def __init__(self) -> None:
        document = {
            "machines": [{"family": "avalon", "model": "a1466", "count": 1}],
            "meters": [{"id": "site", "port": 0, "serial": 12345678}],
        }
        self.farm = build_farm(FarmFile.model_validate(document), started_now())
        self.avalons = AvalonFarm(farm=self.farm)
        self.faults: dict[str, Fault] = {}
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(1000)
        self.asked.append(question.decode())
        fault = next((one for key, one in self.faults.items() if key in self.asked[-1]), None)
        if callable(fault):
            await fault(writer)
            return
        writer.write(self.avalons.reply(0, question) or b"" if fault is None else fault)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    @property
    def commands(self) -> int:
        return self.farm.plant.machines[0].counters.commands


def miner_at(port: int, *, mac: str | None = None, answer_s: float = 0.4) -> AvalonMiner:
    link = TcpExchange(host="127.0.0.1", port=port, connect_s=1.0, answer_s=answer_s)
    return AvalonMiner(miner_id="a", link=link, mac=mac)


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(15)


async def slow(writer: asyncio.StreamWriter) -> None:
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.15)


async def half_then_cut(writer: asyncio.StreamWriter) -> None:
    """As a control board that restarts in mid-answer."""
    writer.write(b'{"STATUS":[{"STATUS":"S"')
    await writer.drain()
    writer.transport.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0
    writer.transport.abort()


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


FAULTS: list[tuple[Fault, type[DriverError]]] = [
    (silent, NoAnswerError),
    (slow, NoAnswerError),
    (half_then_cut, NoAnswerError),
    (hangs_up, NoAnswerError),
    (b'{"STATUS":[{"STATUS":"S","Code":9', BadReplyError),
    (b"STATUS=S,When=1,Code=70,Msg=CGMiner st", BadReplyError),
    (b"\x00\x01\x02 garbage \xff", BadReplyError),
    (b"<html><body>502 Bad Gateway</body></html>", BadReplyError),
    (b"\0", BadReplyError),
    (b"Socket connect failed: Connection refused\n", BadReplyError),
    (b"STATUS=E,When=1,Code=45,Msg=Access denied|\0", RefusedError),
    (b'{"STATUS":[{"STATUS":"S","When":1,"Code":70}],"STATS":[]}\0', BadReplyError),
    (b"x" * ((1 << 20) + 1), BadReplyError),
]


@pytest.mark.parametrize(("fault", "error"), FAULTS)
async def test_each_fault_of_a_read_has_its_error_and_ends(
    listen: Listen, fault: Fault, error: type[DriverError]
) -> None:
    machine = Machine()
    miner = miner_at(await listen(machine.serve))
    await miner.read()
    machine.faults["stats"] = fault
    started_s = time.monotonic()
    with pytest.raises(DriverError) as caught:
        await miner.read()
    assert type(caught.value) is error
    assert time.monotonic() - started_s < 2.0
    machine.faults.clear()
    assert (await miner.read()).activity is Activity.HASHING


UNKNOWN: list[Fault] = [fault for fault, error in FAULTS if error is not RefusedError]


@pytest.mark.parametrize("fault", UNKNOWN)
async def test_a_write_without_a_usable_answer_is_unknown_and_sent_once(
    listen: Listen, fault: Fault
) -> None:
    machine = Machine()
    machine.faults["ascset"] = fault
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner_at(await listen(machine.serve)).sleep()
    assert sum("ascset" in question for question in machine.asked) == 1


async def test_a_machine_that_breaks_before_the_write_is_not_written_to(listen: Listen) -> None:
    for command in ("version", "stats"):
        machine = Machine()
        machine.faults[command] = half_then_cut
        with pytest.raises(NoAnswerError):
            await miner_at(await listen(machine.serve)).sleep()
        assert not any("ascset" in question for question in machine.asked)


async def test_a_refused_connection_is_unreachable_and_nothing_was_sent(listen: Listen) -> None:
    for verb in ("identify", "read", "read_details", "sleep", "wake"):
        with pytest.raises(UnreachableError) as caught:
            await getattr(miner_at(1), verb)()
        assert type(caught.value) is UnreachableError


async def test_a_slow_machine_is_given_up_as_a_whole(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()

    async def tired(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.25)
        await machine.serve(reader, writer)

    miner = miner_at(await listen(tired))
    monkeypatch.setattr(avalon, "READ_LIMIT_S", 0.4)
    with pytest.raises(UnreachableError, match="did not answer everything"):
        await miner.read_details()
    monkeypatch.setattr(avalon, "WRITE_LIMIT_S", 0.4)
    with pytest.raises(UnreachableError, match="was not sent"):
        await miner.sleep()
    monkeypatch.setattr(avalon, "WRITE_LIMIT_S", 0.9)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.sleep()
    assert machine.commands == 0


async def test_a_command_in_the_wrong_case_is_a_refusal_of_the_machine() -> None:
    reply = Machine().avalons.reply(0, b'{"command":"VERSION"}')
    assert reply is not None
    assert b"Invalid command" in reply


STRANGERS = [
    b'{"STATUS":[{"STATUS":"E","When":1,"Code":14,"Msg":"Invalid command"}],"id":1}\0',
    b'{"STATUS":[{"STATUS":"S","When":1,"Code":22}],"VERSION":[{"LUXminer":"2025.4.8"}]}\0',
    b'{"STATUS":"S","When":1,"Code":131,"Msg":{"fw_ver":"2022"},"Description":""}\0',
    b"STATUS=S,When=1,Code=22,Msg=BMMiner versions|VERSION,BMMiner=2.0.0,Type=Antminer S19|\0",
]


@pytest.mark.parametrize("reply", STRANGERS)
async def test_another_family_is_a_wrong_device_and_is_not_written_to(
    listen: Listen, reply: bytes
) -> None:
    machine = Machine()
    machine.faults["version"] = reply
    miner = miner_at(await listen(machine.serve))
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(WrongDeviceError, match="is no Avalon"):
            await verb()
    assert machine.commands == 0


async def test_another_machine_at_the_address_is_not_written_to(listen: Listen) -> None:
    machine = Machine()
    mac = machine.farm.labels[0].mac
    miner = miner_at(await listen(machine.serve), mac="02:00:00:00:00:09")
    with pytest.raises(WrongDeviceError, match=mac):
        await miner.wake()
    assert machine.commands == 0


async def test_a_hashrate_in_a_wrong_unit_and_impossible_watts_are_bad_replies(
    listen: Listen,
) -> None:
    machine = Machine()
    miner = miner_at(await listen(machine.serve))
    for complaint in ({"GHSspd": "150000000.0"}, {"WALLPOWER": "32300"}):
        machine.avalons.complaints[0] = complaint
        with pytest.raises(BadReplyError, match="nameplate"):
            await miner.read()


async def test_a_firmware_that_forgets_its_report_command_is_asked_anew(listen: Listen) -> None:
    machine = Machine()
    miner = miner_at(await listen(machine.serve))
    await miner.read()
    machine.faults["litestats"] = STRANGERS[0]
    with pytest.raises(RefusedError):
        await miner.read()
    assert (await miner.read()).activity is Activity.HASHING
    assert "estats" in machine.asked[-1]
    machine.faults |= {"estats": STRANGERS[0], '"stats': STRANGERS[0]}
    for _ in range(2):
        with pytest.raises(RefusedError):
            await miner.read()


@pytest.mark.parametrize("turn", [0, 1, 2])
async def test_garbage_of_the_simulated_machine_is_a_driver_error(
    listen: Listen, turn: int
) -> None:
    machine = Machine()
    miner = miner_at(await listen(machine.serve))
    machine.avalons.garbled = turn
    machine.farm.switch_fault(FaultKind.MINER_GARBAGE, [0], is_active=True, value=None)
    with pytest.raises(BadReplyError):
        await miner.read()
    machine.farm.clear_faults()
    assert (await miner.read()).activity is Activity.HASHING
