"""Readings of the commercial meter from a file: good rows kept, bad ones named by their line."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from agent.commercial import CommercialError, read_commercial, stretch
from agent.core.calibration import CommercialReading
from agent.purchase_values import Unreadable

ALMATY = ZoneInfo("Asia/Almaty")  # five hours ahead of UTC
FIRST_MS = round(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000


def test_an_hour_is_read_with_the_certainty_of_its_digits() -> None:
    rows, bad = read_commercial(
        b"from;energy_kwh\n01.03.2026 14:00;1 234,5\n2026-03-01T15:00+05:00;1234\n", ALMATY
    )
    assert not bad
    assert [row.line for row in rows] == [2, 3]
    assert [row.reading for row in rows] == [
        CommercialReading(start_ms=FIRST_MS, end_ms=FIRST_MS + HOUR_MS, energy_wh=1_234_500,
                          rounding_wh=50),
        CommercialReading(start_ms=FIRST_MS + HOUR_MS, end_ms=FIRST_MS + 2 * HOUR_MS,
                          energy_wh=1_234_000, rounding_wh=500),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "date,hour,energy_mwh\n2026-03-01,15,1.234\n",
        "From\tTo\tEnergy_kWh\n2026-03-01 14:00\t2026-03-01 15:00\t1234\n",
        "\ufefffrom,energy_wh\n\n2026-03-01 14:00,1234000\n",
    ],
)
def test_a_table_may_be_written_in_several_ways(text: str) -> None:
    rows, bad = read_commercial(text.encode(), ALMATY)
    assert not bad
    (row,) = rows
    assert (row.reading.start_ms, row.reading.energy_wh) == (FIRST_MS, 1_234_000)
    assert row.reading.end_ms - row.reading.start_ms == HOUR_MS


def test_bad_rows_are_named_by_their_line_and_the_others_kept() -> None:
    text = (
        "from;energy_kwh\n"
        "2026-03-01 14:00;10\n"
        "yesterday;10\n"
        "\n"
        "2026-03-01 15:00;ten\n"
        "2026-03-01 16:00;-1\n"
        "2026-03-01 17:00\n"
        "2026-03-01 18:00;1;2\n"
        ";7\n"
        "2026-03-01 19:00;20\n"
    )
    rows, bad = read_commercial(text.encode(), ALMATY)
    assert [row.line for row in rows] == [2, 10]
    assert [one.line for one in bad] == [3, 5, 6, 7, 8, 9]
    words = ["time", "not a number", "below zero", "energy is missing", "more cells", "when"]
    assert all(word in one.reason for word, one in zip(words, bad, strict=True))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "not UTF-8"),
        (b"from;energy_kwh\n", "no rows"),
        (b"from;energy_kwh;price\n1;2;3\n", "price"),
        (b"from;from;energy_kwh\n1;2;3\n", "twice"),
        (b"energy_kwh;hour\n1;2\n", "no column says when"),
        (b"from;to\n1;2\n", "column of energy"),
        (b"from;energy_kwh;energy_mwh\n1;2;3\n", "column of energy"),
        (b"from;energy_kwh\n" + b"1;1\n" * 1001, "more than 1000 rows"),
        (b"x" * (1024 * 1024 + 1), "larger than 1 MiB"),
        (b"from;energy_kwh\n" + b"1" * 200_000 + b";1\n", "not CSV"),
    ],
)
def test_a_text_that_is_no_table_is_refused_as_a_whole(content: bytes, words: str) -> None:
    with pytest.raises(CommercialError, match=words):
        read_commercial(content, ALMATY)


def test_a_stretch_is_read_as_it_is_typed() -> None:
    one = stretch("2026-03-01 14:00", "2026-04-01 14:00", "744000.12", ALMATY)
    assert (one.start_ms, one.energy_wh, one.rounding_wh) == (FIRST_MS, 744_000_120, 5)
    with pytest.raises(Unreadable):
        stretch("2026-03-01 14:00", "2026-04-01 14:00", "many", ALMATY)
