"""Where below a site's meter the evidence is: the meters of its feeders, and what lies between.

Each feeder's meter is laid beside the machines behind it, as the site's is beside all of them
(``agent.core.discrepancy``); what the site's meter counts beyond all feeders is laid beside the
machines that hang on none. A tap behind a feeder's meter shows in that feeder, one before it in the
rest; a feeder's own meter that counts wrong shows in both, to opposite sides. Nothing here moves
the books or a set point, and the site's own comparison is what it is without any feeder.

Energies are Wh, quarters those of UTC, as in the statements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.discrepancy import HOURS, Discrepancy, Quarter, weighed
from agent.core.evolve import replace
from agent.core.fleet import Judged
from agent.core.ledger import QUARTER_MS
from agent.core.machinesums import (
    ANSWERED_SHARE,
    HOUR_MS,
    WATCHED_SHARE,
    Sum,
    Watch,
    is_due,
    summed,
)
from agent.core.statement import Statement

PAUSE_MS = 30_000  # between two readings: over a longer one nothing is drawn as a straight line
UNTOLD_SHARE = 0.25  # how far machines may be off of which there are none
KEPT = 2  # quarters wait for what else is known of them
UNSEEN, LOW = "UNSEEN_LOAD", "METER_LOW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """A meter below the site's, and the machines behind it. Shares and steps as of a site meter."""

    meter_id: str
    miner_ids: frozenset[str]
    meter_share: float
    step_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """The site's own meter, above all feeders."""

    meter_id: str
    meter_share: float
    step_wh: int
    base_max_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """How far a feeder's meter has come, and what it counted in the last whole quarters.

    ``at_ms`` is the last reading's instant, None before one; ``edge_ms`` the last quarter's edge
    whose value, ``edge_wh``, is known. ``ended`` are quarters by their start.
    """

    at_ms: int | None = None
    wh: int = 0
    edge_ms: int | None = None
    edge_wh: float = 0.0
    ended: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """What is known of one feeder; ``weighed_ms`` is the start of the quarter weighed last."""

    register: Register = field(default_factory=Register)
    watch: Watch = field(default_factory=Watch)
    weighed_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """All branches, in the order of the feeders; the machines behind none; the site's quarters."""

    branches: tuple[Branch, ...]
    rest: Watch = field(default_factory=Watch)
    statements: tuple[Statement, ...] = ()
    weighed_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An alarm's code, where it is, and the figures in words."""

    code: str
    source: str
    words: str


def begun(feeders: Sequence[Feeder], found: Mapping[str, Discrepancy], rest: Discrepancy) -> Below:
    """Go on from what was learned before, by meter."""
    branches = [Branch(watch=Watch(found=found[one.meter_id])) for one in feeders]
    return Below(branches=tuple(branches), rest=Watch(found=rest))


def counted(known: Register, at_ms: int, wh: int) -> Register:
    """Take in one reading; at a quarter's edge the register is on the line between two readings.

    A register that fell, and a pause, leave the edge unknown: its two quarters are not compared.
    """
    before_ms = known.at_ms
    if before_ms is not None and at_ms <= before_ms:
        return known
    if before_ms is None or wh < known.wh or at_ms - before_ms > PAUSE_MS:
        return Register(at_ms=at_ms, wh=wh, ended=known.ended)
    edge_ms = at_ms - at_ms % QUARTER_MS
    if before_ms >= edge_ms:
        return replace(known, at_ms=at_ms, wh=wh)
    share = (edge_ms - before_ms) / (at_ms - before_ms)
    edge_wh = known.wh + (wh - known.wh) * share
    ended = known.ended
    if known.edge_ms == edge_ms - QUARTER_MS:
        ended = (*ended, (known.edge_ms, edge_wh - known.edge_wh))[-KEPT:]
    return Register(at_ms=at_ms, wh=wh, edge_ms=edge_ms, edge_wh=edge_wh, ended=ended)


def looked(
    known: Below,
    feeders: Sequence[Feeder],
    above: Above,
    *,
    readings: Mapping[str, tuple[int, int]],
    machines: Mapping[str, Judged],
    statements: Sequence[Statement],
    now_s: float,
    now_ms: int,
) -> Below:
    """One tick: ``readings`` are (UTC ms, Wh) by meter, ``statements`` what the site closed."""
    if is_due(known.rest, now_ms):
        known = _summed(known, feeders, machines, now_s, now_ms)
    branches = []
    for branch, feeder in zip(known.branches, feeders, strict=True):
        reading = readings.get(feeder.meter_id)
        register = branch.register if reading is None else counted(branch.register, *reading)
        branches.append(_weighed(replace(branch, register=register), feeder, above))
    statements = (*known.statements, *statements)[-KEPT:]
    known = replace(known, branches=tuple(branches), statements=statements)
    return _rest_weighed(known, feeders, above)


def _summed(
    known: Below,
    feeders: Sequence[Feeder],
    machines: Mapping[str, Judged],
    now_s: float,
    now_ms: int,
) -> Below:
    """Add what the machines have drawn, to the branch that each is in."""
    branches, left = [], dict(machines)
    for branch, feeder in zip(known.branches, feeders, strict=True):
        own = [left.pop(name) for name in sorted(feeder.miner_ids) if name in left]
        branches.append(replace(branch, watch=summed(branch.watch, own, now_s, now_ms)))
    rest = summed(known.rest, left.values(), now_s, now_ms)
    return replace(known, branches=tuple(branches), rest=rest)


def _sum_at(watch: Watch, start_ms: int) -> Sum | None:
    """The machines' sum of a quarter, if it was watched whole."""
    sums = [one for one in watch.ended if one.start_ms == start_ms]
    is_whole = bool(sums) and sums[0].watched_ms >= WATCHED_SHARE * QUARTER_MS
    return sums[0] if is_whole else None


def _weighed(branch: Branch, feeder: Feeder, above: Above) -> Branch:
    for start_ms, metered_wh in branch.register.ended:
        one = _sum_at(branch.watch, start_ms)
        if one is None or start_ms <= branch.weighed_ms:
            continue
        branch = replace(branch, weighed_ms=start_ms)
        if not one.machines_wh or one.doubtful_wh > (1 - ANSWERED_SHARE) * one.machines_wh:
            continue
        quarter = Quarter(
            metered_wh=metered_wh,
            machines_wh=one.machines_wh,
            tolerance_share=one.error_wh / one.machines_wh,
            meter_share=feeder.meter_share,
            step_wh=float(feeder.step_wh),
            base_max_wh=above.base_max_w * QUARTER_MS / HOUR_MS,
            hour=start_ms // HOUR_MS % HOURS,
        )
        found = weighed(branch.watch.found, quarter)
        branch = replace(branch, watch=replace(branch.watch, found=found))
    return branch


def _rest_weighed(known: Below, feeders: Sequence[Feeder], above: Above) -> Below:
    """The site's quarters less those of all feeders.

    It is a difference of large numbers: it is not believed to be known better than the classes of
    all the meters allow.
    """
    for statement in known.statements:
        start_ms, one = statement.start_ms, _sum_at(known.rest, statement.start_ms)
        parts = [dict(branch.register.ended).get(start_ms) for branch in known.branches]
        metered_wh = [part for part in parts if part is not None]
        if start_ms <= known.weighed_ms or one is None or len(metered_wh) < len(feeders):
            continue
        known = replace(known, weighed_ms=start_ms)
        is_whole = statement.end_ms - start_ms == QUARTER_MS and not statement.unknown_wh
        is_measured = is_whole and set(statement.flags) <= {"split"}
        if not is_measured or one.doubtful_wh > (1 - ANSWERED_SHARE) * statement.metered_wh:
            continue
        slack_wh = above.step_wh + above.meter_share * statement.metered_wh
        for feeder, part_wh in zip(feeders, metered_wh, strict=True):
            slack_wh += feeder.step_wh + feeder.meter_share * part_wh
        quarter = Quarter(
            metered_wh=statement.metered_wh - sum(metered_wh),
            machines_wh=one.machines_wh,
            tolerance_share=one.error_wh / one.machines_wh if one.machines_wh else UNTOLD_SHARE,
            meter_share=0.0,
            step_wh=slack_wh,
            base_max_wh=above.base_max_w * QUARTER_MS / HOUR_MS,
            hour=start_ms // HOUR_MS % HOURS,
        )
        rest = replace(known.rest, found=weighed(known.rest.found, quarter))
        known = replace(known, rest=rest)
    return known


def findings(known: Below, feeders: Sequence[Feeder], above: Above) -> tuple[Finding, ...]:
    """The alarms that stand, each where the evidence is.

    What a feeder's meter alone counts wrong shows in the rest to the other side: then the feeder is
    told, and the rest is not.
    """
    rest = known.rest.found
    told = []
    opposite = {LOW: UNSEEN, UNSEEN: LOW}
    is_explained = False
    for branch, feeder in zip(known.branches, feeders, strict=True):
        found = branch.watch.found
        if not found.code:
            continue
        words = f"feeder {feeder.meter_id}: {found.words}"
        if rest.code == opposite[found.code]:
            is_explained = True
            words += "; the site meter does not agree with it: look at this feeder's own meter"
        told.append(Finding(code=found.code, source=feeder.meter_id, words=words))
    if rest.code and not is_explained:
        words = f"between the site meter and its feeders: {rest.words}"
        told.append(Finding(code=rest.code, source=f"{above.meter_id}/rest", words=words))
    return tuple(told)
