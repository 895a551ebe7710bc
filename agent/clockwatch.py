"""The meters' own clocks beside the site's: asked rarely, told of, and never gone by.

What a clock is worth stands with each reading of its meter, in a record when that changes, and in
an alarm where it is off, stands or shows no time. Books and decisions do not know of it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from agent.alarms import Condition
from agent.core.meterclock import MeterClock, looked, showed_nothing, words_of
from agent.posts import MeterPost
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.settings import Settings
from agent.siteclock import SiteClock
from drivers.device import ShowsTime
from drivers.errors import DriverError
from drivers.readings import TimeQuality
from drivers.wire.moment import NoTimeError

CLOCK_EVERY_S = 600.0
CLOCK_AGAIN_S = 60.0  # where it is not known yet whether a clock goes
REFUSED_AGAIN_S = 3600.0
ROUND_S = 5.0
LOOK_LIMIT_S = 30.0
REMEDY = (
    "set the meter's clock, or find the gateway that answers in its place; nothing is booked by "
    "it, but the meter's own tariffs and load profile are"
)

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Look:
    """What is known of the clock of the meter with this serial, and when it is asked next."""

    serial: str
    due_s: float = 0.0
    clock: MeterClock | None = None


class ClockWatch:
    """``run`` is started by the app, ``conditions`` are read by the tick.

    ``bounds_s``: by meter, how far its clock may be off. A meter without a clock costs nothing.
    """

    def __init__(
        self,
        *,
        clock: SiteClock,
        posts: Sequence[MeterPost],
        bounds_s: Mapping[str, float],
        zone: ZoneInfo,
        keep: Callable[[list[NewRecord]], None],
        every_s: float = CLOCK_EVERY_S,
        again_s: float = CLOCK_AGAIN_S,
    ) -> None:
        self._clock = clock
        self._posts = posts
        self._bounds_s = bounds_s
        self._zone = zone
        self._keep = keep
        self._every_s = every_s
        self._again_s = again_s
        self._looks: dict[str, _Look] = {}

    async def run(self) -> None:
        """Look at every clock for ever, one meter after the other."""
        while True:
            for post in self._posts:
                await self.look(post)
            await asyncio.sleep(ROUND_S)

    async def look(self, post: MeterPost) -> None:
        """Ask a meter that answers for its clock, if it is time to."""
        identity, device = post.identity, post.device
        if identity is None or post.missed_polls or not isinstance(device, ShowsTime):
            return
        known = self._looks.get(post.meter_id)
        if known is None or known.serial != identity.serial:
            known = self._looks[post.meter_id] = _Look(serial=identity.serial)
        if self._clock.now_s() < known.due_s:
            return
        known.due_s = self._clock.now_s() + self._every_s
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                reading = await device.read_clock()
        except NoTimeError:
            self._note(post, known, showed_nothing(self._clock.now_ms()))
            return
        except (DriverError, TimeoutError) as error:
            # Some of a family have no clock; and one that keeps the bus waiting is not asked soon.
            _log.info("meter=%s event=no_clock reason=%r", post.meter_id, str(error))
            known.due_s = self._clock.now_s() + REFUSED_AGAIN_S
            return
        if reading is None:
            known.due_s = float("inf")
            return
        middle_s = (reading.requested_at_s + reading.replied_at_s) / 2
        at_ms = self._clock.now_ms() - round((self._clock.now_s() - middle_s) * 1000)
        found = looked(
            known.clock,
            reading,
            at_ms=at_ms,
            offsets_s=offsets_s(self._zone, at_ms),
            bound_ms=round(self._bounds_s[post.meter_id] * 1000),
            is_trusted=self._clock.is_trusted,
        )
        self._note(post, known, found)

    def _note(self, post: MeterPost, known: _Look, found: MeterClock) -> None:
        was, known.clock = known.clock, found
        if found.quality is not TimeQuality.SYNCHRONISED:
            known.due_s = self._clock.now_s() + self._again_s
        is_good = found.quality is TimeQuality.SYNCHRONISED
        post.clock = None if is_good else found.quality
        if was is None or was.quality is not found.quality:
            log = _log.warning if found.is_wrong else _log.info
            log("meter=%s event=clock quality=%s", post.meter_id, found.quality.value)
            self._keep([clock_record(post.meter_id, found)])

    def conditions(self) -> Iterator[Condition]:
        """Which clocks somebody should look at."""
        for meter_id, known in self._looks.items():
            if known.clock is not None and known.clock.is_wrong:
                yield Condition(
                    code="METER_CLOCK",
                    severity="warning",
                    source=meter_id,
                    words=words_of(known.clock),
                    remedy=REMEDY,
                )


def open_clock_watch(
    settings: Settings, posts: Sequence[MeterPost], clock: SiteClock, recorder: Recorder
) -> ClockWatch:
    """The watch over the clocks of all meters of a site."""
    return ClockWatch(
        clock=clock,
        posts=posts,
        bounds_s={meter.id: meter.clock_bound_s for meter in settings.meters},
        zone=ZoneInfo(settings.site.zone),
        keep=recorder.keep,
    )


def clock_record(meter_id: str, clock: MeterClock) -> NewRecord:
    """``clock``: what a meter's own clock is worth, when that is found or has changed."""
    data = {
        "what": "meter",
        "quality": clock.quality.value,
        "shows_ms": clock.shows_ms,
        "deviation_ms": clock.deviation_ms,
    }
    return NewRecord(kind="clock", source=meter_id, data=data)


def offsets_s(zone: ZoneInfo, at_ms: int) -> tuple[int, ...]:
    """To which zones a clock here may have been set: the site's, without summer time, and UTC."""
    local = datetime.fromtimestamp(at_ms / 1000, zone)
    offset, summer = local.utcoffset() or timedelta(), local.dst() or timedelta()
    return round(offset.total_seconds()), round((offset - summer).total_seconds()), 0
