"""The tick of the farm: one image of all devices, and every meter point decides on its part of it.

Owns the points and what they share. What one of them cannot do (over-committed, blind, in failsafe,
or failing) is its own business: the others tick on. Purchases handed in between two ticks are taken
into the books at once and are answered when they are durable.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from agent.alarmboard import AlarmBoard, AlarmChange
from agent.alarms import Condition, shared_conditions
from agent.bookkeeper import settled
from agent.control import DirectoryError, NotNowError, Why
from agent.core.ledger import Admission, Transaction
from agent.core.rebase import Rebased, accept, exchange
from agent.core.register import RegisterEvent
from agent.core.site import SiteState
from agent.core.snapshot import Confirmation, Snapshot
from agent.journal import Journal
from agent.limitdesk import LimitDesk
from agent.point import Point
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.recovery import purchases_on_record, statements_since
from agent.siteclock import SiteClock
from agent.status.gathered import gathered
from agent.status.portrait import Facts
from agent.status.view import DeliveryView, SiteView

FAILING_LONG_S = 2.0
PURCHASES_LATE = (
    "the disk did not take the purchases in time; ask `kwota transactions list` "
    "what is in the books before sending them again"
)

TICK_FAILED, SHOW_FAILED = "TICK_FAILED", "SHOW_FAILED"
_LOOK = "send its log to whoever looks after the agent"
_FAILURES = {
    TICK_FAILED: (
        "critical",
        "nobody governs the machines of this point",
        f"the watchdog restarts the agent; {_LOOK}",
    ),
    SHOW_FAILED: ("warning", "this point is governed and cannot be shown", _LOOK),
}

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """What goes wrong again and again with a point, and since when."""

    since_s: float
    condition: Condition


class Keeper:
    """Runs the ticks. Everything it needs from the loops comes in as a call."""

    def __init__(
        self,
        *,
        clock: SiteClock,
        points: Sequence[Point],
        zone: str,
        recorder: Recorder,
        journal: Journal,
        snapshot: Callable[[], Snapshot],
        facts: Callable[[], Facts],
        delivery: Callable[[], DeliveryView],
        faults: Callable[[], Sequence[Condition]],
        cap_wh: Callable[[int], int],
        export: Callable[[Path], Awaitable[int]],
        alarms: AlarmBoard,
        tell: Callable[[Sequence[AlarmChange]], None],
    ) -> None:
        self._clock = clock
        self.points = tuple(points)
        self._zone = ZoneInfo(zone)
        self._recorder = recorder
        self._journal = journal
        self._snapshot = snapshot
        self._facts = facts
        self._delivery = delivery
        self._faults = faults
        self._cap_wh = cap_wh
        self._export = export
        self._heeded: list[Callable[[], Iterable[Condition]]] = []
        self._alarms = alarms
        self._tell = tell
        self._failures: dict[tuple[str, str], _Failure] = {}
        self._view: SiteView | None = None

    @property
    def desks(self) -> dict[str, LimitDesk]:
        """Where limits are told, by meter point."""
        return {point.name: point.desk for point in self.points}

    def heed(self, faults: Callable[[], Iterable[Condition]]) -> None:
        """Ask somebody more, at every tick, what is wrong."""
        self._heeded.append(faults)

    def has_lowered(self, miner_id: str, confirmed: Confirmation | None) -> bool:
        """Whether a machine may hash less than it could because it was told to."""
        return any(point.has_lowered(miner_id, confirmed) for point in self.points)

    async def run(self) -> None:
        """Tick for ever, at an even pace; a late tick is not made up for."""
        tick_s = min(point.parameters.tick_s for point in self.points)
        while True:
            started_s = self._clock.now_s()
            self.tick()
            spent_s = self._clock.now_s() - started_s
            await asyncio.sleep(max(tick_s - spent_s, 0.01))

    def is_healthy(self) -> bool:
        """Whether every point ticks: what the watchdog is fed on.

        The machines of a point that fails are governed by nobody, as if the whole loop hung, and so
        the same has to follow: the watchdog is not fed, the service manager puts the machines to
        sleep and starts the agent anew. That hits the other points as well, and costs them energy;
        to feed the watchdog for their sake would cost this point's promise. A single tick that
        fails is no reason: the next one is the same step with newer readings.
        """
        now_s = self._clock.now_s()
        is_failing = any(
            code == TICK_FAILED and now_s - failure.since_s >= FAILING_LONG_S
            for (_, code), failure in self._failures.items()
        )
        return not is_failing and all(point.is_healthy() for point in self.points)

    def view(self) -> SiteView | None:
        """The image of the last tick; None before the first."""
        return self._view

    def tick(self) -> None:
        """One tick of every point, start to end, without waiting for anything."""
        event = self._clock.check()
        if event is not None:
            _log.warning(
                "clock event=%s old_ms=%d new_ms=%d", event.what, event.old_ms, event.new_ms
            )
            self._recorder.keep([NewRecord(kind="clock", source="agent", data=event.data)])
        farm = self._snapshot()
        for point in self.points:
            self._guarded(point, TICK_FAILED, partial(point.tick, farm))
        conditions = {one.key: one for one in self._conditions(farm)}
        changes = self._alarms.update(conditions, now_ms=farm.now_ms, now_s=farm.now_s)
        self._recorder.keep([change.record for change in changes])
        self._tell(changes)
        self._show()

    def _guarded(self, point: Point, code: str, act: Callable[[], T]) -> T | None:
        """What concerns one point; whatever goes wrong in it stays with it. None where it did."""
        try:
            done = act()
        except Exception as error:
            if len(self.points) > 1:
                self._note_failure(point, code, error)
                return None
            # Nobody is to be protected from it: a bug ends the agent in order, which is back at
            # once and sooner than any watchdog.
            raise
        if self._failures.pop((point.name, code), None) is not None:
            _log.warning("point=%s event=works_again code=%s", point.name, code)
        return done

    def _note_failure(self, point: Point, code: str, error: Exception) -> None:
        key = (point.name, code)
        known = self._failures.get(key)
        if known is None:
            _log.error("point=%s event=failed code=%s", point.name, code, exc_info=error)
        severity, words, remedy = _FAILURES[code]
        condition = Condition(
            code=code,
            severity=severity,
            source=point.name,
            meter_point=point.name,
            words=f"{words}: {type(error).__name__}: {error}",
            remedy=remedy,
        )
        since_s = self._clock.now_s() if known is None else known.since_s
        self._failures[key] = _Failure(since_s=since_s, condition=condition)

    def _conditions(self, farm: Snapshot) -> Iterator[Condition]:
        """Everything that is wrong now, with the farm or with one of its points."""
        yield from shared_conditions(
            is_clock_trusted=farm.is_clock_trusted, journal_is_full=self._recorder.is_full
        )
        yield from self._faults()
        for faults in self._heeded:
            yield from faults()
        yield from (failure.condition for failure in self._failures.values())
        for point in self.points:
            yield from point.wrong

    def _show(self) -> None:
        """Make the image that the page, the API and the commands are given.

        Also between two ticks: whoever hands in a purchase and asks for the list finds it there.
        """
        facts, delivery, alarms = self._facts(), self._delivery(), self._alarms.alarms
        images = [
            self._guarded(point, SHOW_FAILED, partial(point.portrait, facts, delivery, alarms))
            for point in self.points
        ]
        shown = [image for image in images if image is not None]
        if shown:
            self._view = gathered(shown)

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        """Judge purchases one by one and answer when what was taken is on the disk.

        An id is taken once for the whole farm: no two points may count the same purchase.
        """
        names = {one.transaction_id for one in candidates}
        known = {name for point in self.points for name in point.transactions}
        recorded = await purchases_on_record(self._journal, names - known)
        admissions: dict[int, Admission] = {}
        waiting = []
        for point in self.points:
            places = [n for n, one in enumerate(candidates) if one.meter_point == point.name]
            remembered = dict(recorded)
            for other in self.points:
                remembered |= {} if other is point else other.transactions
            judged, durable = point.admit(
                [candidates[place] for place in places],
                cap_wh=self._cap_wh,
                remembered=remembered,
            )
            admissions |= dict(zip(places, judged, strict=True))
            waiting.append(durable)
        places = [place for place in range(len(candidates)) if place not in admissions]
        refusals = [self._stranger(candidates[place]) for place in places]
        waiting.append(self.points[0].refuse([candidates[place] for place in places], refusals))
        admissions |= dict(zip(places, refusals, strict=True))
        durables = [one for one in waiting if one is not None]
        if durables:
            await settled(durables, PURCHASES_LATE)
            if self._view is not None:
                self._show()
        return [admissions[place] for place in range(len(candidates))]

    def _stranger(self, candidate: Transaction) -> Admission:
        """No to a purchase for a point that is not kept here."""
        kept = ", ".join(repr(point.name) for point in self.points)
        reason = (
            f"it is for meter point {candidate.meter_point!r}, this agent keeps {kept}; "
            "correct the point, or send it to the right agent"
        )
        return Admission(transaction_id=candidate.transaction_id, result="refused", reason=reason)

    async def accept_register(self, meter_id: str, reason: str) -> RegisterEvent:
        """Believe a held register from here on, by somebody's word. Raises NotNowError."""

        def step_over(state: SiteState, snapshot: Snapshot, serial: str) -> Rebased:
            return accept(state, snapshot, serial=serial, reason=reason)

        return await self._rebase(meter_id, step_over)

    async def exchange_meter(
        self, meter_id: str, *, old_register_wh: int, new_register_wh: int, reason: str
    ) -> RegisterEvent:
        """Go on at a new meter, by the figures of both. Raises NotNowError."""

        def step_over(state: SiteState, snapshot: Snapshot, serial: str) -> Rebased:
            return exchange(
                state,
                snapshot,
                old_register_wh=old_register_wh,
                new_register_wh=new_register_wh,
                serial=serial,
                reason=reason,
            )

        return await self._rebase(meter_id, step_over)

    async def _rebase(
        self, meter_id: str, step_over: Callable[[SiteState, Snapshot, str], Rebased]
    ) -> RegisterEvent:
        points = {point.parameters.meter_id: point for point in self.points}
        if meter_id not in points:
            known = ", ".join(map(repr, points))
            raise NotNowError(f"the books go by the meter {known}, not by {meter_id!r}")
        event = await points[meter_id].rebase(step_over)
        self._show()
        return event

    async def statements(self, day: date) -> Sequence[Mapping[str, Any]]:
        """The statements of one day of the site's zone, as the journal has them."""
        first, last = (
            round(datetime.combine(one, time(), self._zone).timestamp() * 1000)
            for one in (day, day + timedelta(days=1))
        )
        rows = await statements_since(self._journal, first, self._clock.now_ms())
        return [row for row in rows if row["start_ms"] < last]

    def why(self, miner_id: str) -> Why | None:
        """Why a machine runs as it does."""
        for point in self.points:
            if miner_id in point.realm.miner_ids:
                return point.why(miner_id)
        return None

    async def journal_tail(self, count: int, kind: str | None) -> Sequence[bytes]:
        """The newest records."""
        return await self._journal.tail(count, kind)

    async def export_evidence(self, directory: Path) -> int:
        """Write everything up to now into a new directory."""
        try:
            return await self._export(directory)
        except OSError as error:
            raise DirectoryError(
                f"{directory} cannot be written ({error.strerror}); "
                "name a new directory where the daemon may write"
            ) from error

    def finish(self) -> None:
        """Hand over where the books stand, at an orderly stop."""
        for point in self.points:
            point.finish()
