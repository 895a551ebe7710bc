"""A meter's clock beside the site's: when it is right, off, stands, or shows nothing at all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.meterclock import (
    GOES_AFTER_MS,
    MeterClock,
    deviation_ms,
    looked,
    moment_ms,
    showed_nothing,
    words_of,
)
from drivers.readings import ClockReading, TimeQuality

AT_MS = 1_795_376_000_000
ALMATY_S = 5 * 3600
BOUND_MS = 60_000


def shown_at(at_ms: int, zone_s: int = 0) -> datetime:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms, seconds=zone_s)
    return moment.replace(tzinfo=None)


def look(
    known: MeterClock | None,
    shows_ms: int,
    at_ms: int,
    *,
    zone_s: int = ALMATY_S,
    is_trusted: bool = True,
    is_utc: bool = False,
    took_s: float = 0.1,
) -> MeterClock:
    reading = ClockReading(
        requested_at_s=5.0,
        replied_at_s=5.0 + took_s,
        shown=shown_at(shows_ms, zone_s),
        is_utc=is_utc,
    )
    return looked(
        known,
        reading,
        at_ms=at_ms,
        offsets_s=(ALMATY_S, ALMATY_S, 0),
        bound_ms=BOUND_MS,
        is_trusted=is_trusted,
    )


@given(
    ahead_ms=st.integers(-3_600_000, 3_600_000),
    zone_s=st.sampled_from([0, ALMATY_S]),
    at_ms=st.integers(AT_MS, AT_MS + 10**11),
)
def test_a_clock_is_off_by_what_it_is_off_in_the_zone_that_it_was_set_to(
    ahead_ms: int, zone_s: int, at_ms: int
) -> None:
    shown = shown_at(at_ms + ahead_ms, zone_s)
    assert deviation_ms(shown, at_ms, (ALMATY_S, 0)) == ahead_ms
    assert moment_ms(shown) == at_ms + ahead_ms + zone_s * 1000


@pytest.mark.parametrize("zone_s", [0, ALMATY_S])
@pytest.mark.parametrize("ahead_ms", [0, 59_000, -60_000, 60_050])
def test_a_clock_within_its_bound_is_right_in_either_zone(zone_s: int, ahead_ms: int) -> None:
    """The exchange's own length counts for it: nobody knows when in it the clock was looked at."""
    clock = look(None, AT_MS + ahead_ms, AT_MS, zone_s=zone_s)
    assert (clock.quality, clock.is_wrong) == (TimeQuality.SYNCHRONISED, False)
    assert clock.deviation_ms == ahead_ms


def test_a_clock_that_is_off_is_unknown_until_it_has_been_seen_to_go() -> None:
    first = look(None, AT_MS + 61_000, AT_MS)
    assert (first.quality, first.is_wrong) == (TimeQuality.UNKNOWN, True)
    second = look(first, AT_MS + 121_000, AT_MS + 60_000)
    assert (second.quality, second.is_wrong) == (TimeQuality.RELATIVE, True)
    assert "61 s ahead of the site's time" in words_of(second)
    third = look(second, AT_MS + 120_000, AT_MS + 120_000)
    assert third.quality is TimeQuality.SYNCHRONISED
    behind = look(third, AT_MS - 120_000, AT_MS + 180_000)
    assert "300 s behind the site's time" in words_of(behind)


@given(later_ms=st.integers(0, 10**9))
def test_a_clock_that_stands_is_told_once_it_has_had_time_to_go(later_ms: int) -> None:
    first = look(None, AT_MS, AT_MS)
    second = look(first, AT_MS, AT_MS + later_ms)
    stands = later_ms >= GOES_AFTER_MS
    assert second.is_wrong is stands
    assert ("has stood at" in words_of(second)) is stands
    assert (second.quality is TimeQuality.UNKNOWN) is stands


def test_it_stands_since_it_was_first_seen_there_however_often_it_is_looked_at() -> None:
    clock = look(None, AT_MS, AT_MS)
    for later_ms in range(10_000, 40_000, 10_000):
        clock = look(clock, AT_MS, AT_MS + later_ms)
    assert clock.is_wrong
    assert not clock.has_gone
    assert "for 30 s" in words_of(clock)
    assert look(clock, AT_MS + 50_000, AT_MS + 50_000).quality is TimeQuality.SYNCHRONISED


def test_where_our_own_clock_is_not_trusted_no_meter_is_blamed() -> None:
    clock = look(None, AT_MS + 10**9, AT_MS, is_trusted=False)
    assert (clock.quality, clock.is_wrong) == (TimeQuality.INFORMATIVE, False)


def test_a_clock_of_utc_is_compared_with_utc_alone() -> None:
    assert look(None, AT_MS, AT_MS, zone_s=0, is_utc=True).deviation_ms == 0
    assert look(None, AT_MS, AT_MS, zone_s=ALMATY_S, is_utc=True).deviation_ms == ALMATY_S * 1000


def test_a_clock_that_shows_no_time_is_told_and_may_be_set_later() -> None:
    nothing = showed_nothing(AT_MS)
    assert (nothing.quality, nothing.is_wrong) == (TimeQuality.UNKNOWN, True)
    assert "shows no time" in words_of(nothing)
    assert look(nothing, AT_MS + 5, AT_MS + 5).quality is TimeQuality.SYNCHRONISED
    assert not look(nothing, AT_MS + 5, AT_MS + 5).has_gone
