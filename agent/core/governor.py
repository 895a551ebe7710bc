"""The governor: what the site may draw from now on, who gives way, and why. A pure function.

``agent.core.verdict`` says how much; here it is decided who goes where for it, and remembered.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core import braking, dispatch, shadow
from agent.core.ceiling import for_machines_w, lowered, spare_under
from agent.core.decisions import Because, Command, Decision, Mode, RelayOrder, Setpoint
from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.escalation import relay_orders, remembered
from agent.core.evolve import replace
from agent.core.fleet import Judged, Machine, Memory, matches, obeys, recall
from agent.core.ledger import FOREVER_MS, Entry
from agent.core.preflight import preflight
from agent.core.rebase import resumed
from agent.core.resumption import followed
from agent.core.site import FIRST_READS_S, Parameters, Picture, SiteState, observe
from agent.core.snapshot import Snapshot
from agent.core.steps import Room
from agent.core.verdict import Verdict, judge
from agent.core.wear import worn

PURCHASES_AHEAD = 24
LONG_STOP_MS = 300_000  # a stop longer than this is worth a sleep and the wake after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One tick's result: the state to carry on, the decision, and what the ledger attributed."""

    state: SiteState
    decision: Decision
    picture: Picture
    entries: tuple[Entry, ...]


def step(state: SiteState, snapshot: Snapshot, parameters: Parameters) -> Outcome:
    """One tick: from what was known and what is seen now to what shall be done."""
    if parameters.is_shadow:
        state = shadow.as_found(state, snapshot)
    before = state.judgements
    state, picture, entries = _observed(state, snapshot, parameters)
    state = _arm(state, picture)
    verdict = judge(state, picture, parameters)
    state = _note_floor(state, verdict, snapshot.now_s)
    because = Because(
        limit=verdict.limit.kind,
        source=verdict.limit.name,
        words=verdict.limit.words,
        numbers={"power_upper_w": int(picture.exposure.power_hi_w) + 1, **verdict.numbers},
    )
    decision = _decided(state, picture, verdict, parameters, because)
    if parameters.is_shadow:
        decision = shadow.unsent(decision)
        state = replace(state, mode=decision.mode, decision=decision)
    else:
        memories = _recalled(state, picture, before)
        state = _remember(state, memories, picture, decision)
    return Outcome(state=state, decision=decision, picture=picture, entries=entries)


def _observed(
    state: SiteState, snapshot: Snapshot, parameters: Parameters
) -> tuple[SiteState, Picture, tuple[Entry, ...]]:
    """One snapshot taken in, by books that may have gone on from a held register before."""
    rebased = resumed(state, snapshot, parameters)
    if rebased is not None:
        state = rebased.state
    events, statements = state.events, state.statements
    state, picture, entries = observe(state, snapshot, parameters)
    if rebased is not None:
        events, statements = (*events, *state.events), (*statements, *state.statements)
        state = replace(state, events=events, statements=statements, resumed=events[0])
        entries = (*rebased.entries, *entries)
    resumption = followed(state.resumption, state.fusion)
    if resumption is not state.resumption:
        state = replace(state, resumption=resumption)
    return state, picture, entries


def _decided(
    state: SiteState,
    picture: Picture,
    verdict: Verdict,
    parameters: Parameters,
    because: Because,
) -> Decision:
    """Who goes where for the verdict, and what else follows from it."""
    chosen = _choose(state, picture, verdict, parameters)
    commands = tuple(
        Command(
            miner_id=miner_id,
            setpoint=setpoint,
            expected_w=picture.machines[miner_id].power_w(setpoint),
            is_urgent=_is_lower(picture.machines[miner_id], setpoint),
            because=because,
            card=picture.machines[miner_id].card,
        )
        for miner_id, setpoint in sorted(chosen.items())
    )
    base_w = state.base_load_w or 0.0
    planned_w = dispatch.planned_w(picture.machines, chosen) + base_w
    return Decision(
        at_ms=picture.snapshot.now_ms,
        mode=verdict.mode,
        power_cap_w=verdict.limit.power_w,
        planned_w=planned_w,
        because=because,
        commands=commands,
        relays=_relay_orders(state, picture, verdict, parameters, planned_w),
        preflight=preflight(state, picture, parameters),
    )


def _relay_orders(
    state: SiteState, picture: Picture, verdict: Verdict, parameters: Parameters, planned_w: float
) -> tuple[RelayOrder, ...]:
    """What relays shall do; for how long is bought matters only where one is open."""
    relays = picture.snapshot.relays
    if not relays:
        return ()
    bought_for_s = 0.0
    if any(relay.is_open for relay in relays):
        bought_for_s = _room(state, picture, verdict, parameters).bought_for_s
    spare_w = verdict.limit.power_w - planned_w
    return relay_orders(
        state, picture, verdict, parameters, spare_w=spare_w, bought_for_s=bought_for_s
    )


def _note_floor(state: SiteState, verdict: Verdict, now_s: float) -> SiteState:
    """Since when everything is told to rest."""
    if not verdict.to_floor:
        return state if state.floor_since_s is None else replace(state, floor_since_s=None)
    return replace(state, floor_since_s=now_s) if state.floor_since_s is None else state


def _arm(state: SiteState, picture: Picture) -> SiteState:
    """Nothing may rise before meter, clock and ledger have been fresh together once."""
    if state.is_armed or picture.measured_w is None or not picture.snapshot.is_clock_trusted:
        return state
    if state.ledger.booked_wh is None or len(state.fusion.recent) < 2:
        return state
    assert state.started_at_s is not None
    all_read = all(m.is_known for m in picture.machines.values())
    if not all_read and picture.snapshot.now_s - state.started_at_s < FIRST_READS_S:
        return state
    return replace(state, is_armed=True)


def _choose(
    state: SiteState, picture: Picture, verdict: Verdict, parameters: Parameters
) -> dict[str, Setpoint]:
    """Turn the verdict into set points, touching as few machines as it takes."""
    now_ms, now_s = picture.snapshot.now_ms, picture.snapshot.now_s
    if verdict.to_floor:
        due_s = None if verdict.edge_s is None else verdict.edge_s - _latency_s(parameters)
        is_long = verdict.ceiling.is_deep
        return _all_to_floor(state, picture, now_ms, is_long=is_long, due_s=due_s)
    chosen = _called_to_order(picture)
    if verdict.mode is Mode.FAILSAFE and verdict.limit.kind == "meter":
        return chosen
    planned_w = dispatch.planned_w(picture.machines, {})
    excess_w = planned_w - for_machines_w(verdict.limit.power_w, state, picture, parameters)
    over_w = planned_w - for_machines_w(verdict.ceiling.power_w, state, picture, parameters)
    if over_w > 0:
        excess_w = max(excess_w, over_w * (1 + parameters.power_margin_share))
        room = _room(state, picture, verdict, parameters)
        return chosen | lowered(picture.machines, excess_w, room)
    worth_wh = abs(excess_w) * verdict.time_left_s / SECONDS_PER_HOUR
    # Energy that is missed by little evens out until the window ends; power that is over is over.
    is_energy = verdict.limit.kind == "purchase"
    if worth_wh <= verdict.slack_wh and (is_energy or excess_w <= 0):
        return chosen
    room = _room(state, picture, verdict, parameters)
    if excess_w > 0:
        # A step that waits for its time must still be in time for the slowest machine.
        is_late = verdict.time_left_s <= 2 * picture.exposure.stop_s
        is_exact = not is_energy or is_late
        return chosen | dispatch.shrink(picture.machines, excess_w, room, is_exact=is_exact)
    may_rise = (
        picture.measured_w is not None
        and state.is_armed
        and now_s - state.changed_at_s >= parameters.rise_interval_s
        and verdict.time_left_s > 2 * parameters.rise_interval_s
    )
    spare_w = spare_under(excess_w, over_w, state, now_s, parameters.power_margin_share)
    return chosen | dispatch.grow(picture.machines, spare_w, room) if may_rise else chosen


def _latency_s(parameters: Parameters) -> float:
    return parameters.command_latency_s + parameters.tick_s


def _all_to_floor(
    state: SiteState, picture: Picture, now_ms: int, *, is_long: bool, due_s: float | None
) -> dict[str, Setpoint]:
    """Everything that can be told goes down; who was told already and is on the way is left.

    Before an edge that is ``due_s`` away, machines that are faster than that may still run.
    """
    next_ms = state.ledger.next_start_ms(now_ms)
    has_purchase = bool(braking.pots(state.ledger, now_ms))
    is_idle = not has_purchase and (next_ms is None or next_ms - now_ms > LONG_STOP_MS)
    is_long = is_long or is_idle
    chosen: dict[str, Setpoint] = {}
    for machine in picture.machines.values():
        floor = dispatch.floor_setpoint(machine, is_long=is_long)
        if floor is None or matches(machine.at, floor):
            continue
        if due_s is not None and braking.stop_s(machine) < due_s:
            continue
        is_news = machine.is_commandable and not matches(machine.desired, floor)
        is_due = _may_be_told(machine, picture.snapshot.now_s) and not obeys(machine)
        if is_news or is_due:
            chosen[machine.miner_id] = floor
    return chosen


def _called_to_order(picture: Picture) -> dict[str, Setpoint]:
    """Machines that draw more than they are told, without a command under way, are told again."""
    now_s = picture.snapshot.now_s
    return {
        m.miner_id: m.desired
        for m in picture.machines.values()
        if m.desired is not None and _may_be_told(m, now_s) and not obeys(m)
    }


def _may_be_told(machine: Machine, now_s: float) -> bool:
    return machine.is_commandable and not machine.is_in_transit and now_s >= machine.retry_at_s


def _room(state: SiteState, picture: Picture, verdict: Verdict, parameters: Parameters) -> Room:
    """The time that slow steps and wakes have.

    What is open-ended lasts for at least as long as the connection takes to draw it.
    """
    now_ms = picture.snapshot.now_ms
    until_ms = _bought_until_ms(state, now_ms)
    if until_ms is None:
        left_wh = verdict.numbers.get("left_wh", 0)
        bought_for_s = left_wh * SECONDS_PER_HOUR / parameters.rated_power_w
    else:
        bought_for_s = (until_ms - now_ms) / 1000.0
    return Room(
        window_left_s=min(verdict.time_left_s, verdict.ceiling.wall_s),
        bought_for_s=min(max(verdict.time_left_s, bought_for_s), verdict.ceiling.wall_s),
        window_ms=_window_ms(state, picture.snapshot),
        now_s=picture.snapshot.now_s,
    )


def _bought_until_ms(state: SiteState, now_ms: int) -> int | None:
    """Until when one purchase follows the other without a gap; None: something is open-ended."""
    until_ms = now_ms
    for _ in range(PURCHASES_AHEAD):
        following = braking.pots(state.ledger, until_ms)
        if not following:
            break
        until_ms = max(account.transaction.deadline_ms for account in following)
        if until_ms == FOREVER_MS:
            return None
    return until_ms


def _is_lower(machine: Machine, setpoint: Setpoint) -> bool:
    return machine.standing is not None and machine.power_w(setpoint) < machine.standing_w


def _recalled(
    state: SiteState, picture: Picture, before: Mapping[str, Judged]
) -> Mapping[str, Memory]:
    """What is remembered of each machine. A judgement that stands was taken in a tick ago."""
    changed: dict[str, Memory] = {}
    for miner_id, one in state.judgements.items():
        then = before.get(miner_id)
        if then is None or one.machine is not then.machine:
            memory = recall(one.view, one.memory, one.machine, picture.snapshot.now_s)
            if memory is not state.memories.get(miner_id):
                changed[miner_id] = memory
    return {**state.memories, **changed} if changed else state.memories


def _remember(
    state: SiteState, memories: Mapping[str, Memory], picture: Picture, decision: Decision
) -> SiteState:
    """Carry the commands over as the set points from now on.

    Calling a machine to order is no change of plan and does not hold back a rise.
    """
    snapshot, is_change = picture.snapshot, False
    told: dict[str, Memory] = {}
    for command in decision.commands:
        memory = memories[command.miner_id]
        machine = picture.machines[command.miner_id]
        is_change = is_change or machine.desired != command.setpoint
        is_slow = machine.at is not None and machine.at.profile != command.setpoint.profile
        is_slow = is_slow and machine.card.is_profile_slow
        is_told_again = machine.desired == command.setpoint
        origin = machine.at if is_told_again else machine.standing
        window_ms = _window_ms(state, snapshot) if is_slow else memory.slow_window_ms
        told[command.miner_id] = replace(
            memory,
            desired=command.setpoint,
            because=decision.because,
            commanded_at_s=snapshot.now_s,
            slow_window_ms=window_ms,
            changes=memory.changes + 1,
            wear=worn(memory.wear, machine.card, origin, command.setpoint, snapshot.now_s),
        )
    return replace(
        state,
        memories={**memories, **told} if told else memories,
        relays=remembered(state.relays, snapshot.relays, decision.relays, snapshot.now_s),
        mode=decision.mode,
        changed_at_s=snapshot.now_s if is_change else state.changed_at_s,
        decision=decision,
    )


def _window_ms(state: SiteState, snapshot: Snapshot) -> int:
    accounts = state.ledger.open_accounts(snapshot.now_ms)
    return accounts[-1].transaction.deadline_ms if accounts else 0
