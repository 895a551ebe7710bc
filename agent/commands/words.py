"""Numbers and times as people read them. None is a dash, never a zero."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

ABSENT = "–"


def local_time(at_ms: int, zone: str) -> str:
    """An instant as the site's clocks show it."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def kw(power_w: float | None) -> str:
    return "unknown power" if power_w is None else f"{power_w / 1000:.1f} kW"


def kwh(energy_wh: int | None) -> str:
    """Three decimals, exact: a whole number of Wh has no more."""
    if energy_wh is None:
        return ABSENT
    sign = "-" if energy_wh < 0 else ""
    return f"{sign}{abs(energy_wh) // 1000}.{abs(energy_wh) % 1000:03}"


def whole(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0f}"


def scaled(value: float | None, unit: float) -> str:
    """``value`` in a larger unit, with one decimal."""
    return ABSENT if value is None else f"{value / unit:.1f}"
