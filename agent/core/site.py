"""The state of one site and the books half of a tick: meter, clock edges, ledger, base load.

``governor.step`` calls ``observe`` first and decides on what it returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core import ledger as books
from agent.core import meterfusion as fusing
from agent.core import unseen
from agent.core.agreement import Agreement
from agent.core.attribution import attributed
from agent.core.baseload import BaseLoad, followed
from agent.core.braking import RELAY_S, Exposure, exposure_of
from agent.core.card import ActuatorCard
from agent.core.decisions import Decision, Mode
from agent.core.evolve import replace
from agent.core.fleet import Judged, Machine, Memory, judged
from agent.core.intake import Intake, taken
from agent.core.learning import Experience, learn
from agent.core.ledger import Entry, Ledger
from agent.core.limits import Limit
from agent.core.machinesums import Watch, compared, is_due, summed
from agent.core.reference import Comparison, Reference
from agent.core.reference import compared as against
from agent.core.register import RegisterEvent
from agent.core.resumption import Resumption
from agent.core.samples import Fusion, Interval
from agent.core.snapshot import MeterView, MinerView, Snapshot
from agent.core.statement import Statement, collect
from agent.core.waiting import Waiting, waited

FIRST_READS_S = 10.0
NO_MEMORY = Memory()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the configuration says. Shares are fractions, powers W, times s.

    ``is_shadow``: nothing that is decided is sent; see ``agent.core.shadow``. ``reference`` is a
    second meter at the same place, if there is one.
    """

    meter_id: str
    tick_s: float
    rated_power_w: float
    base_load_max_w: float
    reserve_share: float
    meter_error_share: float
    power_error_share: float
    power_margin_share: float
    meter_stale_s: float
    blind_floor_after_s: float
    rise_interval_s: float
    command_latency_s: float
    missing_floor_w: float
    cards: Mapping[str, ActuatorCard]
    limits: tuple[Limit, ...]
    is_shadow: bool = False
    reference: Reference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayMemory:
    """When a relay last opened and was told to close, and each opening of the last day.

    ``is_awaited``: it has not reported yet that it did as it was told last.
    """

    opened_at_s: float = float("-inf")
    closed_at_s: float = float("-inf")
    trips_s: tuple[float, ...] = ()
    is_awaited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """All that is carried from tick to tick. ``edge_ms`` is the last window edge that was booked,
    ``is_recovering`` holds until the first booking after a restart, ``judgements`` spare what did
    not change.

    ``is_armed`` turns true once meter, clock and ledger have been fresh together; before that
    nothing may rise. ``waiting`` is what may have flowed since the last sample, ``quarter`` the
    statement under way; ``statements`` were closed by this tick and ``events`` befell the register;
    ``agreement`` is that of its power and its energy register, ``watch`` what the machines' own
    watts say of the meter, ``comparison`` what a second one says. ``resumption`` is how a register
    that is held counts on, ``resumed`` the last time that the books went on from one by themselves.
    """

    fusion: Fusion
    ledger: Ledger
    memories: Mapping[str, Memory] = field(default_factory=dict)
    judgements: Mapping[str, Judged] = field(
        default_factory=dict, compare=False, metadata={"is_derived": True}
    )
    relays: Mapping[str, RelayMemory] = field(default_factory=dict)
    floor_since_s: float | None = None
    mode: Mode = Mode.FAILSAFE
    is_armed: bool = False
    started_at_s: float | None = None
    meter_fresh_at_s: float | None = None
    base_load_w: float | None = None
    unsettled_since_s: float | None = None
    settled_at_s: float = 0.0
    changed_at_s: float = float("-inf")
    edge_ms: int | None = None
    is_recovering: bool = False
    decision: Decision | None = None
    experience: Experience = field(default_factory=Experience)
    agreement: Agreement = field(default_factory=Agreement)
    watch: Watch = field(default_factory=Watch)
    comparison: Comparison = field(default_factory=Comparison)
    resumption: Resumption | None = None
    resumed: RegisterEvent | None = None
    waiting: Waiting | None = None
    quarter: Statement | None = None
    statements: tuple[Statement, ...] = ()
    events: tuple[RegisterEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one tick knows. ``measured_w`` is None while the meter is not to be relied on."""

    snapshot: Snapshot
    machines: Mapping[str, Machine]
    measured_w: float | None
    interval: Interval | None
    exposure: Exposure
    meter_words: str


def observe(
    state: SiteState, snapshot: Snapshot, parameters: Parameters
) -> tuple[SiteState, Picture, tuple[Entry, ...]]:
    """Take in one snapshot: judge meter and machines, let time pass, keep the books."""
    meter = site_meter(snapshot, parameters)
    started_at_s = snapshot.now_s if state.started_at_s is None else state.started_at_s
    fusion, ledger, agreement, events = taken(known_of(state), meter, snapshot)
    experience = learn(state.experience, _news(state, snapshot), parameters.cards)
    judgements = _judge_machines(state, experience, snapshot, parameters)
    machines = {miner_id: one.machine for miner_id, one in judgements.items()}
    words = _meter_trouble(fusion, meter, snapshot, parameters)
    measured_w = None if words else fusion.latest.power_w
    base = followed(
        BaseLoad(state.base_load_w, state.unsettled_since_s, state.settled_at_s),
        machines.values(),
        measured_w,
        snapshot.now_s,
        is_starting=snapshot.now_s - started_at_s <= FIRST_READS_S,
    )
    before = state
    state = replace(
        state,
        started_at_s=started_at_s,
        meter_fresh_at_s=state.meter_fresh_at_s if measured_w is None else snapshot.now_s,
        fusion=fusion,
        ledger=ledger,
        agreement=agreement,
        experience=experience,
        judgements=judgements,
        events=events,
        statements=(),
        base_load_w=base.power_w,
        unsettled_since_s=base.unsettled_since_s,
        settled_at_s=base.settled_at_s,
    )
    exposure = _exposure(state, machines, measured_w, snapshot, parameters)
    tail_w = min(_tail_w(state, machines, exposure), parameters.rated_power_w)
    if measured_w is None and not all(machine.is_known for machine in machines.values()):
        tail_w = parameters.rated_power_w
    fusion = fusing.advance(fusion, now_s=snapshot.now_s, power_upper_w=tail_w)
    if measured_w is None:
        fusion = fusing.add(fusion, unseen.surprise_wh(before.judgements, judgements))
    state, entries = _keep_books(state, fusion, snapshot)
    state = _watched(state, snapshot, parameters)
    picture = Picture(
        snapshot=snapshot,
        machines=machines,
        measured_w=measured_w,
        interval=_interval(state, snapshot.now_s, is_blind=measured_w is None),
        exposure=exposure,
        meter_words=words,
    )
    return state, picture, entries


def known_of(state: SiteState) -> Intake:
    """What the next reading is held against."""
    return Intake(state.fusion, state.ledger, state.agreement)


def _watched(state: SiteState, snapshot: Snapshot, parameters: Parameters) -> SiteState:
    """Lay the machines' own watts, and a second meter, beside what the meter counts."""
    if parameters.reference is not None:
        seen = {view.meter_id: view.reading for view in snapshot.meters}
        site, other = seen[parameters.meter_id], seen[parameters.reference.meter_id]
        if site is not None and other is not None:
            comparison = against(state.comparison, site, other, parameters.reference)
            state = replace(state, comparison=comparison)
    watch = state.watch
    if is_due(watch, snapshot.now_ms):
        watch = summed(watch, state.judgements.values(), snapshot.now_s, snapshot.now_ms)
    if state.statements:
        watch = compared(
            watch,
            state.statements,
            meter_share=parameters.meter_error_share,
            step_wh=state.fusion.traits.step_wh,
            base_max_w=parameters.base_load_max_w,
        )
    return state if watch is state.watch else replace(state, watch=watch)


def _exposure(
    state: SiteState,
    machines: Mapping[str, Machine],
    measured_w: float | None,
    snapshot: Snapshot,
    parameters: Parameters,
) -> Exposure:
    """What may flow whatever is done from now on."""
    assert state.started_at_s is not None
    return exposure_of(
        tuple(machines.values()),
        measured_w=None if measured_w is None else fusing.recent_power_w(state.fusion),
        base_load_w=state.base_load_w,
        base_load_max_w=parameters.base_load_max_w,
        margin_share=parameters.power_margin_share,
        meter_share=parameters.power_error_share,
        latency_s=parameters.command_latency_s + parameters.tick_s,
        relay_s=RELAY_S if any(r.is_open is False for r in snapshot.relays) else 0.0,
        is_starting=snapshot.now_s - state.started_at_s < FIRST_READS_S,
    )


def _news(state: SiteState, snapshot: Snapshot) -> list[MinerView]:
    """The machines of which something was heard since the last tick."""
    known = state.judgements
    return [
        view
        for view in snapshot.miners
        if (one := known.get(view.miner_id)) is None or one.view is not view
    ]


def _judge_machines(
    state: SiteState, experience: Experience, snapshot: Snapshot, parameters: Parameters
) -> dict[str, Judged]:
    dark = {name for relay in snapshot.relays if relay.is_open for name in relay.miner_ids}
    judgements: dict[str, Judged] = {}
    for view in snapshot.miners:
        name = view.miner_id
        before = state.judgements.get(name)
        known = None if before is None else before.taught
        judgements[name] = judged(
            before,
            view,
            state.memories.get(name, NO_MEMORY),
            experience.taught(name, parameters.cards[view.family], known),
            snapshot.now_s,
            is_dark=name in dark,
        )
    return judgements


def _interval(state: SiteState, now_s: float, *, is_blind: bool) -> Interval | None:
    """Where the register is now; without the meter with what machines may do unseen on top."""
    if not state.fusion.samples:
        return None
    interval = fusing.interval_now(state.fusion)
    if is_blind:
        upper_wh = interval.upper_wh + unseen.unseen_wh(state.judgements, now_s)
        return replace(interval, upper_wh=upper_wh)
    return interval


def _tail_w(state: SiteState, machines: Mapping[str, Machine], exposure: Exposure) -> float:
    """The most that flows while the register has not moved: its power may be as old as it is.

    A machine that has risen meanwhile has done so by what it reads back.
    """
    modelled_w = sum([m.at_w + m.rising_w for m in machines.values()]) + (state.base_load_w or 0.0)
    return max(exposure.power_hi_w, modelled_w)


def site_meter(snapshot: Snapshot, parameters: Parameters) -> MeterView:
    """The meter that the books go by."""
    return next(m for m in snapshot.meters if m.meter_id == parameters.meter_id)


def _meter_trouble(
    fusion: Fusion, meter: MeterView, snapshot: Snapshot, parameters: Parameters
) -> str:
    """Why the meter cannot be relied on now; empty while it can."""
    if not fusion.samples:
        words = fusion.suspect or meter.fault
        return words or "the meter has not answered since the start"
    if fusion.suspect:
        return fusion.suspect
    age_s = snapshot.now_s - fusion.latest.requested_at_s
    if age_s > parameters.meter_stale_s or meter.missed_polls >= 3:
        return f"the meter has been silent for {age_s:.1f} s" + (
            f": {meter.fault}" if meter.fault else ""
        )
    return ""


def _keep_books(
    state: SiteState, fusion: Fusion, snapshot: Snapshot
) -> tuple[SiteState, tuple[Entry, ...]]:
    """Attribute what is known of the register, and close the statements that end with it."""
    ledger = books.indexed(state.ledger)
    if not fusion.samples:
        return replace(state, fusion=fusion, ledger=ledger), ()
    waiting = state.waiting
    if ledger.booked_wh is not None:
        waiting = waited(waiting, fusion, ledger, snapshot)
    ledger, edge_ms, entries = attributed(
        ledger, fusion, snapshot, edge_ms=state.edge_ms, is_recovering=state.is_recovering
    )
    known = replace(state, fusion=fusion, waiting=waiting, ledger=ledger, edge_ms=edge_ms)
    if not entries:
        return known, ()
    statements, quarter = collect(state.quarter, entries, ledger)
    return replace(known, is_recovering=False, statements=statements, quarter=quarter), entries
