"""A relay on a real socket: absolute writes, read back, no setting changed unasked."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.device import SwitchesFeed
from drivers.errors import (
    BadReplyError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
    UnsupportedError,
)
from drivers.link.rack import SHARED_RACK
from drivers.relays.profile import load_relay_profile
from drivers.relays.registry import open_relay, relay_address
from drivers.relays.relay import Channel, CoilRelay, Guard

BoardAt = Callable[..., Awaitable[Any]]
WB = {6: 1, 8: 0} | {930 + place: 1 for place in range(6)} | {938 + place: 0 for place in range(6)}
WB_SET = WB | {6: 0, 8: 10, 931: 0, 939: 1}


def relay_at(uri: str, channel: int = 2, guard: Guard | None = None) -> SwitchesFeed:
    relay = open_relay(uri, relay_id="row", channel=channel, guard=guard)
    assert isinstance(relay, SwitchesFeed)
    return relay


@pytest.mark.parametrize("is_rtu", [False, True])
async def test_a_channel_is_the_coil_of_its_number_and_reads_back(
    board_at: BoardAt, is_rtu: bool
) -> None:
    board, uri = await board_at(is_rtu=is_rtu)
    relay = relay_at(uri)
    assert not (await relay.read()).is_energised
    await relay.switch(is_closed=True)
    assert board.coils == [False, True, *[False] * 6]
    reading = await relay.read()
    assert reading.is_energised
    assert reading.requested_at_s <= reading.replied_at_s
    await relay.switch(is_closed=False)
    assert not (await relay.read()).is_energised
    assert board.writes == [b"\5\0\1\xff\0", b"\5\0\1\0\0"]
    await relay.close()


async def test_the_first_coil_of_some_boards_is_the_sixteenth(board_at: BoardAt) -> None:
    board, uri = await board_at("generic-16", coils=32)
    relay = relay_at(uri, channel=1)
    await relay.switch(is_closed=True)
    assert [at for at, is_on in enumerate(board.coils) if is_on] == [16]
    await relay.close()


async def test_boards_that_know_only_function_15_are_written_by_it(board_at: BoardAt) -> None:
    board, uri = await board_at()
    address = relay_address(uri)
    relay = CoilRelay(
        relay_id="row",
        lease=SHARED_RACK.lease(address.endpoint),
        channel=Channel(unit=address.unit, number=3),
        profile=replace(load_relay_profile("generic"), write_function=15),
        guard=None,
    )
    await relay.switch(is_closed=True)
    assert (await relay.read()).is_energised
    await relay.switch(is_closed=False)
    assert board.writes == [b"\x0f\0\2\0\1\1\1", b"\x0f\0\2\0\1\1\0"]
    await relay.close()


async def test_a_write_that_is_not_answered_has_an_unknown_outcome(board_at: BoardAt) -> None:
    board, uri = await board_at("wb-mr6")
    board.faults[5] = None
    relay = relay_at(uri)
    with pytest.raises(UnknownOutcomeError, match="coil 1 on"):
        await relay.switch(is_closed=True)
    assert len(board.writes) == 1  # nothing is repeated behind the caller's back
    await relay.close()


@pytest.mark.parametrize(
    "echo",
    [b"\5\0\2\xff\0", b"\5\0\1\0\0", b"\5\0\1\x55\0", b"\x0f\0\1\0\1", b"\5\0\1\xff\0\0"],
    ids=["other coil", "other state", "toggled", "other function", "too long"],
)
async def test_a_write_answered_by_something_else_has_an_unknown_outcome(
    board_at: BoardAt, echo: bytes
) -> None:
    board, uri = await board_at()
    board.faults[5] = echo
    relay = relay_at(uri)
    with pytest.raises(UnknownOutcomeError):
        await relay.switch(is_closed=True)
    await relay.close()


async def test_a_refused_write_is_refused_and_not_unknown(board_at: BoardAt) -> None:
    board, uri = await board_at()
    board.faults[5] = b"\x85\2"
    relay = relay_at(uri)
    with pytest.raises(RefusedError, match="coil 1 on"):
        await relay.switch(is_closed=True)
    await relay.close()


@pytest.mark.parametrize("answer", [b"\1\1\3", b"\1\2\1\0", b"\2\1\1"])
async def test_more_than_the_coil_that_was_asked_for_is_not_believed(
    board_at: BoardAt, answer: bytes
) -> None:
    board, uri = await board_at()
    board.faults[1] = answer
    relay = relay_at(uri)
    with pytest.raises(BadReplyError):
        await relay.read()
    await relay.close()


async def test_a_silent_board_is_unreachable(board_at: BoardAt) -> None:
    board, uri = await board_at("wb-mr6")
    board.faults[1] = None
    relay = relay_at(uri)
    with pytest.raises(UnreachableError):
        await relay.read()
    await relay.close()


async def test_a_relay_without_a_guard_asks_no_settings(board_at: BoardAt) -> None:
    board, uri = await board_at("wb-mr6", registers=WB)
    relay = relay_at(uri)
    assert await relay.check_guard() == ()
    assert board.log == []
    await relay.close()


async def test_a_watchdog_that_is_not_set_is_told_and_left_alone(board_at: BoardAt) -> None:
    board, uri = await board_at("wb-mr6", registers=WB)
    relay = relay_at(uri, guard=Guard(after_s=10))
    said = await relay.check_guard()
    assert len(said) == 4
    assert "seconds without a request (holding register 8) is 0 and must be 10" in said[-1]
    assert board.writes == []
    assert board.registers == WB
    await relay.close()


@pytest.mark.parametrize("is_rtu", [False, True])
async def test_a_watchdog_is_set_where_the_owner_asked_and_its_seconds_last(
    board_at: BoardAt, is_rtu: bool
) -> None:
    board, uri = await board_at("wb-mr6", is_rtu=is_rtu, registers=WB)
    relay = relay_at(uri, guard=Guard(after_s=10, is_written=True))
    assert await relay.check_guard() == ()
    assert board.registers == WB_SET
    assert board.writes[-1] == b"\6\0\x08\0\x0a"
    before = len(board.writes)
    assert await relay.check_guard() == ()
    assert len(board.writes) == before
    await relay.close()


async def test_a_setting_that_does_not_stay_written_is_told(board_at: BoardAt) -> None:
    board, uri = await board_at("wb-mr6", registers=WB)
    board.is_stuck = True
    relay = relay_at(uri, guard=Guard(after_s=10, is_written=True))
    assert len(await relay.check_guard()) == 4
    await relay.close()


async def test_older_firmware_without_the_choice_of_a_safe_state_will_do(board_at: BoardAt) -> None:
    _, uri = await board_at("wb-mr6", registers={6: 0, 8: 10})
    relay = relay_at(uri, guard=Guard(after_s=10))
    assert await relay.check_guard() == ()
    await relay.close()


async def test_a_board_that_should_have_a_watchdog_and_has_none_is_refused(
    board_at: BoardAt,
) -> None:
    _, uri = await board_at("wb-mr6", registers={6: 0})
    relay = relay_at(uri, guard=Guard(after_s=10))
    with pytest.raises(RefusedError):
        await relay.check_guard()
    await relay.close()
    other = relay_at(uri.replace("wb-mr6", "waveshare"), guard=Guard(after_s=10))
    with pytest.raises(UnsupportedError, match="watchdog_s"):
        await other.check_guard()
    await other.close()
