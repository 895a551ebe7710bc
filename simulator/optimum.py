"""The most hashes that the same energy could have made, had everything been known before.

Independent of the agent. Each machine may stand at any of its true operating points up to its
default one, with any number of boards, or sleep. The least concave line over those points is an
upper bound for every mixture of them in time, because a mixture lies on a chord below the line. A
ramp lies below it too: watts come before hashes, and leave after them. For a fleet, the hashes
that a mean power P can make are at most F(P), where F fills the steepest pieces of all lines
first. F is concave, so drawing P evenly beats any other way to spend the same energy (Jensen):

    hashes in a window <= seconds * F(energy of the machines in the window / seconds)

No restart, no ramp, no reserve, no command latency is charged to the optimum, and machines that
were broken count as whole: what is really reachable lies below.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from simulator.machine import Machine

Piece = tuple[float, float]  # hashes per joule, watts


def best_hashes(windows: Iterable[tuple[float, float]], machines: Sequence[Machine]) -> float:
    """The sum of the optima of all windows, each given as its seconds and its machines' Wh."""
    floor_w, pieces = fleet_pieces(machines)
    total = 0.0
    for seconds, machines_wh in windows:
        if seconds > 0.0:
            mean_w = machines_wh * 3600.0 / seconds
            total += seconds * hashrate_at(mean_w - floor_w, pieces)
    return total


def fleet_pieces(machines: Sequence[Machine]) -> tuple[float, list[Piece]]:
    """The draw of a fleet asleep, and the pieces of its line from the steepest to the flattest."""
    kinds = Counter(_key(machine) for machine in machines)
    one_of = {_key(machine): machine for machine in machines}
    pieces: list[Piece] = []
    floor_w = 0.0
    for key, count in kinds.items():
        line = concave(points(one_of[key]))
        floor_w += line[0][0] * count
        for (left_w, left_hs), (right_w, right_hs) in pairwise(line):
            width_w = right_w - left_w
            pieces.append(((right_hs - left_hs) / width_w, width_w * count))
    return floor_w, sorted(pieces, reverse=True)


def points(machine: Machine) -> list[tuple[float, float]]:
    """True watts and hashes of one machine: asleep, and each profile with each number of boards."""
    fixed_w, boards = machine.timings.fixed_w, machine.model.boards
    found = [(machine.timings.standby_w, 0.0)]
    for point in machine.model.profiles:
        if point.step > 0:
            continue  # above the default is the operator's choice, not the agent's
        board_w = (point.watts * (1.0 + machine.bias.tolerance) - fixed_w) / boards
        board_hs = point.hashrate_ths * 1e12 / boards
        found += [(fixed_w + n * board_w, n * board_hs) for n in range(1, boards + 1)]
    return found


def concave(found: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The upper left edge of a cloud of points, from the least watts on, while it rises."""
    line: list[tuple[float, float]] = []
    for power_w, hashrate_hs in sorted(found):
        if line and hashrate_hs <= line[-1][1]:
            continue
        if line and power_w == line[-1][0]:
            line.pop()
        while len(line) > 1 and _is_below(line[-2], line[-1], (power_w, hashrate_hs)):
            line.pop()
        line.append((power_w, hashrate_hs))
    return line


def hashrate_at(spare_w: float, pieces: Sequence[Piece]) -> float:
    """What so many watts above the fleet's sleep make, the best pieces first."""
    hashrate_hs = 0.0
    for per_joule, width_w in pieces:
        taken_w = min(spare_w, width_w)
        if taken_w <= 0.0:
            break
        hashrate_hs += per_joule * taken_w
        spare_w -= taken_w
    return hashrate_hs


def _is_below(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    """Whether the middle point lies on or below the chord from left to right."""
    chord = (right[1] - left[1]) * (middle[0] - left[0])
    return (middle[1] - left[1]) * (right[0] - left[0]) <= chord


def _key(machine: Machine) -> tuple[object, ...]:
    return (machine.model.name, machine.timings, machine.bias.tolerance)
