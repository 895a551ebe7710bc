"""Writes to LuxOS: under its one session, absolute, and never believed without an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from drivers.errors import (
    BusyError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link.tcp import TcpExchange
from drivers.miners.luxos import LuxosMiner
from drivers.readings import Activity

Listen = Callable[[Any], Awaitable[int]]
Fault = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def miner_at(port: int, *, answer_s: float = 2.0) -> LuxosMiner:
    link = TcpExchange(host="127.0.0.1", port=port, connect_s=1.0, answer_s=answer_s)
    return LuxosMiner(miner_id="r2-s07", link=link, mac="02:4b:57:4f:00:07")


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(15)


async def half_then_reset(writer: asyncio.StreamWriter) -> None:
    writer.write(b'{"STATUS":[{"STATUS":"S"')
    await writer.drain()
    writer.transport.abort()


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_board_switch_is_logon_write_logoff(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    await miner.identify()
    machine.log.clear()
    await miner.switch_board(2, is_on=False)
    assert machine.log == [("logon", None), ("disableboard", "sid1,2"), ("logoff", "sid1")]
    assert machine.session is None
    reading = await miner.read()
    assert [board.is_enabled for board in reading.boards] == [True, True, False]
    await miner.switch_board(2, is_on=True)
    assert all(board.is_enabled for board in (await miner.read()).boards)


async def test_several_writes_share_one_session(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    await miner.identify()
    machine.log.clear()
    async with miner.writing() as session:
        await session.wake()
        await session.switch_board(0, is_on=True)
        await session.switch_board(1, is_on=False)
    assert machine.commands == ["logon", "curtail", "enableboard", "disableboard", "logoff"]


async def test_concurrent_writes_take_turns_instead_of_finding_the_session_busy(
    listen: Listen, machine: Any
) -> None:
    miner = miner_at(await listen(machine.serve))
    async with asyncio.TaskGroup() as group:
        for board in range(3):
            group.create_task(miner.switch_board(board, is_on=False))
    assert machine.sessions_granted == 3
    assert (await miner.read()).activity is Activity.STOPPED


async def test_sleep_and_wake_are_plain_curtail_commands(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    await miner.sleep()
    assert (await miner.read()).activity is Activity.SLEEPING
    await miner.wake()
    assert (await miner.read()).activity is Activity.HASHING
    curtails = [parameter for command, parameter in machine.log if command == "curtail"]
    assert curtails == ["sid1,sleep", "sid2,wakeup"]


async def test_a_profile_of_the_machines_list_is_selected(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    await miner.select_profile("475MHz")
    assert (await miner.read()).profile == "475MHz"


async def test_a_profile_that_is_not_on_the_list_is_refused(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    with pytest.raises(RefusedError, match="no tuned profile '3250W'"):
        await miner.select_profile("3250W")
    assert "profileset" not in machine.commands


@pytest.mark.parametrize("name", ["+1", "-2", "a,b", "", " "])
async def test_relative_and_composed_profiles_are_never_sent(
    listen: Listen, machine: Any, name: str
) -> None:
    miner = miner_at(await listen(machine.serve))
    with pytest.raises(UnsupportedError):
        await miner.select_profile(name)
    assert "profileset" not in machine.commands


async def test_atm_is_reported_and_left_alone(listen: Listen, machine: Any) -> None:
    machine.answers["config"]["CONFIG"][0]["IsAtmEnabled"] = True
    miner = miner_at(await listen(machine.serve))
    with pytest.raises(RefusedError, match="turn ATM off"):
        await miner.select_profile("475MHz")
    assert not {"profileset", "atmset"} & set(machine.commands)


async def test_somebody_elses_session_is_busy_and_nothing_is_written(
    listen: Listen, machine: Any
) -> None:
    machine.session = "theirs"
    miner = miner_at(await listen(machine.serve))
    with pytest.raises(BusyError):
        await miner.sleep()
    assert "curtail" not in machine.commands
    assert machine.session == "theirs"


async def test_a_busy_session_told_in_words_is_busy_too(listen: Listen, machine: Any) -> None:
    machine.refusals["logon"] = "Session in use"
    with pytest.raises(BusyError):
        await miner_at(await listen(machine.serve)).sleep()


async def test_a_logon_without_an_answer_wrote_nothing(listen: Listen, machine: Any) -> None:
    machine.faults["logon"] = silent
    miner = miner_at(await listen(machine.serve), answer_s=0.2)
    with pytest.raises(UnreachableError):
        await miner.sleep()
    assert "curtail" not in machine.commands


async def test_a_session_lost_before_the_write_is_opened_again_once(
    listen: Listen, machine: Any
) -> None:
    miner = miner_at(await listen(machine.serve))
    async with miner.writing() as session:
        machine.session = None  # 60 s without use
        await session.switch_board(1, is_on=False)
    assert [entry for entry in machine.log if entry[0] == "disableboard"] == [
        ("disableboard", "sid1,1"),
        ("disableboard", "sid2,1"),
    ]
    assert machine.session is None


async def test_a_session_that_is_never_accepted_is_a_refusal(listen: Listen, machine: Any) -> None:
    machine.faults["disableboard"] = (
        b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid session id"}]}'
    )

    miner = miner_at(await listen(machine.serve))
    async with miner.writing() as session:
        machine.session = None
        with pytest.raises(RefusedError, match="Invalid session id"):
            await session.switch_board(1, is_on=False)
    assert machine.commands.count("disableboard") == 2


async def test_a_session_taken_over_by_somebody_is_busy(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    async with miner.writing() as session:
        machine.session = "theirs"
        with pytest.raises(BusyError):
            await session.switch_board(1, is_on=False)
    assert machine.session == "theirs"


@pytest.mark.parametrize(
    "fault",
    [
        silent,
        half_then_reset,
        hangs_up,
        b'{"STATUS":[{"STATUS":"S","Co',
        b"<html>",
        b"\0",
        b'{"id":1}',
    ],
)
async def test_a_write_without_a_usable_answer_has_an_unknown_outcome(
    listen: Listen, machine: Any, fault: Fault
) -> None:
    machine.faults["disableboard"] = fault
    miner = miner_at(await listen(machine.serve), answer_s=0.4)
    with pytest.raises(UnknownOutcomeError, match="read back"):
        await miner.switch_board(1, is_on=False)
    assert machine.session is None
    assert machine.commands.count("disableboard") == 1


async def test_a_refused_write_carries_the_machines_message(listen: Listen, machine: Any) -> None:
    machine.refusals["disableboard"] = "Board 7 not found"
    with pytest.raises(RefusedError, match="Board 7 not found"):
        await miner_at(await listen(machine.serve)).switch_board(7, is_on=False)
    assert machine.session is None


async def test_a_cancelled_write_still_logs_off(listen: Listen, machine: Any) -> None:
    reached = asyncio.Event()

    async def hang(writer: asyncio.StreamWriter) -> None:
        reached.set()
        await asyncio.sleep(15)

    machine.faults["disableboard"] = hang
    miner = miner_at(await listen(machine.serve))
    write = asyncio.ensure_future(miner.switch_board(1, is_on=False))
    await reached.wait()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert machine.session is None
    assert machine.commands[-1] == "logoff"


async def test_a_cancellation_during_the_logoff_lets_it_finish(
    listen: Listen, machine: Any
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go_on.wait()
        machine.session = None
        writer.write(b'{"STATUS":[{"STATUS":"S","Code":317,"Msg":"ok"}]}\0')

    machine.faults["logoff"] = late
    miner = miner_at(await listen(machine.serve))
    write = asyncio.ensure_future(miner.switch_board(1, is_on=False))
    await reached.wait()
    write.cancel()
    await asyncio.sleep(0.05)
    assert not write.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert machine.session is None


async def test_a_logoff_that_fails_does_not_undo_the_write(listen: Listen, machine: Any) -> None:
    machine.faults["logoff"] = hangs_up
    await miner_at(await listen(machine.serve)).switch_board(1, is_on=False)
    assert machine.commands[-1] == "logoff"


async def test_an_old_identity_is_renewed_before_a_write(
    listen: Listen, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    miner = miner_at(await listen(machine.serve))
    await miner.identify()
    monkeypatch.setattr("drivers.miners.luxos.IDENTITY_FRESH_S", -1.0)
    machine.answers["config"]["CONFIG"][0]["MACAddr"] = "02:00:00:00:00:99"
    with pytest.raises(WrongDeviceError):
        await miner.sleep()
    assert "logon" not in machine.commands


async def test_reads_and_writes_are_one_request_at_a_time(listen: Listen, machine: Any) -> None:
    open_now = most = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.005)
        await machine.serve(reader, writer)
        open_now -= 1

    miner = miner_at(await listen(counted))
    jobs: list[Coroutine[Any, Any, object]] = [miner.read() for _ in range(5)]
    await asyncio.gather(*jobs, miner.switch_board(0, is_on=False), miner.sleep())
    assert most == 1
    await miner.close()
