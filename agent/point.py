"""One meter point: its purchases, its meter, its machines, and what is decided about them.

Everything here is the point's own. What it shares with the other points (clock, recorder, the hands
that carry commands out) answers without waiting and carries nothing from one point to another.

What rises waits until its decision is on the disk; what falls goes out at once: a full or slow disk
may only make the site safer.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.alarms import Condition, conditions
from agent.announcer import Announcer
from agent.bookkeeper import Bookkeeper
from agent.control import NotNowError, Why
from agent.core.decisions import Command, Decision, Mode, RelayOrder, Setpoint
from agent.core.escalation import is_to_open
from agent.core.fleet import Memory
from agent.core.governor import Outcome, step
from agent.core.ledger import Admission, Transaction, admit_all
from agent.core.rebase import Rebased, RebaseError
from agent.core.register import RegisterEvent
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Confirmation, Snapshot
from agent.core.statement import Statement
from agent.feederwatch import FeederWatch
from agent.learnedlog import learned_record
from agent.limitdesk import LimitDesk
from agent.orders import decision_records
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.status.history import History, Moment
from agent.status.machines import advice_of, advice_words, is_lowered, why_words
from agent.status.portrait import (
    DECISIONS_KEPT,
    STATEMENTS_KEPT,
    Facts,
    Frame,
    Tally,
    decision_row,
    portray,
    statement_row,
    window_view,
)
from agent.status.view import AlarmView, DecisionRow, DeliveryView, SiteView, StatementRow
from agent.testimony import gap_record, lost_state
from agent.transcript import Transcript

STATE_EVERY_S = 30.0
DECISION_EVERY_S = 60.0
ADVICE_EVERY_S = 5.0
OVER_LATELY_MS = 600_000
LATE_TICK_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """Which devices are a point's: what it does not name, the point never sees."""

    meter_ids: frozenset[str]
    miner_ids: frozenset[str]

    def of(self, raw: Snapshot) -> Snapshot:
        """What of the farm's image is the point's. A relay is where its machines are."""
        return replace(
            raw,
            meters=tuple(view for view in raw.meters if view.meter_id in self.meter_ids),
            miners=tuple([view for view in raw.miners if view.miner_id in self.miner_ids]),
            relays=tuple(relay for relay in raw.relays if relay.miner_ids & self.miner_ids),
        )


class Point:
    """Runs one meter point from tick to tick and keeps what it has come to.

    ``wrong`` is what was wrong with it at its last tick.
    """

    def __init__(
        self,
        *,
        realm: Realm,
        parameters: Parameters,
        state: SiteState,
        desk: LimitDesk,
        bookkeeper: Bookkeeper,
        statements: Sequence[Statement],
        frame: Frame,
        clock: SiteClock,
        recorder: Recorder,
        submit: Callable[[Sequence[Command]], None],
        switch: Callable[[Sequence[RelayOrder]], None],
        feeders: FeederWatch | None = None,
    ) -> None:
        self.realm = realm
        self.parameters = parameters
        self.state = state
        self.desk = desk
        self.wrong: tuple[Condition, ...] = ()
        self._bookkeeper = bookkeeper
        self._announcer = Announcer()
        self._frame = frame
        self._clock = clock
        self._recorder = recorder
        self._submit = submit
        self._switch = switch
        self._feeders = feeders or FeederWatch(state.ledger.meter_point)
        self._statements: deque[StatementRow] = deque(maxlen=STATEMENTS_KEPT)
        self._show_statements(statements)
        self._decisions: deque[DecisionRow] = deque(maxlen=DECISIONS_KEPT)
        self._history = History(self.name)
        self._tally = Tally(board_switches=0, mining_restarts=0)
        self._outcome: Outcome | None = None
        self._ticked_at_s: float | None = None
        self._meter_lost_ms: int | None = None
        self._over: deque[tuple[int, int]] = deque()
        self._due_s = {"state": 0.0, "decision": 0.0, "advice": 0.0}
        self._advice: dict[str, Setpoint] = {}
        self._transcript = Transcript(lost=lambda: recorder.lost, is_full=lambda: recorder.is_full)

    @property
    def name(self) -> str:
        """The meter point's id, as purchases name it."""
        return self.state.ledger.meter_point

    @property
    def transactions(self) -> dict[str, Transaction]:
        """The purchases in the working set of its books, by id."""
        accounts = self.state.ledger.accounts
        return {account.transaction.transaction_id: account.transaction for account in accounts}

    def is_healthy(self) -> bool:
        """Whether it ticks."""
        if self._ticked_at_s is None:
            return False
        return self._clock.now_s() - self._ticked_at_s < LATE_TICK_S

    def tick(self, farm: Snapshot) -> None:
        """One tick, start to end, without waiting for anything; ``farm`` is everybody's image."""
        raw = self.realm.of(farm)
        limits = self.desk.current(raw.now_ms)
        if limits != self.parameters.limits:
            self.parameters = replace(self.parameters, limits=limits)
        seen = self._transcript.see(raw, self.state, self.parameters)
        outcome = step(self.state, seen, self.parameters)
        self.state = outcome.state
        self._record_readings(outcome)
        # People are shown what the devices said, not the rounder numbers that it is decided on.
        outcome = replace(outcome, picture=replace(outcome.picture, snapshot=raw))
        previous, self._outcome = self._outcome, outcome
        self._act(outcome, previous)
        self._record_books(outcome)
        self._record_learned(outcome, previous)
        self._recorder.keep(self._feeders.look(raw, self.state, self.parameters))
        self.desk.note_power(outcome.decision.at_ms, outcome.picture.measured_w)
        self._recorder.keep(self._announcer.records(self.name, outcome.decision.preflight))
        row = decision_row(self.name, outcome.decision, outcome.picture.measured_w)
        self._decisions.append(row)
        self._history.note(
            Moment(
                at_ms=row.at_ms,
                power_w=row.power_w,
                power_cap_w=None if outcome.decision.mode is Mode.FAILSAFE else row.power_cap_w,
                window=window_view(outcome),
            )
        )
        self.wrong = tuple(self._conditions(outcome))
        self._ticked_at_s = self._clock.now_s()

    def has_lowered(self, miner_id: str, confirmed: Confirmation | None) -> bool:
        """Whether one of its machines may hash less than it could because it was told to."""
        picture = None if self._outcome is None else self._outcome.picture
        if picture is None or miner_id not in picture.machines:
            return False
        return is_lowered(picture.machines[miner_id], confirmed, picture.snapshot.now_s)

    def portrait(
        self,
        facts: Facts,
        delivery: DeliveryView,
        alarms: Sequence[AlarmView],
    ) -> SiteView | None:
        """Its image, with what is in its books by now; None before its first tick."""
        if self._outcome is None:
            return None
        outcome = self._outcome
        state = replace(outcome.state, ledger=self.state.ledger)
        return portray(
            replace(outcome, state=state),
            self._frame,
            statements=self._statements,
            tally=self._tally,
            limits=self.desk.current(outcome.decision.at_ms),
            facts=facts,
            delivery=delivery,
            alarms=alarms,
            decisions=self._decisions,
            history=self._history.rows(),
        )

    def admit(
        self,
        candidates: Sequence[Transaction],
        *,
        cap_wh: Callable[[int], int],
        remembered: Mapping[str, Transaction],
    ) -> tuple[Sequence[Admission], "asyncio.Future[None] | None"]:
        """Judge purchases; with what comes of them, what is done once that is on the disk."""
        ledger, admissions = admit_all(
            self.state.ledger,
            candidates,
            cap_wh=cap_wh,
            now_ms=self._clock.now_ms(),
            remembered=remembered,
        )
        before, self.state = self.state, replace(self.state, ledger=ledger)
        self._transcript.admitted(before, self.state)
        return admissions, self._bookkeeper.keep_purchases(self.state, candidates, admissions)

    def refuse(
        self, candidates: Sequence[Transaction], admissions: Sequence[Admission]
    ) -> "asyncio.Future[None] | None":
        """Put on record what was refused before it came to anybody's books."""
        return self._bookkeeper.keep_purchases(self.state, candidates, admissions)

    async def rebase(
        self, step_over: Callable[[SiteState, Snapshot, str], Rebased]
    ) -> RegisterEvent:
        """Let the books go on at another register value, by somebody's word; NotNowError."""
        if self._outcome is None:
            raise NotNowError("the first tick has not been; try again in a few seconds")
        snapshot, meter_id = self._outcome.picture.snapshot, self.parameters.meter_id
        serial = next(m.serial for m in snapshot.meters if m.meter_id == meter_id)
        try:
            rebased = step_over(self.state, snapshot, serial)
        except RebaseError as error:
            raise NotNowError(str(error)) from error
        self.state = rebased.state
        self._show_statements(rebased.state.statements)
        _log.warning("meter=%s event=%s", meter_id, rebased.state.events[0].event)
        await self._bookkeeper.record_rebase(rebased.state, rebased.entries)
        return rebased.state.events[0]

    def why(self, miner_id: str) -> Why | None:
        """Why one of its machines runs as it does; None before the first tick."""
        if self._outcome is None:
            return None
        views = {view.miner_id: view for view in self._outcome.picture.snapshot.miners}
        memory = self._outcome.state.memories.get(miner_id, Memory())
        machine = self._outcome.picture.machines[miner_id]
        decision = self._outcome.decision
        words = why_words(views[miner_id], machine, memory, decision)
        advised = advice_of(decision).get(miner_id)
        if self.parameters.is_shadow and advised is not None:
            words = advice_words(views[miner_id], advised, decision)
        return Why(miner_id=miner_id, words=words, because=memory.because)

    def finish(self) -> None:
        """Hand over where the books stand, at an orderly stop."""
        self._bookkeeper.keep(replace(self.state, events=(), statements=()), (), is_due=True)

    def _show_statements(self, statements: Sequence[Statement]) -> None:
        self._statements.extend(statement_row(self.name, statement) for statement in statements)

    def _act(self, outcome: Outcome, previous: Outcome | None) -> None:
        """What lowers goes out now; what rises once its decision is durable.

        An order to open is handed over at every tick for which it stands.
        """
        decision = outcome.decision
        opening = [order for order in decision.relays if order.is_open]
        closing = [order for order in decision.relays if not order.is_open]
        if opening and not self.parameters.is_shadow:
            self._switch(opening)
        is_new = previous is None or previous.decision.mode is not decision.mode
        is_advice = self.parameters.is_shadow
        is_worth_it = self._is_other_advice(decision) if is_advice else decision.is_ordering
        if not (is_worth_it or is_new or self._is_due("decision", DECISION_EVERY_S)):
            return
        if is_new:
            words = decision.because.words
            _log.info("point=%s mode=%s reason=%r", self.name, decision.mode.value, words)
        records = decision_records(decision, meter_point=self.name, is_shadow=is_advice)
        if is_advice:
            self._recorder.keep(list(records))
            return
        self._count(outcome)
        lowering = [command for command in decision.commands if command.is_urgent]
        rising = [command for command in decision.commands if not command.is_urgent]
        self._submit(lowering)
        self._recorder.keep(list(records), then=lambda _: self._raise(rising, closing))

    def _raise(self, rising: Sequence[Command], closing: Sequence[RelayOrder]) -> None:
        self._submit(rising)
        # The disk may take its time: what was told to open meanwhile stays open.
        orders = [order for order in closing if not is_to_open(self.state, order.relay_id)]
        if orders:
            self._switch(orders)

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

    def _conditions(self, outcome: Outcome) -> Iterator[Condition]:
        over_wh = sum(over_wh for _, over_wh in self._over)
        meter_id = self.parameters.meter_id
        for one in conditions(outcome, meter_id=meter_id, over_lately_wh=over_wh):
            yield replace(one, meter_point=self.name)
        yield from self._feeders.conditions()

    def _record_readings(self, outcome: Outcome) -> None:
        suspect = self.parameters.meter_id if outcome.state.fusion.suspect else None
        records = self._transcript.records(outcome, suspect=suspect)
        self._recorder.keep(records + self._gap(outcome), is_evidence=False)

    def _gap(self, outcome: Outcome) -> list[NewRecord]:
        """A gap is told when it begins and, with its length, when it ends."""
        words, lost_ms = outcome.picture.meter_words, self._meter_lost_ms
        if bool(words) == (lost_ms is not None):
            return []
        since_ms = outcome.decision.at_ms if lost_ms is None else lost_ms
        self._meter_lost_ms = since_ms if words else None
        record = gap_record(
            self.parameters.meter_id,
            meter_point=self.name,
            state=self._lost_state(outcome) if words else "G",
            reason=words or "readings again",
            since_ms=since_ms,
        )
        return [record]

    def _lost_state(self, outcome: Outcome) -> str:
        meter_id, views = self.parameters.meter_id, outcome.picture.snapshot.meters
        view = next(one for one in views if one.meter_id == meter_id)
        return lost_state(view, is_held=bool(outcome.state.fusion.suspect)).value

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

    def _record_learned(self, outcome: Outcome, previous: Outcome | None) -> None:
        """What the discrepancy knows, when a quarter has added to it."""
        found = outcome.state.watch.found
        if previous is not None and found is not previous.state.watch.found:
            self._recorder.keep([learned_record(self.name, self.parameters.meter_id, found)])

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = self._clock.now_s()
        if now_s < self._due_s[what]:
            return False
        self._due_s[what] = now_s + every_s
        return True
