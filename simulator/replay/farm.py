"""All meter points of a journal: each record goes to the point that it is about, and to no other.

Points share nothing that decides, so that each is followed by itself, from its own frames. The
first difference of any of them ends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from agent.records import Record
from simulator.replay.follower import Counts, Follower, Found, Hole, Revise

_OF_POINTS = frozenset({"frame", "tick", "decision", "ledger"})  # their source is the point
_OF_DEVICES = frozenset({"meter", "throttle"})


@dataclass(slots=True, kw_only=True)
class FarmFollower:
    """Feed it the journal's records in order with ``take``, then ``finish``."""

    revise: Revise
    points: dict[str, Follower] = field(default_factory=dict)
    boots: int = 0

    @property
    def has_ticks(self) -> bool:
        """Whether there was anything to follow."""
        return any(point.has_ticks for point in self.points.values())

    @property
    def is_shadow(self) -> bool:
        """Whether any of it was a shadow run."""
        return any(point.is_shadow for point in self.points.values())

    @property
    def found(self) -> Found | None:
        """The first difference in the journal, of whichever point it is."""
        found = [point.found for point in self.points.values() if point.found is not None]
        return min(found, key=lambda one: one.index, default=None)

    def holes(self) -> tuple[Hole, ...]:
        """What could not be followed, in the journal's order."""
        holes = [hole for point in self.points.values() for hole in point.holes]
        return tuple(sorted(holes, key=lambda hole: hole.from_index))

    def counts(self) -> Counts:
        """How much was done again, of all points together; the boots are everybody's."""
        total = Counts(boots=self.boots)
        for point in self.points.values():
            for one in fields(Counts):
                if one.name not in ("boots", "first_ms", "last_ms"):
                    added = getattr(total, one.name) + getattr(point.counts, one.name)
                    setattr(total, one.name, added)
        first_ms = [
            p.counts.first_ms for p in self.points.values() if p.counts.first_ms is not None
        ]
        last_ms = [p.counts.last_ms for p in self.points.values() if p.counts.last_ms is not None]
        total.first_ms, total.last_ms = min(first_ms, default=None), max(last_ms, default=None)
        return total

    def take(self, record: Record) -> None:
        """One record. Raises ExactError where it cannot be what the daemon wrote."""
        self.boots += record.kind == "boot"
        for point in self._meant(record):
            point.take(record)

    def finish(self) -> None:
        """The end of the journal."""
        for point in self.points.values():
            point.finish()

    def _meant(self, record: Record) -> Iterator[Follower]:
        if record.kind == "boot":
            yield from self.points.values()
        elif record.kind in _OF_POINTS:
            name = record.source
            if record.kind in ("frame", "tick") and name not in self.points:
                counts = Counts(boots=min(self.boots, 1))  # it appears in the boot under way
                self.points[name] = Follower(meter_point=name, revise=self.revise, counts=counts)
            if name in self.points:
                yield self.points[name]
        elif record.kind in _OF_DEVICES:
            # A device that no point has been shown cannot have led to any decision.
            yield from [point for point in self.points.values() if point.knows(record)]
