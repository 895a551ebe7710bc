import math
from dataclasses import fields

import pytest

from agent.core.card import SLOW_S, ActuatorCard, Move, Steps
from agent.core.cards import CARDS

NAMES = sorted(CARDS)
UNSOURCED = {"family", "steps", "sources"}


def figures(card: ActuatorCard) -> set[str]:
    return {field.name for field in fields(card)} - UNSOURCED


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_a_card_says_once_where_it_comes_from(name: str) -> None:
    card = CARDS[name]
    named = [figure for source in card.sources for figure in source.figures]
    assert sorted(named) == sorted(figures(card))
    assert all(source.words for source in card.sources)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_worst_case_in_order(name: str) -> None:
    card = CARDS[name]
    assert card.family == name
    assert 0 < card.sleep_s <= card.wake_s < math.inf
    assert 0 < card.board_off_s <= card.board_on_s
    assert 0 < card.profile_down_s <= card.profile_up_s
    assert 0 < card.standby_w <= card.idle_w
    assert card.dead_s <= card.wake_s
    assert card.restarts_per_day > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_card_promises_times_for_exactly_the_steps_it_has(name: str) -> None:
    card = CARDS[name]
    assert math.isfinite(card.board_on_s) is (Steps.BOARDS in card.steps)
    has_points = bool(card.steps & {Steps.PROFILES, Steps.PERCENT, Steps.WATTS})
    assert math.isfinite(card.profile_s) is has_points
    assert Steps.SLEEP in card.steps
    assert Move.WAKE in card.restarting


def test_each_move_has_one_time_and_the_first_board_takes_as_long_as_any() -> None:
    card = CARDS["luxos"]
    times_s = {move: card.seconds(move) for move in Move}
    assert times_s[Move.FIRST_BOARD] == times_s[Move.BOARD_ON] == card.board_on_s
    assert times_s[Move.PROFILE_DOWN] == card.profile_down_s
    assert times_s[Move.SLEEP] == card.sleep_s


def test_percent_is_in_the_fast_tier_and_what_takes_minutes_is_not() -> None:
    fast = {name for name in NAMES if not CARDS[name].is_profile_slow}
    assert fast == {"whatsminer-v2", "whatsminer-v3", "vnish", "bitaxe"}
    assert all(CARDS[name].profile_s <= SLOW_S for name in fast)
