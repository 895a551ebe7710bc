"""Doing a meter point's recorded run again, record by record: its inputs, the same core, compared.

Between two ticks the records say what came in; a ``tick`` record closes them, the core takes its
step, and what came out is compared with what the journal says came out. Where the journal has a
hole nothing is claimed: the run is taken up again at the next frame, and the hole is named.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.core.governor import Outcome, step
from agent.core.ledger import admit
from agent.core.site import Parameters, SiteState
from agent.exact import Difference, first_difference, to_plain
from agent.frames import Frame, Why, frame_from, is_last_part
from agent.orders import decision_records
from agent.records import NewRecord, Record
from agent.sight import Sight
from agent.testimony import closed_record, entry_record, transaction_from
from agent.transcript import told

Revise = Callable[[Parameters], Parameters]

_MILESTONES = frozenset({"boot", "frame", "tick"})
_OUTCOME_KINDS = frozenset({"decision", "ledger"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The first difference: the record that says otherwise, the tick's time, what and how."""

    meter_point: str
    index: int
    at_ms: int
    tick: int
    field: str
    recorded: object
    replayed: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Ticks that could not be followed, by index and time of the records around them."""

    meter_point: str
    from_index: int
    to_index: int | None
    from_ms: int
    to_ms: int | None
    reason: str


@dataclass(slots=True, kw_only=True)
class Counts:
    """How much was done again."""

    boots: int = 0
    ticks: int = 0
    frames: int = 0
    readings: int = 0
    stages: int = 0
    purchases: int = 0
    decisions: int = 0
    commands: int = 0
    entries: int = 0
    first_ms: int | None = None
    last_ms: int | None = None


@dataclass(slots=True, kw_only=True)
class _Tick:
    """The tick that was done last, and what its other records should say."""

    record: Record
    outcome: Outcome
    check: Difference | None
    decisions: Iterator[NewRecord]
    entries: Iterator[NewRecord]


@dataclass(slots=True, kw_only=True)
class Follower:
    """Feed it a meter point's records in order with ``take``, then ``finish``.

    ``revise`` changes the parameters, to see where another governor would have parted.
    """

    meter_point: str
    revise: Revise
    counts: Counts = field(default_factory=Counts)
    holes: list[Hole] = field(default_factory=list)
    found: Found | None = None
    has_ticks: bool = False
    is_shadow: bool = False
    _sight: Sight | None = None
    _state: SiteState | None = None
    _parameters: Parameters | None = None
    _next_tick: int = 0
    _parts: list[Mapping[str, Any]] = field(default_factory=list)
    _frame_parts: list[Mapping[str, Any]] = field(default_factory=list)
    _tick: _Tick | None = None
    _hole: tuple[Record, str] | None = None
    _doubt: Found | None = None

    def take(self, record: Record) -> None:
        """One record. Raises ExactError where it cannot be what the daemon wrote."""
        if record.kind in _MILESTONES:
            self._settle()
        if self.found is not None:
            return
        if record.kind == "boot":
            self._doubt = None
            self._close_hole(record)
            self._lose()
            self.counts.boots += 1
        elif record.kind == "frame":
            self._take_frame(record)
        elif record.kind == "tick":
            self._take_tick(record)
        elif self._sight is None:
            return
        elif record.kind == "meter":
            self.counts.readings += 1
            self._sight.take_reading(record.source, record.data, record.time_us // 1000)
        elif record.kind == "throttle":
            self.counts.stages += 1
            self._sight.take_stage(record.source, record.data)
        elif record.kind in _OUTCOME_KINDS:
            self._take_outcome(record)

    def knows(self, record: Record) -> bool:
        """Whether a reading or a stage is of one of the point's devices, as far as is known."""
        return self._sight is not None and self._sight.knows(record.kind, record.source)

    def finish(self) -> None:
        """The end of the journal."""
        self._settle()
        if self._hole is not None:
            self._close_hole(None)

    def _lose(self) -> None:
        self._sight = self._state = self._parameters = None
        self._parts, self._frame_parts = [], []

    def _take_frame(self, record: Record) -> None:
        self.has_ticks = True
        part = int(record.data.get("part", 0))
        if part != len(self._frame_parts):
            self._frame_parts = []
        if part == len(self._frame_parts):
            self._frame_parts.append(record.data)
            if is_last_part(record.data):
                frame = frame_from(self._frame_parts)
                self._frame_parts = []
                self._begin(record, frame)

    def _begin(self, record: Record, frame: Frame) -> None:
        """Go on from a whole frame; one that was written on the way must be what we have."""
        self.counts.frames += 1
        self._clear_doubt(frame.tick == self._next_tick)
        self.is_shadow = self.is_shadow or frame.parameters.is_shadow
        is_known = self._state is not None and frame.tick == self._next_tick
        if frame.why is Why.HOUR and is_known:
            other = first_difference(
                to_plain(SiteState, frame.state), to_plain(SiteState, self._state), "state"
            )
            if other is not None:
                self.found = self.found or self._found(record, record, other)
            return
        self._close_hole(record)
        self._sight, self._state = Sight(frame.sight), frame.state
        self._parameters = self.revise(frame.parameters)
        self._next_tick, self._parts = frame.tick, []

    def _take_tick(self, record: Record) -> None:
        self.has_ticks = True
        if self._sight is None:
            if self._hole is None:
                self._hole = (record, "there is no frame to begin with")
            return
        data = record.data
        is_next = data["tick"] == self._next_tick and data.get("part", 0) == len(self._parts)
        self._clear_doubt(is_next)
        if not is_next:
            self._begin_hole(record)
            return
        self._sight.take_part(data, record.time_us // 1000)
        self._parts.append(data)
        if is_last_part(data):
            self._parts = []
            self._step(record)

    def _step(self, record: Record) -> None:
        assert self._sight is not None
        assert self._state is not None
        assert self._parameters is not None
        data, now_ms = record.data, record.time_us // 1000
        snapshot = self._sight.snapshot(
            mono_ms=data["mono_ms"],
            now_ms=now_ms,
            is_clock_trusted=data.get("is_clock_trusted", True),
        )
        outcome = step(self._state, snapshot, self._parameters)
        self._state = outcome.state
        self._next_tick += 1
        self._count(outcome, now_ms)
        replayed = told(outcome)
        recorded = {name: data.get(name) for name in replayed}
        other = first_difference(recorded, replayed)
        if other is not None and other.path != "check":
            self.found = self._found(record, record, other)
            return
        is_shadow = self._parameters.is_shadow
        self._tick = _Tick(
            record=record,
            outcome=outcome,
            check=other,
            decisions=decision_records(
                outcome.decision, meter_point=self.meter_point, is_shadow=is_shadow
            ),
            entries=iter(
                entry_record(self.meter_point, entry)
                for entry in outcome.entries
                if entry.flags or entry.over_wh
            ),
        )

    def _count(self, outcome: Outcome, now_ms: int) -> None:
        counts = self.counts
        counts.ticks += 1
        counts.commands += len(outcome.decision.commands)
        counts.entries += len(outcome.entries)
        counts.first_ms = now_ms if counts.first_ms is None else counts.first_ms
        counts.last_ms = now_ms

    def _take_outcome(self, record: Record) -> None:
        """What the daemon wrote down of the tick before, and purchases that came in after it."""
        event = record.data.get("event")
        if record.kind == "ledger" and event == "purchase":
            self._admit(record)
            return
        tick = self._tick
        if tick is None:
            return
        expected: object = None
        if record.kind == "decision":
            if record.time_us != tick.record.time_us:
                self._begin_hole(record)
                return
            self.counts.decisions += 1
            expected = _data_of(next(tick.decisions, None))
        elif event == "booked":
            expected = _data_of(next(tick.entries, None))
        elif event == "closed":
            account = tick.outcome.state.ledger.account(record.data["id"])
            expected = None if account is None else _data_of(closed_record(account))
        else:
            return
        other = first_difference(dict(record.data), expected, record.kind)
        if other is not None:
            found = self._found(record, tick.record, other)
            if record.kind == "decision":
                self.found = found
            else:
                self._doubt = self._doubt or found

    def _admit(self, record: Record) -> None:
        """Take a purchase in as the daemon did; whether it may was judged then."""
        self._settle()
        assert self._state is not None
        self.counts.purchases += 1
        offered = transaction_from(record.source, record.data)
        ledger, _ = admit(
            self._state.ledger, offered, cap_wh=offered.energy_wh, now_ms=offered.start_ms
        )
        self._state = replace(self._state, ledger=ledger)

    def _clear_doubt(self, is_next: bool) -> None:
        """A ledger record that does not fit may be of a missing tick: the next one tells."""
        if is_next and self.found is None:
            self.found = self._doubt
        self._doubt = None

    def _begin_hole(self, record: Record) -> None:
        """From here on nothing can be followed, until the next frame."""
        reason = f"tick {self._next_tick} is not whole in the journal"
        self._hole, self._tick = (record, reason), None
        self._lose()

    def _settle(self) -> None:
        """The tick before is told in full: what only its check shows is a difference now."""
        tick, self._tick = self._tick, None
        if tick is not None and tick.check is not None and self.found is None:
            self.found = self._found(tick.record, tick.record, tick.check)

    def _close_hole(self, until: Record | None) -> None:
        if self._hole is None:
            return
        (since, reason), self._hole = self._hole, None
        self.holes.append(
            Hole(
                meter_point=self.meter_point,
                from_index=since.index,
                to_index=None if until is None else until.index,
                from_ms=since.time_us // 1000,
                to_ms=None if until is None else until.time_us // 1000,
                reason=reason,
            )
        )

    def _found(self, record: Record, tick: Record, other: Difference) -> Found:
        return Found(
            meter_point=self.meter_point,
            index=record.index,
            at_ms=tick.time_us // 1000,
            tick=tick.data["tick"],
            field=other.path,
            recorded=other.recorded,
            replayed=other.replayed,
        )


def _data_of(record: NewRecord | None) -> object:
    return None if record is None else dict(record.data)
