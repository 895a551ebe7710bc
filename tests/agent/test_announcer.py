"""What is said of a window is on record before it opens: once, and again where it has changed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.announcer import MOVED_SHARE, Announcer, preflight_record
from agent.core.decisions import Preflight
from agent.records import prepare
from agent.siteclock import Stamp

AHEAD = Preflight(
    start_ms=1_800_000_000_000,
    transaction_ids=("t1", "t2"),
    purchased_wh=1000,
    controllable_share=0.9876,
    stop_s=12.3456,
    stop_wh=40.2,
    least_wh=100.001,
    losable_share=0.61239,
    can_comply=True,
    words="the next window can be kept",
)
STAMP = Stamp(boottime_ns=1, time_us=2, quality="S", max_error_us=3)


def test_a_record_says_it_all_in_whole_numbers_rounded_to_the_safe_side() -> None:
    record = preflight_record("mp-1", AHEAD)
    assert (record.kind, record.source) == ("preflight", "mp-1")
    assert record.data == {
        "start_ms": 1_800_000_000_000,
        "transactions": ["t1", "t2"],
        "purchased_wh": 1000,
        "controllable_permille": 987,
        "stop_ms": 12_346,
        "stop_wh": 41,
        "least_wh": 101,
        "losable_permille": 612,
        "can_comply": True,
        "words": "the next window can be kept",
    }
    assert prepare(record, STAMP).kind == "preflight"


def test_the_same_words_again_are_no_record() -> None:
    announcer = Announcer()
    assert len(announcer.records("mp-1", AHEAD)) == 1
    assert announcer.records("mp-1", AHEAD) == ()
    assert announcer.records("mp-1", replace(AHEAD, stop_wh=41.0, least_wh=101.0)) == ()
    assert announcer.records("mp-1", None) == ()
    assert announcer.records("mp-1", AHEAD) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"can_comply": False},
        {"start_ms": AHEAD.start_ms + 1},
        {"transaction_ids": ("t1",)},
        {"purchased_wh": 999},
        {"losable_share": AHEAD.losable_share - MOVED_SHARE * 1.01},
        {"controllable_share": AHEAD.controllable_share - MOVED_SHARE * 1.01},
    ],
)
def test_another_verdict_is_a_record_of_its_own(change: dict[str, object]) -> None:
    announcer = Announcer()
    announcer.records("mp-1", AHEAD)
    other = replace(AHEAD, **change)
    assert announcer.records("mp-1", other) == (preflight_record("mp-1", other),)
    assert len(announcer.records("mp-1", AHEAD)) == 1


@given(shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_the_newest_record_is_never_further_than_a_step_from_what_is_known(
    shares: list[float],
) -> None:
    """However slowly a share creeps, what is on record keeps up with it."""
    announcer, on_record = Announcer(), -1.0
    for share in shares:
        for record in announcer.records("mp-1", replace(AHEAD, losable_share=share)):
            on_record = record.data["losable_permille"] / 1000
        assert abs(on_record - share) < MOVED_SHARE + 0.001
