"""The agent's core in virtual time: its state from tick to tick, its death and its second life.

What outlives a death is what the journal holds: the books up to the last reading, with the details
of the last state record, and what each machine was told that day. Purchases that come while nobody
is there are delivered afterwards.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from agent.core.cards import CARDS
from agent.core.fleet import Memory
from agent.core.governor import Outcome, step
from agent.core.ledger import Ledger, Transaction, admit
from agent.core.limits import Limit
from agent.core.meterfusion import held_over, resumed
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Snapshot
from simulator.scenario import PurchaseTable, Scenario
from simulator.virtual.actuator import Actuator
from simulator.virtual.disarm import shown, taken_out
from simulator.virtual.foretold import Foretold
from simulator.virtual.orders import connection_limit
from simulator.virtual.polls import Polls
from simulator.virtual.site import Site
from simulator.virtual.truth import Bought
from simulator.virtual.wallclock import START_MS, WallClock

RELAY_COIL_S = 0.3
STATE_RECORD_EVERY_S = 30.0
TICK_S = 1.0
METER_POINT = "mp-1"
POWER_ERROR_SHARE = 0.01


def parameters_of(scenario: Scenario) -> Parameters:
    """The core's parameters as the daemon would take them from a site's configuration."""
    rated_w = scenario.site.rated_kw * 1000.0
    return Parameters(
        meter_id="site",
        tick_s=TICK_S,
        rated_power_w=rated_w,
        base_load_max_w=scenario.site.base_load_max_kw * 1000.0,
        reserve_share=scenario.site.reserve_share,
        meter_error_share=scenario.meter.guard_share,
        power_error_share=POWER_ERROR_SHARE,
        power_margin_share=0.05,
        meter_stale_s=max(3.0, 4 * scenario.meter.poll_s),
        blind_floor_after_s=60.0,
        rise_interval_s=10.0,
        command_latency_s=1.5,
        missing_floor_w=0.0,
        cards=CARDS,
        limits=(connection_limit(rated_w),),
    )


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the run remembers of the ticks."""

    ticks: int = 0
    step_s: float = 0.0
    estimate_error_wh: float = 0.0
    below_truth_wh: float = float("-inf")
    wrong_admissions: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Brain:
    """Ticks while it is alive and not paused."""

    site: Site
    polls: Polls
    actuator: Actuator
    clock: WallClock
    parameters: Parameters
    state: SiteState
    tally: Tally = field(default_factory=Tally)
    foretold: Foretold = field(default_factory=Foretold)
    outcome: Outcome | None = None
    is_alive: bool = True
    is_paused: bool = False
    watch: Callable[[Outcome], None] | None = None
    without: frozenset[str] = frozenset()
    _recorded: SiteState | None = None
    _recorded_at_s: float = float("-inf")
    _undelivered: list[PurchaseTable] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def tick(self) -> None:
        """One tick, as the daemon's keeper does it."""
        if not self.is_alive or self.is_paused:
            return
        now_s = self.site.agenda.now_s
        snapshot = Snapshot(
            now_s=now_s,
            now_ms=self.clock.now_ms(now_s),
            is_clock_trusted=self.clock.is_trusted,
            meters=(self.polls.meter_view(),),
            miners=tuple([post.view() for post in self.polls.posts]),
            relays=self.site.relay_views(),
        )
        started_s = time.perf_counter()
        snapshot = shown(snapshot, self.state, self.without)
        with taken_out(self.without):
            outcome = step(self.state, snapshot, self.parameters)
        self.tally.step_s += time.perf_counter() - started_s
        self.tally.ticks += 1
        self.state, self.outcome = outcome.state, outcome
        is_told = any(entry.flags or entry.over_wh for entry in outcome.entries)
        is_told = is_told or bool(outcome.state.events)
        if is_told or now_s - self._recorded_at_s >= STATE_RECORD_EVERY_S:
            self._recorded, self._recorded_at_s = outcome.state, now_s
        self._compare(outcome)
        self.foretold.hear(now_s, outcome)
        if outcome.decision.commands:
            self.actuator.submit(outcome.decision.commands)
        for order in outcome.decision.relays:
            move = self.site.trip if order.is_open else self.site.close_relay
            self.site.agenda.after(RELAY_COIL_S, partial(move, order.relay_id))
        if self.watch is not None:
            self.watch(outcome)

    def deliver(self, purchase: PurchaseTable, *, kwh: float | None = None) -> None:
        """A purchase reaches the site; with another energy it is a forbidden revision."""
        offered = purchase if kwh is None else purchase.model_copy(update={"kwh": kwh})
        if not self.is_alive or self.is_paused:
            self._undelivered.append(offered)
            return
        now_s = self.site.agenda.now_s
        known_wh = self._known.get(offered.id)
        transaction = _transaction(offered, self.clock.now_ms(now_s))
        ledger, admission = admit(
            self.state.ledger,
            transaction,
            cap_wh=round(self.site.scenario.site.cap_kwh * 1000.0),
            now_ms=self.clock.now_ms(now_s),
        )
        self.state = replace(self.state, ledger=ledger)
        expected = "accepted"
        if known_wh is not None:
            expected = "unchanged" if known_wh == transaction.energy_wh else "refused"
        elif offered.kwh > self.site.scenario.site.cap_kwh or _is_past(offered, now_s):
            expected = "refused"
        if admission.result != expected:
            self.tally.wrong_admissions.append(
                f"{offered.id}: {admission.result}, not {expected}: {admission.reason}"
            )
        if expected == "accepted":
            self._known[offered.id] = transaction.energy_wh
            until_s = float("inf") if offered.to_min is None else offered.to_min * 60.0
            self.site.buy(
                Bought(
                    name=offered.id,
                    from_s=max(offered.from_min * 60.0, now_s),
                    until_s=until_s,
                    energy_wh=offered.kwh * 1000.0,
                )
            )

    def order(self, limit: Limit) -> None:
        """An order of the grid operator comes. It is on record and outlives the process."""
        limits = (*self.parameters.limits, limit)
        self.parameters = replace(self.parameters, limits=limits)

    def kill(self) -> None:
        """The process is gone, with all that was only in its memory."""
        self.is_alive = False
        self.polls.stop()
        self.actuator.forget()

    def start(self) -> None:
        """A new process: the books from the journal, all else unknown."""
        now_s = self.site.agenda.now_s
        ledger = self._from_journal()
        traits = self.state.fusion.traits
        now_ms = self.clock.now_ms(now_s)
        self.state = SiteState(
            fusion=self._still_held(_seeded(traits, ledger, now_s=now_s, now_ms=now_ms)),
            ledger=ledger,
            memories={n: Memory(wear=m.wear) for n, m in self.state.memories.items()},
            is_recovering=ledger.booked_wh is not None,
        )
        self.is_alive, self.is_paused = True, False
        self.polls.start()
        self._catch_up()

    def pause(self) -> None:
        """The process stands still; its memory stays."""
        self.is_paused = True
        self.polls.stop()

    def resume(self) -> None:
        """It goes on as if nothing had been."""
        if self.is_alive and self.is_paused:
            self.is_paused = False
            self.polls.resume()
            self._catch_up()

    def _catch_up(self) -> None:
        waiting, self._undelivered = self._undelivered, []
        for purchase in waiting:
            self.deliver(purchase)

    def _from_journal(self) -> Ledger:
        """Readings are all on record, so the books reach to the last one; how well the start of a
        window was known is on record only as often as the state is."""
        ledger, recorded = self.state.ledger, self._recorded
        if recorded is None:
            return ledger
        known = recorded.ledger.accounts
        errors = {a.transaction.transaction_id: a.start_error_wh for a in known}
        accounts = tuple(
            replace(a, start_error_wh=errors.get(a.transaction.transaction_id, 0))
            for a in ledger.accounts
        )
        return replace(ledger, accounts=accounts)

    def _still_held(self, fusion: Fusion) -> Fusion:
        """A register that was held when the state was last on record is held."""
        recorded = self._recorded
        if recorded is None or recorded.fusion.held is None:
            return fusion
        return held_over(
            fusion,
            reason=recorded.fusion.suspect,
            least_wh=math.floor(recorded.fusion.doubt.least_wh),
            register_wh=recorded.fusion.held.register_wh,
            has_strayed=recorded.fusion.doubt.has_strayed,
        )

    def _compare(self, outcome: Outcome) -> None:
        interval = outcome.picture.interval
        if interval is None:
            return
        self.site.plant.advance(self.site.agenda.now_s)
        true_wh = self.site.true_register_wh()
        tally = self.tally
        tally.estimate_error_wh = max(tally.estimate_error_wh, abs(interval.middle_wh - true_wh))
        tally.below_truth_wh = max(tally.below_truth_wh, true_wh - interval.upper_wh)


def first_state(scenario: Scenario) -> SiteState:
    """An agent whose journal is empty."""
    traits = MeterTraits(
        refresh_s=scenario.meter.refresh_s,
        step_wh=scenario.meter.step_wh,
        power_error_share=POWER_ERROR_SHARE,
        rated_power_w=scenario.site.rated_kw * 1000.0,
    )
    return SiteState(fusion=Fusion(traits=traits), ledger=Ledger(meter_point=METER_POINT))


def _is_past(purchase: PurchaseTable, now_s: float) -> bool:
    return purchase.to_min is not None and purchase.to_min * 60.0 <= now_s


def _transaction(purchase: PurchaseTable, now_ms: int) -> Transaction:
    end_ms = None if purchase.to_min is None else START_MS + round(purchase.to_min * 60_000)
    return Transaction(
        transaction_id=purchase.id,
        meter_point=METER_POINT,
        start_ms=START_MS + round(purchase.from_min * 60_000),
        end_ms=end_ms,
        energy_wh=round(purchase.kwh * 1000.0),
        price_kzt_per_kwh="20.5",
        source="single_purchaser",
        received_at_ms=now_ms,
    )


def _seeded(traits: MeterTraits, ledger: Ledger, *, now_s: float, now_ms: int) -> Fusion:
    """Fusion that starts at the last register value in the journal, as the daemon's recovery."""
    if ledger.booked_wh is None:
        return Fusion(traits=traits)
    at_s = now_s - max(now_ms - ledger.booked_at_ms, 0) / 1000.0
    return resumed(traits, register_wh=ledger.booked_wh, at_s=at_s)
