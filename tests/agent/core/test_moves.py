import pytest

from agent.core.card import Move
from agent.core.cards import CARDS, LUXOS
from agent.core.decisions import Setpoint
from agent.core.moves import UNMOVED_S, moves, restarts_to, seconds_to
from drivers.readings import Profile

PROFILES = tuple(
    Profile(name=name, step=step, power_w=watts, hashrate_hs=1e14, is_tuned=True)
    for name, step, watts in (("low", -1, 2000.0), ("default", 0, 3000.0))
)


def told(boards: int, profile: str | None = "default", *, is_awake: bool = True) -> Setpoint:
    return Setpoint(is_awake=is_awake, profile=profile, boards_on=frozenset(range(boards)))


ASLEEP = told(3, is_awake=False)


@pytest.mark.parametrize(
    ("origin", "to", "found"),
    [
        (told(3), told(3), set()),
        (told(3), told(2), {Move.BOARD_OFF}),
        (told(2), told(3), {Move.BOARD_ON}),
        (told(0), told(1), {Move.BOARD_ON, Move.FIRST_BOARD}),
        (told(3), told(3, "low"), {Move.PROFILE_DOWN}),
        (told(3, "low"), told(3), {Move.PROFILE_UP}),
        (told(3), told(3, None), set()),
        (told(3), told(3, "?"), {Move.PROFILE_UP, Move.PROFILE_DOWN}),
        (told(3, None), told(3), {Move.PROFILE_UP, Move.PROFILE_DOWN}),
        (told(3), told(2, "low"), {Move.BOARD_OFF, Move.PROFILE_DOWN}),
        (told(3), told(0, is_awake=False), {Move.SLEEP}),
        (ASLEEP, told(0, is_awake=False), set()),
        (None, told(0, is_awake=False), {Move.SLEEP}),
        (ASLEEP, told(3), {Move.WAKE}),
        (None, told(3), {Move.WAKE}),
    ],
)
def test_the_moves_of_a_command_follow_from_its_two_ends(
    origin: Setpoint | None, to: Setpoint, found: set[Move]
) -> None:
    assert moves(origin, to, PROFILES) == found


def test_a_command_takes_as_long_as_its_slowest_move() -> None:
    assert seconds_to(LUXOS, told(3), told(2)) == LUXOS.board_off_s
    assert seconds_to(LUXOS, told(3), told(2, "low")) == LUXOS.profile_s
    assert seconds_to(LUXOS, told(3), ASLEEP) == LUXOS.sleep_s
    assert seconds_to(LUXOS, None, told(1)) == LUXOS.wake_s
    assert seconds_to(LUXOS, told(3), told(3)) == UNMOVED_S


@pytest.mark.parametrize(
    ("family", "origin", "to", "count"),
    [
        ("luxos", told(3), told(0), 0),
        ("luxos", told(0), told(3), 1),
        ("luxos", told(1), told(3), 0),
        ("luxos", told(3), told(3, "low"), 0),
        ("luxos", told(3), ASLEEP, 0),
        ("luxos", ASLEEP, told(3), 1),
        ("vnish", told(3), told(1), 2),
        ("vnish", told(0), told(3), 4),
        ("vnish", told(3), told(3, "low"), 0),
        ("antminer", told(3), told(3, "low"), 1),
        ("whatsminer-v2-limit", told(3, "low"), told(3), 1),
    ],
)
def test_mining_restarts_are_counted_as_the_card_says(
    family: str, origin: Setpoint, to: Setpoint, count: int
) -> None:
    assert restarts_to(CARDS[family], origin, to) == count
