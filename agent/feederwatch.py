"""The feeders of a meter point from tick to tick: what each shows becomes an alarm of its own.

Beside the point's decisions and never in them: it reads what was decided on and keeps what it has
learned in the journal, as the point does for its own meter.
"""

from collections.abc import Iterator, Sequence

from agent.alarms import DISCREPANCY_REMEDIES, Condition
from agent.core.discrepancy import Discrepancy
from agent.core.feeders import Above, Feeder, begun, findings, looked
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Snapshot
from agent.journal import Journal
from agent.learnedlog import learned_record, recover_learned
from agent.posts import MeterPost
from agent.records import NewRecord
from agent.referencewatch import ReferenceWatch
from agent.settings import Settings
from agent.settings_points import MeterPointSettings


class FeederWatch:
    """Lays each feeder's meter beside its machines. Without feeders it does nothing at all."""

    def __init__(
        self,
        point: str,
        feeders: Sequence[Feeder] = (),
        found: Sequence[Discrepancy] = (),
        *,
        reference: ReferenceWatch | None = None,
    ) -> None:
        """``found`` is what was learned of each feeder, and of the rest last."""
        self._point = point
        self._reference = reference
        self._feeders = tuple(feeders)
        self._above: Above | None = None
        if self._feeders:
            by_meter = {one.meter_id: what for one, what in zip(feeders, found, strict=False)}
            self._known = begun(self._feeders, by_meter, found[-1])

    def look(self, snapshot: Snapshot, state: SiteState, parameters: Parameters) -> list[NewRecord]:
        """After a tick: what it has added to what is known, to be written down."""
        if not self._feeders and self._reference is None:
            return []
        above = Above(
            meter_id=parameters.meter_id,
            meter_share=parameters.meter_error_share,
            step_wh=state.fusion.traits.step_wh,
            base_max_w=parameters.base_load_max_w,
        )
        readings = dict(_readings(snapshot))
        records: list[NewRecord] = []
        if self._reference is not None:
            records += self._reference.look(snapshot, state, above, readings)
        if not self._feeders:
            return records
        self._above = above
        before = self._known
        self._known = looked(
            before,
            self._feeders,
            above,
            readings=readings,
            machines=state.judgements,
            statements=state.statements,
            now_s=snapshot.now_s,
            now_ms=snapshot.now_ms,
        )
        for feeder, was, now in zip(
            self._feeders, before.branches, self._known.branches, strict=True
        ):
            if now.watch.found is not was.watch.found:
                name = branch_name(self._point, feeder.meter_id)
                records.append(learned_record(name, feeder.meter_id, now.watch.found))
        if self._known.rest.found is not before.rest.found:
            meters = all_meters(parameters.meter_id, self._feeders)
            records.append(
                learned_record(branch_name(self._point, ""), meters, self._known.rest.found)
            )
        return records

    def learned(self, meter_id: str) -> Discrepancy:
        """What is known of one feeder."""
        places = [one.meter_id for one in self._feeders]
        return self._known.branches[places.index(meter_id)].watch.found

    def conditions(self) -> Iterator[Condition]:
        """What stands now, by feeder."""
        if self._reference is not None:
            yield from self._reference.conditions()
        if self._above is None:
            return
        for one in findings(self._known, self._feeders, self._above):
            yield Condition(
                code=one.code,
                severity="warning",
                source=one.source,
                words=one.words,
                remedy=DISCREPANCY_REMEDIES[one.code],
                meter_point=self._point,
            )


def branch_name(point: str, meter_id: str) -> str:
    """Whose learning a record holds; without a meter, that of what is behind no feeder."""
    return f"{point}/{meter_id or 'rest'}"


def all_meters(site_meter_id: str, feeders: Sequence[Feeder]) -> str:
    """What the rest is a difference of: with another feeder it is another rest."""
    return "-".join([site_meter_id, *sorted(one.meter_id for one in feeders)])


def _readings(snapshot: Snapshot) -> Iterator[tuple[str, tuple[int, int]]]:
    """When, by the site's clock, each meter was asked, and what it counted."""
    for view in snapshot.meters:
        if view.reading is not None:
            age_ms = round((snapshot.now_s - view.reading.requested_at_s) * 1000)
            yield view.meter_id, (snapshot.now_ms - age_ms, view.reading.energy_import_wh)


async def open_feeders(
    settings: Settings,
    point: MeterPointSettings,
    posts: Sequence[MeterPost],
    journal: Journal,
    now_ms: int,
) -> FeederWatch:
    """The feeders of a point, with what the journal knows of them. Raises JournalError."""
    traits = {post.meter_id: post.traits for post in posts}
    shares = {meter.id: meter.error_share for meter in settings.meters}
    feeders = [
        Feeder(
            meter_id=one.id,
            miner_ids=frozenset(m.id for m in settings.miners_of(point) if one.is_above(m.id)),
            meter_share=shares[one.id],
            step_wh=traits[one.id].step_wh,
        )
        for one in settings.feeders_of(point)
    ]
    reference = await _open_reference(settings, point, posts, journal, now_ms)
    if not feeders:
        return FeederWatch(point.id, reference=reference)
    known = [(one.meter_id, one.meter_id) for one in feeders]
    known.append(("", all_meters(point.meter, feeders)))
    found = [
        await recover_learned(
            journal, meter_point=branch_name(point.id, name), meter_id=meter, now_ms=now_ms
        )
        for name, meter in known
    ]
    return FeederWatch(point.id, feeders, found, reference=reference)


async def _open_reference(
    settings: Settings,
    point: MeterPointSettings,
    posts: Sequence[MeterPost],
    journal: Journal,
    now_ms: int,
) -> ReferenceWatch | None:
    """The point's second meter, with what the journal knows of it. Raises JournalError."""
    name = point.reference
    if not name:
        return None
    feeder = Feeder(
        meter_id=name,
        miner_ids=frozenset(miner.id for miner in settings.miners_of(point)),
        meter_share=next(meter.error_share for meter in settings.meters if meter.id == name),
        step_wh=next(post.traits.step_wh for post in posts if post.meter_id == name),
    )
    found = await recover_learned(
        journal, meter_point=branch_name(point.id, name), meter_id=name, now_ms=now_ms
    )
    return ReferenceWatch(point.id, feeder, found)
