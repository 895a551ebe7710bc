"""A whole board is looked at: coils and settings are read, nothing is ever written."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import BadReplyError, DriverError, RefusedError
from drivers.relays.registry import open_board

BoardAt = Callable[..., Awaitable[Any]]
WB = {6: 1, 8: 10} | {930 + place: 0 for place in range(6)} | {938 + place: 1 for place in range(6)}


async def test_all_coils_and_settings_of_a_board_are_shown_and_none_is_written(
    board_at: BoardAt,
) -> None:
    board, uri = await board_at("wb-mr6", coils=6, registers=WB | {933: 1})
    board.coils[1] = True
    device = open_board(uri)
    seen = await device.read()
    await device.close()
    assert seen.watchdog_s == 10
    assert [one.is_on for one in seen.channels] == [False, True, False, False, False, False]
    assert [(one.channel, one.coil) for one in seen.channels][:2] == [(1, 0), (2, 1)]
    wrong = {one.setting: one.register for one in seen.settings if one.value != one.needed}
    assert wrong == {"state that is safe of channel 4": 933, "state after power returns": 6}
    assert board.writes == []


async def test_older_firmware_without_some_settings_is_shown_as_it_is(board_at: BoardAt) -> None:
    _, uri = await board_at("wb-mr6", coils=6, registers={6: 0, 8: 0})
    device = open_board(uri)
    seen = await device.read()
    await device.close()
    assert seen.watchdog_s == 0
    assert [one.value for one in seen.settings] == [None] * 12 + [0]


async def test_a_board_with_fewer_coils_than_its_profile_allows_shows_those_it_has(
    board_at: BoardAt,
) -> None:
    board, uri = await board_at("generic", coils=4)
    board.is_strict = True
    board.coils[3] = True
    device = open_board(uri)
    seen = await device.read()
    await device.close()
    assert [one.is_on for one in seen.channels] == [False, False, False, True]
    assert (seen.watchdog_s, seen.settings) == (None, ())


@pytest.mark.parametrize(
    ("fault", "error"),
    [(b"\x81\x02", RefusedError), (b"\x81\x06", DriverError), (b"\1\1\xff", BadReplyError)],
)
async def test_what_is_no_such_board_is_an_error(board_at: BoardAt, fault: bytes, error) -> None:
    board, uri = await board_at("wb-mr6", coils=6, registers=WB)
    board.faults[1] = fault
    device = open_board(uri)
    with pytest.raises(error):
        await device.read()
    await device.close()


async def test_a_setting_that_must_be_there_and_is_not_is_an_error(board_at: BoardAt) -> None:
    _, uri = await board_at("wb-mr6", coils=6, registers={8: 0})
    device = open_board(uri)
    with pytest.raises(RefusedError):
        await device.read()
    await device.close()


@pytest.mark.parametrize("uri", ["modbus://127.0.0.1/3", "modbus://127.0.0.1/3?profile=sdm630"])
def test_what_names_no_board_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="profile"):
        open_board(uri)
