"""``[meter_points.limits]``: what is refused, and what the daemon makes of it hour by hour."""

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.limits import Limit, allowed_w
from agent.settings import Settings, parse_settings
from agent.settings_faults import SettingsError
from agent.standing_limits import StandingLimits

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
SITE = Path("/etc/kwota/site.toml")
HOURS = [900_000 - 10_000 * hour for hour in range(24)]
RATED_W = 1_000_000


def settings(limits: dict[str, Any], zone: str = "Asia/Almaty") -> Settings:
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    data["meter_points"][0]["limits"] = limits
    data["site"]["zone"] = zone
    return parse_settings(data, SITE)


def standing_of(settings: Settings) -> StandingLimits:
    return StandingLimits(settings.meter_points[0], ZoneInfo(settings.site.zone))


def faults(limits: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        settings(limits)
    return {
        fault.key.removeprefix("meter_points[0]."): f"{fault.reason}; {fault.remedy}"
        for fault in caught.value.faults
    }


def limits_at(limits: dict[str, Any], at: datetime, **more: Any) -> dict[str, Limit]:
    laid_out = standing_of(settings(limits, **more)).at(round(at.timestamp() * 1000))
    return {limit.kind: limit for limit in laid_out}


def almaty(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=ZoneInfo("Asia/Almaty"))


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def test_the_example_shows_a_table_that_is_accepted_when_it_is_used() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("# [meter_points.limits]"))
    last = next(at for at, line in enumerate(lines) if line.startswith("# safe_w"))
    shown = "\n".join(line.removeprefix("# ") for line in lines[first : last + 1])
    limits = settings(tomllib.loads(shown)["meter_points"]["limits"]).meter_points[0].limits
    assert limits is not None
    assert limits.hours_w is not None
    assert (limits.cap_w, len(limits.hours_w), limits.hours_w[18]) == (800_000, 24, 300_000)


def test_every_fault_of_the_limits_is_reported_at_once() -> None:
    found = faults(
        {
            "cap_w": 2_000_000,
            "cap": 5,
            "hours_until": "soon",
            "hours_w": [1.5, *HOURS[1:]],
            "days": [{"date": date(2026, 1, 1), "hours_w": [True], "hour": 1}, 7],
        }
    )
    assert set(found) == {
        "limits.cap",
        "limits.hours_until",
        "limits.hours_w[0]",
        "limits.days[0].hours_w[0]",
        "limits.days[0].hour",
        "limits.days[1]",
    }


def test_what_the_values_say_about_each_other_is_checked() -> None:
    day = {"date": date(2026, 1, 1), "hours_w": HOURS}
    found = faults(
        {
            "cap_w": 1_000_001,
            "hours_until": date(2026, 12, 31),
            "days": [day, {**day, "hours_w": [5, 6]}, {**day, "hours_w": [1_000_001, *HOURS[1:]]}],
            "safe_w": 700_000,
        }
    )
    assert set(found) == {
        "limits.cap_w",
        "limits.hours_w",
        "limits.days[1].hours_w",
        "limits.days[1].date",
        "limits.days[2].hours_w[0]",
        "limits.days[2].date",
        "limits.safe_w",
    }
    assert "24 hours" in found["limits.days[1].hours_w"]
    assert "more than the point's rated_power_w" in found["limits.cap_w"]
    assert "would allow more" in faults({"cap_w": 10, "safe_w": 11})["limits.safe_w"]


def test_without_limits_the_connection_alone_bounds() -> None:
    plain = parse_settings(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")), SITE)
    (only,) = standing_of(plain).at(0)
    assert (only.kind, only.power_w, only.safe_w) == ("connection", RATED_W, RATED_W)
    assert set(limits_at({}, almaty(2, 12))) == {"connection"}


def test_a_cap_rules_until_the_end_of_its_last_local_day_and_its_safe_value_after() -> None:
    cap = limits_at({"cap_w": 800, "cap_until": date(2026, 3, 2), "safe_w": 30}, almaty(1, 0))[
        "cap"
    ]
    assert cap.power_at(ms(almaty(2, 23, 59))) == 800
    assert cap.power_at(ms(almaty(3, 0))) == 30
    assert limits_at({"cap_w": 800}, almaty(1, 0))["cap"].expires_ms is None


@given(hour=st.integers(0, 23), minute=st.integers(0, 59), day=st.integers(10, 11))
def test_the_hours_are_those_of_the_clocks_on_the_site(hour: int, minute: int, day: int) -> None:
    profile = limits_at({"hours_w": HOURS}, almaty(10, 5, 17))["profile"]
    at = almaty(day, hour, minute)
    if ms(at) >= ms(almaty(10, 4, 30)):
        assert profile.power_at(ms(at)) == HOURS[hour]


def test_a_dated_day_comes_before_the_daily_hours_and_outlives_them() -> None:
    special = [5_000 + hour for hour in range(24)]
    limits = {
        "hours_w": HOURS,
        "hours_until": date(2026, 3, 10),
        "days": [{"date": date(2026, 3, 12), "hours_w": special}],
        "safe_w": 100,
    }
    profile = limits_at(limits, almaty(10, 12))["profile"]
    assert profile.power_at(ms(almaty(10, 23, 59))) == HOURS[23]
    assert profile.power_at(ms(almaty(11, 12))) == 100  # nothing is known about this day
    assert profile.power_at(ms(almaty(12, 7))) == special[7]
    assert profile.power_at(ms(almaty(13, 0))) == 100
    assert profile.expires_ms == ms(almaty(13, 0))


def test_the_profile_is_laid_out_anew_as_time_goes_on_and_lowers_where_it_is_not() -> None:
    standing = standing_of(settings({"hours_w": HOURS}))
    first = standing.at(ms(almaty(10, 12)))
    assert standing.at(ms(almaty(10, 12, 59))) is first
    assert allowed_w(first, ms(almaty(14, 12))) == 0  # beyond what is laid out: nothing
    later = standing.at(ms(almaty(14, 12)))
    assert allowed_w(later, ms(almaty(14, 12))) == HOURS[12]
    back = standing.at(ms(almaty(1, 12)))
    assert allowed_w(back, ms(almaty(1, 12))) == HOURS[12]


def test_a_day_whose_clocks_are_set_back_uses_the_doubled_hour_twice() -> None:
    """Kyiv leaves summer time on 2026-10-25: 03:00 to 04:00 comes twice, 25 hours in all."""
    at = datetime(2026, 10, 24, 22, tzinfo=UTC)
    profile = limits_at({"hours_w": HOURS}, at, zone="Europe/Kyiv")["profile"]
    midnight_ms = ms(datetime(2026, 10, 24, 21, tzinfo=UTC))
    shown = [profile.power_at(midnight_ms + hour * 3_600_000) for hour in range(1, 25)]
    assert shown == [HOURS[hour] for hour in (1, 2, 3, 3, *range(4, 24))]
