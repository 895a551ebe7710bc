"""How few questions a fast read of a Whatsminer with API v2 takes, and what it never leaves out."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.tcp import NoAnswerError
from drivers.readings import Activity, PowerProvenance

Reply = Callable[[str], bytes | None]

JOINED = ["status", "summary+edevs", "get_psu"]
BY_TURNS = ["status", "summary", "edevs", "get_psu"]


def broken(*commands: str, reply: bytes) -> Reply:
    return lambda command: reply if command in commands else None


async def test_a_machine_that_joins_its_reads_is_asked_three_questions_once(
    between: Any,
) -> None:
    machine, miner = await between()
    first = await miner.read()
    assert machine.taken() == ["get_version", "get_miner_info", *JOINED]
    again = await miner.read()
    assert machine.taken() == ["summary+edevs"]
    assert (again.hashrate_hs, again.profile, again.boards) == (
        first.hashrate_hs,
        first.profile,
        first.boards,
    )


async def test_a_machine_that_joins_none_is_asked_for_each_and_not_tried_again(
    between: Any,
) -> None:
    machine, miner = await between(joined_max=1)
    assert (await miner.read()).activity is Activity.HASHING
    assert machine.taken()[2:] == ["status", "summary+edevs", *BY_TURNS[1:]]
    assert (await miner.read()).hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert machine.taken() == BY_TURNS


@pytest.mark.parametrize("reply", [b"", b"{", b'{"STATUS":"S","Code":131,"Msg":"ok"}', b"<html>"])
async def test_whatever_comes_of_a_first_joined_question_the_machine_is_read(
    between: Any, reply: bytes
) -> None:
    machine, miner = await between()
    machine.replies = broken("summary+edevs", reply=reply)
    for _ in range(2):
        assert (await miner.read()).power_w == pytest.approx(machine.site.true_w, abs=1.0)
    assert machine.taken()[-4:] == BY_TURNS


async def test_half_a_joined_answer_is_none(between: Any) -> None:
    machine, miner = await between()
    whole = json.loads(machine.site.whatsminers.reply(0, b'{"cmd":"summary+edevs"}'))
    for half in ({"summary": whole["summary"]}, {**whole, "edevs": [{"STATUS": [{}]}]}):
        machine.replies = broken("summary+edevs", reply=json.dumps(half).encode())
        assert len((await miner.read()).boards) == 3
    assert "edevs" in machine.taken()


async def test_a_machine_that_has_joined_before_and_breaks_off_is_a_fault(between: Any) -> None:
    machine, miner = await between()
    await miner.read()
    for reply, expected in ((b"", NoAnswerError), (b"{", BadReplyError)):
        machine.replies = broken("summary+edevs", reply=reply)
        with pytest.raises(expected):
            await miner.read()
        assert "summary" not in machine.taken()
    machine.replies = lambda command: None
    assert (await miner.read()).activity is Activity.HASHING
    assert machine.taken() == ["get_version", "get_miner_info", *JOINED]  # who knows what it was


async def test_another_firmware_is_tried_anew(between: Any) -> None:
    machine, miner = await between(joined_max=1)
    await miner.read()
    site = machine.site
    table = site.farm.file.whatsminer_v2.model_copy(update={"joined_max": 2, "api": "2.2.0"})
    site.farm.file = site.farm.file.model_copy(update={"whatsminer_v2": table})
    await miner.read_details()
    machine.taken()
    await miner.read()
    assert machine.taken() == JOINED


async def test_a_supply_without_a_wattmeter_is_left_to_the_full_read(between: Any) -> None:
    machine, miner = await between(has_meter=False)
    for _ in range(2):
        reading = await miner.read()
        assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    assert machine.taken()[-4:] == [*JOINED, "summary+edevs"]
    table = machine.site.farm.file.whatsminer_v2.model_copy(update={"has_meter": True})
    machine.site.farm.file = machine.site.farm.file.model_copy(update={"whatsminer_v2": table})
    await miner.read_details()
    assert (await miner.read()).power_provenance is PowerProvenance.METERED_PSU


@pytest.mark.parametrize("answers_asleep", [True, False])
async def test_what_a_sleeper_leaves_out_is_asked_for_again_when_it_mines(
    between: Any, answers_asleep: bool
) -> None:
    machine, miner = await between(answers_asleep=answers_asleep)
    machine.replies = broken("get_psu", reply=b'{"STATUS":"S","Code":131,"Msg":{"name":"P21"}}')
    machine.site.farm.act(0, lambda one, now_s: one.sleep(now_s=now_s))
    assert (await miner.read()).activity is Activity.SLEEPING
    assert "summary+edevs" not in machine.taken()
    machine.site.farm.act(0, lambda one, now_s: one.wake(now_s=now_s))
    machine.replies = lambda command: None
    await asyncio.sleep(0.5)
    awake = await miner.read()
    assert (awake.activity, awake.power_provenance) == (
        Activity.HASHING,
        PowerProvenance.METERED_PSU,
    )


async def test_a_sleeper_that_names_nothing_is_asked_for_its_mac_each_time(between: Any) -> None:
    machine, miner = await between(answers_asleep=False)
    await miner.read()
    machine.site.farm.act(0, lambda one, now_s: one.sleep(now_s=now_s))
    machine.taken()
    await miner.read()
    assert machine.taken().count("get_miner_info") == 1
    label = machine.site.farm.labels[0]
    machine.site.farm.labels[0] = replace(label, mac="02:00:00:00:00:98")
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:98"):
        await miner.read()


async def test_another_control_board_with_the_same_boards_is_found_before_a_write(
    between: Any,
) -> None:
    machine, miner = await between()
    await miner.read()
    label = machine.site.farm.labels[0]
    machine.site.farm.labels[0] = replace(label, mac="02:00:00:00:00:98")
    assert (await miner.read()).activity is Activity.HASHING  # the boards say who they are
    for verb in (miner.sleep, miner.read_details, miner.read):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:98"):
            await verb()
    assert machine.site.farm.plant.machines[0].is_awake


async def test_boards_that_name_nobody_leave_it_to_the_mac(between: Any) -> None:
    machine, miner = await between()
    label = machine.site.farm.labels[0]
    machine.site.farm.labels[0] = replace(label, board_serials=("0", "0", "0"))
    for _ in range(2):
        await miner.read()
    assert machine.taken()[-2:] == ["summary+edevs", "get_miner_info"]


async def test_a_new_board_is_met_with_the_question_who_that_is(between: Any) -> None:
    machine, miner = await between()
    await miner.read()
    label = machine.site.farm.labels[0]
    machine.site.farm.labels[0] = replace(label, board_serials=("NEW", *label.board_serials[1:]))
    machine.taken()
    for _ in range(2):
        await miner.read()
    asked_anew = ["get_version", "get_miner_info", "status", "get_psu"]
    assert machine.taken() == ["summary+edevs", *asked_anew, "summary+edevs"]


async def test_firmware_with_api_v1_names_itself_in_what_it_tells_of_mining(between: Any) -> None:
    machine, miner = await between(api="1.4.0")
    for _ in range(3):
        assert (await miner.read()).activity is Activity.HASHING
    assert machine.taken()[-3:] == ["status", "summary+devs", "summary+devs"]
