"""When an alarm stands and when it is cleared, over ticks of a second."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alarmboard import AlarmBoard, AlarmChange
from agent.alarms import Condition
from agent.settings_alarms import AlarmSettings

SETTINGS = AlarmSettings(raise_after_s=2.0, clear_after_s=5.0)
START_MS = 1_795_680_000_000


def condition(severity: str = "warning", code: str = "CLOCK", words: str = "w") -> Condition:
    return Condition(code=code, severity=severity, source="agent", words=words, remedy="r")


def play(board: AlarmBoard, ticks: Sequence[Condition | None]) -> list[tuple[int, bool]]:
    """At which tick what was raised (True) or cleared."""
    seen: list[tuple[int, bool]] = []
    for second, one in enumerate(ticks):
        now = {} if one is None else {one.key: one}
        changes = board.update(now, now_ms=START_MS + second * 1000, now_s=float(second))
        seen += [(second, change.is_raised) for change in changes]
    return seen


def test_a_warning_stands_once_it_has_lasted_and_says_since_when() -> None:
    board = AlarmBoard(SETTINGS)
    assert play(board, [condition()] * 4) == [(2, True)]
    (alarm,) = board.alarms
    assert (alarm.first_seen_ms, alarm.count) == (START_MS, 1)


def test_what_is_critical_stands_at_once() -> None:
    assert play(AlarmBoard(SETTINGS), [condition("critical")]) == [(0, True)]


def test_a_warning_that_turns_critical_stands_at_once() -> None:
    board = AlarmBoard(SETTINGS)
    assert play(board, [condition(), condition("critical")]) == [(1, True)]


def test_a_hiccup_is_no_alarm() -> None:
    assert play(AlarmBoard(SETTINGS), [condition(), condition(), *[None] * 20]) == []


def test_what_comes_and_goes_is_one_alarm_that_stands() -> None:
    board = AlarmBoard(SETTINGS)
    ticks = [condition(), None] * 20
    assert play(board, ticks) == [(2, True)]
    assert [alarm.count for alarm in board.alarms] == [1]


def test_what_is_gone_is_cleared_once_and_after_its_pause() -> None:
    board = AlarmBoard(SETTINGS)
    ticks = [*[condition("critical")] * 3, *[None] * 10]
    assert play(board, ticks) == [(0, True), (7, False)]
    assert board.alarms == []


def test_what_comes_back_after_it_was_cleared_is_counted() -> None:
    board = AlarmBoard(SETTINGS)
    play(board, [condition("critical"), *[None] * 10, condition("critical")])
    (alarm,) = board.alarms
    assert (alarm.count, alarm.first_seen_ms) == (2, START_MS + 11_000)


def test_an_alarm_that_stands_has_the_newest_words_and_keeps_them_while_it_fades() -> None:
    board = AlarmBoard(SETTINGS)
    play(board, [condition("critical", words="old"), condition("critical", words="new"), None])
    assert [alarm.words for alarm in board.alarms] == ["new"]


def test_critical_ones_come_first_then_the_oldest() -> None:
    board = AlarmBoard(AlarmSettings(raise_after_s=0.0))
    for second, one in enumerate((condition(code="B"), condition(code="A"))):
        board.update({one.key: one}, now_ms=START_MS + second, now_s=float(second))
    last = condition("critical", code="C")
    board.update({last.key: last}, now_ms=START_MS + 9, now_s=2.0)
    assert [alarm.code for alarm in board.alarms] == ["C", "B", "A"]


@pytest.mark.parametrize(("is_raised", "event"), [(True, "raised"), (False, "cleared")])
def test_the_journal_has_what_was_raised_and_what_was_cleared(is_raised: bool, event: str) -> None:
    board = AlarmBoard(SETTINGS)
    play(board, [condition("critical")])
    record = AlarmChange(is_raised=is_raised, alarm=board.alarms[0]).record
    assert (record.kind, record.source) == ("alarm", "agent")
    assert (record.data["code"], record.data["event"]) == ("CLOCK", event)


@given(
    ticks=st.lists(st.sampled_from([None, condition(), condition("critical")]), max_size=60),
    raise_after_s=st.floats(0, 5),
    clear_after_s=st.floats(0, 8),
)
def test_raised_and_cleared_take_turns_and_what_stands_was_raised_last(
    ticks: list[Condition | None], raise_after_s: float, clear_after_s: float
) -> None:
    settings = AlarmSettings(raise_after_s=raise_after_s, clear_after_s=clear_after_s)
    board = AlarmBoard(settings)
    seen = play(board, ticks)
    turns = [is_raised for _, is_raised in seen]
    assert turns == [place % 2 == 0 for place in range(len(turns))]
    assert bool(board.alarms) == (len(turns) % 2 == 1)
    for (before, was_raised), (after, _) in pairwise(seen):
        assert not was_raised or after - before >= min(clear_after_s, 1.0)
    if ticks and ticks[-1] is not None and ticks[-1].severity == "critical":
        assert board.alarms, "what is critical now stands now"
