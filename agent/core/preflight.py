"""Before a window opens: can it be kept, and what would it take to break it.

The least energy of a window flows if everything is told to stop at its start: what flows until the
stop has bitten, and what no command takes away until the window ends. A purchase below that cannot
be kept, whoever steers. What is bought beyond it says how many watts more may cease to obey.
"""

from agent.core import braking
from agent.core.decisions import Preflight
from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.fleet import Machine, nameplate_w
from agent.core.site import Parameters, Picture, SiteState

AHEAD_MS = 900_000
EVERY_MS = 10_000


def preflight(state: SiteState, picture: Picture, parameters: Parameters) -> Preflight | None:
    """The figures of the next window that opens soon, anew every few seconds; None: there is none.

    ``state`` is that of the tick before.
    """
    now_ms = picture.snapshot.now_ms
    start_ms = state.ledger.next_start_ms(now_ms)
    if start_ms is None or start_ms - now_ms > AHEAD_MS:
        return None
    known = None if state.decision is None else state.decision.preflight
    is_due = state.decision is None or now_ms // EVERY_MS != state.decision.at_ms // EVERY_MS
    if known is not None and known.start_ms == start_ms and not is_due:
        return known
    return _looked_ahead(state, picture, parameters, start_ms)


def _looked_ahead(
    state: SiteState, picture: Picture, parameters: Parameters, start_ms: int
) -> Preflight:
    exposure = picture.exposure
    accounts = braking.pots(state.ledger, start_ms)
    usable_wh = braking.left_wh(
        accounts, upper_wh=0.0, booked_wh=0, error_share=parameters.meter_error_share
    )
    window_s = braking.time_left_s(accounts, start_ms, exposure.stop_s)
    machines = tuple(picture.machines.values())
    covered = {
        name
        for relay in picture.snapshot.relays
        if relay.is_open is False
        for name in relay.miner_ids
    }
    spared_w = sum(m.upper_w for m in machines if m.miner_id in covered and not m.is_controllable)
    floor_w = max(exposure.floor_w - spared_w, 0.0)
    stop_wh = exposure.power_hi_w * min(exposure.stop_s, window_s) / SECONDS_PER_HOUR
    least_wh = stop_wh + floor_w * max(window_s - exposure.stop_s, 0.0) / SECONDS_PER_HOUR
    spare_w = max(usable_wh - least_wh, 0.0) * SECONDS_PER_HOUR / max(window_s, 1.0)
    loose_w = sum(nameplate_w(m) for m in machines if m.miner_id not in covered)
    can_comply = usable_wh >= least_wh
    share = _controllable_share(machines)
    losable_share = 1.0 if loose_w <= 0 else min(spare_w / loose_w, 1.0)
    purchased_wh = sum(a.transaction.energy_wh for a in accounts)
    return Preflight(
        start_ms=start_ms,
        transaction_ids=tuple(a.transaction.transaction_id for a in accounts),
        purchased_wh=purchased_wh,
        controllable_share=share,
        stop_s=exposure.stop_s,
        stop_wh=stop_wh,
        least_wh=least_wh,
        losable_share=losable_share,
        can_comply=can_comply,
        words=_words(
            purchased_wh,
            usable_wh=usable_wh,
            least_wh=least_wh,
            share=share,
            losable_share=losable_share,
            can_comply=can_comply,
        ),
    )


def _controllable_share(machines: tuple[Machine, ...]) -> float:
    total_w = sum(m.upper_w for m in machines)
    if total_w <= 0:
        return 1.0
    return sum(m.upper_w for m in machines if m.is_controllable) / total_w


def _words(
    purchased_wh: int,
    *,
    usable_wh: float,
    least_wh: float,
    share: float,
    losable_share: float,
    can_comply: bool,
) -> str:
    """The figures for people; ``usable_wh`` is less than bought by guard and by what is used."""
    bought = f"{purchased_wh / 1000:.3f} kWh"
    if usable_wh < purchased_wh:
        bought += f" (of which {usable_wh / 1000:.3f} count)"
    least = f"at least {least_wh / 1000:.3f} kWh"
    if not can_comply:
        return (
            f"the next window cannot be kept: {least} flow in it and {bought} are bought; "
            f"{share:.0%} of the watts obey"
        )
    return (
        f"the next window can be kept: {share:.0%} of the watts obey, {least} of {bought} flow, "
        f"and {losable_share:.0%} of all watts may cease to obey"
    )
