"""The second meter of a point beside the machines, as the first one is: who of the two is wrong.

That two meters differ says that one of them is. The machines are the third witness: a bad one, but
one that has been heard for weeks. Whom they contradict is told; the books go by the first meter.
"""

from collections.abc import Iterator, Mapping

from agent.alarms import DISCREPANCY_REMEDIES, Condition
from agent.core.discrepancy import Discrepancy
from agent.core.feeders import Above, Feeder, begun, looked
from agent.core.site import SiteState
from agent.core.snapshot import Snapshot
from agent.learnedlog import learned_record
from agent.records import NewRecord


class ReferenceWatch:
    """Lays the reference beside all machines of the point; it is a feeder that feeds them all."""

    def __init__(self, point: str, reference: Feeder, found: Discrepancy) -> None:
        """``found`` is what was learned of the reference before."""
        self._point = point
        self._reference = reference
        self._known = begun([reference], {reference.meter_id: found}, Discrepancy())
        self._site_code = ""

    def look(
        self,
        snapshot: Snapshot,
        state: SiteState,
        above: Above,
        readings: Mapping[str, tuple[int, int]],
    ) -> Iterator[NewRecord]:
        """After a tick: what it has added to what is known, to be written down."""
        before = self._learned
        self._known = looked(
            self._known,
            [self._reference],
            above,
            readings=readings,
            machines=state.judgements,
            statements=(),
            now_s=snapshot.now_s,
            now_ms=snapshot.now_ms,
        )
        self._site_code = state.watch.found.code
        if self._learned is not before:
            meter_id = self._reference.meter_id
            yield learned_record(f"{self._point}/{meter_id}", meter_id, self._learned)

    @property
    def _learned(self) -> Discrepancy:
        (branch,) = self._known.branches
        return branch.watch.found

    def conditions(self) -> Iterator[Condition]:
        """What speaks against the reference now, and whether it does against the other as well."""
        found = self._learned
        if not found.code:
            return
        alone = "the meter that keeps the purchase agrees with the machines"
        both = "so does the meter that keeps the purchase"
        yield Condition(
            code=found.code,
            severity="warning",
            source=self._reference.meter_id,
            words=f"reference: {found.words}; {both if self._site_code == found.code else alone}",
            remedy=DISCREPANCY_REMEDIES[found.code],
            meter_point=self._point,
        )
