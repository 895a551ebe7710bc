"""How much the site may draw from now on, and why: the judgement before anybody is chosen.

The order of thought is the design's: is the meter to be relied on; is anything bought; would a stop
given now still keep the purchase (the braking curve); and if so, which power ends the energy with
its window. docs/governor.md derives the inequality.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core import braking
from agent.core.ceiling import OPEN, Ceiling, ceiling_of, paced_w
from agent.core.decisions import Mode
from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.evolve import replace
from agent.core.ledger import FOREVER_MS, Account
from agent.core.limits import Limit, falls_below_ms, ruling
from agent.core.site import Parameters, Picture, SiteState


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How much the site may draw, in which mode, and for how long that plan is good.

    With ``edge_s`` only those machines go to their floor that need so long for it. ``ceiling`` is
    what the limits in kW say, whichever limit is the smallest.
    """

    mode: Mode
    limit: Limit
    numbers: Mapping[str, int]
    time_left_s: float
    slack_wh: float
    to_floor: bool
    edge_s: float | None = None
    ceiling: Ceiling = OPEN


def judge(state: SiteState, picture: Picture, parameters: Parameters) -> Verdict:
    """Find the smallest limit and the mode that follows from it."""
    ceiling = ceiling_of(state, picture, parameters)
    verdict = _by_energy(state, picture, parameters)
    numbers = {**verdict.numbers, **ceiling.numbers()}
    verdict = replace(verdict, ceiling=ceiling, numbers=numbers)
    if verdict.to_floor:
        return verdict
    is_lower = ceiling.limit is not None and ceiling.limit.power_w < verdict.limit.power_w
    if ceiling.limit is not None and (ceiling.is_deep or is_lower):
        return replace(verdict, limit=ceiling.limit, to_floor=ceiling.is_deep)
    return replace(verdict, limit=_with_wall(verdict, picture, parameters))


def _with_wall(verdict: Verdict, picture: Picture, parameters: Parameters) -> Limit:
    """The limit that rules, whose words also name the lower one that is planned for."""
    now_ms, limit = picture.snapshot.now_ms, verdict.limit
    wall_ms = falls_below_ms(parameters.limits, now_ms, limit.power_w)
    if wall_ms is None or wall_ms - now_ms >= verdict.time_left_s * 1000:
        return limit
    wall = ruling(parameters.limits, wall_ms)
    words = f"{limit.words}; in {(wall_ms - now_ms) / 1000:.0f} s a lower limit begins"
    return replace(limit, words=f"{words}: {wall.words}")


def _by_energy(state: SiteState, picture: Picture, parameters: Parameters) -> Verdict:
    """What the meter, the purchases and the clock allow, the limits in kW apart."""
    now_ms, now_s = picture.snapshot.now_ms, picture.snapshot.now_s
    since_s = state.meter_fresh_at_s if state.meter_fresh_at_s is not None else state.started_at_s
    assert since_s is not None
    blind_s = now_s - since_s
    accounts = braking.pots(state.ledger, now_ms)
    if picture.measured_w is None and blind_s > parameters.blind_floor_after_s:
        words = f"{picture.meter_words}; after {blind_s:.0f} s everything goes to its floor"
        return _floor(Mode.BLIND, "meter", parameters.meter_id, words)
    if picture.interval is None:
        words = f"{picture.meter_words}; nothing may rise until it does"
        limit = _limit("meter", parameters.meter_id, picture.exposure.power_hi_w, words)
        return Verdict(
            mode=Mode.FAILSAFE,
            limit=limit,
            numbers={},
            time_left_s=0.0,
            slack_wh=0.0,
            to_floor=False,
        )
    if not accounts:
        return _without_purchase(state, picture, parameters)
    return _with_purchase(state, picture, parameters, accounts)


def _without_purchase(state: SiteState, picture: Picture, parameters: Parameters) -> Verdict:
    next_ms = state.ledger.next_start_ms(picture.snapshot.now_ms)
    words = "no purchase is open for this hour"
    if next_ms is not None:
        words += f"; the next one opens in {(next_ms - picture.snapshot.now_ms) / 1000:.0f} s"
    if parameters.missing_floor_w > 0:
        limit = _limit("no_purchase", "policy", parameters.missing_floor_w, words)
        return Verdict(
            mode=Mode.NO_PURCHASE,
            limit=limit,
            numbers={},
            time_left_s=SECONDS_PER_HOUR,
            slack_wh=0.0,
            to_floor=False,
        )
    return _floor(Mode.NO_PURCHASE, "no_purchase", "policy", words)


def _with_purchase(
    state: SiteState, picture: Picture, parameters: Parameters, accounts: tuple[Account, ...]
) -> Verdict:
    """The braking curve, then the pace; every deadline is a pot of its own."""
    assert picture.interval is not None
    assert state.ledger.booked_wh is not None
    now_ms, exposure = picture.snapshot.now_ms, picture.exposure
    left = braking.left_wh(
        accounts,
        upper_wh=picture.interval.upper_wh,
        booked_wh=state.ledger.booked_wh,
        error_share=parameters.meter_error_share,
    )
    purchased_wh = sum(a.transaction.energy_wh for a in accounts)
    time_left_s = braking.time_left_s(accounts, now_ms, exposure.stop_s)
    stop_wh = braking.stop_flow_wh(exposure, time_left_s)
    unplanned = braking.unplanned_wh(left, purchased_wh, parameters.reserve_share)
    reserve = unplanned + braking.jolt_wh(exposure, time_left_s)
    source = _names(accounts)
    numbers = {
        "purchased_wh": purchased_wh,
        "left_wh": int(left),
        "stop_flow_wh": int(stop_wh) + 1,
        "reserve_wh": int(reserve) + 1,
        "time_left_s": int(time_left_s),
        "register_upper_wh": int(picture.interval.upper_wh) + 1,
    }
    if left <= stop_wh and time_left_s > exposure.stop_s:
        words = (
            f"{left:.0f} Wh are surely left and {stop_wh:.0f} Wh flow until a stop has bitten: "
            "everything goes to its floor"
        )
        return _floor(Mode.SHEDDING, "purchase", source, words, numbers)
    edge_s = _stop_edge_s(state, picture, parameters, accounts)
    if edge_s is not None:
        words = "the window ends, no purchase follows that could take a stop: all goes to its floor"
        return replace(_floor(Mode.SHEDDING, "purchase", source, words, numbers), edge_s=edge_s)
    power_w = _pace_w(state, picture, parameters, accounts)
    use = "uses them up" if power_w < parameters.rated_power_w else "does not use them up"
    mode, words = _following(
        state,
        picture,
        f"{max(left, 0):.0f} Wh of {purchased_wh} Wh are surely left for {time_left_s:.0f} s: "
        f"{power_w / 1000:.1f} kW {use}",
    )
    return Verdict(
        mode=mode,
        limit=_limit("purchase", source, power_w, words),
        numbers=numbers,
        time_left_s=time_left_s,
        slack_wh=unplanned / 2,
        to_floor=False,
    )


def _following(state: SiteState, picture: Picture, words: str) -> tuple[Mode, str]:
    """In which mode a pace is followed, and what there is to say about that."""
    if picture.measured_w is None:
        return Mode.BLIND, f"{picture.meter_words}; counting by the upper bound: {words}"
    if not state.is_armed:
        return Mode.FAILSAFE, f"starting, nothing may rise yet: {words}"
    return Mode.FOLLOWING, words


def _names(accounts: tuple[Account, ...]) -> str:
    """The purchases behind a limit, the first three by name."""
    names = ", ".join(account.transaction.transaction_id for account in accounts[:3])
    return names if len(accounts) <= 3 else f"{names} and {len(accounts) - 3} more"


def _pace_w(
    state: SiteState,
    picture: Picture,
    parameters: Parameters,
    accounts: tuple[Account, ...],
) -> float:
    """The power that wastes no deadline: the steepest of the pots; what is open-ended on top."""
    assert picture.interval is not None
    assert state.ledger.booked_wh is not None
    purchased_wh = sum(a.transaction.energy_wh for a in accounts)
    steepest_w, earlier_wh = 0.0, 0.0
    for index, account in enumerate(accounts):
        is_last_of_deadline = (
            index + 1 == len(accounts)
            or accounts[index + 1].transaction.deadline_ms != account.transaction.deadline_ms
        )
        if is_last_of_deadline:
            pot_wh = braking.left_wh(
                accounts[: index + 1],
                upper_wh=picture.interval.upper_wh,
                booked_wh=state.ledger.booked_wh,
                error_share=parameters.meter_error_share,
            )
            seconds = braking.time_left_s(
                (account,), picture.snapshot.now_ms, picture.exposure.stop_s
            )
            reserve = braking.unplanned_wh(pot_wh, purchased_wh, parameters.reserve_share)
            reserve += braking.jolt_wh(picture.exposure, seconds)
            if account.transaction.deadline_ms == FOREVER_MS:
                extra_w = braking.pace_w(pot_wh - earlier_wh, reserve, seconds)
                return min(steepest_w + extra_w, parameters.rated_power_w)
            energy_wh = max(pot_wh - reserve, 0.0)
            steepest_w = max(steepest_w, paced_w(energy_wh, seconds, picture, parameters))
            earlier_wh = pot_wh
    return steepest_w


def _stop_edge_s(
    state: SiteState, picture: Picture, parameters: Parameters, accounts: tuple[Account, ...]
) -> float | None:
    """The seconds to a near deadline beyond which nothing could take a stop that is given there.

    What an ending window leaves unused does not carry over: the purchases behind it stand alone.
    """
    exposure = picture.exposure
    for deadline_ms in sorted({account.transaction.deadline_ms for account in accounts}):
        edge_s = (deadline_ms - picture.snapshot.now_ms) / 1000.0
        if edge_s <= exposure.stop_s:
            following = braking.pots(state.ledger, deadline_ms)
            share = parameters.meter_error_share
            left = braking.left_wh(following, upper_wh=0.0, booked_wh=0, error_share=share)
            seconds = braking.time_left_s(following, deadline_ms, exposure.stop_s)
            if left <= braking.stop_flow_wh(exposure, seconds):
                return edge_s
    return None


def _limit(kind: str, source: str, power_w: float, words: str) -> Limit:
    return Limit(
        kind=kind, source=source, power_w=power_w, safe_w=0.0, expires_ms=None, words=words
    )


def _floor(
    mode: Mode, kind: str, source: str, words: str, numbers: Mapping[str, int] | None = None
) -> Verdict:
    return Verdict(
        mode=mode,
        limit=_limit(kind, source, 0.0, words),
        numbers=numbers or {},
        time_left_s=0.0,
        slack_wh=0.0,
        to_floor=True,
    )
