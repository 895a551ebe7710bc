"""Which machine goes where, so that the most hashes are made under a power target.

Starts from where the machines are told to be and walks the cheapest steps: down, the ones that lose
the fewest hashes per watt saved; up, the ones that win the most. Set points that need no change
keep it. Of equal steps the machine that was changed least goes first, so that wear is shared.

Fast steps switch one hashboard, or put a machine to sleep that cannot switch boards. Slow steps
change the profile; they are offered only where the window is long enough for the machine's own
card. In one move a machine goes as many profiles down or up as the plan takes it, and it makes one
such move in a window. A sleeper is woken only if enough is bought after it.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agent.core.decisions import Setpoint
from agent.core.fleet import Machine

RAMPS_PER_WINDOW = 4  # a slow step is worth it where four of its ramps fit
WAKES_PER_STAY = 1.5  # a wake is worth it where the machine then stays up half as long again
RESTART_PENALTY = 1.5  # the last board off, or a sleep, costs a restart of mining to come back


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much time there is: in the present window, and until nothing is bought any more.

    ``window_ms`` names the window by its end.
    """

    window_left_s: float
    bought_for_s: float
    window_ms: int


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    cost: float
    changes: int
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
    if machine.can_sleep and (is_long or not machine.can_switch_boards):
        return replace(present, is_awake=False, boards_on=frozenset())
    if machine.can_switch_boards:
        return replace(present, boards_on=frozenset())
    return None


def _push_down(heap: list[_Step], machine: Machine, at: Setpoint | None, room: Room) -> None:
    if at is None or not at.is_awake or not (at.boards_on or not machine.boards):
        return
    if machine.can_switch_boards:
        fewer = replace(at, boards_on=at.boards_on - {max(at.boards_on)})
        penalty = 1.0 if fewer.boards_on else RESTART_PENALTY
        _offer(heap, machine, at, fewer, penalty=penalty)
    elif machine.can_sleep:
        _offer(heap, machine, at, replace(at, is_awake=False), penalty=RESTART_PENALTY)
    if _slow_allowed(machine, room):
        lower = _neighbour(machine, at.profile, step=-1)
        if lower is not None:
            _offer(heap, machine, at, replace(at, profile=lower))


def _push_up(heap: list[_Step], machine: Machine, at: Setpoint | None, room: Room) -> None:
    if at is None:
        return
    if not at.is_awake:
        if room.bought_for_s > WAKES_PER_STAY * machine.card.wake_s and machine.can_sleep:
            awake = replace(at, is_awake=True, boards_on=machine.boards)
            _offer(heap, machine, at, awake)
        return
    missing = machine.boards - at.boards_on
    if missing and machine.can_switch_boards:
        more = replace(at, boards_on=at.boards_on | {min(missing)})
        _offer(heap, machine, at, more)
    if at.boards_on and _slow_allowed(machine, room):
        higher = _neighbour(machine, at.profile, step=+1)
        if higher is not None:
            _offer(heap, machine, at, replace(at, profile=higher))


def _slow_allowed(machine: Machine, room: Room) -> bool:
    is_used = machine.slow_window_ms == room.window_ms
    has_time = room.window_left_s > RAMPS_PER_WINDOW * machine.card.profile_s
    return has_time and machine.can_select_profile and not is_used


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
    cost = worth * penalty if delta_w < 0 else -worth
    step = _Step(cost, machine.changes, machine.miner_id, at, to, delta_w)
    heapq.heappush(heap, step)
