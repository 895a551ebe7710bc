"""The books half of a tick: what the register shows goes to the purchases, edge by edge.

The split at an edge is an estimate from the samples around it; hindsight sharpens how far below it
the register may have been: docs/governor.md, sections 1 and 2.
"""

from collections.abc import Callable
from typing import NamedTuple

from agent.core import ledger as books
from agent.core import meterfusion as fusing
from agent.core import unseen
from agent.core.evolve import replace
from agent.core.ledger import Entry, Ledger
from agent.core.samples import Fusion
from agent.core.snapshot import Snapshot
from agent.core.suspicion import SILENCE_S
from agent.core.waiting import monotonic_s, utc_ms

KEEP_ENDED_MS = 48 * 3600 * 1000
ROUNDING_MS = 2  # one instant, taken from one clock to the other and back


class Booked(NamedTuple):
    """The books after a tick, what was attributed, and the last edge of a window they crossed."""

    ledger: Ledger
    edge_ms: int | None
    entries: tuple[Entry, ...] = ()


def attributed(
    ledger: Ledger,
    fusion: Fusion,
    snapshot: Snapshot,
    *,
    edge_ms: int | None,
    is_recovering: bool,
) -> Booked:
    """Attribute what the register shows, and sharpen the split at the last edge by hindsight.

    A sample that was latched before an edge cannot tell what flowed up to it: booking waits for
    the next one, which is at most a refresh and a poll away. Needs at least one sample.
    """
    last = fusion.latest
    at_ms = utc_ms(snapshot, last.requested_at_s)
    if ledger.booked_wh is None:
        anchored = books.anchor(ledger, at_wh=last.register_wh, at_ms=at_ms)
        now_w = last.power_w * (1 + fusion.traits.power_error_share)
        rated_w = fusion.traits.rated_power_w
        anchored = unseen.unseen_start(anchored, at_ms=at_ms, power_w=now_w, rated_w=rated_w)
        return Booked(anchored, edge_ms)
    settled_ms = at_ms - round(fusion.traits.refresh_s * 1000)
    is_new = at_ms > ledger.booked_at_ms + ROUNDING_MS and last.register_wh >= ledger.booked_wh
    if not (is_new and all(edge <= settled_ms for edge in books.edges_until(ledger, at_ms)[-1:])):
        return _sharpened(Booked(ledger, edge_ms), fusion, snapshot)
    edges = ledger.calendar.edges_in(ledger.booked_at_ms, at_ms)
    estimate = _estimate(ledger, fusion, snapshot)
    flags = ("recovered",) if is_recovering else ()
    owed_wh, ledger = ledger.owed_wh, replace(ledger, owed_wh=0)
    ledger, entries = books.book(
        ledger,
        to_wh=last.register_wh - owed_wh,
        to_ms=at_ms,
        register_at=estimate,
        flags=flags,
    )
    if owed_wh:
        ledger, owed = books.book(
            ledger,
            to_wh=last.register_wh,
            to_ms=at_ms,
            register_at=estimate,
            flags=(*flags, "unknown"),
            is_unknown=True,
        )
        entries += owed
    ledger = books.forget(ledger, ended_before_ms=snapshot.now_ms - KEEP_ENDED_MS)
    booked = Booked(ledger, max(edges, default=edge_ms), entries)
    return _sharpened(booked, fusion, snapshot)


def settled(ledger: Ledger) -> tuple[Ledger, tuple[Entry, ...]]:
    """Charge what is owed to what is booked already, where the books cannot wait for a sample."""
    last_wh = ledger.booked_wh
    if not ledger.owed_wh or last_wh is None:
        return ledger, ()
    return books.book(
        replace(ledger, owed_wh=0),
        to_wh=last_wh + ledger.owed_wh,
        to_ms=ledger.booked_at_ms,
        register_at=lambda _: last_wh,
        flags=("unknown",),
        is_unknown=True,
    )


def _estimate(ledger: Ledger, fusion: Fusion, snapshot: Snapshot) -> Callable[[int], int]:
    """The register at an edge between the booked value and the last sample.

    Between samples a poll apart that is the middle of the interval. In a silence the interval says
    next to nothing, and the straight line between the two registers is the likeliest in it.
    """
    last = fusion.latest
    assert ledger.booked_wh is not None
    from_s, from_wh = monotonic_s(snapshot, ledger.booked_at_ms), ledger.booked_wh
    span_s = last.requested_at_s - from_s

    def register_at(edge_ms: int) -> int:
        edge_s = monotonic_s(snapshot, edge_ms)
        interval = fusing.interval_at(fusion, edge_s)
        if span_s <= SILENCE_S:
            return round(interval.middle_wh)
        line_wh = from_wh + (last.register_wh - from_wh) * (edge_s - from_s) / span_s
        return round(min(max(line_wh, interval.lower_wh), interval.upper_wh))

    return register_at


def _sharpened(booked: Booked, fusion: Fusion, snapshot: Snapshot) -> Booked:
    """Note how far below its split the register may have been when the last window opened."""
    ledger, edge_ms = booked.ledger, booked.edge_ms
    if edge_ms is None:
        return booked
    edge_s = monotonic_s(snapshot, edge_ms)
    if edge_s < fusion.samples[0].requested_at_s:
        return booked._replace(edge_ms=None)
    places = ledger.calendar.opening.get(edge_ms, ())
    opened = [ledger.accounts[place].opened_at_wh for place in places]
    if not opened or opened[0] is None:
        return booked
    lower_wh = fusing.interval_at(fusion, edge_s).lower_wh
    error_wh = max(round(opened[0] - lower_wh + 0.5), 0)
    ledger = books.set_start_error(ledger, start_ms=edge_ms, error_wh=error_wh)
    return booked._replace(ledger=ledger)
