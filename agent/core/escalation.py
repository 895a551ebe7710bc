"""The last resort: relays, for machines that obey nobody.

A relay opens when nothing gentler can keep a purchase any more: when what is surely left is no more
than what flows until a contactor has dropped, and of the rest of the site until the window ends.
Commands come first by construction, because a stop by command is due earlier: its time is counted
with the relay's on top, so that a stop that was ignored still leaves time for the relay. Where
nothing is bought, a relay opens when its machines still draw after their stop's time.

A relay closes again late, seldom and one at a time, and only where the plan has room for all of its
machines at their nameplate, because that is what they start with.
"""

from collections.abc import Iterator, Mapping

from agent.core import braking
from agent.core.decisions import Because, Mode, RelayOrder
from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.evolve import replace
from agent.core.fleet import Machine, nameplate_w
from agent.core.ledger import FOREVER_MS
from agent.core.site import Parameters, Picture, RelayMemory, SiteState
from agent.core.snapshot import RelayView
from agent.core.verdict import Verdict

PATIENCE_S = 10.0  # after a stop's time, before a relay is opened because nothing is bought
CLOSE_AFTER_S = 600.0
CLOSE_APART_S = 60.0
CLOSE_FOR_S = 900.0  # so long must be bought for a restart of its machines to be worth it
TRIPS_PER_DAY = 3
REPORT_S = 10.0  # so long an order that is not reported as done is still the same order
DAY_S = 86_400.0
DRAWING_SHARE, DRAWING_W = 1.25, 20.0
NO_ORDERS = RelayMemory()


def relay_orders(
    state: SiteState,
    picture: Picture,
    verdict: Verdict,
    parameters: Parameters,
    *,
    spare_w: float,
    bought_for_s: float,
) -> tuple[RelayOrder, ...]:
    """Which relays shall open or close now. ``spare_w`` is what the plan leaves of the cap."""
    words = _last_resort(state, picture, verdict, parameters)
    if words:
        because = Because(
            limit=verdict.limit.kind, source=verdict.limit.name, words=words, numbers={}
        )
        return tuple(
            RelayOrder(
                relay_id=relay.relay_id,
                is_open=True,
                because=because,
                is_repeated=_is_on_its_way(state, relay, picture.snapshot.now_s),
            )
            for relay in picture.snapshot.relays
            if not relay.is_open  # one that nobody knows about may still feed
            and any(_draws(machine) for machine in _members(relay, picture.machines))
        )
    if verdict.mode is not Mode.FOLLOWING or bought_for_s < CLOSE_FOR_S:
        return ()
    return tuple(_closing(state, picture, verdict, spare_w))


def openings_today(memory: RelayMemory, now_s: float) -> int:
    """How often a relay has opened in the last 24 hours, told or by itself."""
    return sum(at_s > now_s - DAY_S for at_s in memory.trips_s)


def remembered(
    relays: Mapping[str, RelayMemory],
    views: tuple[RelayView, ...],
    orders: tuple[RelayOrder, ...],
    now_s: float,
) -> Mapping[str, RelayMemory]:
    """What is remembered of the relays after their reports and these orders.

    A relay takes its time to report. Until it does, or for ``REPORT_S``, an order that stands is
    one order and one opening, at however many ticks it is said. One that is found open though
    nobody told it to (its board heard nobody, or a hand did it) has opened by itself: that counts
    as well, so that it is not closed again and again at once.
    """
    if not views and not orders:
        return relays
    after = dict(relays)
    for view in views:
        memory = after.get(view.relay_id, NO_ORDERS)
        if memory.is_awaited and view.is_open is _is_to_open(memory):
            after[view.relay_id] = replace(memory, is_awaited=False)
        elif view.is_open and not memory.is_awaited and not _is_to_open(memory):
            after[view.relay_id] = _opened(memory, now_s)
    for order in orders:
        if order.is_repeated:
            continue
        memory = after.get(order.relay_id, NO_ORDERS)
        memory = _opened(memory, now_s) if order.is_open else replace(memory, closed_at_s=now_s)
        after[order.relay_id] = replace(memory, is_awaited=True)
    return after


def is_to_open(state: SiteState, relay_id: str) -> bool:
    """Whether the last that a relay was told, or did by itself, was to open."""
    return _is_to_open(state.relays.get(relay_id, NO_ORDERS))


def _opened(memory: RelayMemory, now_s: float) -> RelayMemory:
    trips_s = tuple(at_s for at_s in memory.trips_s if at_s > now_s - DAY_S)
    return replace(memory, opened_at_s=now_s, trips_s=(*trips_s, now_s))


def _is_to_open(memory: RelayMemory) -> bool:
    """Whether the last order was to open."""
    return memory.opened_at_s > memory.closed_at_s


def _is_on_its_way(state: SiteState, relay: RelayView, now_s: float) -> bool:
    """Whether a relay was told to open just now, or has been mute since, and has not reported."""
    memory = state.relays.get(relay.relay_id, NO_ORDERS)
    is_recent = now_s - memory.opened_at_s < REPORT_S or relay.is_open is None
    return memory.is_awaited and is_recent and _is_to_open(memory)


def _last_resort(
    state: SiteState, picture: Picture, verdict: Verdict, parameters: Parameters
) -> str:
    """Why relays must open now; empty while commands are enough."""
    now_s = picture.snapshot.now_s
    relay_s = braking.RELAY_S + parameters.command_latency_s + parameters.tick_s
    if verdict.to_floor and verdict.edge_s is not None and verdict.edge_s <= relay_s:
        return "nothing is bought from now on and machines still draw: their relays open"
    accounts = braking.pots(state.ledger, picture.snapshot.now_ms)
    if not accounts or picture.interval is None:
        since_s = state.floor_since_s
        has_waited = since_s is not None and now_s - since_s > picture.exposure.stop_s + PATIENCE_S
        if verdict.mode is Mode.NO_PURCHASE and has_waited:
            return "nothing is bought and machines still draw after their stop: their relays open"
        return ""
    assert state.ledger.booked_wh is not None
    left = braking.left_wh(
        accounts,
        upper_wh=picture.interval.upper_wh,
        booked_wh=state.ledger.booked_wh,
        error_share=parameters.meter_error_share,
    )
    left_s = braking.time_left_s(accounts, picture.snapshot.now_ms, picture.exposure.stop_s)
    flow = _relay_flow_wh(picture, parameters, relay_s, left_s)
    if left > flow or left_s <= relay_s:
        return ""
    return (
        f"{left:.0f} Wh are surely left and {flow:.0f} Wh flow even if the relays open now: "
        "machines that did not stop lose their feed"
    )


def _relay_flow_wh(
    picture: Picture, parameters: Parameters, relay_s: float, left_s: float
) -> float:
    """Energy that flows until the window ends if the relays open now and all else stops."""
    covered = {miner_id for relay in _closed(picture) for miner_id in relay.miner_ids}
    rest_s = left_s - relay_s
    watt_seconds = picture.exposure.power_hi_w * relay_s + parameters.base_load_max_w * rest_s
    for machine in picture.machines.values():
        if machine.miner_id in covered:
            continue
        if machine.is_controllable:
            moving_s = min(max(picture.exposure.stop_s - relay_s, 0.0), rest_s)
            watt_seconds += machine.upper_w * moving_s + machine.resting_w * (rest_s - moving_s)
        else:
            watt_seconds += machine.upper_w * rest_s
    return watt_seconds / SECONDS_PER_HOUR


def _closing(
    state: SiteState, picture: Picture, verdict: Verdict, spare_w: float
) -> Iterator[RelayOrder]:
    """At most one relay that may be tried again."""
    now_s = picture.snapshot.now_s
    last_s = max((memory.closed_at_s for memory in state.relays.values()), default=-CLOSE_AFTER_S)
    if now_s - last_s < CLOSE_APART_S:
        return
    room_w = min(spare_w, _next_mean_w(state, picture) - (state.base_load_w or 0.0))
    for relay in picture.snapshot.relays:
        memory = state.relays.get(relay.relay_id, NO_ORDERS)
        today = openings_today(memory, now_s)
        if not relay.is_open or now_s - memory.opened_at_s < CLOSE_AFTER_S:
            continue
        needed_w = sum(nameplate_w(m) for m in _members(relay, picture.machines))
        if today <= TRIPS_PER_DAY and needed_w <= room_w:
            because = Because(
                limit=verdict.limit.kind,
                source=verdict.limit.name,
                words=f"there is room for its {needed_w / 1000:.1f} kW: tried again",
                numbers={},
            )
            yield RelayOrder(relay_id=relay.relay_id, is_open=False, because=because)
            return


def _next_mean_w(state: SiteState, picture: Picture) -> float:
    """What the window after the present one is bought for, evenly; none bought is no power."""
    present = braking.pots(state.ledger, picture.snapshot.now_ms)
    ends_ms = max(account.transaction.deadline_ms for account in present)
    if ends_ms == FOREVER_MS:
        return float("inf")
    following = braking.pots(state.ledger, ends_ms)
    if not following:
        return 0.0
    hours = (following[-1].transaction.deadline_ms - ends_ms) / 3_600_000
    return sum(account.transaction.energy_wh for account in following) / hours


def _closed(picture: Picture) -> list[RelayView]:
    return [relay for relay in picture.snapshot.relays if relay.is_open is False]


def _members(relay: RelayView, machines: Mapping[str, Machine]) -> list[Machine]:
    return [machines[miner_id] for miner_id in sorted(relay.miner_ids)]


def _draws(machine: Machine) -> bool:
    """Whether a machine may draw more than one at rest does."""
    return machine.upper_w > machine.resting_w * DRAWING_SHARE + DRAWING_W
