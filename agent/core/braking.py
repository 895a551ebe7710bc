"""The inequality that the promise rests on, as plain arithmetic.

All energies are Wh (float), powers W, times seconds. docs/governor.md derives each term.

    left      = sum(purchased - allocated) - (upper - booked) - start error - meter guard
    flow_stop = power_hi * min(stop, time left) + floor * max(time left - stop, 0)

``left <= flow_stop`` means: told to stop now, the farm would just keep its purchase. Otherwise the
power that ends the energy with its window is ``(left - reserve) / time left``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.fleet import Machine
from agent.core.ledger import FOREVER_MS, Account, Ledger

OPEN_ENDED_HORIZON_S = 60.0
RELAY_S = 2.0  # from the order until a contactor has dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What may flow whatever we do: the inputs of the braking inequality.

    ``power_hi_w`` is the most that may be drawn before a stop bites, ``floor_w`` what stays after
    it, ``stop_s`` how long it takes, ``jolt_w`` the largest rise that nobody announces.
    """

    power_hi_w: float
    floor_w: float
    stop_s: float
    jolt_w: float


def left_wh(
    accounts: Sequence[Account], *, upper_wh: float, booked_wh: int, error_share: float
) -> float:
    """Energy of the open purchases that is surely still unused, worst case of meter and split.

    The guard for the meter's class is taken from the purchase as a whole: a meter that reads
    ``error_share`` too little has hidden that share of all that flowed.
    """
    unused_wh = sum(account.unused_wh for account in accounts)
    purchased_wh = sum(account.transaction.energy_wh for account in accounts)
    start_error_wh = max((account.start_error_wh for account in accounts), default=0)
    guard_wh = purchased_wh * error_share / (1 + error_share)
    return unused_wh - (upper_wh - booked_wh) - start_error_wh - guard_wh


def pots(ledger: Ledger, at_ms: int) -> tuple[Account, ...]:
    """What is open and counts: an open-ended purchase that is used up is over."""
    return tuple(
        account
        for account in ledger.open_accounts(at_ms)
        if account.unused_wh > 0 or account.transaction.end_ms is not None
    )


def time_left_s(accounts: Sequence[Account], now_ms: int, stop_s: float) -> float:
    """Until the last deadline; what is open-ended looks a stop and some time ahead."""
    ahead_s = max(OPEN_ENDED_HORIZON_S, 2 * stop_s)
    deadlines_ms = [a.transaction.deadline_ms for a in accounts]
    lefts_s = [ahead_s if at == FOREVER_MS else (at - now_ms) / 1000.0 for at in deadlines_ms]
    return max(lefts_s, default=0.0)


def stop_flow_wh(exposure: Exposure, time_left_s: float) -> float:
    """Energy that flows until the window ends if everything is told to stop now."""
    moving_s = min(exposure.stop_s, time_left_s)
    resting_s = max(time_left_s - exposure.stop_s, 0.0)
    watt_seconds = exposure.power_hi_w * moving_s + exposure.floor_w * resting_s
    return watt_seconds / SECONDS_PER_HOUR


def unplanned_wh(left: float, purchased_wh: int, reserve_share: float) -> float:
    """What pacing keeps back for its own error: a share of what is left, or of a sixteenth of what
    was bought where less than that is left.

    It keeps no promise, the braking curve does; it keeps the pace away from that curve.
    """
    return reserve_share * max(min(left, purchased_wh), purchased_wh / 16)


def jolt_wh(exposure: Exposure, time_left_s: float) -> float:
    """What the largest rise that nobody announces adds until a stop bites, or until the end."""
    return exposure.jolt_w * min(exposure.stop_s, time_left_s) / SECONDS_PER_HOUR


def pace_w(left: float, reserve: float, time_left_s: float) -> float:
    """The power that ends the energy with its window."""
    return max(left - reserve, 0.0) * SECONDS_PER_HOUR / max(time_left_s, 1.0)


def stop_s(machine: Machine) -> float:
    """How long the machine's card takes to bring it to its floor."""
    return machine.card.seconds(machine.stops_by)


def exposure_of(
    machines: Sequence[Machine],
    *,
    measured_w: float | None,
    base_load_w: float | None,
    base_load_max_w: float,
    margin_share: float,
    meter_share: float,
    latency_s: float,
    relay_s: float = 0.0,
    is_starting: bool = False,
) -> Exposure:
    """Bound what may flow. ``measured_w`` None means that the meter is not to be relied on.

    With a fresh meter the present draw is measured and only rises are to be feared: ramps and
    commands under way, and a jump of the base load. Without it every machine counts at the highest
    of what was read, reported and commanded, and the base load at its configured maximum.

    While the machines are being read for the first time, one that has not been read yet is not
    taken for one that will never obey: that would put a healthy farm down at every restart.
    ``relay_s`` is the time that a relay needs where the stop by command is ignored.
    """
    rising_w = sum(m.rising_w for m in machines)
    present_base_w = base_load_max_w if base_load_w is None else base_load_w
    jump_w = max(base_load_max_w - present_base_w, 0.0)
    if measured_w is None:
        power_hi_w = sum(_bound_w(m, margin_share) for m in machines) + base_load_max_w
        jolt_w = 0.0
    else:
        power_hi_w = measured_w * (1 + meter_share) + rising_w + jump_w
        jolt_w = measured_w * meter_share + jump_w
    stubborn_w = sum(
        _bound_w(m, margin_share)
        for m in machines
        if not m.is_controllable and not (is_starting and not m.is_known)
    )
    resting_w = sum(m.resting_w for m in machines if m.is_controllable)
    stops_s = [stop_s(m) for m in machines if m.is_controllable]
    return Exposure(
        power_hi_w=power_hi_w,
        floor_w=stubborn_w + resting_w + base_load_max_w,
        stop_s=max(stops_s, default=0.0) + latency_s + relay_s,
        jolt_w=jolt_w,
    )


def _bound_w(machine: Machine, margin_share: float) -> float:
    """A machine at its worst: by the site's margin, or by its card where that is wider."""
    return machine.upper_w * (1 + max(margin_share, machine.card.accuracy_share))
