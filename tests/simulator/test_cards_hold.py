"""The agent's cards against the rig's physics, which knows nothing of them: every promise holds.

Each machine is drawn at its worst: the slowest write, the widest tolerance, every model, up and
down over its whole range. A figure set just below what the physics does is found out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from agent.core.card import ActuatorCard, Move, Steps
from agent.core.cards import CARDS
from simulator.families import Family, families
from simulator.machine import Bias, Machine

NAMES = sorted(families())
TOLERANCE = 0.05  # the widest that any scenario draws
NEAR_SHARE, NEAR_W = 0.02, 10.0
LOOK_S = 0.25
SETTLED_S = 10_000.0
FIGURES = {
    Move.BOARD_OFF: "board_off_s",
    Move.BOARD_ON: "board_on_s",
    Move.FIRST_BOARD: "board_on_s",
    Move.PROFILE_DOWN: "profile_down_s",
    Move.PROFILE_UP: "profile_up_s",
    Move.SLEEP: "sleep_s",
    Move.WAKE: "wake_s",
}


@dataclass
class Shown:
    """The worst that the machines of a family have shown."""

    worst: dict[str, float] = field(default_factory=dict)
    restarting: set[Move] = field(default_factory=set)
    lost: set[Steps] = field(default_factory=set)

    def note(self, figure: str, value: float) -> None:
        self.worst[figure] = max(self.worst.get(figure, 0.0), value)


def machine_of(family: Family, model: int) -> Machine:
    chosen = family.models[model]
    default = next(n for n, point in enumerate(chosen.profiles) if point.step == 0)
    bias = Bias(tolerance=TOLERANCE)
    return Machine(
        index=0, model=chosen, timings=family.timings, bias=bias, now_s=0.0, profile=default
    )


def followed_after_s(machine: Machine, from_s: float) -> float:
    """Until the watts are near their end and stay there."""
    final_w = machine.watts.final
    near_w = max(NEAR_SHARE * final_w, NEAR_W)
    at_s = max(machine.watts.end_s, from_s)
    while at_s - LOOK_S >= from_s and abs(machine.watts.value(at_s - LOOK_S) - final_w) <= near_w:
        at_s -= LOOK_S
    return at_s - from_s


def dead_s(machine: Machine, from_s: float) -> float:
    """Seconds without a hash until the machine has settled."""
    until_s = machine.steady_from_s
    count = int((until_s - from_s) / LOOK_S)
    looks = [machine.hashrate_hs.value(from_s + n * LOOK_S) for n in range(count)]
    return LOOK_S * sum(hashrate_hs <= 0.0 for hashrate_hs in looks)


class Trial:
    """One machine that is told one thing after the other, each when the last has settled."""

    def __init__(self, family: Family, model: int, shown: Shown) -> None:
        self.family, self.shown = family, shown
        self.machine = machine_of(family, model)
        self.now_s = 0.0

    def do(self, move: Move, act: Callable[[float], object]) -> None:
        self.now_s += SETTLED_S
        restarts = self.machine.counters.mining_restarts
        act(self.now_s)
        took_s = followed_after_s(self.machine, self.now_s) + self.family.write_s[1]
        self.shown.note(FIGURES[move], took_s)
        if self.machine.counters.mining_restarts > restarts:
            self.shown.restarting.add(move)
            if self.machine.is_awake and any(b.is_enabled for b in self.machine.boards):
                self.shown.note("dead_s", dead_s(self.machine, self.now_s))

    def switch(self, boards: range, *, is_on: bool) -> None:
        was_dark = not any(b.is_enabled for b in self.machine.boards)
        move = Move.BOARD_OFF
        if is_on:
            move = Move.FIRST_BOARD if was_dark else Move.BOARD_ON

        def act(now_s: float) -> None:
            for board in boards:
                self.machine.switch_board(board, is_on=is_on, now_s=now_s)

        self.do(move, act)

    def select(self, place: int) -> None:
        machine = self.machine
        is_rising = machine.model.profiles[place].watts > machine.point.watts
        self.do(
            Move.PROFILE_UP if is_rising else Move.PROFILE_DOWN,
            lambda now_s: machine.select_profile(place, now_s=now_s),
        )
        said_w = machine.point.watts
        self.shown.note("accuracy_share", machine.watts.final / said_w - 1)

    def boards(self) -> None:
        count = len(self.machine.boards)
        self.switch(range(1), is_on=False)
        self.switch(range(1), is_on=True)
        self.switch(range(count), is_on=False)
        self.shown.note("idle_w", self.machine.watts.final)
        self.switch(range(1), is_on=True)
        self.switch(range(count), is_on=True)

    def sleep_and_wake(self) -> None:
        machine = self.machine
        self.do(Move.SLEEP, lambda now_s: machine.sleep(now_s=now_s))
        self.shown.note("standby_w", machine.watts.final)
        self.do(Move.WAKE, lambda now_s: machine.wake(now_s=now_s))

    def reboot(self) -> None:
        """What is no longer as it was told after a reboot."""
        machine, lost = self.machine, self.shown.lost
        machine.profile, before = 0, machine.profile
        machine.reboot_device(now_s=self.now_s + SETTLED_S)
        if machine.profile != 0:
            lost.update({Steps.PROFILES, Steps.PERCENT, Steps.WATTS})
        machine.profile = before
        machine.sleep(now_s=self.now_s + 2 * SETTLED_S)
        machine.reboot_device(now_s=self.now_s + 3 * SETTLED_S)
        if machine.is_awake:
            lost.add(Steps.SLEEP)


def shown_by(family: Family) -> Shown:
    shown = Shown()
    for model in range(len(family.models)):
        trial = Trial(family, model, shown)
        places = range(len(trial.machine.model.profiles))
        if family.switches_boards:
            trial.boards()
        if family.selects_profiles:
            for place in (places[0], places[-1], *places):
                if place != trial.machine.profile:
                    trial.select(place)
        trial.sleep_and_wake()
        trial.reboot()
    return shown


def broken(card: ActuatorCard, shown: Shown) -> set[str]:
    """The figures of a card that the physics does not keep."""
    found = {name for name, value in shown.worst.items() if value > getattr(card, name) + 1e-9}
    if shown.restarting - card.restarting:
        found.add("restarting")
    if shown.lost & card.kept:
        found.add("kept")
    return found


@pytest.fixture(scope="module")
def shown() -> dict[str, Shown]:
    return {name: shown_by(family) for name, family in families().items()}


def test_there_is_a_card_for_every_family() -> None:
    assert set(NAMES) <= set(CARDS)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_has_the_steps_that_its_card_says(name: str) -> None:
    family, card = families()[name], CARDS[name]
    assert family.switches_boards is (Steps.BOARDS in card.steps)
    assert family.selects_profiles is math.isfinite(card.profile_s)
    assert family.sleeps is (Steps.SLEEP in card.steps)


@pytest.mark.parametrize("name", NAMES)
def test_the_physics_never_exceeds_what_the_card_promises(
    name: str, shown: dict[str, Shown]
) -> None:
    assert broken(CARDS[name], shown[name]) == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_below_what_the_physics_does_is_found_out(
    name: str, shown: dict[str, Shown]
) -> None:
    card, seen = CARDS[name], shown[name]
    assert {"sleep_s", "wake_s", "standby_w", "dead_s"} <= set(seen.worst)
    for figure, value in seen.worst.items():
        assert broken(replace(card, **{figure: value * 0.99}), seen) == {figure}
    for move in seen.restarting:
        assert broken(replace(card, restarting=card.restarting - {move}), seen) == {"restarting"}


def test_a_setting_that_a_reboot_takes_away_may_not_be_promised() -> None:
    forgetful = Shown(lost={Steps.SLEEP})
    assert broken(CARDS["antminer"], forgetful) == {"kept"}
