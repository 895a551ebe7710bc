"""What the plan did to one machine in the last 24 hours, and what its card still allows.

Counted is what is told, when it is told: a machine that restarts by itself is not the plan's doing.
What must stop is stopped whatever this says; everything else asks here first.
"""

from dataclasses import dataclass

from agent.core.card import ActuatorCard
from agent.core.decisions import Setpoint
from agent.core.evolve import replace
from agent.core.moves import restarts_to

DAY_S = 86_400.0
NEVER_AT_S = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """Monotonic times: of each mining restart and slow change told, oldest first, and of the last
    time that the machine was told to hash, or to hash no more."""

    restarts_s: tuple[float, ...] = ()
    slow_s: tuple[float, ...] = ()
    up_at_s: float = NEVER_AT_S
    down_at_s: float = NEVER_AT_S


UNWORN = Wear()


def worn(
    wear: Wear, card: ActuatorCard, origin: Setpoint | None, to: Setpoint, at_s: float
) -> Wear:
    """The wear after a command; what is older than a day is forgotten."""
    origin = ASLEEP if origin is None else origin
    restarts_s = _lately(wear.restarts_s, at_s) + (at_s,) * restarts_to(card, origin, to)
    slow_s = _lately(wear.slow_s, at_s)
    if card.is_profile_slow and to.is_awake and to.profile not in (None, origin.profile):
        slow_s += (at_s,)
    wear = replace(wear, restarts_s=restarts_s, slow_s=slow_s)
    if hashes(origin) and not hashes(to):
        return replace(wear, down_at_s=at_s)
    if hashes(to) and not hashes(origin):
        return replace(wear, up_at_s=at_s)
    return wear


def allows_restarts(
    wear: Wear, card: ActuatorCard, origin: Setpoint, to: Setpoint, now_s: float
) -> bool:
    """Whether a command may be planned today, by the restarts of mining that it costs."""
    most = len(wear.restarts_s) + len(origin.boards_on ^ to.boards_on) + 1
    if most <= card.restarts_per_day:
        return True
    count = restarts_to(card, origin, to)
    return count == 0 or len(_lately(wear.restarts_s, now_s)) + count <= card.restarts_per_day


def allows_slow(wear: Wear, card: ActuatorCard, now_s: float) -> bool:
    """Whether one more slow change may be planned today."""
    if len(wear.slow_s) < card.slow_changes_per_day:
        return True
    return len(_lately(wear.slow_s, now_s)) < card.slow_changes_per_day


def hashes(setpoint: Setpoint) -> bool:
    """Whether a machine hashes there at all."""
    return setpoint.is_awake and bool(setpoint.boards_on)


ASLEEP = Setpoint(is_awake=False, profile=None, boards_on=frozenset())


def _lately(times_s: tuple[float, ...], now_s: float) -> tuple[float, ...]:
    return tuple(at_s for at_s in times_s if at_s > now_s - DAY_S)
