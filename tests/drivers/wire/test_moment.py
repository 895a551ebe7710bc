"""A clock in registers: what the vendors' papers lay out, and everything else is no time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError
from drivers.wire.moment import MomentFormat, NoTimeError, decode_moment
from drivers.wire.registers import WordOrder

WORD = st.integers(0, 0xFFFF)


def shown_as(*parts: int) -> datetime:
    """A moment without a zone, as a clock shows it."""
    year, month, day, *time = parts
    hour, minute, second, microsecond = [*time, 0, 0, 0, 0][:4]
    return datetime(year, month, day, hour, minute, second, microsecond, UTC).replace(tzinfo=None)


def datetime4(at: datetime, *, weekday: int = 0, flags: int = 0) -> list[int]:
    """By the table of the paper, with what it lets stand between the numbers."""
    return [
        at.year - 2000,
        at.month << 8 | weekday << 5 | at.day,
        flags << 15 | at.hour << 8 | flags << 7 | at.minute,
        at.second * 1000 + at.microsecond // 1000,
    ]


@given(
    at=st.datetimes(shown_as(2000, 1, 1), shown_as(2127, 12, 31)),
    weekday=st.integers(0, 7),
    flags=st.integers(0, 1),
)
def test_four_registers_show_a_moment_whatever_stands_between_its_numbers(
    at: datetime, weekday: int, flags: int
) -> None:
    shown = decode_moment(datetime4(at, weekday=weekday, flags=flags), MomentFormat.DATETIME4)
    assert at - timedelta(milliseconds=1) < shown <= at


def test_the_example_of_a_reader_in_the_field_is_understood() -> None:
    """2014-07-31 12:27:30.599 with a weekday, as SolarNetwork's tests of a PM3200 have it."""
    words = [14, 7 << 8 | 5 << 4 | 31, 12 << 8 | 27, 30599]
    shown = decode_moment(words, MomentFormat.DATETIME4)
    assert shown == shown_as(2014, 7, 31, 12, 27, 30, 599_000)


@given(at=st.datetimes(shown_as(2000, 1, 1), shown_as(2255, 12, 31)))
def test_six_bytes_show_a_moment_of_whole_seconds(at: datetime) -> None:
    octets = bytes([at.year - 2000, at.month, at.day, at.hour, at.minute, at.second])
    words = [int.from_bytes(octets[n : n + 2], "big") for n in (0, 2, 4)]
    assert decode_moment(words, MomentFormat.BYTES6) == at.replace(microsecond=0)


@given(seconds=st.integers(1, 0xFFFFFFFE))
def test_seconds_since_1970_are_of_utc_in_either_order(seconds: int) -> None:
    words = [seconds >> 16, seconds & 0xFFFF]
    shown = shown_as(1970, 1, 1) + timedelta(seconds=seconds)
    assert decode_moment(words, MomentFormat.UNIX) == shown
    assert decode_moment(words[::-1], MomentFormat.UNIX, WordOrder.LITTLE) == shown
    assert [one for one in MomentFormat if one.is_utc] == [MomentFormat.UNIX]


@pytest.mark.parametrize(
    ("words", "layout"),
    [
        ([0, 0, 0, 0], MomentFormat.DATETIME4),
        ([0xFFFF] * 4, MomentFormat.DATETIME4),
        ([2026, 11 << 8 | 22, 12 << 8, 0], MomentFormat.DATETIME4),
        ([26, 2 << 8 | 30, 12 << 8, 0], MomentFormat.DATETIME4),
        ([26, 11 << 8 | 22, 24 << 8, 0], MomentFormat.DATETIME4),
        ([26, 11 << 8 | 22, 12 << 8, 60_000], MomentFormat.DATETIME4),
        ([0, 0, 0], MomentFormat.BYTES6),
        ([0xFFFF] * 3, MomentFormat.BYTES6),
        ([0, 0], MomentFormat.UNIX),
        ([0xFFFF, 0xFFFF], MomentFormat.UNIX),
    ],
)
def test_a_clock_that_was_not_set_shows_no_time(words: list[int], layout: MomentFormat) -> None:
    with pytest.raises(NoTimeError, match="shows no time"):
        decode_moment(words, layout)


def test_registers_that_are_not_as_many_as_a_clock_has_are_no_answer() -> None:
    with pytest.raises(BadReplyError, match="3 registers for a clock of 4") as refused:
        decode_moment([26, 11 << 8 | 22, 12 << 8], MomentFormat.DATETIME4)
    assert not isinstance(refused.value, NoTimeError)


@given(words=st.lists(WORD, min_size=2, max_size=4), layout=st.sampled_from(MomentFormat))
def test_whatever_is_sent_is_a_moment_or_told_to_be_none(
    words: list[int], layout: MomentFormat
) -> None:
    try:
        shown = decode_moment(words, layout)
    except BadReplyError:
        return
    assert 1970 <= shown.year <= 2255
