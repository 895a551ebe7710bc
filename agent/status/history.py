"""The last day of a meter point in memory, for a picture: thinned, and gone with the process.

What the books say of the time before is in the statements; nothing is decided on this.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.status.view import HistoryRow, WindowView

FINE_S: Final = 10
FINE_KEPT: Final = 180
COARSE_S: Final = 60
COARSE_KEPT: Final = 1440


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is drawn of one tick. ``None``: not known, or no window open."""

    at_ms: int
    power_w: float | None
    power_cap_w: float | None
    window: WindowView | None


class History:
    """Half an hour in steps of ten seconds, a day in steps of a minute."""

    def __init__(self, meter_point: str) -> None:
        self._fine = _Ring(meter_point, span_s=FINE_S, kept=FINE_KEPT)
        self._coarse = _Ring(meter_point, span_s=COARSE_S, kept=COARSE_KEPT)

    def note(self, moment: Moment) -> None:
        """Take one tick in."""
        self._fine.note(moment)
        self._coarse.note(moment)

    def rows(self) -> Iterator[HistoryRow]:
        """Oldest first: minutes up to where the finer steps begin."""
        fine = list(self._fine.rows)
        first_ms = fine[0].at_ms if fine else None
        for row in self._coarse.rows:
            if first_ms is None or row.at_ms + row.span_s * 1000 <= first_ms:
                yield row
        yield from fine


class _Ring:
    """Finished steps of one length, and the ticks of the one under way."""

    def __init__(self, meter_point: str, *, span_s: int, kept: int) -> None:
        self.rows: deque[HistoryRow] = deque(maxlen=kept)
        self._meter_point = meter_point
        self._span_s = span_s
        self._moments: list[Moment] = []

    def note(self, moment: Moment) -> None:
        if self._moments:
            under_way, new = self._step(self._moments[0]), self._step(moment)
            if new < under_way:
                self.rows.clear()  # the clock was set back: a picture with two pasts is none
                self._moments.clear()
            elif new > under_way:
                self.rows.append(self._row(under_way))
                self._moments.clear()
        self._moments.append(moment)

    def _step(self, moment: Moment) -> int:
        return moment.at_ms // (self._span_s * 1000)

    def _row(self, step: int) -> HistoryRow:
        powers = [one.power_w for one in self._moments if one.power_w is not None]
        caps = [one.power_cap_w for one in self._moments if one.power_cap_w is not None]
        window = self._moments[-1].window
        return HistoryRow(
            meter_point=self._meter_point,
            at_ms=step * self._span_s * 1000,
            span_s=self._span_s,
            power_w=sum(powers) / len(powers) if powers else None,
            power_max_w=max(powers, default=None),
            power_cap_w=min(caps, default=None),
            window_start_ms=None if window is None else window.start_ms,
            purchased_wh=None if window is None else window.purchased_wh,
            used_wh=None if window is None else window.used_wh,
        )
