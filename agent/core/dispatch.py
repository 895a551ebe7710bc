"""Which machine goes where, so that the most hashes are made under a power target.

Starts from where the machines are told to be and walks the cheapest steps: down, the ones that lose
the fewest hashes per watt saved; up, the ones that win the most. Set points that need no change
keep it. Of equal steps the machine that was restarted and changed least goes first, so that wear is
shared.

``agent.core.steps`` says what machines can do and at what price. Those that are alike have one step
in the heap, the cheapest from where they stand; what else they could do there comes after it.
"""

from bisect import bisect_left
from collections.abc import Mapping
from heapq import heapify, heappop, heappush, heappushpop

from agent.core.card import Move
from agent.core.decisions import Setpoint
from agent.core.evolve import replace
from agent.core.fleet import Machine
from agent.core.steps import Room, Step, Walk, walks


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
    movable = [
        machine
        for machine in machines.values()
        if machine.is_controllable and machine.standing is not None and machine.standing.is_awake
    ]
    return _walked(walks(movable, room, is_down=True), excess_w, is_exact=is_exact)


def grow(machines: Mapping[str, Machine], spare_w: float, room: Room) -> dict[str, Setpoint]:
    """Set points that use at most ``spare_w`` more."""
    if spare_w <= 0:
        return {}
    movable = [
        machine
        for machine in machines.values()
        if machine.is_controllable and not machine.is_in_transit and machine.standing is not None
    ]
    return _walked(walks(movable, room, is_down=False), spare_w, is_exact=False)


def _walked(ways: list[Walk], budget_w: float, *, is_exact: bool) -> dict[str, Setpoint]:
    """Take the cheapest step again and again until ``budget_w`` is saved or used.

    With ``is_exact`` the last step may go beyond it; else one that would is left.
    """
    heap = [step for step in [walk.next_step() for walk in ways] if step is not None]
    heapify(heap)
    moved: dict[int, Walk] = {}
    step = _least(heap, None)
    while budget_w > 0 and step is not None:
        walk = step[8]
        needed_w = -step[4] if walk.is_down else step[4]
        if not is_exact and budget_w - needed_w < 0:
            step = _least(heap, walk.leave(step))
        elif len(walk.members) == 1:
            walk.take(step)
            moved[id(walk)] = walk
            budget_w -= needed_w
            step = _least(heap, walk.next_step())
        else:
            most = _most(walk, step, heap[0] if heap else None)
            there, onward, budget_w = _taken(walk, step, most, budget_w, is_exact=is_exact)
            moved[id(there)] = there
            if onward is not None:
                heappush(heap, onward)
            step = _least(heap, walk.again(step) if walk.members else None)
    return {
        name: at
        for walk in moved.values()
        for at in (walk.setpoint(),)
        for _, _, name in walk.members
    }


def _most(walk: Walk, step: Step, other: Step | None) -> int:
    """How many members may take a step before it is the turn of another walk."""
    if other is None or other[0] > step[0]:
        return len(walk.members)
    return bisect_left(walk.members, other[1:4])


def _taken(
    walk: Walk, step: Step, most: int, budget_w: float, *, is_exact: bool
) -> tuple[Walk, Step | None, float]:
    """Members that take a step together: where they are then, how they go on, and what is left.

    Where going on costs a member no more than the step did, it goes on before the next one begins.
    At least one goes one step, which the budget bears; the others follow as far as it bears all.
    """
    there = walk.ahead(step)
    onward = there.next_step()
    needs_w = [step[4]]
    while onward is not None and onward[0] <= step[0]:
        needs_w.append(onward[4])
        there.take(onward)
        onward = there.next_step()
    if walk.is_down:
        needs_w = [-one_w for one_w in needs_w]
    count = 0
    while count < most:
        left_w = budget_w
        for need_w in needs_w:
            if left_w <= 0 or (not is_exact and left_w - need_w < 0):
                break
            left_w -= need_w
        else:
            budget_w, count = left_w, count + 1
            continue
        break
    if count == 0:
        there, count, budget_w = walk.ahead(step), 1, budget_w - needs_w[0]
        onward = there.next_step()
    there.members, walk.members = walk.members[:count], walk.members[count:]
    return there, onward, budget_w


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
