"""The limits in kW as the governor must keep them: in time, at the meter, with the model's error.

A purchase is an energy and forgives a second above its pace; a limit in kW does not. So the ceiling
is what the limits allow now and within the time that a stop takes, less what the meter's power may
be too low by; and a step down to it is taken with the margin of the model that it is planned with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core import dispatch
from agent.core.braking import pace_w
from agent.core.decisions import Setpoint
from agent.core.evolve import replace
from agent.core.fleet import Machine
from agent.core.limits import Limit, allowed_w, falls_below_ms, level_w, rises_above_ms, ruling
from agent.core.site import Parameters, Picture, SiteState
from agent.core.steps import WAKES_PER_STAY, Room

DEEP_STOP_S = 300.0  # a limit below what idle boards draw, for longer: worth a sleep
BASE_KNOWN_S = 10.0  # the learned base load follows this soon after the machines have settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The limit in kW that rules (None: there is none) and what the plan may come to under it.

    ``wall_s`` is how long no lower one begins, ``low_s`` how long no more is allowed. ``is_deep``:
    machines with their boards off draw more, for long enough to put them to sleep.
    """

    limit: Limit | None
    power_w: float
    wall_s: float
    low_s: float
    is_deep: bool

    def numbers(self) -> dict[str, int]:
        """What it comes to, for the fields of a decision."""
        found = {} if self.limit is None else {"limit_w": int(self.limit.power_w)}
        spans_s = (("limit_holds_s", self.low_s), ("lower_limit_in_s", self.wall_s))
        return found | {name: int(span_s) for name, span_s in spans_s if span_s < float("inf")}


OPEN = Ceiling(
    limit=None,
    power_w=float("inf"),
    wall_s=float("inf"),
    low_s=float("inf"),
    is_deep=False,
)


def ceiling_of(state: SiteState, picture: Picture, parameters: Parameters) -> Ceiling:
    """The ceiling at this tick."""
    limits, now_ms = parameters.limits, picture.snapshot.now_ms
    if not limits:
        return OPEN
    limit = ruling(limits, now_ms, picture.exposure.stop_s)
    is_here = allowed_w(limits, now_ms) <= limit.power_w
    low_s = _seconds_to(rises_above_ms(limits, now_ms, limit.power_w), now_ms)
    return Ceiling(
        limit=limit if limit.power_w < float("inf") else None,
        power_w=limit.power_w
        / (1 + parameters.power_error_share)
        / (1 + parameters.meter_error_share),
        wall_s=_seconds_to(falls_below_ms(limits, now_ms, limit.power_w), now_ms),
        low_s=low_s,
        is_deep=is_here
        and low_s > _worth_a_sleep_s(picture.machines)
        and limit.power_w < _idle_w(state, picture, parameters),
    )


def _seconds_to(at_ms: int | None, now_ms: int) -> float:
    return float("inf") if at_ms is None else (at_ms - now_ms) / 1000.0


def _worth_a_sleep_s(machines: Mapping[str, Machine]) -> float:
    wakes_s = (m.card.wake_s for m in machines.values() if m.can_sleep)
    return max((DEEP_STOP_S, *(WAKES_PER_STAY * wake_s for wake_s in wakes_s)))


def _idle_w(state: SiteState, picture: Picture, parameters: Parameters) -> float:
    """What the site draws with the boards of all machines off that obey."""
    base_w = parameters.base_load_max_w if state.base_load_w is None else state.base_load_w
    return base_w + sum(m.card.idle_w for m in picture.machines.values() if m.is_controllable)


def paced_w(energy_wh: float, seconds: float, picture: Picture, parameters: Parameters) -> float:
    """The power that uses up an energy in so many seconds under the limits that are known.

    It is the mean power where no limit is lower than that; where one is, more is drawn outside of
    it, and never more than the connection carries.
    """
    mean_w = pace_w(energy_wh, 0.0, seconds)
    now_ms = picture.snapshot.now_ms
    until_ms = now_ms + round(seconds * 1000)
    lowest_w = min(
        (limit.least_at(now_ms, until_ms)[0] for limit in parameters.limits), default=mean_w
    )
    if lowest_w >= mean_w or until_ms <= now_ms:
        return mean_w
    return min(
        level_w(
            parameters.limits,
            energy_wh=energy_wh,
            now_ms=now_ms,
            until_ms=until_ms,
            ahead_s=picture.exposure.stop_s,
            floor_w=picture.exposure.floor_w,
        ),
        parameters.rated_power_w,
    )


def for_machines_w(
    power_w: float, state: SiteState, picture: Picture, parameters: Parameters
) -> float:
    """What of a site's power the machines may be planned at; the worst case without a meter."""
    if picture.measured_w is None:
        return (power_w - parameters.base_load_max_w) / (1 + parameters.power_margin_share)
    return power_w - (state.base_load_w or 0.0)


def lowered(machines: Mapping[str, Machine], excess_w: float, room: Room) -> dict[str, Setpoint]:
    """Set points for a limit in kW: fast steps alone, as far as they go; slow ones after that."""
    fast = dispatch.shrink(machines, excess_w, replace(room, window_left_s=0.0))
    planned_w = dispatch.planned_w(machines, {})
    if dispatch.planned_w(machines, fast) <= planned_w - excess_w:
        return fast
    return dispatch.shrink(machines, excess_w, room)


def spare_under(
    excess_w: float, over_w: float, state: SiteState, now_s: float, margin_share: float
) -> float:
    """What may be added to a plan that lies below both the pace and the ceiling.

    Up to the ceiling only with the model's margin, and only once the base load is known well.
    """
    below_ceiling_w = -over_w / (1 + margin_share)
    if -excess_w <= below_ceiling_w:
        return -excess_w
    return below_ceiling_w if now_s - state.settled_at_s >= BASE_KNOWN_S else 0.0
