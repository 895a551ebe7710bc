"""The tick: snapshot in, decision out, everything of it on record. Owns the site's state.

What rises waits until its decision is on the disk; what falls goes out at once: a full or slow disk
may only make the site safer. Purchases handed in between two ticks are taken into the books at once
and are answered when they are durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agent.alarms import AlarmBoard, Condition, conditions
from agent.control import DirectoryError, NotNowError, Why
from agent.core.decisions import Command, Decision, Setpoint
from agent.core.fleet import Memory
from agent.core.governor import Outcome, step
from agent.core.ledger import Admission, Transaction, admit
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Snapshot
from agent.journal import Journal
from agent.limitdesk import LimitDesk
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.status.portrait import (
    DECISIONS_KEPT,
    Frame,
    Tally,
    advice_of,
    advice_words,
    decision_row,
    portray,
    why_words,
)
from agent.status.view import DecisionRow, DeliveryView, SiteView
from agent.testimony import (
    closed_record,
    decision_records,
    entry_record,
    gap_record,
    purchase_record,
    refusal_record,
    state_record,
)
from agent.transcript import Transcript
from drivers.readings import MeterIdentity

STATE_EVERY_S = 30.0
DECISION_EVERY_S = 60.0
ADVICE_EVERY_S = 5.0
OVER_LATELY_MS = 600_000
LATE_TICK_S = 5.0
DURABLE_WITHIN_S = 25.0

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
        purchase_index: dict[str, int],
        closed: frozenset[str],
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
        self._purchase_index = dict(purchase_index)
        self._closed = set(closed)
        self._alarms = AlarmBoard()
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
        self._raise_alarms(outcome)
        self._decisions.append(decision_row(outcome.decision, outcome.picture.measured_w))
        self._ticked_at_s = self._clock.now_s()
        self._show(outcome)

    def _show_books(self) -> None:
        """Whoever hands in a purchase and asks for the list at once finds it there."""
        if self._outcome is not None:
            state = replace(self._outcome.state, ledger=self.state.ledger)
            self._show(replace(self._outcome, state=state))

    def _show(self, outcome: Outcome) -> None:
        """Make the image that the page, the API and the commands are given."""
        self._view = portray(
            outcome,
            self._frame,
            tally=self._tally,
            limits=self.desk.current(outcome.decision.at_ms),
            meters=self._meters(),
            delivery=self._delivery(),
            alarms=self._alarms.alarms,
            decisions=self._decisions,
        )

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        """Judge purchases one by one and answer when what was taken is on the disk."""
        now_ms = self._clock.now_ms()
        admissions, records = [], []
        ledger = self.state.ledger
        for candidate in candidates:
            cap_wh = self._cap_wh(candidate.start_ms)
            ledger, admission = admit(ledger, candidate, cap_wh=cap_wh, now_ms=now_ms)
            admissions.append(admission)
            if admission.result == "accepted":
                records.append(purchase_record(candidate))
            elif admission.result == "refused":
                records.append(refusal_record(ledger.meter_point, admission))
        if not records:
            return admissions
        before, self.state = self.state, replace(self.state, ledger=ledger)
        self._transcript.admitted(before, self.state)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def is_durable(indices: range) -> None:
            for at, record in zip(indices, records, strict=True):
                if record.data["event"] == "purchase":
                    self._purchase_index[record.data["id"]] = at
            if not durable.done():
                durable.set_result(None)

        self._recorder.keep(records, then=is_durable)
        try:
            async with asyncio.timeout(DURABLE_WITHIN_S):
                await durable
        except TimeoutError:
            raise NotNowError(
                "the disk did not take the purchases in time; ask `kwota transactions list` "
                "what is in the books before sending them again"
            ) from None
        self._keep_state()
        self._show_books()
        return admissions

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
        self._keep_state()

    def _act(self, outcome: Outcome, previous: Outcome | None) -> None:
        """Lowering commands now; rising ones once their decision is durable."""
        decision = outcome.decision
        is_new = previous is None or previous.decision.mode is not decision.mode
        is_advice = self._parameters.is_shadow
        is_worth_it = self._is_other_advice(decision) if is_advice else bool(decision.commands)
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
        """Entries worth a line, statements of ended purchases, and from time to time the state."""
        ledger, now_ms = outcome.state.ledger, outcome.decision.at_ms
        records = [
            entry_record(ledger.meter_point, entry)
            for entry in outcome.entries
            if entry.flags or entry.over_wh
        ]
        self._over.extend((now_ms, entry.over_wh) for entry in outcome.entries if entry.over_wh)
        while self._over and self._over[0][0] < now_ms - OVER_LATELY_MS:
            self._over.popleft()
        for account in ledger.accounts:
            name = account.transaction.transaction_id
            if account.transaction.deadline_ms <= ledger.booked_at_ms and name not in self._closed:
                self._closed.add(name)
                records.append(closed_record(account))
                _log.info(
                    "transaction=%s event=closed allocated_wh=%d unused_wh=%d",
                    name,
                    account.allocated_wh,
                    account.unused_wh,
                )
        self._recorder.keep(records)
        if records or self._is_due("state", STATE_EVERY_S):
            self._keep_state()

    def _keep_state(self) -> None:
        """Where the books stand; always the newest ``ledger`` record, the restart relies on it."""
        ledger = self.state.ledger
        names = {account.transaction.transaction_id for account in ledger.accounts}
        self._closed &= names
        self._purchase_index = {n: at for n, at in self._purchase_index.items() if n in names}
        purchases_from = min(self._purchase_index.values(), default=self._journal.size)
        self._recorder.keep(
            [state_record(ledger, closed=self._closed, purchases_from=purchases_from)]
        )

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
