"""What ``status`` and the wattmeter of a Whatsminer with API v2 said stands while nothing moves."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import BadReplyError, RefusedError, UnknownOutcomeError, WrongDeviceError
from drivers.miners.whatsminer_v2 import WhatsminerV2Reader
from drivers.readings import Activity, PowerProvenance
from simulator.trajectory import still

FIRST = ["status", "summary+edevs", "get_psu"]
AGAIN = ["summary+edevs"]
ANEW = ["summary+edevs", "status", "get_psu"]
NO = b'{"STATUS":"E","When":1,"Code":14,"Msg":"invalid cmd","Description":""}'


async def standing(between: Any, **table: Any) -> tuple[Any, Any]:
    """A machine of which everything stands, and its driver."""
    machine, miner = await between(**table)
    for _ in range(2):
        await miner.read()
    assert machine.taken()[-1:] == AGAIN
    return machine, miner


async def asked(machine: Any, miner: Any) -> list[str]:
    await miner.read()
    taken: list[str] = machine.taken()
    return taken


def changed(machine: Any, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """From now on the joined answer is the machine's own with this change of summary and boards."""

    def reply(command: str) -> bytes | None:
        if command not in AGAIN:
            return None
        whole = json.loads(machine.site.whatsminers.reply(0, b'{"cmd":"summary+edevs"}'))
        change(whole["summary"][0]["SUMMARY"][0], whole["edevs"][0])
        return json.dumps(whole).encode()

    machine.replies = reply


async def test_a_machine_that_goes_on_is_asked_one_question_but_for_one_read_a_minute(
    between: Any, clock: Any
) -> None:
    machine, miner = await between()
    counts = []
    for _ in range(14):
        counts.append(len(await asked(machine, miner)))
        clock.skip(9.99)
    assert counts == [5, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1]


async def test_the_watts_in_between_are_the_firmwares_corrected_by_the_wattmeter(
    between: Any, clock: Any
) -> None:
    machine, miner = await standing(between)
    one = machine.site.farm.plant.machines[0]
    for board in one.boards:
        board.watts = still(0.98 * board.watts.value(0.0), 0.0)
    one.watts = still(0.98 * one.watts.value(0.0), 0.0)
    clock.skip(10.0)
    reading = await miner.read()
    assert machine.taken() == AGAIN
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.power_w == pytest.approx(machine.site.true_w, abs=2.0)
    assert abs(one.reported_w(0.0) - machine.site.true_w) > 10.0


async def test_a_wattmeter_far_from_the_firmwares_figure_is_asked_in_each_read(
    between: Any,
) -> None:
    machine, miner = await between()
    one = machine.site.farm.plant.machines[0]
    one.bias = replace(one.bias, reporting=0.15)
    await miner.read()
    machine.taken()
    for _ in range(2):
        reading = await miner.read()
        assert reading.power_w == pytest.approx(machine.site.true_w, abs=1.0)
        assert machine.taken() == [*AGAIN, "get_psu"]


@pytest.mark.parametrize("write", ["select_profile", "locate", "a write without an answer"])
async def test_after_a_write_everything_is_asked_for_two_minutes(
    between: Any, clock: Any, write: str
) -> None:
    machine, miner = await standing(between)
    if write == "select_profile":
        await miner.select_profile("70%")
    elif write == "locate":
        await miner.locate(is_on=True)
    else:
        machine.replies = lambda command: b"" if command == "write" else None
        with pytest.raises(UnknownOutcomeError):
            await miner.select_profile("70%")
    machine.taken()
    for span_s in (0.0, 1.0, 58.0, 60.0):
        clock.skip(span_s)
        assert await asked(machine, miner) == FIRST
    clock.skip(2.0)
    assert await asked(machine, miner) == FIRST
    assert await asked(machine, miner) == AGAIN


async def test_somebody_elses_percent_is_seen_in_the_same_read(between: Any, clock: Any) -> None:
    machine, miner = await standing(between)
    machine.act("set_power_pct", percent="60")
    clock.skip(1.0)
    reading = await miner.read()
    assert machine.taken() == ANEW
    assert (reading.profile, reading.activity) == ("60%", Activity.HASHING)
    assert reading.power_w == pytest.approx(machine.site.true_w, abs=1.0)
    assert await asked(machine, miner) == AGAIN


async def test_a_percent_that_moves_no_watts_is_seen_within_a_minute(
    between: Any, clock: Any
) -> None:
    machine, miner = await standing(between)
    machine.site.traits.percent = 99
    assert (await miner.read()).profile == "100%"
    clock.skip(60.0)
    assert (await miner.read()).profile == "99%"


ASLEEP: list[tuple[dict[str, Any], bytes | None]] = [
    ({}, None),
    ({"answers_asleep": False}, None),
    ({}, NO),
    ({}, b'{"summary":[],"id":1}'),
]


@pytest.mark.parametrize(("table", "joined_reply"), ASLEEP)
async def test_somebody_elses_sleep_is_seen_in_the_same_read(
    between: Any, clock: Any, table: dict[str, Any], joined_reply: bytes | None
) -> None:
    machine, miner = await standing(between, **table)
    machine.act("power_off", respbefore="true")
    machine.replies = lambda command: joined_reply if command in AGAIN else None
    clock.skip(1.0)
    reading = await miner.read()
    assert machine.taken()[:2] == ["summary+edevs", "status"]
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert (reading.power_w, len(reading.boards)) == (25.0, 3)
    machine.act("power_on")
    machine.replies = lambda command: None
    clock.skip(60.0)
    assert (await miner.read()).activity is Activity.HASHING
    taken = machine.taken()
    assert "summary+edevs" in taken  # that it joins its reads is not forgotten
    assert {"status", "get_psu"} <= set(taken)
    assert await asked(machine, miner) == AGAIN


async def test_a_machine_that_calls_itself_off_is_off_once_it_is_asked(
    between: Any, clock: Any
) -> None:
    machine, miner = await standing(between)
    machine.site.traits.shown_off = True
    assert (await miner.read()).activity is Activity.HASHING  # nothing moves
    clock.skip(60.0)
    reading = await miner.read()
    assert machine.taken() == [*AGAIN, *ANEW]
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert [board.hashrate_hs for board in reading.boards] == [0.0, 0.0, 0.0]
    assert (await asked(machine, miner))[0] == "status"


async def test_a_restart_of_mining_is_seen_although_all_is_as_before(
    between: Any, clock: Any
) -> None:
    machine, miner = await standing(between)
    machine.act("restart_btminer")
    clock.skip(10.0)
    reading = await miner.read()
    assert machine.taken() == ANEW
    assert (reading.activity, reading.profile) == (Activity.HASHING, "100%")
    assert await asked(machine, miner) == AGAIN


async def test_a_machine_that_starts_is_asked_everything_in_each_read(
    between: Any, clock: Any
) -> None:
    machine, miner = await standing(between)
    machine.site.traits.tuned_from_s = machine.site.farm.clock.now_s() + 30.0
    assert (await miner.read()).activity is Activity.RAMPING
    assert machine.taken() == ANEW
    assert await asked(machine, miner) == FIRST
    clock.skip(31.0)
    assert await asked(machine, miner) == FIRST
    assert await asked(machine, miner) == AGAIN


async def test_a_board_that_hashes_no_more_has_everything_asked(between: Any) -> None:
    machine, miner = await standing(between)
    board = machine.site.farm.plant.machines[0].boards[1]
    board.hashrate_hs = still(0.0, 0.0)
    assert await asked(machine, miner) == ANEW
    assert await asked(machine, miner) == AGAIN  # two boards hash, as then


async def test_a_broken_answer_fails_the_read_and_forgets_what_stood(between: Any) -> None:
    machine, miner = await standing(between)
    machine.replies = lambda command: b"{" if command in AGAIN else None
    with pytest.raises(BadReplyError):
        await miner.read()
    assert machine.taken() == ["summary+edevs", "status"]
    machine.replies = lambda command: None
    assert await asked(machine, miner) == ["get_version", "get_miner_info", *FIRST]


async def test_an_answer_that_is_not_believed_forgets_what_stood(between: Any) -> None:
    machine, miner = await standing(between)
    changed(machine, lambda summary, _: summary.update({"Factory GHS": 1}))
    with pytest.raises(BadReplyError, match="may use another unit"):
        await miner.read()
    machine.taken()
    machine.replies = lambda command: None
    assert await asked(machine, miner) == FIRST


@pytest.mark.parametrize("value", [None, "", "soon"])
async def test_a_machine_that_does_not_tell_its_run_is_asked_everything(
    between: Any, value: str | None
) -> None:
    machine, miner = await between()
    changed(machine, lambda summary, _: summary.update({"Elapsed": value}))
    await miner.read()
    machine.taken()
    for _ in range(2):
        assert await asked(machine, miner) == FIRST


async def test_a_machine_that_joins_no_more_is_asked_for_each(between: Any) -> None:
    machine, miner = await standing(between)
    machine.replies = lambda command: NO if command in AGAIN else None
    by_turns = ["status", "summary", "edevs", "get_psu"]
    assert (await asked(machine, miner))[-4:] == ["summary+edevs", *by_turns[1:]]
    assert await asked(machine, miner) == by_turns


async def test_another_machine_without_names_on_its_boards_is_asked_everything(
    between: Any, listen: Any
) -> None:
    machine, _ = await between()
    site = machine.site
    site.farm.labels[0] = replace(site.farm.labels[0], board_serials=("0", "0", "0"))
    links = site.links(port=await listen(machine.serve))
    reader = WhatsminerV2Reader(miner_id="w", links=links, mac=None)
    for _ in range(2):
        await reader.read()
    assert machine.taken()[-2:] == ["summary+edevs", "get_miner_info"]
    site.farm.labels[0] = replace(site.farm.labels[0], mac="02:00:00:00:00:98")
    taken = await asked(machine, reader)
    assert taken == ["summary+edevs", "get_miner_info", "status", "get_psu"]


@pytest.mark.parametrize("verb", ["identify", "read_details"])
async def test_whoever_asks_who_it_is_takes_nothing_for_granted(between: Any, verb: str) -> None:
    machine, miner = await standing(between)
    await getattr(miner, verb)()
    machine.taken()
    assert await asked(machine, miner) == FIRST


async def test_a_stranger_is_not_read_by_what_stood(between: Any) -> None:
    machine, miner = await standing(between)
    label = replace(
        machine.site.farm.labels[0], mac="02:00:00:00:00:98", board_serials=("A", "B", "C")
    )
    machine.site.farm.labels[0] = label
    with pytest.raises(WrongDeviceError):
        await miner.read()


async def test_a_write_that_is_refused_forgets_as_well(between: Any) -> None:
    machine, miner = await standing(between, is_api_on=False)
    with pytest.raises(RefusedError):
        await miner.sleep()
    machine.taken()
    for _ in range(2):
        assert await asked(machine, miner) == FIRST
