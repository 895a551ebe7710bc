from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent.core.cards import LUXOS
from agent.core.decisions import Setpoint, Stage
from agent.core.fleet import (
    READING_STALE_S,
    RETRY_FIRST_S,
    RETRY_LAST_S,
    Judged,
    Machine,
    Memory,
    Taught,
    assess,
    matches,
    obeys,
    read_back,
    recall,
)
from agent.core.fleet import judged as judge_machine
from agent.core.snapshot import MinerView, PendingCommand
from agent.core.steps import Room, Walk, walks
from drivers.readings import Activity

NOW_S = 100.0
MEMORY, TAUGHT = Memory(), Taught(card=LUXOS)
AT_REST = Room(window_left_s=0.0, bought_for_s=0.0, window_ms=0)
FULL_W, IDLE_W = 2794.0, LUXOS.idle_w


def walk_from(machine: Machine, at: Setpoint) -> Walk:
    (walk,) = walks([replace(machine, standing=at)], AT_REST, is_down=True)
    return walk


def told(boards: int, *, is_awake: bool = True, profile: str | None = "default") -> Setpoint:
    return Setpoint(is_awake=is_awake, profile=profile, boards_on=frozenset(range(boards)))


def pending(setpoint: Setpoint, stage: Stage, sent_at_s: float = NOW_S - 1) -> PendingCommand:
    return PendingCommand(setpoint=setpoint, sent_at_s=sent_at_s, stage=stage, detail="")


def judged(view: MinerView, memory: Memory | None = None, now_s: float = NOW_S) -> Machine:
    return assess(view, memory or Memory(), Taught(card=LUXOS), now_s)


@pytest.fixture
def view(toy: SimpleNamespace) -> MinerView:
    """A machine at work with all three boards on its default profile."""
    machine = toy.Machine(miner_id="m", profiles=toy.ladder(FULL_W, 1e14), tolerance=0.0)
    machine.power_w = machine.target_w()
    return toy.view(machine, NOW_S)


@pytest.fixture
def lowered(toy: SimpleNamespace) -> MinerView:
    """The same machine with one board off."""
    machine = toy.Machine(
        miner_id="m",
        profiles=toy.ladder(FULL_W, 1e14),
        tolerance=0.0,
        boards_on=frozenset({0, 1}),
    )
    machine.power_w = machine.target_w()
    return toy.view(machine, NOW_S)


@pytest.mark.parametrize(
    ("setpoint", "power_w", "hashrate_hs"),
    [
        (told(3), FULL_W, 1e14),
        (told(2), IDLE_W + (FULL_W - IDLE_W) * 2 / 3, 2e14 / 3),
        (told(0), IDLE_W, 0.0),
        (told(3, is_awake=False), LUXOS.standby_w, 0.0),
        (told(3, profile="step-2"), FULL_W * 0.91, 0.93e14),
        (told(3, profile="unheard of"), FULL_W * 1.09, 0.0),  # the most it may be, hashes unproven
    ],
)
def test_the_model_knows_watts_and_hashes_of_each_setpoint(
    view: MinerView, setpoint: Setpoint, power_w: float, hashrate_hs: float
) -> None:
    machine = judged(view)
    assert machine.power_w(setpoint) == pytest.approx(power_w)
    on_its_way = walk_from(machine, setpoint)
    assert on_its_way.power_w == machine.power_w(setpoint)
    assert on_its_way.hashrate_hs == pytest.approx(hashrate_hs)


def test_a_machine_without_profiles_or_boards_is_modelled_at_its_idle_draw(view: MinerView) -> None:
    machine = replace(judged(replace(view, profiles=())), boards=frozenset())
    assert machine.power_w(told(3)) == IDLE_W
    assert walk_from(machine, told(3)).hashrate_hs == 0.0


@pytest.mark.parametrize(
    ("change", "is_commandable"),
    [
        ({}, True),
        ({"fault": "no route"}, False),
        ({"identity": None}, False),
        ({"reading": None}, False),
    ],
)
def test_only_a_known_machine_that_answers_may_be_told(
    view: MinerView, change: dict[str, None], is_commandable: bool
) -> None:
    machine = judged(replace(view, **change))
    assert machine.is_commandable is machine.is_controllable is is_commandable


def test_one_sign_of_identity_is_not_enough_to_write(view: MinerView) -> None:
    assert view.identity is not None
    doubtful = replace(view, identity=replace(view.identity, signs=("version",)))
    assert not judged(doubtful).is_commandable


def test_a_reading_grown_old_takes_the_machine_from_our_hands_and_counts_its_nameplate(
    lowered: MinerView,
) -> None:
    fresh = judged(lowered, now_s=NOW_S - 0.6 + READING_STALE_S)
    stale = judged(lowered, now_s=NOW_S - 0.3 + READING_STALE_S)
    assert (fresh.is_commandable, stale.is_commandable) == (True, False)
    assert fresh.upper_w < stale.upper_w == FULL_W


def test_an_unread_machine_counts_at_its_nameplate_or_the_most_it_offers(view: MinerView) -> None:
    unread = replace(view, reading=None)
    assert judged(unread).upper_w == FULL_W
    no_default = tuple(p for p in view.profiles if p.step != 0)
    assert judged(replace(unread, profiles=no_default)).upper_w == pytest.approx(FULL_W * 1.09)
    assert judged(replace(unread, profiles=())).upper_w == 0.0
    assert (judged(unread).at, judged(unread).at_w) == (None, 0.0)


def test_until_confirmed_the_higher_of_old_and_new_counts(
    view: MinerView, lowered: MinerView
) -> None:
    going_down = replace(view, pending=pending(told(0), Stage.SENT))
    assert judged(going_down, Memory(desired=told(0))).upper_w == FULL_W
    going_up = replace(lowered, pending=pending(told(3), Stage.APPLIED))
    assert judged(going_up, Memory(desired=told(3))).upper_w == FULL_W
    assert judged(lowered, Memory(desired=told(3))).upper_w == FULL_W
    assert lowered.reading is not None
    hungry = replace(lowered, reading=replace(lowered.reading, power_w=2900.0))
    assert judged(hungry).upper_w == 2900.0


def test_what_a_rise_under_way_may_still_add_is_known(lowered: MinerView) -> None:
    assert lowered.reading is not None
    rising = replace(lowered, pending=pending(told(3), Stage.ACCEPTED))
    assert lowered.reading.power_w is not None
    seen_w = FULL_W - lowered.reading.power_w  # below the model: the machine's own word counts
    assert judged(rising, Memory(desired=told(3))).rising_w == pytest.approx(seen_w)
    missing_w = (FULL_W - IDLE_W) / 3
    silent = replace(rising, reading=replace(lowered.reading, power_w=None))
    assert judged(silent, Memory(desired=told(3))).rising_w == pytest.approx(missing_w)
    barely = replace(rising, reading=replace(lowered.reading, power_w=500.0))
    assert judged(barely, Memory(desired=told(3))).rising_w == pytest.approx(FULL_W - 500)
    unread = replace(rising, reading=None)
    assert judged(unread, Memory(desired=told(3))).rising_w == IDLE_W  # no board is known of it
    assert judged(rising, Memory(desired=told(1))).rising_w == 0.0
    assert judged(rising).rising_w == 0.0
    assert judged(lowered, Memory(desired=told(3))).rising_w == 0.0


def test_a_ramp_counts_as_a_rise_without_any_command(view: MinerView) -> None:
    assert view.reading is not None
    boards = tuple(replace(b, is_ramping=b.board == 2) for b in view.reading.boards)
    ramping = replace(view, reading=replace(view.reading, boards=boards, power_w=1000.0))
    machine = judged(ramping, Memory(desired=told(3)))
    assert machine.rising_w == pytest.approx(FULL_W - 1000)
    assert not machine.is_in_transit


@pytest.mark.parametrize("stage", [Stage.SENT, Stage.ACCEPTED, Stage.APPLIED])
def test_a_command_under_way_is_waited_for(view: MinerView, stage: Stage) -> None:
    machine = judged(replace(view, pending=pending(told(2), stage)))
    assert machine.is_in_transit
    assert machine.is_controllable


def test_a_command_that_has_not_left_yet_counts_as_under_way(view: MinerView) -> None:
    memory = Memory(desired=told(2), commanded_at_s=NOW_S - 2.9)
    assert judged(view, memory).is_in_transit
    assert not judged(view, memory, now_s=NOW_S + 0.2).is_in_transit


@pytest.mark.parametrize("stage", [Stage.REFUSED, Stage.UNKNOWN, Stage.INEFFECTIVE])
def test_a_machine_that_did_not_obey_is_not_counted_on(view: MinerView, stage: Stage) -> None:
    machine = judged(replace(view, pending=pending(told(2), stage)))
    assert machine.is_commandable
    assert not machine.is_controllable
    assert not machine.is_in_transit


def test_defiance_lengthens_the_pause_before_the_next_try_up_to_a_limit(view: MinerView) -> None:
    memory = Memory(desired=told(2))
    pauses_s = []
    for attempt in range(8):
        failed = replace(view, pending=pending(told(2), Stage.UNKNOWN, sent_at_s=float(attempt)))
        memory = recall(failed, memory, judged(failed, memory), NOW_S)
        assert recall(failed, memory, judged(failed, memory), NOW_S + 5) == memory  # counted once
        pauses_s.append(memory.retry_at_s - NOW_S)
    assert pauses_s[:3] == [RETRY_FIRST_S, RETRY_FIRST_S * 2, RETRY_FIRST_S * 4]
    assert max(pauses_s) == pauses_s[-1] == RETRY_LAST_S
    assert memory.defiance == 8
    assert memory.desired == told(2)


def test_a_machine_that_did_as_told_after_all_is_counted_on_again_when_its_pause_is_over(
    view: MinerView,
) -> None:
    memory = Memory(desired=told(3), defiance=2, failed_at_s=50.0, retry_at_s=NOW_S + 10)
    assert not judged(view, memory).is_controllable
    assert judged(view, memory, now_s=NOW_S + 10).is_controllable
    stubborn = replace(memory, desired=told(1))
    assert not judged(view, stubborn, now_s=NOW_S + 10).is_controllable


def test_defiance_is_forgiven_by_a_later_command_that_was_carried_out(view: MinerView) -> None:
    memory = Memory(desired=told(3), defiance=2, failed_at_s=50.0, commanded_at_s=60.0)
    assert recall(view, memory, judged(view, memory), NOW_S).defiance == 0
    untried = replace(memory, commanded_at_s=40.0)
    assert recall(view, untried, judged(view, untried), NOW_S).defiance == 2


def test_while_a_command_is_under_way_nothing_is_concluded(lowered: MinerView) -> None:
    moving = replace(lowered, pending=pending(told(3), Stage.SENT))
    memory = Memory(desired=told(3), defiance=1, high_w=judged(moving).at_w)
    assert recall(moving, memory, judged(moving, memory), NOW_S) is memory


def test_a_machine_that_stands_lower_by_its_own_doing_keeps_that_as_its_set_point(
    view: MinerView, lowered: MinerView
) -> None:
    memory = Memory(desired=told(3))
    assert recall(lowered, memory, judged(lowered, memory), NOW_S).desired == told(2)
    risen = Memory(desired=told(2))
    assert recall(view, risen, judged(view, risen), NOW_S).desired == told(2)
    assert recall(view, Memory(), judged(view), NOW_S).desired == told(3)
    unread = replace(view, reading=None)
    assert recall(unread, memory, judged(unread, memory), NOW_S) == memory


@pytest.mark.parametrize(
    ("at", "desired", "is_match"),
    [
        (told(3), told(3), True),
        (told(3), told(2), False),
        (told(3), told(3, profile=None), True),
        (told(3), told(3, profile="step-1"), False),
        (told(3, is_awake=False), told(0, is_awake=False, profile="x"), True),
        (told(3), told(3, is_awake=False), False),
        (told(3, is_awake=False), told(3), False),
        (None, told(3), False),
        (told(3), None, False),
    ],
)
def test_boards_and_profile_count_only_for_machines_that_are_awake(
    at: Setpoint | None, desired: Setpoint | None, is_match: bool
) -> None:
    assert matches(at, desired) is is_match


def test_to_obey_is_to_draw_no_more_than_told(view: MinerView) -> None:
    machine = judged(view)
    assert obeys(machine)
    assert obeys(replace(machine, desired=told(3)))
    assert not obeys(replace(machine, desired=told(2)))
    assert not obeys(replace(machine, desired=told(0, is_awake=False)))
    assert obeys(replace(machine, at=told(1), desired=told(2)))
    assert obeys(replace(machine, at=None, desired=told(2)))


@pytest.mark.parametrize(
    ("activity", "is_awake"),
    [
        (Activity.HASHING, True),
        (Activity.RAMPING, True),
        (Activity.FAULT, True),
        (Activity.SLEEPING, False),
        (Activity.STOPPED, False),
    ],
)
def test_the_read_back_shows_who_is_awake_and_which_boards_are_on(
    lowered: MinerView, activity: Activity, is_awake: bool
) -> None:
    assert lowered.reading is not None
    assert read_back(replace(lowered.reading, activity=activity)) == told(2, is_awake=is_awake)


def test_a_machine_without_a_board_left_on_is_awake_and_needs_only_a_board(view: MinerView) -> None:
    assert view.reading is not None
    boards = tuple(replace(board, is_enabled=False) for board in view.reading.boards)
    emptied = replace(view.reading, activity=Activity.STOPPED, boards=boards)
    assert read_back(emptied) == told(0, is_awake=True)
    assert not read_back(replace(emptied, boards=())).is_awake


def heard(before: Judged | None, view: MinerView, now_s: float, *, is_dark: bool = False) -> Judged:
    return judge_machine(before, view, MEMORY, TAUGHT, now_s, is_dark=is_dark)


def asked_again(view: MinerView, seconds: float, **changes: object) -> MinerView:
    reading = replace(
        view.reading,
        requested_at_s=view.reading.requested_at_s + seconds,
        replied_at_s=view.reading.replied_at_s + seconds,
        hashrate_hs=1.0,
        **changes,
    )
    return replace(view, reading=reading)


def test_a_machine_that_shows_what_it_showed_is_not_judged_again(view: MinerView) -> None:
    first = heard(None, view, NOW_S)
    assert heard(first, view, NOW_S + 1) is first
    again = heard(first, asked_again(view, 5.0), NOW_S + 5)
    assert again.machine is first.machine
    assert again.machine == judged(asked_again(view, 5.0), now_s=NOW_S + 5)
    assert again.until_s == first.until_s + 5.0  # it grows stale later


@pytest.mark.parametrize(
    "changes",
    [
        {"power_w": 9999.0},
        {"boards": ()},
        {"profile": "step-2"},
        {"activity": Activity.SLEEPING},
    ],
)
def test_a_machine_that_shows_something_else_is_judged_again(
    view: MinerView, changes: dict[str, object]
) -> None:
    first = heard(None, view, NOW_S)
    other = asked_again(view, 5.0, **changes)
    assert heard(first, other, NOW_S + 5).machine == judged(other, now_s=NOW_S + 5)
    assert heard(first, other, NOW_S + 5).machine != first.machine


@pytest.mark.parametrize(
    "changes",
    [
        {"fault": "no route"},
        {"pending": pending(told(1), Stage.SENT)},
        {"identity": None},
        {"profiles": ()},
        {"can_switch_boards": False},
        {"can_sleep": False},
        {"can_select_profile": False},
        {"reading": None},
    ],
)
def test_a_machine_of_which_something_else_is_known_is_judged_again(
    view: MinerView, changes: dict[str, object]
) -> None:
    first = heard(None, view, NOW_S)
    other = replace(asked_again(view, 5.0), **changes)
    assert heard(first, other, NOW_S + 5).machine == judged(other, now_s=NOW_S + 5)
    assert heard(heard(None, other, NOW_S), view, NOW_S).machine == judged(view)


def test_a_machine_that_answers_after_a_silence_is_judged_again(view: MinerView) -> None:
    late_s = NOW_S + 2 * READING_STALE_S
    stale = heard(heard(None, view, NOW_S), view, late_s)
    assert not stale.machine.is_commandable
    assert heard(stale, asked_again(view, 2 * READING_STALE_S), late_s).machine.is_commandable


def test_a_machine_without_a_feed_draws_nothing_and_can_be_told_nothing(view: MinerView) -> None:
    dark = heard(heard(None, view, NOW_S), view, NOW_S, is_dark=True).machine
    assert dark.is_dark
    assert dark.is_known
    assert (dark.at, dark.standing) == (None, None)
    assert (dark.at_w, dark.upper_w, dark.rising_w, dark.standing_w) == (0.0, 0.0, 0.0, 0.0)
    assert {dark.is_commandable, dark.is_controllable, dark.is_in_transit} == {False}
    assert dark.profiles == view.profiles


def test_what_was_seen_at_rest_stays_after_a_stop(view: MinerView) -> None:
    seen_w = {told(3): 3000.0, told(0): IDLE_W + 30.0, told(3, is_awake=False): 10.0}
    assert replace(judged(view), seen_w=seen_w).resting_w == IDLE_W + 30.0
    assert replace(judged(view), seen_w={told(3): 3000.0}).resting_w == IDLE_W


def test_a_draw_whose_end_nobody_knows_is_remembered_once(lowered: MinerView) -> None:
    endless = Taught(card=replace(LUXOS, board_off_s=float("inf")))
    memory = Memory(high_w=FULL_W, desired=told(2))
    machine = assess(lowered, memory, endless, NOW_S)
    assert recall(lowered, memory, machine, NOW_S) is memory
