from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.purchase_values import (
    Unreadable,
    hour_window,
    read_date,
    read_duration,
    read_energy,
    read_number,
    read_price,
    read_time,
)

ALMATY = ZoneInfo("Asia/Almaty")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1000


@pytest.mark.parametrize(
    ("text", "energy_wh"),
    [
        ("1 MWh", 1_000_000),
        ("0.9 MWh", 900_000),
        ("0,9 MWh", 900_000),
        ("900 kWh", 900_000),
        ("900kWh", 900_000),
        ("1 Wh", 1),
        ("0.000001 MWh", 1),
        ("1 000 000 Wh", 1_000_000),
        ("1\u00a0000\u00a0000 Wh", 1_000_000),
        ("1\u202f000,5 kwh", 1_000_500),
        ("1,000 MWh", 1_000_000),  # a decimal comma, as in the market's own tables
        ("12 MW·h", 12_000_000),
        ("12 MW*h", 12_000_000),
        ("12 MW h", 12_000_000),
        ("0,9 МВт·ч", 900_000),
        ("900 кВт·ч", 900_000),
        ("900 кВт*ч", 900_000),
        ("1 тыс. кВт·ч", 1_000_000),
        ("1,000 тыс.кВт*ч", 1_000_000),
        ("0 kWh", 0),
        ("-5 kWh", -5000),
        ("0.1 GWh", 100_000_000),
    ],
)
def test_energy_is_read_exactly_in_every_spelling_of_its_unit(text: str, energy_wh: int) -> None:
    assert read_energy(text) == energy_wh


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1 MW", "power, not energy"),
        ("900 kW", "power, not energy"),
        ("1 МВт", "power, not energy"),
        ("900 кВт", "power, not energy"),
        ("900", "no unit"),
        ("900.5", "no unit"),
        ("kWh", "no number"),
        ("", "no number"),
        ("1.000.000 Wh", "unit"),
        ("1,000,000 Wh", "unit"),
        ("1'000 Wh", "unit"),
        ("10 000 00 Wh", "unit"),
        ("1e3 kWh", "unit"),
        ("900 kWh/h", "unit"),
        ("900 kVAh", "unit"),
        ("900 kWh 100", "unit"),
        ("900 J", "unit"),
        ("0.0005 kWh", "whole number of Wh"),
        ("0.5 Wh", "whole number of Wh"),
        ("0.0000001 MWh", "whole number of Wh"),
        ("99999999999 MWh", "more than any site"),
        ("9" * 30 + " kWh", "digits"),
        ("٣ kWh", "no number"),
        ("∞ kWh", "no number"),
    ],
)
def test_what_is_not_surely_energy_is_refused_with_the_reason(text: str, word: str) -> None:
    with pytest.raises(Unreadable, match=word):
        read_energy(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("24,50", "24.5"),
        ("24.5", "24.5"),
        (24, "24"),
        ("0", "0"),
        (Decimal("1E+2"), "100"),
        ("100", "100"),
        ("0.0001", "0.0001"),
        ("1 200,10", "1200.1"),
    ],
)
def test_one_price_has_one_spelling(value: str | int | Decimal, text: str) -> None:
    assert read_price(value) == text


@pytest.mark.parametrize(
    "value", ["-1", "0.00001", "1000000", "", "x", Decimal("NaN"), Decimal("1E+99999999"), "1.2.3"]
)
def test_a_price_that_no_bill_shows_is_refused(value: str | Decimal) -> None:
    with pytest.raises(Unreadable):
        read_price(value)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T14:00+05:00",
        "2026-01-31T14:00",
        "2026-01-31 14:00:00",
        "2026-01-31T09:00Z",
        "31.01.2026 14:00",
        " 31.1.2026 14:00 ",
        "31.01.2026T14:00+05:00",
    ],
)
def test_a_time_without_an_offset_is_the_sites_own(text: str) -> None:
    assert read_time(text, ALMATY) == at("2026-01-31T09:00:00+00:00")


def test_a_toml_time_is_read_with_and_without_its_offset() -> None:
    local = datetime(2026, 1, 31, 14)  # noqa: DTZ001 a TOML time without an offset
    assert read_time(local, ALMATY) == at("2026-01-31T09:00:00+00:00")
    assert read_time(local.replace(tzinfo=UTC), ALMATY) == at("2026-01-31T14:00:00+00:00")


def test_the_hour_that_kazakhstan_had_twice_needs_an_offset() -> None:
    with pytest.raises(Unreadable, match="twice"):
        read_time("2024-02-29T23:30", ALMATY)
    assert read_time("2024-02-29T23:30+06:00", ALMATY) == at("2024-02-29T17:30:00+00:00")


@pytest.mark.parametrize("text", ["", "tomorrow", "31.13.2026", "2026-02-30T00:00", "1999-01-01"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_time(text, ALMATY)


def test_market_hours_count_from_one_and_the_total_is_no_hour() -> None:
    day = date(2026, 1, 31)
    assert hour_window(day, 1, ALMATY) == (at("2026-01-30T19:00+00:00"), at("2026-01-30T20:00Z"))
    assert hour_window(day, 24, ALMATY)[1] == at("2026-01-31T19:00+00:00")
    with pytest.raises(Unreadable, match="total"):
        hour_window(day, 0, ALMATY)
    with pytest.raises(Unreadable):
        hour_window(day, 25, ALMATY)


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("1h", 3_600_000), ("30min", 1_800_000), ("1h30m", 5_400_000), ("45 s", 45_000)],
)
def test_a_duration_is_read(text: str, duration_ms: int) -> None:
    assert read_duration(text) == duration_ms


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "-1h", "1d", "1.5h", "99999h"])
def test_a_duration_without_a_unit_or_a_length_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_duration(text)


def test_a_day_is_read_in_both_orders_and_a_time_is_no_day() -> None:
    assert read_date("31.01.2026") == read_date("2026-01-31") == date(2026, 1, 31)
    with pytest.raises(Unreadable):
        read_date(datetime(2026, 1, 31, tzinfo=UTC))


@given(energy_wh=st.integers(-(10**14), 10**14), places=st.sampled_from([0, 3, 6]))
def test_every_whole_watt_hour_survives_being_written_in_a_larger_unit(
    energy_wh: int, places: int
) -> None:
    unit = {0: "Wh", 3: "kWh", 6: "MWh"}[places]
    written = f"{Decimal(energy_wh).scaleb(-places):f} {unit}"
    assert read_energy(written) == energy_wh
    assert read_energy(written.replace(".", ",")) == energy_wh


@given(text=st.text(max_size=40))
def test_any_text_is_a_value_or_is_refused_and_nothing_else(text: str) -> None:
    for read in (read_energy, read_number, read_price, read_duration, read_date):
        try:
            read(text)
        except Unreadable as refusal:
            assert str(refusal)  # noqa: PT017 the refusal is one of two good outcomes
    try:
        read_time(text, ALMATY)
    except Unreadable as refusal:
        assert str(refusal)  # noqa: PT017 the refusal is one of two good outcomes
