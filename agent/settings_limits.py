"""``[meter_points.limits]``: a point's cap and hourly profile, and what rules when they have ended.

Powers are W, hours and days are those of the site's zone; ``agent.standing_limits`` turns them into
limits in UTC. What no key covers any more is bounded by ``safe_w``: silence is never permission.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from pydantic import ConfigDict, Field

from agent.settings_faults import FaultList, joined
from agent.settings_fields import PowerW

HOURS_PER_DAY = 24
DAY_COUNT_MAX = 800

Day = Annotated[date, Field(strict=True)]
HoursW = Annotated[tuple[PowerW, ...], Field(max_length=HOURS_PER_DAY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySettings:
    """One dated day: 24 powers, the first for the hour from 00:00 to 01:00."""

    date: Day
    hours_w: HoursW
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """``cap_until`` and ``hours_until`` are the last days for which cap and hours are known."""

    cap_w: PowerW | None = None
    cap_until: Day | None = None
    hours_w: HoursW | None = None
    hours_until: Day | None = None
    days: Annotated[tuple[DaySettings, ...], Field(max_length=DAY_COUNT_MAX)] = ()
    safe_w: PowerW = 0
    __pydantic_config__ = ConfigDict(extra="forbid")


def check_limits(found: FaultList, limits: LimitsSettings, rated_w: int, where: str) -> None:
    """What the values say about each other and about the connection; ``where`` is their table."""
    for key, needs in (("cap_until", "cap_w"), ("hours_until", "hours_w")):
        if getattr(limits, key) is not None and getattr(limits, needs) is None:
            reason = f"is missing beside {joined(where, key)}"
            found.add(joined(where, needs), reason, "give both or neither")
    rows = [(joined(where, "days", at), day.hours_w) for at, day in enumerate(limits.days)]
    keys = [(joined(key, "hours_w"), hours_w) for key, hours_w in rows]
    if limits.hours_w is not None:
        keys.append((joined(where, "hours_w"), limits.hours_w))
    for key, hours_w in keys:
        if _check_hours(found, key, hours_w, rated_w) and limits.safe_w > min(hours_w):
            _add_safe(found, where, key)
    if limits.cap_w is not None:
        key = joined(where, "cap_w")
        _check_power(found, key, limits.cap_w, rated_w)
        if limits.safe_w > limits.cap_w:
            _add_safe(found, where, key)
    seen: dict[date, str] = {}
    for (key, _), day in zip(rows, limits.days, strict=True):
        first = seen.setdefault(day.date, key)
        if first != key:
            found.add(f"{key}.date", f"is {day.date} again, as in {first}", "remove one of the two")


def _check_hours(found: FaultList, key: str, hours_w: tuple[int, ...], rated_w: int) -> bool:
    """Whether they are the hours of a day; their powers are checked then."""
    if len(hours_w) != HOURS_PER_DAY:
        remedy = "write 24 powers in W, the first for 00:00 to 01:00"
        found.add(key, f"has {len(hours_w)} values, and a day has 24 hours", remedy)
        return False
    for at, power_w in enumerate(hours_w):
        _check_power(found, joined(key, at), power_w, rated_w)
    return True


def _check_power(found: FaultList, key: str, power_w: int, rated_w: int) -> None:
    if power_w > rated_w:
        remedy = "write W, at most what the connection carries"
        found.add(key, f"is {power_w}, more than the point's rated_power_w", remedy)


def _add_safe(found: FaultList, where: str, key: str) -> None:
    reason = f"is more than the least of {key}: a limit that ran out would allow more than before"
    found.add(joined(where, "safe_w"), reason, "lower it, or leave it out for 0")
