"""The tick: snapshot in, decision out, everything of it on record. Owns the site's state.

What rises waits until its decision is on the disk; what falls goes out at once: a full or slow disk
may only make the site safer. Purchases handed in between two ticks are taken into the books at once
and are answered when they are durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent.alarms import AlarmBoard, Condition, conditions
from agent.announcer import Announcer
from agent.bookkeeper import Bookkeeper
from agent.control import DirectoryError, NotNowError, Why
from agent.core.decisions import Command, Decision, Setpoint
from agent.core.fleet import Memory
from agent.core.governor import Outcome, step
from agent.core.ledger import Admission, Transaction, admit_all
from agent.core.rebase import Rebased, RebaseError, accept, exchange
from agent.core.register import RegisterEvent
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Snapshot
from agent.core.statement import Statement
from agent.journal import Journal
from agent.limitdesk import LimitDesk
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.recovery import statements_since
from agent.siteclock import SiteClock
from agent.status.portrait import (
    DECISIONS_KEPT,
    STATEMENTS_KEPT,
    Frame,
    Tally,
    advice_of,
    advice_words,
    decision_row,
    portray,
    statement_row,
    why_words,
)
from agent.status.view import DecisionRow, DeliveryView, SiteView, StatementRow
from agent.testimony import (
    decision_records,
    gap_record,
)
from agent.transcript import Transcript
from drivers.readings import MeterIdentity

STATE_EVERY_S = 30.0
DECISION_EVERY_S = 60.0
ADVICE_EVERY_S = 5.0
OVER_LATELY_MS = 600_000
LATE_TICK_S = 5.0

_log = logging.getLogger(__name__)


class Keeper:
    """Runs the ticks. Everything it needs from the loops comes in as a call."""

    def __init__(
        self,
        *,
        clock: SiteClock,
        parameters: Parameters,
        desk: LimitDesk,
        state: SiteState,
        frame: Frame,
        recorder: Recorder,
        journal: Journal,
        snapshot: Callable[[], Snapshot],
        submit: Callable[[Sequence[Command]], None],
        meters: Callable[[], dict[str, MeterIdentity | None]],
        delivery: Callable[[], DeliveryView],
        faults: Callable[[], Sequence[Condition]],
        cap_wh: Callable[[int], int],
        export: Callable[[Path], Awaitable[int]],
        bookkeeper: Bookkeeper,
        statements: Sequence[Statement],
    ) -> None:
        self._clock = clock
        self._parameters = parameters
        self.desk = desk
        self.state = state
        self._frame = frame
        self._recorder = recorder
        self._journal = journal
        self._snapshot = snapshot
        self._submit = submit
        self._meters = meters
        self._delivery = delivery
        self._faults = faults
        self._cap_wh = cap_wh
        self._export = export
        self._bookkeeper = bookkeeper
        self._alarms = AlarmBoard()
        self._announcer = Announcer()
        self._statements: deque[StatementRow] = deque(maxlen=STATEMENTS_KEPT)
        self._show_statements(statements)
        self._decisions: deque[DecisionRow] = deque(maxlen=DECISIONS_KEPT)
        self._tally = Tally(board_switches=0, mining_restarts=0)
        self._outcome: Outcome | None = None
        self._view: SiteView | None = None
        self._ticked_at_s: float | None = None
        self._meter_lost_ms: int | None = None
        self._over: deque[tuple[int, int]] = deque()
        self._due_s = {"state": 0.0, "decision": 0.0, "advice": 0.0}
        self._advice: dict[str, Setpoint] = {}
        self._transcript = Transcript(lost=lambda: recorder.lost, is_full=lambda: recorder.is_full)

    async def run(self) -> None:
        """Tick for ever, at an even pace; a late tick is not made up for."""
        while True:
            started_s = self._clock.now_s()
            self.tick()
            spent_s = self._clock.now_s() - started_s
            await asyncio.sleep(max(self._parameters.tick_s - spent_s, 0.01))

    def is_healthy(self) -> bool:
        """Whether the loop ticks: what the watchdog is fed on."""
        if self._ticked_at_s is None:
            return False
        return self._clock.now_s() - self._ticked_at_s < LATE_TICK_S

    def view(self) -> SiteView | None:
        """The image of the last tick; None before the first."""
        return self._view

    def tick(self) -> None:
        """One tick, start to end, without waiting for anything."""
        event = self._clock.check()
        if event is not None:
            _log.warning(
                "clock event=%s old_ms=%d new_ms=%d", event.what, event.old_ms, event.new_ms
            )
            self._recorder.keep([NewRecord(kind="clock", source="agent", data=event.data)])
        raw = self._snapshot()
        limits = self.desk.current(raw.now_ms)
        if limits != self._parameters.limits:
            self._parameters = replace(self._parameters, limits=limits)
        seen = self._transcript.see(raw, self.state, self._parameters)
        outcome = step(self.state, seen, self._parameters)
        self.state = outcome.state
        self._record_readings(outcome)
        # People are shown what the devices said, not the rounder numbers that it is decided on.
        outcome = replace(outcome, picture=replace(outcome.picture, snapshot=raw))
        previous, self._outcome = self._outcome, outcome
        self._act(outcome, previous)
        self._record_books(outcome)
        self.desk.note_power(outcome.decision.at_ms, outcome.picture.measured_w)
        point = self.state.ledger.meter_point
        self._recorder.keep(self._announcer.records(point, outcome.decision.preflight))
        self._raise_alarms(outcome)
        self._decisions.append(decision_row(outcome.decision, outcome.picture.measured_w))
        self._ticked_at_s = self._clock.now_s()
        self._show(outcome)

    def _show_books(self) -> None:
        """Whoever hands in a purchase and asks for the list at once finds it there."""
        if self._outcome is not None:
            state = replace(self._outcome.state, ledger=self.state.ledger)
            self._show(replace(self._outcome, state=state))

    def _show_statements(self, statements: Sequence[Statement]) -> None:
        point = self.state.ledger.meter_point
        self._statements.extend(statement_row(point, statement) for statement in statements)

    def _show(self, outcome: Outcome) -> None:
        """Make the image that the page, the API and the commands are given."""
        self._view = portray(
            outcome,
            self._frame,
            statements=self._statements,
            tally=self._tally,
            limits=self.desk.current(outcome.decision.at_ms),
            meters=self._meters(),
            delivery=self._delivery(),
            alarms=self._alarms.alarms,
            decisions=self._decisions,
        )

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        """Judge purchases one by one and answer when what was taken is on the disk."""
        remembered = await self._bookkeeper.remembered(self.state, candidates)
        ledger, admissions = admit_all(
            self.state.ledger,
            candidates,
            cap_wh=self._cap_wh,
            now_ms=self._clock.now_ms(),
            remembered=remembered,
        )
        before, self.state = self.state, replace(self.state, ledger=ledger)
        self._transcript.admitted(before, self.state)
        if await self._bookkeeper.record_purchases(self.state, candidates, admissions):
            self._show_books()
        return admissions

    async def accept_register(self, meter_id: str, reason: str) -> RegisterEvent:
        """Believe a held register from here on, by somebody's word. Raises NotNowError."""
        return await self._rebase(
            meter_id,
            lambda snapshot, serial: accept(self.state, snapshot, serial=serial, reason=reason),
        )

    async def exchange_meter(
        self, meter_id: str, *, old_register_wh: int, new_register_wh: int, reason: str
    ) -> RegisterEvent:
        """Go on at a new meter, by the figures of both. Raises NotNowError."""
        return await self._rebase(
            meter_id,
            lambda snapshot, serial: exchange(
                self.state,
                snapshot,
                old_register_wh=old_register_wh,
                new_register_wh=new_register_wh,
                serial=serial,
                reason=reason,
            ),
        )

    async def _rebase(
        self, meter_id: str, step_over: Callable[[Snapshot, str], Rebased]
    ) -> RegisterEvent:
        if meter_id != self._parameters.meter_id:
            site_meter = self._parameters.meter_id
            raise NotNowError(f"the books go by the meter {site_meter!r}, not by {meter_id!r}")
        if self._outcome is None:
            raise NotNowError("the first tick has not been; try again in a few seconds")
        snapshot = self._outcome.picture.snapshot
        serial = next(m.serial for m in snapshot.meters if m.meter_id == meter_id)
        try:
            rebased = step_over(snapshot, serial)
        except RebaseError as error:
            raise NotNowError(str(error)) from error
        self.state = rebased.state
        self._show_statements(rebased.state.statements)
        _log.warning("meter=%s event=%s", meter_id, rebased.state.events[0].event)
        await self._bookkeeper.record_rebase(rebased.state, rebased.entries)
        self._show_books()
        return rebased.state.events[0]

    async def statements(self, day: date) -> Sequence[Mapping[str, Any]]:
        """The statements of one day of the site's zone, as the journal has them."""
        zone = ZoneInfo(self._frame.zone)
        first, last = (
            round(datetime.combine(one, time(), zone).timestamp() * 1000)
            for one in (day, day + timedelta(days=1))
        )
        rows = await statements_since(self._journal, first, self._clock.now_ms())
        return [row for row in rows if row["start_ms"] < last]

    def why(self, miner_id: str) -> Why | None:
        """Why a machine runs as it does."""
        if self._outcome is None:
            return None
        views = {view.miner_id: view for view in self._outcome.picture.snapshot.miners}
        if miner_id not in views:
            return None
        memory = self._outcome.state.memories.get(miner_id, Memory())
        machine = self._outcome.picture.machines[miner_id]
        decision = self._outcome.decision
        words = why_words(views[miner_id], machine, memory, decision)
        advised = advice_of(decision).get(miner_id)
        if self._parameters.is_shadow and advised is not None:
            words = advice_words(views[miner_id], advised, decision)
        return Why(miner_id=miner_id, words=words, because=memory.because)

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
        self._bookkeeper.keep(replace(self.state, events=(), statements=()), (), is_due=True)

    def _act(self, outcome: Outcome, previous: Outcome | None) -> None:
        """Lowering commands now; rising ones once their decision is durable."""
        decision = outcome.decision
        is_new = previous is None or previous.decision.mode is not decision.mode
        is_advice = self._parameters.is_shadow
        is_worth_it = self._is_other_advice(decision) if is_advice else decision.is_ordering
        if not (is_worth_it or is_new or self._is_due("decision", DECISION_EVERY_S)):
            return
        if is_new:
            _log.info("mode=%s reason=%r", decision.mode.value, decision.because.words)
        if is_advice:
            self._recorder.keep(list(decision_records(decision, is_shadow=True)))
            return
        self._count(outcome)
        lowering = [command for command in decision.commands if command.is_urgent]
        rising = [command for command in decision.commands if not command.is_urgent]
        self._submit(lowering)
        self._recorder.keep(list(decision_records(decision)), then=lambda _: self._submit(rising))

    def _is_other_advice(self, decision: Decision) -> bool:
        """Whether a shadow run would send something else than it last said; not every tick."""
        advice = advice_of(decision)
        if advice == self._advice or not self._is_due("advice", ADVICE_EVERY_S):
            return False
        self._advice = advice
        return True

    def _count(self, outcome: Outcome) -> None:
        switches, restarts = self._tally.board_switches, self._tally.mining_restarts
        for command in outcome.decision.commands:
            machine = outcome.picture.machines[command.miner_id]
            if machine.at is None:
                continue
            was_hashing = machine.at.is_awake and bool(machine.at.boards_on)
            will_hash = command.setpoint.is_awake and bool(command.setpoint.boards_on)
            restarts += will_hash and not was_hashing
            if machine.at.is_awake and command.setpoint.is_awake:
                switches += len(machine.at.boards_on ^ command.setpoint.boards_on)
        self._tally = Tally(board_switches=switches, mining_restarts=restarts)

    def _record_readings(self, outcome: Outcome) -> None:
        suspect = self._parameters.meter_id if outcome.state.fusion.suspect else None
        records = self._transcript.records(outcome, suspect=suspect)
        self._recorder.keep(records + self._gap(outcome), is_evidence=False)

    def _gap(self, outcome: Outcome) -> list[NewRecord]:
        """A gap is told when it begins and, with its length, when it ends."""
        now_ms, words = outcome.decision.at_ms, outcome.picture.meter_words
        meter_id = self._parameters.meter_id
        if words and self._meter_lost_ms is None:
            self._meter_lost_ms = now_ms
            return [gap_record(meter_id, state="T", reason=words, since_ms=now_ms)]
        if not words and self._meter_lost_ms is not None:
            since_ms, self._meter_lost_ms = self._meter_lost_ms, None
            return [gap_record(meter_id, state="G", reason="readings again", since_ms=since_ms)]
        return []

    def _record_books(self, outcome: Outcome) -> None:
        """What the books have to tell, with where they stand; from time to time that alone.

        Both in one commit: a restart between them would tell the same thing twice.
        """
        now_ms = outcome.decision.at_ms
        self._over.extend((now_ms, entry.over_wh) for entry in outcome.entries if entry.over_wh)
        while self._over and self._over[0][0] < now_ms - OVER_LATELY_MS:
            self._over.popleft()
        self._show_statements(outcome.state.statements)
        is_due = self._is_due("state", STATE_EVERY_S)
        self._bookkeeper.keep(outcome.state, outcome.entries, is_due=is_due)

    def _raise_alarms(self, outcome: Outcome) -> None:
        found = {
            (condition.code, condition.source): condition
            for condition in (
                *conditions(
                    outcome,
                    meter_id=self._parameters.meter_id,
                    journal_is_full=self._recorder.is_full,
                    over_lately_wh=sum(over_wh for _, over_wh in self._over),
                ),
                *self._faults(),
            )
        }
        self._recorder.keep(self._alarms.update(found, outcome.decision.at_ms))

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = self._clock.now_s()
        if now_s < self._due_s[what]:
            return False
        self._due_s[what] = now_s + every_s
        return True
