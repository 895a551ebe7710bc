import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.device import ReadsMiner, SelectsProfile, Sleeps, SwitchesBoards
from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnreachableError,
    WrongDeviceError,
)
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.miners.luxos import LuxosMiner
from drivers.readings import Activity, PowerProvenance

MAC = "02:4b:57:4f:00:07"

Listen = Callable[[Any], Awaitable[int]]
Fault = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def miner_at(port: int, *, mac: str | None = MAC, answer_s: float = 2.0) -> LuxosMiner:
    link = TcpExchange(host="127.0.0.1", port=port, connect_s=1.0, answer_s=answer_s)
    return LuxosMiner(miner_id="r2-s07", link=link, mac=mac)


async def test_it_has_the_abilities_of_its_family() -> None:
    miner = miner_at(1)
    for ability in (ReadsMiner, SwitchesBoards, SelectsProfile, Sleeps):
        assert isinstance(miner, ability)


async def test_identify_rests_on_two_signs(listen: Listen, machine: Any) -> None:
    identity = await miner_at(await listen(machine.serve)).identify()
    assert identity.family == "luxos"
    assert identity.model == "Antminer S21"
    assert identity.mac == MAC
    assert identity.serial == "SN-S21-0007"
    assert identity.firmware == "2026.3.2.101500-0a1b2c3d"
    assert identity.board_count == 3
    assert identity.nameplate_hashrate_hs == pytest.approx(200e12)
    assert identity.is_writable
    assert len(identity.signs) == 2


async def test_read_is_one_exchange_and_in_si_units(listen: Listen, machine: Any) -> None:
    miner = miner_at(await listen(machine.serve))
    reading = await miner.read()
    assert machine.commands == ["devs+power+config"]
    assert reading.miner_id == "r2-s07"
    assert reading.activity is Activity.HASHING
    assert reading.hashrate_hs == pytest.approx(198.000001e12)
    assert reading.power_w == 3487.0
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.profile == "default"
    assert [board.board for board in reading.boards] == [0, 1, 2]
    assert reading.boards[0].hashrate_hs == pytest.approx(65.00000025e12)
    assert reading.requested_at_s < reading.replied_at_s


async def test_a_recorded_machine_is_read_as_a_person_reads_it(
    listen: Listen, machine: Any, captures: Path
) -> None:
    recorded = type(machine)(captures / "luxos-s19kpro")
    miner = miner_at(await listen(recorded.serve), mac="62:f7:5e:b7:10:46")
    reading = await miner.read()
    assert (reading.power_w, reading.profile) == (1051.0, "290MHz")
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    assert reading.hashrate_hs == pytest.approx(59.75606e12, rel=1e-6)
    details = await miner.read_details()
    assert details.identity.is_writable
    assert details.board_serials == ("JYZZYRSBDJEBI06Z5", "JYZZYRSBDJEBI06ZM", "JYZZYRSBDJEBI06ZR")
    assert details.fan_speeds_rpm == (1920, 1920, 2340, 2340)
    assert (len(details.profiles), len(details.pools), details.uptime_s) == (25, 4, 3453)
    assert [fault.code for fault in details.faults] == ["NOPIC_PROTECTION", "REBOOT_NOT_HASHING"]
    with pytest.raises(RefusedError, match="ATM is on"):
        await miner.select_profile("290MHz")
    with pytest.raises(RefusedError, match="no tuned profile '265MHz'"):
        await miner.select_profile("265MHz")


async def test_a_firmware_that_does_not_join_is_asked_one_by_one_from_then_on(
    listen: Listen, lone_machine: Any
) -> None:
    miner = miner_at(await listen(lone_machine.serve))
    first = await miner.read()
    second = await miner.read()
    assert first.boards == second.boards
    assert lone_machine.commands == [
        "devs+power+config",
        *("devs", "power", "config"),
        *("devs", "power", "config"),
    ]


async def test_a_firmware_that_garbles_joined_answers_is_asked_one_by_one(
    listen: Listen, machine: Any
) -> None:
    machine.faults["devs+power+config"] = b'{"devs":[{'
    miner = miner_at(await listen(machine.serve))
    await miner.read()
    await miner.read()
    assert machine.commands.count("devs+power+config") == 1


async def test_silence_to_a_first_joined_request_is_tried_again_one_by_one(
    listen: Listen, machine: Any
) -> None:
    machine.faults["devs+power+config"] = silent
    miner = miner_at(await listen(machine.serve), answer_s=0.2)
    with pytest.raises(UnreachableError):
        await miner.read()
    await miner.read()
    assert machine.commands[1:] == ["devs", "power", "config"]
    del machine.faults["devs+power+config"]
    await miner.identify()
    await miner.read()
    assert machine.commands[-1] == "devs+power+config"


async def test_garbage_after_joining_was_proven_is_a_bad_reply(
    listen: Listen, machine: Any
) -> None:
    miner = miner_at(await listen(machine.serve))
    await miner.read()
    machine.faults["devs+power+config"] = b'{"devs":[{'
    with pytest.raises(BadReplyError):
        await miner.read()
    machine.faults["devs+power+config"] = b'{"id":1}'
    with pytest.raises(BadReplyError):
        await miner.read()
    machine.faults["devs+power+config"] = b'{"STATUS":[{"STATUS":"E","Code":2,"Msg":"not ready"}]}'
    with pytest.raises(RefusedError, match="not ready"):
        await miner.read()


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(15)


async def slow(writer: asyncio.StreamWriter) -> None:
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.15)


async def half_then_reset(writer: asyncio.StreamWriter) -> None:
    writer.write(b'{"STATUS":[{"STATUS":"S"')
    await writer.drain()
    writer.transport.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0
    writer.transport.abort()


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (silent, NoAnswerError),
        (slow, NoAnswerError),
        (half_then_reset, NoAnswerError),
        (hangs_up, NoAnswerError),
        (b'{"STATUS":[{"STATUS":"S","Code":9', BadReplyError),
        (b"\x00\x01\x02 garbage \xff", BadReplyError),
        (b"<html><body>502 Bad Gateway</body></html>", BadReplyError),
        (b"\0", BadReplyError),
        (b"Socket connect failed: Connection refused\n", BadReplyError),
        (b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command"}]}\0', RefusedError),
        (b'{"error":"unknown command"}\0', RefusedError),
        (b'{"STATUS":[{"STATUS":"E","Code":402,"Msg":"Another session"}]}\0', BusyError),
        (b"x" * (1 << 20) + b"x", BadReplyError),
    ],
)
async def test_each_fault_of_a_read_has_its_error(
    listen: Listen, lone_machine: Any, fault: Fault, error: type[DriverError]
) -> None:
    lone_machine.faults["power"] = fault
    miner = miner_at(await listen(lone_machine.serve), answer_s=0.4)
    with pytest.raises(DriverError) as caught:
        await miner.read()
    assert type(caught.value) is error


async def test_a_read_ends_even_if_each_of_its_exchanges_is_just_in_time(
    listen: Listen, lone_machine: Any
) -> None:
    async def just_in_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.25)
        await lone_machine.serve(reader, writer)

    link = TcpExchange(
        host="127.0.0.1", port=await listen(just_in_time), connect_s=0.05, answer_s=0.3
    )
    miner = LuxosMiner(miner_id="r2-s07", link=link, mac=None)
    with pytest.raises(UnreachableError, match="7 questions"):
        await miner.read_details()


async def test_a_joined_answer_that_goes_silent_is_no_reason_to_stop_joining(
    listen: Listen, machine: Any
) -> None:
    miner = miner_at(await listen(machine.serve), answer_s=0.2)
    await miner.read()
    machine.faults["devs+power+config"] = silent
    with pytest.raises(NoAnswerError):
        await miner.read()
    del machine.faults["devs+power+config"]
    await miner.read()
    assert set(machine.commands) == {"devs+power+config"}


async def test_a_refused_connection_is_unreachable_and_nothing_was_sent(
    listen: Listen, machine: Any
) -> None:
    with pytest.raises(UnreachableError) as caught:
        await miner_at(1).read()
    assert type(caught.value) is UnreachableError
    with pytest.raises(UnreachableError) as caught:
        await miner_at(1).sleep()
    assert type(caught.value) is UnreachableError


@pytest.mark.parametrize("verb", ["identify", "read", "read_details", "sleep"])
async def test_another_mac_is_another_machine_for_every_verb(
    listen: Listen, machine: Any, verb: str
) -> None:
    miner = miner_at(await listen(machine.serve), mac="02:00:00:00:00:01")
    with pytest.raises(WrongDeviceError, match=MAC):
        await getattr(miner, verb)()
    assert "logon" not in machine.commands


async def test_a_stock_antminer_is_not_luxos(listen: Listen, machine: Any) -> None:
    machine.answers["version"]["VERSION"][0].pop("LUXminer")
    machine.refusals["config"] = "invalid command"
    with pytest.raises(WrongDeviceError, match="not LuxOS"):
        await miner_at(await listen(machine.serve), mac=None).identify()


async def test_one_sign_is_enough_to_read_and_not_to_write(listen: Listen, machine: Any) -> None:
    machine.answers["config"]["CONFIG"][0].pop("OS")
    miner = miner_at(await listen(machine.serve))
    identity = await miner.identify()
    assert not identity.is_writable
    await miner.read()
    with pytest.raises(WrongDeviceError, match="not written to"):
        await miner.switch_board(0, is_on=False)
    assert "logon" not in machine.commands


async def test_config_alone_is_one_sign(listen: Listen, machine: Any) -> None:
    machine.refusals["version"] = "invalid command"
    identity = await miner_at(await listen(machine.serve)).identify()
    assert len(identity.signs) == 1
    assert identity.firmware == ""


async def test_luxminer_that_refuses_config_is_a_bad_reply(listen: Listen, machine: Any) -> None:
    machine.refusals["config"] = "not ready"
    with pytest.raises(BadReplyError, match="still be starting"):
        await miner_at(await listen(machine.serve)).identify()


async def test_a_busy_answer_is_no_missing_sign(listen: Listen, machine: Any) -> None:
    machine.faults["version"] = b'{"STATUS":[{"STATUS":"E","Code":402,"Msg":"busy"}]}'
    with pytest.raises(BusyError):
        await miner_at(await listen(machine.serve)).identify()


async def test_a_machine_exchanged_without_a_pin_is_noticed_before_a_write(
    listen: Listen, machine: Any
) -> None:
    miner = miner_at(await listen(machine.serve), mac=None)
    await miner.identify()
    machine.answers["config"]["CONFIG"][0]["MACAddr"] = "02:00:00:00:00:99"
    await miner.read()
    with pytest.raises(WrongDeviceError, match="Another machine"):
        await miner.sleep()
    assert "logon" not in machine.commands


async def test_a_hashrate_in_a_wrong_unit_is_a_bad_reply(listen: Listen, machine: Any) -> None:
    for row in machine.answers["devs"]["DEVS"]:
        row["MHS 5s"] *= 1000
    with pytest.raises(BadReplyError, match="nameplate"):
        await miner_at(await listen(machine.serve)).read()


async def test_the_models_table_bounds_a_machine_without_a_nameplate(
    listen: Listen, machine: Any
) -> None:
    machine.answers["config"]["CONFIG"][0].pop("NameplateTHS")
    miner = miner_at(await listen(machine.serve))
    assert (await miner.identify()).nameplate_hashrate_hs == 200e12
    for row in machine.answers["devs"]["DEVS"]:
        row["MHS 5s"] *= 2
    with pytest.raises(BadReplyError, match="nameplate"):
        await miner.read()
    machine.answers["config"]["CONFIG"][0]["Model"] = "Unheard-of X1"
    assert (await miner.read()).hashrate_hs == pytest.approx(396e12, rel=1e-3)
