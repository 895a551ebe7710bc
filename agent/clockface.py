"""A meter's clock beside this computer's, for whoever asks one meter by hand.

The daemon has its own watch over the clocks (agent.clockwatch), by the site's time.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from agent.clockwatch import offsets_s
from agent.core.meterclock import deviation_ms
from drivers.device import ShowsTime
from drivers.errors import BadReplyError, DriverError
from drivers.link.cosem import AbsentError
from drivers.link.refusals import RegisterRefusedError
from drivers.meters.billing import BillingMeter

STRAYS_S = 60.0


async def clock_of(meter: object, zone: str | None = None) -> Mapping[str, Any] | None:
    """What it shows and by how much that is ahead; None where this meter has no clock."""
    if not isinstance(meter, ShowsTime):
        return None
    try:
        reading = await meter.read_clock()
    except RegisterRefusedError as error:
        return None if error.is_absence else {"fault": str(error)}
    except DriverError as error:  # also NoTimeError: it has one, which nobody has set
        return {"fault": str(error)}
    if reading is None:
        return None
    middle_s = (reading.requested_at_s + reading.replied_at_s) / 2
    since_s = time.clock_gettime(time.CLOCK_BOOTTIME) - middle_s
    at_ms = time.time_ns() // 1_000_000 - round(since_s * 1000)
    zones_s = (0,) if reading.is_utc else _zones_s(at_ms, zone)
    return _shown(reading.shown, deviation_ms(reading.shown, at_ms, zones_s))


async def billing_clock_of(meter: BillingMeter, zone: str | None = None) -> Mapping[str, Any]:
    """The same of a billing meter, which some have not. ``zone`` is the site's, if it is known."""
    try:
        clock = await meter.read_clock()
    except (AbsentError, BadReplyError) as error:
        return {"fault": str(error)}
    at_ms = (clock.requested_at_ms + clock.replied_at_ms) // 2
    ahead_ms = deviation_ms(clock.shown, at_ms, _zones_s(at_ms, zone))
    return _shown(clock.shown, ahead_ms)


def straying(clock: Mapping[str, Any], bound_s: float = STRAYS_S) -> str:
    """How a clock that shows a time is off, in words; empty where it is within its bound."""
    ahead_s = clock.get("ahead_s", 0.0)
    if abs(ahead_s) <= bound_s:
        return ""
    way = "ahead of" if ahead_s > 0 else "behind"
    return f"clock shows {clock['shows']}, {abs(ahead_s):.0f} s {way} this computer"


def _zones_s(at_ms: int, zone: str | None) -> Sequence[int]:
    """To which zones a clock may have been set: the site's or else this computer's, and UTC."""
    if zone is not None:
        return offsets_s(ZoneInfo(zone), at_ms)
    offset = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().utcoffset() or timedelta()
    return round(offset.total_seconds()), 0


def _shown(shown: datetime, ahead_ms: int) -> Mapping[str, Any]:
    return {"shows": str(shown.replace(microsecond=0)), "ahead_s": round(ahead_ms / 1000, 1)}
