"""The books go on from what the meter shows now: mostly as a person vouches for its register.

The ways on from a register that is held. ``exchange`` knows the last value of the old meter and
the first of the new one, so that nothing but the digits below a step is unknown. ``accept`` knows
only that the meter is right from here on: what flowed since the last value that was believed is
charged by its upper bound, each window by its own, and counted as unknown. ``resumed`` is the same
without a person, where the register itself has shown that it counts.

Neither may find more energy than can have flowed, nor lose any: docs/governor.md, section 1.
"""

import math
from dataclasses import dataclass

from agent.core import ledger as books
from agent.core import meterfusion as fusing
from agent.core.agreement import Agreement
from agent.core.attribution import settled
from agent.core.evolve import replace
from agent.core.intake import objected
from agent.core.ledger import Entry, Ledger
from agent.core.register import RegisterEvent
from agent.core.resumption import is_due
from agent.core.samples import Sample
from agent.core.site import Parameters, SiteState, known_of, site_meter
from agent.core.snapshot import Snapshot
from agent.core.statement import collect
from agent.core.unseen import unseen_wh
from agent.core.waiting import monotonic_s, utc_ms


class RebaseError(ValueError):
    """The register cannot go on in this way. The message is one sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """The state after the word of a person, and what the ledger attributed for it.

    ``state.events`` and ``state.statements`` are those of this step alone.
    """

    state: SiteState
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A held register as it is judged. ``most_wh`` bounds what flowed since ``booked_wh``."""

    state: SiteState
    snapshot: Snapshot
    settled: tuple[Entry, ...]
    held: Sample
    booked_wh: int
    shown_wh: int
    to_ms: int
    most_wh: int


def accept(
    state: SiteState, snapshot: Snapshot, *, serial: str, reason: str, event: str = "accepted"
) -> Rebased:
    """Go on from the held value; what flowed meanwhile is unknown. Raises RebaseError.

    ``serial`` is that of the meter which answers now, empty where it tells none.
    """
    case = _case(state, snapshot)
    ledger, entries = books.book(
        case.state.ledger,
        to_wh=case.booked_wh + case.most_wh,
        to_ms=case.to_ms,
        register_at=lambda edge_ms: _latest_wh(case, edge_ms),
        flags=("unknown",),
        is_unknown=True,
    )
    befell = RegisterEvent(
        event=event,
        at_ms=case.to_ms,
        register_wh=case.shown_wh,
        offset_wh=case.booked_wh + case.most_wh - case.shown_wh,
        reason=reason,
        serial=serial or ledger.serial,
        least_wh=min(int(state.fusion.doubt.least_wh), case.most_wh),
        unknown_wh=case.most_wh,
    )
    return _went_on(case, ledger, entries, befell)


def resumed(state: SiteState, snapshot: Snapshot, parameters: Parameters) -> Rebased | None:
    """``accept`` without a person, where a held register has counted on for long; None: not yet.

    ``agent.core.resumption`` has the argument. ``snapshot`` is that of the tick that begins.
    """
    machines = [one.machine for one in state.judgements.values()]
    base_load_w = state.base_load_w or 0.0
    if not is_due(state.resumption, state.fusion, machines, base_load_w):
        return None
    if state.ledger.booked_wh is None:
        return None
    meter = site_meter(snapshot, parameters)
    if meter.reading is None or objected(known_of(state), meter, meter.reading):
        return None
    words = f"{state.fusion.suspect}; it has counted on since as its power says"
    return accept(state, snapshot, serial=meter.serial, reason=words, event="resumed")


def exchange(
    state: SiteState,
    snapshot: Snapshot,
    *,
    old_register_wh: int,
    new_register_wh: int,
    serial: str,
    reason: str,
) -> Rebased:
    """Go on at the new meter, from the two values that were read off. Raises RebaseError.

    Both registers cut their digits off, so that up to one step may have gone unseen between them:
    it is charged as unknown.
    """
    case = _case(state, snapshot)
    step_wh = state.fusion.traits.step_wh
    old_wh = old_register_wh + state.ledger.offset_wh - case.booked_wh
    new_wh = case.shown_wh - new_register_wh
    if old_wh < 0:
        raise RebaseError(
            f"the old meter was at {case.booked_wh - state.ledger.offset_wh} Wh already, "
            f"{old_register_wh} Wh is less; read the old register off again"
        )
    if new_wh < 0:
        raise RebaseError(
            f"the meter shows {case.shown_wh} Wh, less than the {new_register_wh} Wh at which it "
            "was fitted; check both figures"
        )
    if old_wh + new_wh > case.most_wh + 2 * step_wh:
        raise RebaseError(
            f"by these figures {old_wh + new_wh} Wh have flowed, but no more than {case.most_wh} "
            "Wh can have; check them, or use `kwota meters accept`"
        )
    ledger, entries = books.book(
        case.state.ledger,
        to_wh=case.booked_wh + old_wh + new_wh,
        to_ms=case.to_ms,
        register_at=lambda edge_ms: _likely_wh(case, old_wh + new_wh, edge_ms),
        flags=("exchanged",),
    )
    ledger, rest = books.book(
        ledger,
        to_wh=case.booked_wh + old_wh + new_wh + step_wh,
        to_ms=case.to_ms,
        register_at=lambda _: case.booked_wh,
        flags=("exchanged", "unknown"),
        is_unknown=True,
    )
    ledger = _with_start_errors(ledger, case)
    assert ledger.booked_wh is not None
    event = RegisterEvent(
        event="exchanged",
        at_ms=case.to_ms,
        register_wh=case.shown_wh,
        offset_wh=ledger.booked_wh - case.shown_wh,
        reason=reason,
        serial=serial or ledger.serial,
        unknown_wh=step_wh,
    )
    return _went_on(case, ledger, (*entries, *rest), event)


def _case(state: SiteState, snapshot: Snapshot) -> _Case:
    fusion = state.fusion
    ledger, entries = settled(books.indexed(state.ledger))
    if ledger.booked_wh is None:
        raise RebaseError("no register value is in the books yet; wait for the meter to answer")
    if fusion.held is None:
        raise RebaseError(
            "the meter's register is not held: it is believed, or the meter does not answer; "
            "see `kwota meters`"
        )
    upper_wh = fusing.interval_now(fusion).upper_wh + unseen_wh(state.judgements, snapshot.now_s)
    most_wh = math.ceil(upper_wh) - ledger.booked_wh
    return _Case(
        state=replace(state, ledger=ledger),
        snapshot=snapshot,
        settled=entries,
        held=fusion.held,
        booked_wh=ledger.booked_wh,
        shown_wh=fusion.held.register_wh - ledger.offset_wh,
        to_ms=max(utc_ms(snapshot, fusion.held.requested_at_s), ledger.booked_at_ms),
        most_wh=max(most_wh, 0),
    )


def _latest_wh(case: _Case, edge_ms: int) -> int:
    """The coordinate at an edge such that no more than is charged can have flowed since.

    Beyond the last sample that is counted back from the end; before it the fusion's lower bound.
    """
    fusion, waiting = case.state.fusion, case.state.waiting
    assert waiting is not None
    if edge_ms <= waiting.knots[0][0]:
        interval = fusing.interval_at(fusion, monotonic_s(case.snapshot, edge_ms))
        return math.floor(interval.lower_wh)
    since_wh = waiting.knots[-1][1] - waiting.flowed_wh(edge_ms)
    return case.booked_wh + case.most_wh - math.ceil(since_wh)


def _likely_wh(case: _Case, grown_wh: int, edge_ms: int) -> int:
    """The coordinate at an edge on the straight line from the books to the new meter."""
    from_ms = case.state.ledger.booked_at_ms
    span_ms = max(case.to_ms - from_ms, 1)
    return case.booked_wh + grown_wh * (edge_ms - from_ms) // span_ms


def _with_start_errors(ledger: Ledger, case: _Case) -> Ledger:
    """How much more than its split may have flowed since each window that opened meanwhile."""
    calendar, booked_wh = ledger.calendar, ledger.booked_wh
    assert booked_wh is not None
    for edge_ms in calendar.edges_in(case.state.ledger.booked_at_ms, case.to_ms):
        opened = [ledger.accounts[n].opened_at_wh for n in calendar.opening.get(edge_ms, ())]
        if opened and opened[0] is not None:
            shortfall_wh = _latest_wh(case, edge_ms) - (case.booked_wh + case.most_wh)
            error_wh = max(opened[0] - booked_wh - shortfall_wh, 0)
            ledger = books.set_start_error(ledger, start_ms=edge_ms, error_wh=error_wh)
    return ledger


def _went_on(
    case: _Case, ledger: Ledger, entries: tuple[Entry, ...], event: RegisterEvent
) -> Rebased:
    """Fusion and books start anew at the held reading, in the coordinate that goes on."""
    assert ledger.booked_wh is not None
    sample = replace(case.held, register_wh=ledger.booked_wh)
    entries = (*case.settled, *entries)
    statements, quarter = collect(case.state.quarter, entries, ledger)
    state = replace(
        case.state,
        fusion=fusing.started(case.state.fusion.traits, sample),
        ledger=replace(ledger, offset_wh=event.offset_wh, serial=event.serial),
        agreement=Agreement(),  # the meter is vouched for; a lie that goes on is found anew
        edge_ms=None,
        waiting=None,
        quarter=quarter,
        statements=statements,
        events=(event,),
    )
    return Rebased(state=state, entries=entries)
