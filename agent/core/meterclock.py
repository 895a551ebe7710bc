"""What a meter's own clock is worth beside the site's time.

Whatever it shows, nothing is booked, decided or stamped by it: all times in readings and records
are the site's. But a meter keeps tariffs and load profiles by its clock, and a clock that stands
while registers go on is the cheapest sign of a gateway that answers out of its memory.

Nobody says to which zone a meter was set. It is compared with each that the site knows (its own
time, its own without summer time, UTC), and the nearest is meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from drivers.readings import ClockReading, TimeQuality

# Two looks tell whether a clock goes, once there is so much time between them.
GOES_AFTER_MS = 30_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - shown times have no zone; this is their zero


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterClock:
    """What is known of a meter's clock after the last look at it.

    ``shows_ms`` is what it showed, as if that were of UTC, at ``at_ms`` of the site's time, and
    since when it has shown just that; ``deviation_ms`` is how far it is ahead. None, where it shows
    no time. ``has_gone``: two looks have differed.
    """

    quality: TimeQuality
    at_ms: int
    shows_ms: int | None = None
    deviation_ms: int | None = None
    has_gone: bool = False
    stands_since_ms: int | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether somebody should look at it. One that merely cannot be judged is not wrong."""
        return self.quality in {TimeQuality.RELATIVE, TimeQuality.UNKNOWN}


def deviation_ms(shown: datetime, at_ms: int, offsets_s: Sequence[int]) -> int:
    """How far a clock is ahead of the site's time, in the zone that fits best.

    ``at_ms``: the site's UTC in the middle of the exchange. ``offsets_s``: seconds east of UTC to
    which the clock may have been set.
    """
    ahead_ms = moment_ms(shown) - at_ms
    return min((ahead_ms - zone_s * 1000 for zone_s in offsets_s), key=abs)


def moment_ms(shown: datetime) -> int:
    """Milliseconds since 1970 of a moment without zone, as if it were of UTC."""
    return (shown - _EPOCH) // timedelta(milliseconds=1)


def looked(
    known: MeterClock | None,
    reading: ClockReading,
    *,
    at_ms: int,
    offsets_s: Sequence[int],
    bound_ms: int,
    is_trusted: bool,
) -> MeterClock:
    """What is known after one more look; ``is_trusted`` is the site's own clock."""
    shows_ms = moment_ms(reading.shown)
    off_ms = deviation_ms(reading.shown, at_ms, (0,) if reading.is_utc else offsets_s)
    has_gone, since_ms = False, at_ms
    if known is not None and known.shows_ms is not None and known.stands_since_ms is not None:
        # Any other showing is that of a clock that goes, be it backward: somebody may have set it.
        is_same = known.shows_ms == shows_ms
        has_gone = known.has_gone or not is_same
        since_ms = known.stands_since_ms if is_same else at_ms
    stands = at_ms - since_ms >= GOES_AFTER_MS
    unsure_ms = round((reading.replied_at_s - reading.requested_at_s) * 500)
    if stands:
        quality, has_gone = TimeQuality.UNKNOWN, False
    elif not is_trusted:
        quality = TimeQuality.INFORMATIVE
    elif abs(off_ms) <= bound_ms + unsure_ms:
        quality = TimeQuality.SYNCHRONISED
    else:
        quality = TimeQuality.RELATIVE if has_gone else TimeQuality.UNKNOWN
    return MeterClock(
        quality=quality,
        at_ms=at_ms,
        shows_ms=shows_ms,
        deviation_ms=off_ms,
        has_gone=has_gone,
        stands_since_ms=since_ms,
    )


def showed_nothing(at_ms: int) -> MeterClock:
    """A clock that shows no time, as one that was never set."""
    return MeterClock(quality=TimeQuality.UNKNOWN, at_ms=at_ms)


def words_of(clock: MeterClock) -> str:
    """What is wrong with it, or that nothing is, for people."""
    if clock.shows_ms is None or clock.deviation_ms is None:
        return "the meter's clock shows no time: it was never set, or has lost it"
    shows = (_EPOCH + timedelta(milliseconds=clock.shows_ms)).isoformat(" ", "seconds")
    stands_ms = clock.at_ms - (clock.stands_since_ms or clock.at_ms)
    if stands_ms >= GOES_AFTER_MS:
        return (
            f"the meter's clock has stood at {shows} for {stands_ms // 1000} s: it has stopped, or "
            "a gateway answers out of its memory"
        )
    seconds = abs(clock.deviation_ms) / 1000
    way = "ahead of" if clock.deviation_ms > 0 else "behind"
    return f"the meter's clock shows {shows}, {seconds:.0f} s {way} the site's time"
