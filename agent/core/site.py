"""The state of one site and the books half of a tick: meter, clock edges, ledger, base load.

``governor.step`` calls ``observe`` first and decides on what it returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agent.core import ledger as books
from agent.core import meterfusion as fusing
from agent.core import unseen
from agent.core.braking import RELAY_S, Exposure, exposure_of
from agent.core.card import ActuatorCard
from agent.core.decisions import Decision, Mode
from agent.core.fleet import Judged, Machine, Memory, judged
from agent.core.learning import Experience, learn
from agent.core.ledger import Entry, Ledger
from agent.core.limits import Limit
from agent.core.meterfusion import Fusion, Interval
from agent.core.snapshot import MeterView, Snapshot

BASE_SETTLE_S = 2.0
BASE_UNSETTLED_TOO_LONG_S = 20.0
BASE_SMOOTHING = 0.2
FIRST_READS_S = 10.0
NO_MEMORY = Memory()
KEEP_ENDED_MS = 48 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the configuration says. Shares are fractions, powers W, times s.

    ``is_shadow``: nothing that is decided is sent; see ``agent.core.shadow``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayMemory:
    """When a relay was last told to open and to close, and each opening of the last day."""

    opened_at_s: float = float("-inf")
    closed_at_s: float = float("-inf")
    trips_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """All that is carried from tick to tick. ``edge_ms`` is the last window edge that was booked,
    ``is_recovering`` holds until the first booking after a restart, ``judgements`` spare what did
    not change.

    ``is_armed`` turns true once meter, clock and ledger have been fresh together; before that
    nothing may rise.
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
    meter = _site_meter(snapshot, parameters)
    state = _started(state, snapshot)
    if meter.reading is not None:
        state = replace(state, fusion=fusing.observe(state.fusion, meter.reading))
    experience = learn(state.experience, snapshot.miners, parameters.cards)
    judged_before = state.judgements
    state = replace(state, experience=experience)
    state = replace(state, judgements=_judge_machines(state, snapshot, parameters))
    machines = {miner_id: one.machine for miner_id, one in state.judgements.items()}
    words = _meter_trouble(state, meter, snapshot, parameters)
    measured_w = None if words else state.fusion.latest.power_w
    if measured_w is not None:
        state = replace(state, meter_fresh_at_s=snapshot.now_s)
    state = _learn_base_load(state, machines, measured_w, snapshot.now_s)
    exposure = exposure_of(
        tuple(machines.values()),
        measured_w=None if measured_w is None else fusing.recent_power_w(state.fusion),
        base_load_w=state.base_load_w,
        base_load_max_w=parameters.base_load_max_w,
        margin_share=parameters.power_margin_share,
        meter_share=parameters.power_error_share,
        latency_s=parameters.command_latency_s + parameters.tick_s,
        relay_s=RELAY_S if any(r.is_open is False for r in snapshot.relays) else 0.0,
        is_starting=_is_starting(state, snapshot.now_s),
    )
    tail_w = min(_tail_w(state, machines, exposure), parameters.rated_power_w)
    if any(not machine.is_known for machine in machines.values()) and measured_w is None:
        tail_w = parameters.rated_power_w
    fusion = fusing.advance(state.fusion, now_s=snapshot.now_s, power_upper_w=tail_w)
    if measured_w is None:
        fusion = fusing.add(fusion, unseen.surprise_wh(judged_before, state.judgements))
    state, entries = _keep_books(replace(state, fusion=fusion), snapshot)
    picture = Picture(
        snapshot=snapshot,
        machines=machines,
        measured_w=measured_w,
        interval=_interval(state, snapshot.now_s, is_blind=measured_w is None),
        exposure=exposure,
        meter_words=words,
    )
    return state, picture, entries


def _judge_machines(
    state: SiteState, snapshot: Snapshot, parameters: Parameters
) -> dict[str, Judged]:
    experience = state.experience
    dark = {name for relay in snapshot.relays if relay.is_open for name in relay.miner_ids}
    return {
        view.miner_id: judged(
            state.judgements.get(view.miner_id),
            view,
            state.memories.get(view.miner_id, NO_MEMORY),
            experience.taught(view.miner_id, parameters.cards[view.family]),
            snapshot.now_s,
            is_dark=view.miner_id in dark,
        )
        for view in snapshot.miners
    }


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


def _is_starting(state: SiteState, now_s: float) -> bool:
    """Whether the machines are still being read for the first time."""
    assert state.started_at_s is not None
    return now_s - state.started_at_s < FIRST_READS_S


def _site_meter(snapshot: Snapshot, parameters: Parameters) -> MeterView:
    return next(m for m in snapshot.meters if m.meter_id == parameters.meter_id)


def _started(state: SiteState, snapshot: Snapshot) -> SiteState:
    if state.started_at_s is not None:
        return state
    return replace(state, started_at_s=snapshot.now_s)


def _meter_trouble(
    state: SiteState, meter: MeterView, snapshot: Snapshot, parameters: Parameters
) -> str:
    """Why the meter cannot be relied on now; empty while it can."""
    fusion = state.fusion
    if not fusion.samples:
        return meter.fault or "the meter has not answered since the start"
    if fusion.suspect:
        return fusion.suspect
    age_s = snapshot.now_s - fusion.latest.requested_at_s
    if age_s > parameters.meter_stale_s or meter.missed_polls >= 3:
        return f"the meter has been silent for {age_s:.1f} s" + (
            f": {meter.fault}" if meter.fault else ""
        )
    return ""


def _learn_base_load(
    state: SiteState, machines: Mapping[str, Machine], measured_w: float | None, now_s: float
) -> SiteState:
    """Follow what the site draws beside its machines, while no machine is on the move.

    A machine that has never been read counts as base load: the meter sees it all the same.
    """
    assert state.started_at_s is not None
    is_complete = all(machine.is_known for machine in machines.values())
    if measured_w is None or not (is_complete or now_s - state.started_at_s > FIRST_READS_S):
        return state
    is_moving = any(m.is_in_transit or m.rising_w > 0 for m in machines.values())
    since_s = state.unsettled_since_s
    if is_moving:
        since_s = now_s if since_s is None else since_s
        state = replace(state, unsettled_since_s=since_s, settled_at_s=now_s + BASE_SETTLE_S)
        if state.base_load_w is not None and now_s - since_s < BASE_UNSETTLED_TOO_LONG_S:
            return state
    elif state.base_load_w is not None and now_s < state.settled_at_s:
        return state
    else:
        state = replace(state, unsettled_since_s=None)
    residual_w = max(measured_w - sum(m.at_w for m in machines.values()), 0.0)
    if state.base_load_w is None:
        return replace(state, base_load_w=residual_w)
    learned_w = state.base_load_w + BASE_SMOOTHING * (residual_w - state.base_load_w)
    return replace(state, base_load_w=learned_w)


def _keep_books(state: SiteState, snapshot: Snapshot) -> tuple[SiteState, tuple[Entry, ...]]:
    """Attribute what the register shows, and sharpen the split at the last edge by hindsight.

    A sample that was latched before an edge cannot tell what flowed up to it: booking waits for
    the next one, which is at most a refresh and a poll away.
    """
    fusion, ledger = state.fusion, state.ledger
    if not fusion.samples:
        return state, ()
    last = fusion.latest
    at_ms = _utc_ms(snapshot, last.requested_at_s)
    if ledger.booked_wh is None:
        anchored = books.anchor(ledger, at_wh=last.register_wh, at_ms=at_ms)
        return replace(state, ledger=anchored), ()
    settled_ms = at_ms - round(fusion.traits.refresh_s * 1000)
    edges = [edge for edge in _edges(ledger) if ledger.booked_at_ms < edge <= at_ms]
    entries: tuple[Entry, ...] = ()
    is_new = at_ms > ledger.booked_at_ms and last.register_wh >= ledger.booked_wh
    if is_new and all(edge <= settled_ms for edge in edges):
        ledger, entries = books.book(
            ledger,
            to_wh=last.register_wh,
            to_ms=at_ms,
            register_at=lambda edge_ms: round(_at(fusion, snapshot, edge_ms).middle_wh),
            flags=("recovered",) if state.is_recovering else (),
        )
        state = replace(state, edge_ms=max(edges, default=state.edge_ms), is_recovering=False)
        ledger = books.forget(ledger, ended_before_ms=snapshot.now_ms - KEEP_ENDED_MS)
    state = replace(state, ledger=ledger)
    return _sharpen_start(state, snapshot), entries


def _sharpen_start(state: SiteState, snapshot: Snapshot) -> SiteState:
    """Note how far below its split the register may have been when the last window opened."""
    if state.edge_ms is None:
        return state
    edge_s = _monotonic_s(snapshot, state.edge_ms)
    if edge_s < state.fusion.samples[0].requested_at_s:
        return replace(state, edge_ms=None)
    lower_wh = _at(state.fusion, snapshot, state.edge_ms).lower_wh
    opened = [
        a.opened_at_wh
        for a in state.ledger.accounts
        if a.transaction.start_ms == state.edge_ms and a.opened_at_wh is not None
    ]
    if not opened:
        return state
    error_wh = max(round(opened[0] - lower_wh + 0.5), 0)
    ledger = books.set_start_error(state.ledger, start_ms=state.edge_ms, error_wh=error_wh)
    return replace(state, ledger=ledger)


def _edges(ledger: Ledger) -> set[int]:
    edges = {a.transaction.start_ms for a in ledger.accounts}
    return edges | {a.transaction.deadline_ms for a in ledger.accounts}


def _at(fusion: Fusion, snapshot: Snapshot, at_ms: int) -> Interval:
    return fusing.interval_at(fusion, _monotonic_s(snapshot, at_ms))


def _monotonic_s(snapshot: Snapshot, at_ms: int) -> float:
    return snapshot.now_s - (snapshot.now_ms - at_ms) / 1000.0


def _utc_ms(snapshot: Snapshot, at_s: float) -> int:
    return snapshot.now_ms - round((snapshot.now_s - at_s) * 1000)
