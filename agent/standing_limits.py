"""The limits of the configuration in UTC: the connection, the cap and the hourly profile.

The core knows no time zone. The profile is laid out for the days around now and anew every hour;
what is not laid out is bounded by the safe value, so that forgetting to do it could only lower.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from agent.core.limits import Limit, Span
from agent.settings_limits import LimitsSettings
from agent.settings_points import MeterPointSettings

QUARTER_MS = 900_000  # every offset of a time zone is a multiple of it
BACK_MS = 3_600_000
AHEAD_MS = 49 * 3_600_000
ANEW_MS = 3_600_000


@dataclass(slots=True)
class StandingLimits:
    """What bounds a meter point whatever anybody says. ``at`` is asked once per tick."""

    point: MeterPointSettings
    zone: ZoneInfo
    _laid_out: tuple[Limit, ...] = ()
    _at_ms: int | None = None

    def at(self, now_ms: int) -> tuple[Limit, ...]:
        """The limits, laid out for the time around an instant (UTC ms)."""
        if self._at_ms is None or not 0 <= now_ms - self._at_ms < ANEW_MS:
            self._laid_out, self._at_ms = tuple(_all(self.point, self.zone, now_ms)), now_ms
        return self._laid_out


def _all(point: MeterPointSettings, zone: ZoneInfo, now_ms: int) -> Iterator[Limit]:
    rated_w = point.rated_power_w
    yield Limit(
        kind="connection",
        source="rated_power_w",
        power_w=rated_w,
        safe_w=rated_w,
        expires_ms=None,
        words=f"the connection is rated for {rated_w / 1000:.0f} kW",
    )
    limits = point.limits
    if limits is None:
        return
    if limits.cap_w is not None:
        yield Limit(
            kind="cap",
            source="limits.cap_w",
            power_w=limits.cap_w,
            safe_w=limits.safe_w,
            expires_ms=None if limits.cap_until is None else _end_ms(limits.cap_until, zone),
            words=f"the configured cap is {limits.cap_w / 1000:.1f} kW",
        )
    if limits.hours_w is not None or limits.days:
        yield _profile(limits, zone, now_ms)


def _profile(limits: LimitsSettings, zone: ZoneInfo, now_ms: int) -> Limit:
    """Hour by hour as the clocks on the site show it; a dated day comes before the daily hours."""
    days = {day.date: day.hours_w for day in limits.days}
    first_ms = (now_ms - BACK_MS) // QUARTER_MS * QUARTER_MS
    quarters = range(first_ms, now_ms + AHEAD_MS, QUARTER_MS)
    powers = [(at_ms, _power_w(limits, days, _local(at_ms, zone))) for at_ms in quarters]
    spans = []
    for power_w, group in groupby(powers, key=lambda one: one[1]):
        instants = [at_ms for at_ms, _ in group]
        if power_w is not None:
            until_ms = instants[-1] + QUARTER_MS
            spans.append(Span(from_ms=instants[0], until_ms=until_ms, power_w=power_w))
    limit = Limit(
        kind="profile",
        source="limits.hours_w" if limits.hours_w is not None else "limits.days",
        power_w=limits.safe_w,
        safe_w=limits.safe_w,
        expires_ms=None,
        words="the hourly profile of the site rules",
        spans=tuple(spans),
    )
    if limits.hours_w is not None and limits.hours_until is None:
        return limit
    last = max([*days, *([limits.hours_until] if limits.hours_until is not None else [])])
    return replace(limit, expires_ms=_end_ms(last, zone))


def _power_w(limits: LimitsSettings, days: dict[date, tuple[int, ...]], at: datetime) -> int | None:
    """What the profile says about a local instant; None where it says nothing."""
    if at.date() in days:
        return days[at.date()][at.hour]
    if limits.hours_w is None:
        return None
    is_known = limits.hours_until is None or at.date() <= limits.hours_until
    return limits.hours_w[at.hour] if is_known else None


def _local(at_ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)


def _end_ms(last: date, zone: ZoneInfo) -> int:
    """The end of a local day in UTC ms."""
    after = last + timedelta(days=1)
    midnight = datetime(after.year, after.month, after.day, tzinfo=zone)
    return round(midnight.timestamp() * 1000)
