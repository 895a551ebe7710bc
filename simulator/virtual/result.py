"""What a run came to: figures by the plant's own truth, and every promise that was not kept."""

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from agent.core.cards import CARDS
from simulator.scenario import BarsTable
from simulator.virtual.brain import POWER_ERROR_SHARE, Brain
from simulator.virtual.site import Site
from simulator.virtual.truth import MEANS_SOMETHING_WH, Bought

ROLLOVER_NEAR_S = 60.0
GAP_SHARE = 0.5
SETTLE_S = 90.0
POLL_LATE = 1.1  # polls vary by a tenth
COMMAND_S = 2.5  # a tick, and the way of a command


@dataclass(slots=True, kw_only=True)
class Trace:
    """Power at every tick."""

    at_s: list[float] = field(default_factory=list)
    power_w: list[float] = field(default_factory=list)

    def note(self, site: Site) -> None:
        """One tick."""
        self.at_s.append(site.agenda.now_s)
        self.power_w.append(site.plant.power_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept, with the purchase or the order that it was about."""

    promise: str
    id: str
    over_wh: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The first fields are the contract of ``kwota-sim virtual --json``, in its order.

    ``unforetold`` names what no means of the site could have kept and no pre-flight had announced.
    """

    purchased_wh: int
    true_wh: float
    metered_wh: int
    allocated_wh: int
    over_wh: float
    unused_wh: float
    unused_share: float
    hashes_eh: float
    hashes_best_eh: float
    commands: int
    mining_restarts: int
    rollover_gap_s: float
    max_estimate_error_wh: float
    virtual_s: float
    wall_s: float
    violations: tuple[Violation, ...]
    below_truth_wh: float
    margin_wh: float
    relay_trips: int
    is_coverable: bool
    unforetold: tuple[str, ...]
    ticks: int
    step_us: float
    other_us: float

    def document(self) -> dict[str, Any]:
        """The JSON of the contract."""
        own = ("below_truth_wh", "margin_wh", "relay_trips", "is_coverable", "unforetold",
               "ticks", "step_us", "other_us")  # fmt: skip
        values = {name: _rounded(value) for name, value in asdict(self).items() if name not in own}
        values["violations"] = [
            {name: _rounded(value) for name, value in asdict(one).items()}
            for one in self.violations
        ]
        return values


def missed_bars(bars: BarsTable, result: Result) -> list[str]:
    """What a scenario asks for besides the promise and did not get, one sentence each."""
    hashes = result.hashes_eh / result.hashes_best_eh if result.hashes_best_eh else 1.0
    found = []
    if bars.unused_share is not None and result.unused_share > bars.unused_share:
        found.append(f"unused {result.unused_share:.4f}, at most {bars.unused_share} wanted")
    if bars.hashes_share is not None and hashes < bars.hashes_share:
        found.append(f"hashes {hashes:.4f} of the best, at least {bars.hashes_share} wanted")
    if bars.rollover_gap_s is not None and result.rollover_gap_s > bars.rollover_gap_s:
        found.append(
            f"gap {result.rollover_gap_s:.0f} s, at most {bars.rollover_gap_s:.0f} s wanted"
        )
    return found


def judge(brain: Brain, trace: Trace, *, best: float, wall_s: float) -> Result:
    """Add everything up."""
    site, ledger, tally = brain.site, brain.state.ledger, brain.tally
    truth, end_s = site.truth, site.agenda.now_s
    bought = [one for one in truth.bought if one.from_s < end_s]
    purchased_wh = sum(one.energy_wh for one in bought)
    taken_wh = sum(one.taken_wh for one in bought)
    unused_wh = purchased_wh - taken_wh
    hashes = sum(one.hashes for one in truth.stretches if one.is_bought)
    ticks = max(tally.ticks, 1)
    return Result(
        purchased_wh=round(purchased_wh),
        true_wh=sum(one.energy_wh for one in truth.stretches if one.is_bought),
        metered_wh=ledger.metered_wh,
        allocated_wh=ledger.allocated_wh,
        over_wh=truth.over_wh,
        unused_wh=unused_wh,
        unused_share=unused_wh / purchased_wh if purchased_wh else 0.0,
        hashes_eh=hashes / 1e18,
        hashes_best_eh=best / 1e18,
        commands=brain.actuator.commands,
        mining_restarts=site.plant.totals().mining_restarts,
        rollover_gap_s=_rollover_gap_s(bought, trace),
        max_estimate_error_wh=tally.estimate_error_wh,
        virtual_s=end_s,
        wall_s=wall_s,
        violations=tuple(_violations(brain, trace)),
        below_truth_wh=tally.below_truth_wh,
        margin_wh=min((one.energy_wh - one.taken_wh for one in bought), default=0.0),
        relay_trips=site.relay_trips,
        is_coverable=truth.is_coverable,
        unforetold=tuple(brain.foretold.unforetold(truth.stretches, site.units)),
        ticks=tally.ticks,
        step_us=tally.step_s / ticks * 1e6,
        other_us=(wall_s - tally.step_s) / ticks * 1e6,
    )


def _violations(brain: Brain, trace: Trace) -> list[Violation]:
    site, ledger = brain.site, brain.state.ledger
    found = [
        Violation(
            promise="purchase",
            id=one.name,
            over_wh=one.over_wh,
            words=f"{one.over_wh:.2f} Wh more than the {one.energy_wh:.0f} Wh bought",
        )
        for one in site.truth.bought
        if one.is_exceeded
    ]
    if ledger.metered_wh + ledger.unknown_wh != ledger.allocated_wh + ledger.over_wh:
        words = "metered + unknown is not allocated + over"
        found.append(_violation("books", "ledger", words))
    found += [_violation("admission", "purchase", words) for words in brain.tally.wrong_admissions]
    found += _orders_broken(brain, trace) + _idle_broken(site, trace) + _wear(site)
    return found


def _orders_broken(brain: Brain, trace: Trace) -> list[Violation]:
    """An order of the grid operator is kept from its first second to its last one.

    Judged by the plant's true power, with what a site's meter may be off by: the agent can steer
    no better than it can see. What no command takes away is no fault of the agent's.
    """
    found = []
    for order in brain.site.scenario.orders:
        from_s = order.kept_from_s
        until_s = (order.at_min + order.for_min) * 60.0
        powers = [
            p for t, p in zip(trace.at_s, trace.power_w, strict=True) if from_s <= t < until_s
        ]
        allowed_w = max(order.kw * 1000.0, _unavoidable_w(brain.site)) * (1 + POWER_ERROR_SHARE)
        over_w = max(powers, default=0.0) - allowed_w
        if over_w > 0.0:
            wh = sum(max(p - allowed_w, 0.0) for p in powers) / 3600.0
            name = f"{order.kw:.0f} kW at minute {order.at_min:.0f}"
            found.append(
                Violation(
                    promise="order",
                    id=name,
                    over_wh=wh,
                    words=f"up to {over_w / 1000.0:.1f} kW above it since second {from_s:.0f}",
                )
            )
    return found


def _idle_broken(site: Site, trace: Trace) -> list[Violation]:
    """Where nothing is bought, nothing is hashed.

    What begins to hash by itself runs until it has been read and its stop has bitten: those
    seconds are nobody's fault.
    """
    found, excused = [], _excused(site)
    for stretch in site.truth.stretches:
        if stretch.is_bought or stretch.is_stubborn:
            continue
        from_s = stretch.from_s + SETTLE_S
        idle_w = _unavoidable_w(site)
        wh = 0.0
        for at_s, power_w in zip(trace.at_s, trace.power_w, strict=True):
            if from_s <= at_s < stretch.until_s and not any(a <= at_s < b for a, b in excused):
                wh += max(power_w - idle_w, 0.0) / 3600.0
        if wh > 1.0:
            words = f"{wh:.1f} Wh for hashing while nothing was bought"
            name = f"second {stretch.from_s:.0f}"
            found.append(Violation(promise="nothing_bought", id=name, over_wh=wh, words=words))
    return found


def _excused(site: Site) -> list[tuple[float, float]]:
    """From each start that nobody told to a machine, until it can have been stopped again."""
    seen_s = site.scenario.site.miner_poll_s * POLL_LATE + COMMAND_S
    return [
        (start_s, start_s + seen_s + max(card.board_off_s, card.sleep_s))
        for unit in site.units
        for card in (CARDS[unit.family.name],)
        for start_s in unit.machine.own_starts_s
    ]


def _wear(site: Site) -> list[Violation]:
    """No machine's mining is restarted more often in a day than its card allows; what a machine
    does by itself, a reboot or a wake, is not counted."""
    days = max(site.agenda.now_s / 86_400.0, 1.0)
    found = []
    for unit in site.units:
        counters = unit.machine.counters
        restarts = counters.mining_restarts - counters.device_reboots - counters.own_wakes
        if restarts > CARDS[unit.family.name].restarts_per_day * days:
            words = f"mining was restarted {restarts} times in {days:.0f} day(s)"
            found.append(_violation("wear", unit.miner_id, words))
    return found


def _unavoidable_w(site: Site) -> float:
    """What no command takes away: the base load, and machines awake with every board off."""
    return site.idle_w + site.scenario.site.base_load_max_kw * 1000.0


def _violation(promise: str, name: str, words: str) -> Violation:
    return Violation(promise=promise, id=name, over_wh=0.0, words=words)


def _rollover_gap_s(bought: list[Bought], trace: Trace) -> float:
    """Seconds around a change of windows in which the site drew less than half of what it drew in
    the window that drew less. A site with nothing bought on one side has no rollover there."""
    windows = sorted({(one.from_s, one.until_s) for one in bought})
    worst_s = 0.0
    for (from_s, edge_s), (next_s, until_s) in pairwise(windows):
        if edge_s != next_s or until_s == float("inf"):
            continue
        before = _mean_w(trace, from_s, edge_s)
        after = _mean_w(trace, next_s, until_s)
        least_w = GAP_SHARE * min(before, after)
        near = _between(trace, edge_s - ROLLOVER_NEAR_S, edge_s + ROLLOVER_NEAR_S)
        worst_s = max(worst_s, float(sum(1 for power_w in near if power_w < least_w)))
    return worst_s


def _mean_w(trace: Trace, from_s: float, until_s: float) -> float:
    powers = _between(trace, from_s, until_s)
    return sum(powers) / len(powers) if len(powers) else 0.0


def _between(trace: Trace, from_s: float, until_s: float) -> list[float]:
    """Ticks come once a second, so that a time is also a place."""
    first, last = max(round(from_s), 0), max(round(until_s), 0)
    return trace.power_w[first:last]


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return 0.0 if abs(value) < MEANS_SOMETHING_WH / 1e4 else round(value, 6)
