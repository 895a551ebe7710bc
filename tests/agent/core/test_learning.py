from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cards import CARDS, LUXOS
from agent.core.decisions import Setpoint, Stage
from agent.core.learning import (
    HEADROOM,
    KIN_ENOUGH,
    LEAST_S,
    OWN_ENOUGH,
    SETPOINTS_KEPT,
    SETTLED_S,
    Evidence,
    Experience,
    learn,
    learned_s,
)
from agent.core.snapshot import Confirmation, MinerView, PendingCommand

COUNTS = st.integers(0, 1000)
SECONDS = st.floats(0.1, 1000)
EVIDENCE = st.builds(Evidence, count=COUNTS, worst_s=SECONDS)


def told(boards: int, profile: str = "default", *, is_awake: bool = True) -> Setpoint:
    return Setpoint(is_awake=is_awake, profile=profile, boards_on=frozenset(range(boards)))


AWAKE, ASLEEP = told(3), told(0, is_awake=False)


class Pupil:
    """Machines that are told to sleep, or what else, and confirm after so many seconds."""

    def __init__(self, toy: SimpleNamespace, count: int = 1) -> None:
        self.experience, self.now_s = Experience(), 0.0
        machines = toy.fleet(count)
        self.views: list[MinerView] = [toy.view(machine, 0.0) for machine in machines]

    def confirms(
        self,
        took_s: float,
        *,
        number: int = 0,
        origin: Setpoint | None = AWAKE,
        to: Setpoint = ASLEEP,
        is_measured: bool = True,
        times: int = 1,
    ) -> None:
        for _ in range(times):
            self.now_s += 1000.0
            confirmed = Confirmation(
                setpoint=to,
                origin=origin,
                sent_at_s=self.now_s,
                confirmed_at_s=self.now_s + took_s,
                is_measured=is_measured,
            )
            self.sees(replace(self.views[number], confirmed=confirmed, pending=None), number)

    def fails(self, *, number: int = 0, stage: Stage = Stage.INEFFECTIVE) -> None:
        self.now_s += 1000.0
        pending = PendingCommand(
            setpoint=ASLEEP, sent_at_s=self.now_s, stage=stage, detail="", origin=told(3)
        )
        self.sees(replace(self.views[number], pending=pending), number)

    def sees(self, view: MinerView, number: int = 0) -> None:
        self.views[number] = view
        self.experience = learn(self.experience, self.views, CARDS)

    def sleep_s(self, number: int = 0) -> float:
        return self.experience.card(self.views[number].miner_id, LUXOS).sleep_s


def test_slower_than_the_card_counts_at_once(toy: SimpleNamespace) -> None:
    pupil = Pupil(toy, 2)
    pupil.confirms(LUXOS.sleep_s + 2)
    assert pupil.sleep_s() == pytest.approx(HEADROOM * (LUXOS.sleep_s + 2))
    assert pupil.sleep_s(1) == LUXOS.sleep_s  # its kin has shown nothing of the kind


def test_faster_counts_after_enough_confirmations_and_not_one_earlier(
    toy: SimpleNamespace,
) -> None:
    pupil = Pupil(toy)
    pupil.confirms(4.0, times=OWN_ENOUGH - 1)
    assert pupil.sleep_s() == LUXOS.sleep_s
    pupil.confirms(4.0)
    assert pupil.sleep_s() == pytest.approx(HEADROOM * 4.0 + 6.0 / (OWN_ENOUGH + 1))


def test_a_machine_with_few_confirmations_of_its_own_learns_from_many_of_its_kin(
    toy: SimpleNamespace,
) -> None:
    pupil = Pupil(toy, 12)
    for number in range(10):
        pupil.confirms(4.0, number=number, times=29)
    assert pupil.sleep_s() == LUXOS.sleep_s
    pupil.confirms(5.0, number=10, times=9)
    assert pupil.sleep_s(0) == pupil.sleep_s(10) == pytest.approx(6.25 + 5.0 / (KIN_ENOUGH + 1))
    assert pupil.sleep_s(11) == LUXOS.sleep_s  # it has shown nothing at all
    pupil.confirms(6.0, number=3)  # within the time that counts, but the slowest so far
    assert pupil.sleep_s(0) == pytest.approx(7.5 + 4.0 / (KIN_ENOUGH + 2))


def test_one_that_takes_longer_than_counted_ends_what_was_learned_for_all(
    toy: SimpleNamespace,
) -> None:
    pupil = Pupil(toy, 2)
    pupil.confirms(4.0, number=1, times=KIN_ENOUGH - 1)
    pupil.confirms(4.0)
    assert pupil.sleep_s(0) < LUXOS.sleep_s
    pupil.confirms(7.0)
    assert pupil.sleep_s(0) == LUXOS.sleep_s
    assert pupil.experience.kin[next(iter(pupil.experience.kin))]
    assert pupil.sleep_s(1) < LUXOS.sleep_s  # by the many of its own
    pupil.confirms(7.0, number=1)
    assert pupil.sleep_s(1) == LUXOS.sleep_s


def test_a_command_that_came_to_nothing_within_a_learned_time_was_late(
    toy: SimpleNamespace,
) -> None:
    pupil = Pupil(toy, 2)
    pupil.confirms(4.0, number=1, times=KIN_ENOUGH - 1)
    pupil.confirms(4.0)
    pupil.fails(stage=Stage.UNKNOWN)  # no answer says nothing about the others
    assert pupil.sleep_s(0) == LUXOS.sleep_s
    pupil.confirms(4.0)
    assert pupil.sleep_s(0) < LUXOS.sleep_s
    pupil.fails()
    pupil.confirms(4.0)
    assert pupil.sleep_s(0) == LUXOS.sleep_s


def test_a_failure_is_no_news_twice_and_a_refusal_is_none(toy: SimpleNamespace) -> None:
    pupil = Pupil(toy)
    pupil.fails()
    once = pupil.experience
    pupil.sees(pupil.views[0])
    assert pupil.experience is once
    pupil.fails(stage=Stage.REFUSED)
    assert pupil.experience is once


@pytest.mark.parametrize(
    ("origin", "to", "is_measured"),
    [
        (told(3), ASLEEP, False),  # an estimate may run ahead of the watts
        (None, ASLEEP, True),
        (told(3), told(3), True),
        (told(3), told(1), True),  # one board of several is no stop
        (told(3), told(2, "step-1"), True),  # two moves at once
    ],
)
def test_what_does_not_show_one_move_by_measured_watts_proves_no_speed(
    toy: SimpleNamespace, origin: Setpoint | None, to: Setpoint, is_measured: bool
) -> None:
    pupil = Pupil(toy)
    pupil.confirms(1.0, origin=origin, to=to, is_measured=is_measured, times=OWN_ENOUGH + 1)
    assert pupil.experience.cards == {}


def test_an_estimate_that_is_slow_is_slow_all_the_same(toy: SimpleNamespace) -> None:
    pupil = Pupil(toy)
    pupil.confirms(20.0, is_measured=False)
    assert pupil.sleep_s() == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("origin", "to", "figure"),
    [
        (told(3), told(0), "board_off_s"),
        (told(0), told(3), "board_on_s"),
        (told(1), told(3), "board_on_s"),
        (told(3), told(3, "step-1"), "profile_down_s"),
        (told(3, "step-1"), told(3), "profile_up_s"),
        (ASLEEP, told(3), "wake_s"),
    ],
)
def test_each_move_has_its_own_lesson(
    toy: SimpleNamespace, origin: Setpoint, to: Setpoint, figure: str
) -> None:
    pupil = Pupil(toy)
    pupil.confirms(400.0, origin=origin, to=to)
    card = pupil.experience.card(pupil.views[0].miner_id, LUXOS)
    assert card == replace(LUXOS, **{figure: 500.0})


def test_other_firmware_is_another_machine(toy: SimpleNamespace) -> None:
    pupil = Pupil(toy)
    pupil.confirms(20.0)
    identity = pupil.views[0].identity
    assert identity is not None
    pupil.sees(replace(pupil.views[0], identity=None))
    assert pupil.sleep_s() == 25.0  # nobody knows who that is just now
    pupil.sees(replace(pupil.views[0], identity=replace(identity, firmware="newer")))
    assert pupil.sleep_s() == LUXOS.sleep_s
    assert pupil.experience.cards == {}
    assert {kin.firmware for kin in pupil.experience.kin} <= {"newer"}


def settled(pupil: Pupil, power_w: float | None, after_s: float) -> MinerView:
    view = pupil.views[0]
    assert view.reading is not None
    at_s = pupil.now_s + after_s
    reading = replace(view.reading, power_w=power_w, requested_at_s=at_s, replied_at_s=at_s)
    return replace(view, reading=reading)


def test_watts_are_looked_at_when_they_have_settled_and_only_the_most_is_kept(
    toy: SimpleNamespace,
) -> None:
    pupil = Pupil(toy)
    name = pupil.views[0].miner_id
    assert pupil.experience.taught(name, LUXOS).seen_w == {}
    for power_w in (2900.0, 3100.0, 3000.0):
        pupil.confirms(5.0, origin=told(2), to=told(3))
        pupil.sees(settled(pupil, 9999.0, SETTLED_S - 1))
        pupil.sees(settled(pupil, power_w, SETTLED_S + 6))
    assert pupil.experience.taught(name, LUXOS).seen_w == {told(3): 3100.0}
    before = pupil.experience
    pupil.sees(settled(pupil, 4000.0, SETTLED_S + 60))  # one look for each confirmation
    assert pupil.experience is before


def test_no_watts_are_taken_from_a_machine_that_does_not_say_or_has_moved_on(
    toy: SimpleNamespace,
) -> None:
    pupil = Pupil(toy)
    name = pupil.views[0].miner_id
    pupil.confirms(5.0, origin=told(2), to=told(3))
    pupil.sees(settled(pupil, None, SETTLED_S + 6))
    pupil.confirms(5.0, origin=told(3), to=told(2))
    pupil.sees(settled(pupil, 3000.0, SETTLED_S + 6))  # it hashes on three boards
    pupil.confirms(5.0, origin=told(2), to=told(3))
    waiting = settled(pupil, 3000.0, SETTLED_S + 6)
    pending = PendingCommand(setpoint=told(2), sent_at_s=0.0, stage=Stage.SENT, detail="")
    pupil.sees(replace(waiting, pending=pending))
    pupil.sees(replace(waiting, reading=None))
    assert pupil.experience.taught(name, LUXOS).seen_w == {}


def test_the_set_points_that_are_remembered_are_bounded(toy: SimpleNamespace) -> None:
    pupil = Pupil(toy)
    view = pupil.views[0]
    assert view.reading is not None
    for number in range(SETPOINTS_KEPT + 3):
        pupil.views[0] = replace(view, reading=replace(view.reading, profile=f"p{number}"))
        pupil.confirms(5.0, origin=told(2), to=told(3, f"p{number}"))
        pupil.sees(settled(pupil, 3000.0, SETTLED_S + 6))
    watts = pupil.experience.taught(view.miner_id, LUXOS).seen_w
    assert len(watts) == SETPOINTS_KEPT
    assert told(3, "p0") not in watts


@given(card_s=SECONDS, own=EVIDENCE, kin=EVIDENCE)
def test_a_learned_time_is_never_below_what_was_seen_nor_below_the_least(
    card_s: float, own: Evidence, kin: Evidence
) -> None:
    counted_s = learned_s(card_s, own, kin)
    assert counted_s >= min(own.worst_s, card_s)
    assert counted_s >= min(LEAST_S, card_s)
    if own.worst_s <= card_s:
        assert counted_s <= card_s
    if own.count < OWN_ENOUGH and (own.count == 0 or kin.count < KIN_ENOUGH):
        assert counted_s >= card_s


@given(
    card_s=st.floats(5.0, 900.0),
    shares=st.lists(st.floats(0.0, 1.0), min_size=OWN_ENOUGH + 1, max_size=120),
)
def test_counted_times_cover_on_average_what_machines_take(
    card_s: float, shares: list[float]
) -> None:
    """Whichever of the times comes last: the others count for it, and on average they suffice."""
    times_s = [share * card_s for share in shares]
    counted_s = []
    for place in range(len(times_s)):
        others = times_s[:place] + times_s[place + 1 :]
        own = Evidence(count=len(others), worst_s=max(others))
        counted_s.append(learned_s(card_s, own, Evidence()))
    assert sum(times_s) <= sum(counted_s) + 1e-6
    missed = sum(took > counted for took, counted in zip(times_s, counted_s, strict=True))
    assert missed <= 1  # of n + 1 times at most one is longer than all others
