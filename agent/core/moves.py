"""What leads from one set point to another, how long that takes and what it wears out.

Nothing here knows a machine but by its card: the same answer serves the braking curve, the plan,
and whoever waits for a confirmation.
"""

from collections.abc import Sequence

from agent.core.card import ActuatorCard, Move
from agent.core.decisions import Setpoint
from drivers.readings import Profile

UNMOVED_S = 10.0  # nothing to change: two readings are enough to see it
_PROFILES = frozenset({Move.PROFILE_DOWN, Move.PROFILE_UP})
_BOARDS = frozenset({Move.BOARD_OFF, Move.BOARD_ON})


def moves(
    origin: Setpoint | None, to: Setpoint, profiles: Sequence[Profile] = ()
) -> frozenset[Move]:
    """The moves of one command. An unknown origin counts as asleep, the slowest place to come from;
    a change between profiles that are not listed counts as both up and down."""
    if not to.is_awake:
        return frozenset({Move.SLEEP}) if origin is None or origin.is_awake else frozenset()
    if origin is None or not origin.is_awake:
        return frozenset({Move.WAKE})
    found = set()
    if origin.boards_on - to.boards_on:
        found.add(Move.BOARD_OFF)
    if to.boards_on - origin.boards_on:
        found |= {Move.BOARD_ON} if origin.boards_on else {Move.BOARD_ON, Move.FIRST_BOARD}
    if to.profile is not None and to.profile != origin.profile:
        watts = {p.name: p.power_w for p in profiles}
        old_w, new_w = watts.get(origin.profile or ""), watts.get(to.profile)
        if old_w is None or new_w is None:
            found |= _PROFILES
        else:
            found.add(Move.PROFILE_UP if new_w > old_w else Move.PROFILE_DOWN)
    return frozenset(found)


def seconds_to(card: ActuatorCard, origin: Setpoint | None, to: Setpoint) -> float:
    """At worst so long until the watts have followed; it is never shorter than a look takes."""
    return max((card.seconds(move) for move in moves(origin, to)), default=UNMOVED_S)


def restarts_to(card: ActuatorCard, origin: Setpoint, to: Setpoint) -> int:
    """How often this restarts mining at worst: each board is a write of its own."""
    found = moves(origin, to) & card.restarting
    count = 1 if found & _PROFILES or Move.WAKE in found else 0
    if Move.FIRST_BOARD in found:
        count += 1
    if found & _BOARDS:
        count += len(origin.boards_on ^ to.boards_on)
    return count
