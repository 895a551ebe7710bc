"""A day's restarts in virtual time: windows that open and close all the time wear machines out."""

from dataclasses import replace

import pytest

from agent.core.cards import CARDS
from simulator.scenario import Scenario, parse_scenario
from simulator.virtual.result import Result
from simulator.virtual.run import Run, prepare

pytestmark = pytest.mark.closed_loop

WINDOWS = 7
HEAD = """
title = "On and off"
story = "Three minutes bought, three minutes not, again and again."
minutes = {minutes}

[site]
rated_kw = 40
base_load_kw = 1
base_load_max_kw = 1.5
start = "running"

[[machines]]
family = "{family}"
model = "{model}"
count = 4
"""
WINDOW = """
[[purchases]]
id = "w{number}"
from_min = {from_min}
to_min = {to_min}
kwh = 0.7
"""
LIMIT = 4


def flicker(family: str, model: str) -> Scenario:
    text = HEAD.format(minutes=6 * WINDOWS + 2, family=family, model=model)
    for number in range(WINDOWS):
        text += WINDOW.format(number=number, from_min=6 * number + 2, to_min=6 * number + 8 - 1)
    return parse_scenario(text, "flicker")


def limited(family: str, model: str, restarts_per_day: int) -> Run:
    run = prepare(flicker(family, model))
    card = replace(CARDS[family], restarts_per_day=restarts_per_day)
    run.brain.parameters = replace(run.brain.parameters, cards={**CARDS, family: card})
    return run


def most_restarts(run: Run) -> int:
    return max(unit.machine.counters.mining_restarts for unit in run.brain.site.units)


@pytest.mark.parametrize(("family", "model"), [("luxos", "s21"), ("braiins", "s19k-pro")])
def test_machines_are_not_restarted_beyond_their_day_and_would_be_without_the_rule(
    family: str, model: str
) -> None:
    free = limited(family, model, 1_000)
    free_result = free.go()
    assert most_restarts(free) > LIMIT
    bound = limited(family, model, LIMIT)
    bound_result = bound.go()
    assert 0 < most_restarts(bound) <= LIMIT
    assert free_result.over_wh == bound_result.over_wh == 0.0


def test_the_agents_death_does_not_make_machines_new() -> None:
    run = limited("luxos", "s21", LIMIT)
    agenda, brain = run.brain.site.agenda, run.brain
    for number in range(WINDOWS):
        agenda.at((6 * number + 7.5) * 60.0, brain.kill)
        agenda.at((6 * number + 7.6) * 60.0, brain.start)
    result = run.go()
    assert 0 < most_restarts(run) <= LIMIT
    assert result.over_wh == 0.0


def test_a_machine_that_was_restarted_more_often_than_its_card_allows_is_named() -> None:
    run = prepare(flicker("luxos", "s21"))
    unit = run.brain.site.units[1]
    unit.machine.counters.mining_restarts = CARDS["luxos"].restarts_per_day + 1
    result: Result = run.go()
    assert [(one.promise, one.id) for one in result.violations] == [("wear", unit.miner_id)]


def test_machines_that_are_slower_than_their_card_are_counted_as_slow_from_then_on() -> None:
    run = prepare(flicker("luxos", "s21").model_copy(update={"minutes": 15.0}))
    hasty = replace(CARDS["luxos"], board_off_s=1.0)  # the physics takes up to 2.7 s
    run.brain.parameters = replace(run.brain.parameters, cards={**CARDS, "luxos": hasty})
    run.go()
    learned = run.brain.state.experience.cards
    assert {card.family for card in learned.values()} == {"luxos"}
    assert max(card.board_off_s for card in learned.values()) > 2.7
