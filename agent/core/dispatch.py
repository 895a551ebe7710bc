"""Which machine goes where, so that the most hashes are made under a power target.

Starts from where the machines are told to be and walks the cheapest steps: down, the ones that lose
the fewest hashes per watt saved; up, the ones that win the most. Set points that need no change
keep it. Of equal steps the machine that was restarted and changed least goes first, so that wear is
shared.

``agent.core.steps`` says what a machine can do and at what price. Each machine has one step in the
heap, its cheapest from where it stands; what else it could do there comes after it.
"""

from collections.abc import Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappushpop

from agent.core.card import Move
from agent.core.decisions import Setpoint
from agent.core.fleet import Machine
from agent.core.steps import Room, Step, Walk


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
    if excess_w <= 0:
        return {}
    heap: list[Step] = []
    for machine in machines.values():
        at = machine.standing
        if machine.is_controllable and at is not None and at.is_awake:
            first = Walk(machine, at, room, is_down=True).step_down()
            if first is not None:
                heap.append(first)
    heapify(heap)
    moved: dict[str, Walk] = {}
    step = _least(heap, None)
    while excess_w > 0 and step is not None:
        _, _, _, miner_id, delta_w, _, _, _, walk = step
        if is_exact or excess_w + delta_w >= 0:
            walk.take(step)
            moved[miner_id] = walk
            excess_w += delta_w
            step = _least(heap, walk.step_down())
        else:
            step = _least(heap, walk.leave(step))
    return {miner_id: walk.setpoint() for miner_id, walk in moved.items()}


def grow(machines: Mapping[str, Machine], spare_w: float, room: Room) -> dict[str, Setpoint]:
    """Set points that use at most ``spare_w`` more."""
    if spare_w <= 0:
        return {}
    heap: list[Step] = []
    for machine in machines.values():
        at = machine.standing
        if machine.is_controllable and not machine.is_in_transit and at is not None:
            first = Walk(machine, at, room, is_down=False).step_up()
            if first is not None:
                heap.append(first)
    heapify(heap)
    moved: dict[str, Walk] = {}
    step = _least(heap, None)
    while spare_w > 0 and step is not None:
        _, _, _, miner_id, delta_w, _, _, _, walk = step
        if delta_w <= spare_w:
            walk.take(step)
            moved[miner_id] = walk
            spare_w -= delta_w
            step = _least(heap, walk.step_up())
        else:
            step = _least(heap, walk.leave(step))
    return {miner_id: walk.setpoint() for miner_id, walk in moved.items()}


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


def _least(heap: list[Step], following: Step | None) -> Step | None:
    """The least of the steps that wait and the one that follows upon the last, if any does."""
    if following is not None:
        return heappushpop(heap, following)
    return heappop(heap) if heap else None
