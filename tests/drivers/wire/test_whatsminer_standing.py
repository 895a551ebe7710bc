"""What was said of a Whatsminer's state stands while nothing moved, and no longer."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.readings import BoardReading, PowerProvenance
from drivers.wire.cgminer import Row
from drivers.wire.standing import RUN_SLACK_S, STANDS_S, WATTS_SHARE
from drivers.wire.whatsminer_standing import (
    METER_SHARE,
    Sight,
    Standing,
    sight_of,
    standing_of,
)
from drivers.wire.whatsminer_v2 import Status, decode_read
from drivers.wire.whatsminer_who import badge_of

ON = Status(is_off=False, percent=80)
ESTIMATE = PowerProvenance.FIRMWARE_ESTIMATE
METERED = PowerProvenance.METERED_PSU


def board(slot: int, **changes: Any) -> BoardReading:
    one = BoardReading(
        board=slot,
        is_enabled=True,
        is_ramping=False,
        hashrate_hs=39e12,
        temperature_c=70.0,
        serial=None,
    )
    return replace(one, **changes)


THEN = Sight(
    seen_at_s=1000.5,
    run_s=5000.0,
    told_w=3300.0,
    boards=tuple(board(slot) for slot in range(3)),
    badge=("A", "B", "C"),
)
HELD = Standing(asked_at_s=1000.0, status=ON, pin_share=1.02, sight=THEN)

moments = st.floats(0.0, STANDS_S - 0.6)


def later(span_s: float, **changes: Any) -> Sight:
    """The same machine, seen again."""
    seen = replace(THEN, seen_at_s=THEN.seen_at_s + span_s, run_s=THEN.run_s + span_s)
    return replace(seen, **changes)


@given(moments, st.floats(-0.99, 0.99), st.floats(-0.99, 0.99), st.floats(1e9, 1e14))
def test_it_stands_while_everything_is_within_its_bound(
    span_s: float, run_part: float, watts_part: float, rate_hs: float
) -> None:
    now = later(span_s)
    now = replace(
        now,
        run_s=now.run_s + run_part * RUN_SLACK_S,
        told_w=now.told_w * (1.0 + watts_part * WATTS_SHARE),
        boards=tuple(board(slot, hashrate_hs=rate_hs) for slot in range(4)),
    )
    assert HELD.holds(now)


@given(st.floats(STANDS_S - 0.5, 1e6) | st.floats(-1e6, -0.51))
def test_it_does_not_stand_for_longer_than_a_minute_or_before_it_was_asked(span_s: float) -> None:
    assert not HELD.holds(later(span_s))


@given(moments, st.floats(RUN_SLACK_S * 1.01, 1e6), st.sampled_from([-1.0, 1.0]))
def test_another_run_ends_it(span_s: float, off_s: float, sign: float) -> None:
    assert not HELD.holds(later(span_s, run_s=THEN.run_s + span_s + sign * off_s))


@given(st.floats(RUN_SLACK_S * 1.01, 1e6), moments, st.data())
def test_a_start_in_between_ends_it_however_short_the_run_before_was(
    run_s: float, span_s: float, data: st.DataObject
) -> None:
    held = replace(HELD, sight=replace(THEN, run_s=run_s))
    assert not held.holds(later(span_s, run_s=data.draw(st.floats(0.0, span_s))))


@given(moments, st.floats(WATTS_SHARE * 1.01, 10.0), st.sampled_from([-1.0, 1.0]))
def test_watts_that_moved_end_it(span_s: float, share: float, sign: float) -> None:
    assert not HELD.holds(later(span_s, told_w=THEN.told_w * (1.0 + sign * share)))


@given(moments, st.sets(st.integers(0, 2), min_size=1))
def test_a_board_that_hashes_no_more_or_is_gone_ends_it(span_s: float, lost: set[int]) -> None:
    still = tuple(board(slot, hashrate_hs=0.0 if slot in lost else 39e12) for slot in range(3))
    assert not HELD.holds(later(span_s, boards=still))
    assert not HELD.holds(later(span_s, boards=tuple(board(s) for s in {0, 1, 2} - lost)))


@given(moments, st.lists(st.text(max_size=2), max_size=4).filter(lambda it: it != ["A", "B", "C"]))
def test_another_badge_ends_it(span_s: float, badge: list[str]) -> None:
    assert not HELD.holds(later(span_s, badge=tuple(badge)))


def test_a_machine_that_is_not_wholly_at_work_ends_it() -> None:
    assert HELD.holds(later(1.0))
    assert not HELD.holds(None)


# What is seen.

SUMMARY: dict[str, Any] = {"Elapsed": 5000, "Power": 3300, "MHS av": 1.18e8}


def devs(*changes: dict[str, Any]) -> Any:
    own = {"HS RT": 39e6, "Temperature": 70.0, "Upfreq Complete": 1}
    rows = [{"Slot": n, "PCB SN": f"S{n}"} | own | change for n, change in enumerate(changes)]
    return decode_read(json.dumps({"STATUS": [{"STATUS": "S"}], "DEVS": rows}).encode())


def seen(summary: dict[str, Any], *boards: dict[str, Any]) -> Sight | None:
    row = Row(section="SUMMARY", values=SUMMARY | summary)
    answer = devs(*boards)
    return sight_of(row, answer, badge_of(row, answer), seen_at_s=7.0)


def test_a_machine_at_work_is_seen() -> None:
    sight = seen({"Elapsed": "5000.25"}, {}, {"HS RT": 0})
    assert sight is not None
    assert (sight.seen_at_s, sight.run_s, sight.told_w) == (7.0, 5000.25, 3300.0)
    assert (sight.badge, sight.hashing) == (("S0", "S1"), {0})
    assert [one.hashrate_hs for one in sight.boards] == [39e12, 0.0]


UNSEEN: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({"Elapsed": None}, [{}]),
    ({"Elapsed": "soon"}, [{}]),
    ({"Elapsed": RUN_SLACK_S}, [{}]),
    ({"Power": None}, [{}]),
    ({"Power": 0}, [{}]),
    ({"Power": -5}, [{}]),
    ({}, []),
    ({}, [{"HS RT": 0}]),
    ({}, [{"HS RT": "much"}]),
    ({}, [{}, {"Upfreq Complete": 0}]),
    ({}, [{}, {"Slot": 0}]),
]


@pytest.mark.parametrize(("summary", "boards"), UNSEEN)
def test_whatever_is_missing_unreadable_or_not_at_work_is_not_seen(
    summary: dict[str, Any], boards: list[dict[str, Any]]
) -> None:
    assert seen({}, {}) is not None
    assert seen(summary, *boards) is None


# What stands from now on.


def formed(watts: float | None, provenance: PowerProvenance) -> Standing:
    held = standing_of(THEN, ON, (watts, provenance), asked_at_s=1000.0)
    assert held is not None
    assert (held.status, held.sight, held.asked_at_s) == (ON, THEN, 1000.0)
    return held


@given(st.floats(-0.99, 0.99), st.floats(100.0, 1e4))
def test_the_firmwares_watts_are_told_as_the_wattmeter_would(part: float, told_w: float) -> None:
    pin_w = THEN.told_w * (1.0 + part * METER_SHARE)
    watts, provenance = formed(pin_w, METERED).metered((told_w, ESTIMATE))
    assert watts == pytest.approx(told_w * pin_w / THEN.told_w)
    assert provenance is METERED


@given(st.floats(METER_SHARE * 1.01, 3.0) | st.floats(-0.99, -METER_SHARE * 1.01))
def test_a_wattmeter_that_is_far_off_corrects_nothing(off: float) -> None:
    held = formed(THEN.told_w * (1.0 + off), METERED)
    assert held.pin_share is None
    assert held.metered((3310.0, METERED)) == (3310.0, METERED)


def test_without_a_wattmeter_the_firmwares_watts_stay_an_estimate() -> None:
    held = formed(THEN.told_w, ESTIMATE)
    assert held.pin_share is None
    assert held.metered((3310.0, ESTIMATE)) == (3310.0, ESTIMATE)


def test_no_watts_are_none_of_a_wattmeter() -> None:
    absent = (None, PowerProvenance.ABSENT)
    assert HELD.metered(absent) == absent


def test_nothing_stands_of_a_machine_that_is_off_or_not_at_work() -> None:
    off = Status(is_off=True, percent=None)
    assert standing_of(THEN, off, (3300.0, METERED), asked_at_s=1000.0) is None
    assert standing_of(None, ON, (3300.0, METERED), asked_at_s=1000.0) is None
