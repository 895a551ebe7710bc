"""Which machine goes where, so that the most hashes are made under a power target.

Starts from where the machines are told to be and walks the cheapest steps: down, the ones that lose
the fewest hashes per watt saved; up, the ones that win the most. Set points that need no change
keep it. Of equal steps the machine that was restarted and changed least goes first, so that wear is
shared.

Fast steps switch one hashboard, change a profile that follows at once, or put a machine to sleep
that cannot switch boards. Slow steps change a profile that takes minutes; they are offered only
where the window is long enough for the machine's own card. In one move a machine goes as many
profiles down or up as the plan takes it; of slow moves it makes one in a window. A sleeper is woken
only if enough is bought after it. Nothing is planned that would restart mining, or change slowly,
more often in a day than the card allows.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agent.core.card import Move
from agent.core.decisions import Setpoint
from agent.core.fleet import Machine
from agent.core.wear import allows_restarts, allows_slow

RAMPS_PER_WINDOW = 4  # a slow step is worth it where four of its ramps fit
WAKES_PER_STAY = 1.5  # a wake is worth it where the machine then stays up half as long again
RESTART_PENALTY = 1.5  # a step that restarts mining, or the last board off: to come back does
FLUTTER_PENALTY = 100.0  # a machine that has just come up goes down only after all others


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much time there is: in the present window, and until nothing is bought any more.

    ``window_ms`` names the window by its end, ``now_s`` is the tick's monotonic time.
    """

    window_left_s: float
    bought_for_s: float
    window_ms: int
    now_s: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    cost: float
    wear: tuple[int, int]
    miner_id: str
    origin: Setpoint = field(compare=False)
    setpoint: Setpoint = field(compare=False)
    delta_w: float = field(compare=False)


def planned_w(machines: Mapping[str, Machine], chosen: Mapping[str, Setpoint]) -> float:
    """The model's draw of all machines with the chosen set points, the others where they stand."""
    total_w = sum([machine.standing_w for machine in machines.values()])
    for miner_id, setpoint in chosen.items():
        machine = machines[miner_id]
        total_w += machine.power_w(setpoint) - machine.standing_w
    return total_w


def shrink(
    machines: Mapping[str, Machine], excess_w: float, room: Room, *, is_exact: bool = True
) -> dict[str, Setpoint]:
    """Set points that save ``excess_w``: at least that much, or all that can be saved.

    With ``is_exact`` false a step that would save more than is left to save is not taken. Energy
    in excess becomes power in excess as its window runs out: the step will fit, in time.
    """
    chosen: dict[str, Setpoint] = {}
    heap: list[_Step] = []
    for machine in machines.values():
        if machine.is_controllable:
            _push_down(heap, machine, machine.standing, room)
    while excess_w > 0 and heap:
        step = heapq.heappop(heap)
        machine = machines[step.miner_id]
        # A profile below the idle draw would make a board's end look like a rise.
        if step.delta_w > 0 or step.origin != (chosen.get(step.miner_id) or machine.standing):
            continue
        if not is_exact and excess_w + step.delta_w < 0:
            continue
        chosen[step.miner_id] = step.setpoint
        excess_w += step.delta_w
        _push_down(heap, machine, step.setpoint, room)
    return chosen


def grow(machines: Mapping[str, Machine], spare_w: float, room: Room) -> dict[str, Setpoint]:
    """Set points that use at most ``spare_w`` more."""
    chosen: dict[str, Setpoint] = {}
    heap: list[_Step] = []
    for machine in machines.values():
        if machine.is_controllable and not machine.is_in_transit:
            _push_up(heap, machine, machine.standing, room)
    while spare_w > 0 and heap:
        step = heapq.heappop(heap)
        if step.delta_w > spare_w:
            continue
        machine = machines[step.miner_id]
        if step.origin != (chosen.get(step.miner_id) or machine.standing):
            continue
        chosen[step.miner_id] = step.setpoint
        spare_w -= step.delta_w
        _push_up(heap, machine, step.setpoint, room)
    return chosen


def floor_setpoint(machine: Machine, *, is_long: bool) -> Setpoint | None:
    """The least a machine can be told: asleep for a long stop, boards off for a short one."""
    present = machine.standing
    if present is None:
        return None
    if not present.is_awake:
        return present
    if machine.can_sleep and (is_long or machine.stops_by is Move.SLEEP):
        return replace(present, is_awake=False, boards_on=frozenset())
    if machine.can_switch_boards:
        return replace(present, boards_on=frozenset())
    return None


def _push_down(heap: list[_Step], machine: Machine, at: Setpoint | None, room: Room) -> None:
    if at is None or not at.is_awake or not (at.boards_on or not machine.boards):
        return
    card = machine.card
    if machine.can_switch_boards:
        fewer = replace(at, boards_on=at.boards_on - {max(at.boards_on)})
        restarts = not fewer.boards_on or Move.BOARD_OFF in card.restarting
        penalty = _penalty(machine, room) if restarts else 1.0
        if _is_allowed(machine, fewer, room):
            _offer(heap, machine, at, fewer, penalty=penalty)
    elif machine.can_sleep:
        asleep = replace(at, is_awake=False)
        if allows_restarts(machine.wear, card, asleep, at, room.now_s):  # it has to come back
            _offer(heap, machine, at, asleep, penalty=_penalty(machine, room))
    if _may_select(machine, room, step=-1):
        lower = _neighbour(machine, at.profile, step=-1)
        if lower is not None:
            _offer_profile(heap, machine, at, lower, room)


def _penalty(machine: Machine, room: Room) -> float:
    """What it costs beside the hashes to stop a machine that would have to mine anew."""
    is_young = room.now_s - machine.wear.up_at_s < machine.card.min_on_s
    return FLUTTER_PENALTY if is_young else RESTART_PENALTY


def _push_up(heap: list[_Step], machine: Machine, at: Setpoint | None, room: Room) -> None:
    if at is None:
        return
    card = machine.card
    is_dark = not (at.is_awake and at.boards_on)
    if is_dark and room.now_s - machine.wear.down_at_s < card.min_off_s:
        return
    if not at.is_awake:
        if room.bought_for_s > WAKES_PER_STAY * card.wake_s and machine.can_sleep:
            awake = replace(at, is_awake=True, boards_on=machine.boards)
            if _is_allowed(machine, awake, room):
                _offer(heap, machine, at, awake)
        return
    missing = machine.boards - at.boards_on
    if missing and machine.can_switch_boards:
        more = replace(at, boards_on=at.boards_on | {min(missing)})
        penalty = RESTART_PENALTY if Move.BOARD_ON in card.restarting else 1.0
        if _is_allowed(machine, more, room):
            _offer(heap, machine, at, more, penalty=penalty)
    if at.boards_on and _may_select(machine, room, step=+1):
        higher = _neighbour(machine, at.profile, step=+1)
        if higher is not None:
            _offer_profile(heap, machine, at, higher, room)


def _is_allowed(machine: Machine, to: Setpoint, room: Room) -> bool:
    """Whether the restarts that its card allows a day suffice for going there."""
    origin = machine.standing
    assert origin is not None
    return allows_restarts(machine.wear, machine.card, origin, to, room.now_s)


def _may_select(machine: Machine, room: Room, *, step: int) -> bool:
    """Whether the profile may change; in the slow tier once per machine and window, if it fits."""
    if not machine.can_select_profile or not machine.card.is_profile_slow:
        return machine.can_select_profile
    is_used = machine.slow_window_ms == room.window_ms
    ramp_s = machine.card.profile_down_s if step < 0 else machine.card.profile_up_s
    has_time = room.window_left_s > RAMPS_PER_WINDOW * ramp_s
    return has_time and not is_used and allows_slow(machine.wear, machine.card, room.now_s)


def _neighbour(machine: Machine, name: str | None, *, step: int) -> str | None:
    """The next profile up or down; never above the default one, never one that would be tuned."""
    present = machine.profile(name)
    if present is None:
        return None
    candidates = [p for p in machine.profiles if p.is_tuned and p.step <= max(0, present.step)]
    if step < 0:
        below = [p for p in candidates if p.step < present.step]
        return max(below, key=lambda p: p.step).name if below else None
    above = [p for p in candidates if p.step > present.step]
    return min(above, key=lambda p: p.step).name if above else None


def _offer_profile(
    heap: list[_Step], machine: Machine, at: Setpoint, name: str, room: Room
) -> None:
    to = replace(at, profile=name)
    if _is_allowed(machine, to, room):
        _offer(heap, machine, at, to)


def _offer(
    heap: list[_Step],
    machine: Machine,
    at: Setpoint,
    to: Setpoint,
    *,
    penalty: float = 1.0,
) -> None:
    """Put a step on the heap by its price: hashes lost per watt saved, or less the hashes won."""
    delta_w = machine.power_w(to) - machine.power_w(at)
    delta_hs = machine.hashrate_hs(to) - machine.hashrate_hs(at)
    if delta_w == 0:
        return
    worth = delta_hs / delta_w
    cost = worth * penalty if delta_w < 0 else -worth / penalty
    wear = (len(machine.wear.restarts_s), machine.changes)
    step = _Step(cost, wear, machine.miner_id, at, to, delta_w)
    heapq.heappush(heap, step)
