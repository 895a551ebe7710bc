"""Random lives of a meter, against the true energy that it was meant to count.

Whatever befalls the register, every Wh that truly flowed is below the upper bound that enforcement
goes by, what the books call metered did flow, and what nobody measured is named as unknown.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core.cards import CARDS
from agent.core.ledger import Ledger, Transaction, admit, check
from agent.core.meterfusion import held_over, resumed
from agent.core.rebase import RebaseError, accept, exchange
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import Parameters, SiteState, observe
from agent.core.snapshot import MeterView, Snapshot
from agent.core.statement import merged
from drivers.readings import MeterReading

START_MS = 1_800_000_000_000 - 60_000  # a quarter begins a minute later
RATED_W = 100_000.0
MODULUS_WH = 1_000_000
STEP_WH = 10
POWERS_W = st.sampled_from([0.0, 18_000.0, 95_000.0])
PARAMETERS = Parameters(
    meter_id="site",
    tick_s=1.0,
    rated_power_w=RATED_W,
    base_load_max_w=RATED_W,
    reserve_share=0.002,
    meter_error_share=0.0,
    power_error_share=0.01,
    power_margin_share=0.05,
    meter_stale_s=3.0,
    blind_floor_after_s=60.0,
    rise_interval_s=10.0,
    command_latency_s=1.5,
    missing_floor_w=0.0,
    cards=CARDS,
    limits=(),
)
TRAITS = MeterTraits(
    refresh_s=0.5,
    step_wh=STEP_WH,
    power_error_share=0.01,
    rated_power_w=RATED_W,
    modulus_wh=MODULUS_WH,
)


class Meters(RuleBasedStateMachine):
    """One second a tick; the meter latches where it is asked."""

    @initialize(
        first_wh=st.sampled_from([0, 500, 999_700]),
        serial=st.sampled_from(["", "old"]),
        wobble=st.sampled_from([0.0, 0.002]),
    )
    def fit(self, first_wh: int, serial: str, wobble: float) -> None:
        self.wobble = wobble
        self.now_s, self.true_wh, self.power_w = 100.0, 0.0, 18_000.0
        self.shift_wh, self.serial = float(first_wh), serial
        self.is_disturbed = False
        self.rebases = 0
        self.is_lifted = False
        self.stood_wh: float | None = None
        self.stated: list[object] = []
        self.bought = 0
        self.state = SiteState(fusion=Fusion(traits=TRAITS), ledger=Ledger(meter_point="mp-1"))
        self.reading: MeterReading | None = None
        self.missed = 0
        self.tick()
        self.first_wh = self.state.ledger.booked_wh
        self.true_first_wh = self.true_wh

    def shown_wh(self) -> int:
        counted_wh = self.true_wh if self.stood_wh is None else self.stood_wh
        return math.floor((counted_wh + self.shift_wh) / STEP_WH) * STEP_WH % MODULUS_WH

    def shown_w(self) -> float:
        """The power register is off by a little, and another little every time."""
        return self.power_w * (1 + self.wobble * (self.now_s % 3 - 1))

    def is_well(self) -> bool:
        """Whether the latest reading was believed: what happens next is seen against it."""
        fusion = self.state.fusion
        return not (self.is_disturbed or fusion.suspect) and (
            fusion.samples[-1].requested_at_s == self.now_s
        )

    def tick(self, *, is_silent: bool = False, power_w: float | None = None) -> None:
        self.true_wh += self.power_w / 3600
        self.now_s += 1.0
        self.missed = self.missed + 1 if is_silent else 0
        if not is_silent:
            self.reading = MeterReading(
                meter_id="site",
                requested_at_s=self.now_s,
                replied_at_s=self.now_s,
                taken_at_ms=0,
                power_w=self.shown_w() if power_w is None else power_w,
                energy_import_wh=self.shown_wh(),
                voltage_v=None,
                frequency_hz=None,
            )
        self.state, self.picture, self.entries = observe(self.state, self.snapshot(), PARAMETERS)
        self.stated += self.state.statements

    def snapshot(self) -> Snapshot:
        meter = MeterView(
            meter_id="site",
            reading=self.reading,
            missed_polls=self.missed,
            fault=None,
            serial=self.serial,
        )
        now_ms = START_MS + round(self.now_s * 1000)
        return Snapshot(
            now_s=self.now_s, now_ms=now_ms, is_clock_trusted=True, meters=(meter,), miners=()
        )

    @rule(seconds=st.integers(1, 25), power_w=POWERS_W)
    def run_on(self, seconds: int, power_w: float) -> None:
        self.power_w = power_w
        for _ in range(seconds):
            self.tick()
            self.holds()

    @rule(seconds=st.integers(4, 400))
    def fall_silent(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick(is_silent=True)
        self.holds()
        self.tick()

    @rule()
    def say_a_power_that_is_no_number(self) -> None:
        known = self.state.fusion.samples[-1:], self.state.ledger.booked_wh
        self.tick(power_w=float("nan"))
        assert (self.state.fusion.samples[-1:], self.state.ledger.booked_wh) == known
        self.holds()

    @rule(start_s=st.integers(-50, 200), length_s=st.integers(1, 900), count=st.just(80))
    def buy_many(self, start_s: int, length_s: int, count: int) -> None:
        now_ms = START_MS + round(self.now_s * 1000)
        for _ in range(count):
            self.bought += 1
            offered = Transaction(
                transaction_id=f"t{self.bought}",
                meter_point="mp-1",
                start_ms=now_ms + start_s * 1000,
                end_ms=None if self.bought % 41 == 0 else now_ms + (start_s + length_s) * 1000,
                energy_wh=37,
                price_kzt_per_kwh="20",
                source="s",
                received_at_ms=now_ms,
            )
            ledger, _ = admit(self.state.ledger, offered, cap_wh=100, now_ms=now_ms)
            self.state = replace(self.state, ledger=ledger)

    @precondition(lambda self: self.is_well())
    @rule(
        what=st.sampled_from(["reset", "back", "ahead"]),
        by_wh=st.integers(11, 40) | st.integers(41, 5000),
        power_w=st.sampled_from([0.0, 18_000.0]),
    )
    def disturb(self, what: str, by_wh: int, power_w: float) -> None:
        """The register goes where it should not, for good."""
        before_wh = self.shown_wh()
        if power_w and by_wh < 2 * STEP_WH + 5:
            return  # hidden by what flows meanwhile
        moves = {"reset": -before_wh, "back": -by_wh, "ahead": 20_000 + by_wh}
        if before_wh + moves[what] < 0 or before_wh >= MODULUS_WH * 0.98 or before_wh < 300:
            return
        self.shift_wh += moves[what]
        self.is_disturbed = True
        self.power_w = power_w
        self.tick()
        assert self.state.fusion.suspect
        self.holds()

    @precondition(lambda self: self.is_disturbed and self.state.fusion.doubt.has_strayed)
    @rule(to_wh=st.integers(-300, 300), seconds=st.integers(0, 10))
    def disturb_again(self, to_wh: int, seconds: int) -> None:
        """A second fault moves it to where it may be right, after a while without an answer."""
        for _ in range(seconds):
            self.tick(is_silent=True)
        latest = self.state.fusion.latest
        shown_wh = latest.register_wh - self.state.ledger.offset_wh + to_wh
        if shown_wh >= 0:
            self.shift_wh = shown_wh - self.true_wh
            self.is_lifted = True
        self.tick()
        self.holds()

    @precondition(lambda self: self.is_well())
    @rule(by_wh=st.sampled_from([-700, 90_000]), seconds=st.integers(1, 15))
    def glitch(self, by_wh: int, seconds: int) -> None:
        """The register shows nonsense for a while and is right again."""
        if not 800 < self.shown_wh() < 900_000:
            return
        self.shift_wh += by_wh
        for _ in range(seconds):
            self.tick()
            assert self.state.fusion.suspect
        self.shift_wh -= by_wh
        self.tick()
        assert not self.state.fusion.suspect

    @precondition(lambda self: self.is_well())
    @rule(seconds=st.integers(20, 60))
    def freeze_and_catch_up(self, seconds: int) -> None:
        self.power_w = 95_000.0
        self.stood_wh = self.true_wh
        for _ in range(seconds):
            self.tick()
        self.stood_wh = None
        assert self.state.fusion.suspect
        self.tick()
        assert not self.state.fusion.suspect

    @precondition(lambda self: self.state.fusion.held is not None)
    @rule()
    def accept(self) -> None:
        before = self.state.ledger
        rebased = accept(self.state, self.snapshot(), serial=self.serial, reason="seen to")
        charged_wh = rebased.state.ledger.unknown_wh - before.unknown_wh
        self.go_on(rebased.state, charged_wh - before.owed_wh)
        assert rebased.state.ledger.metered_wh == before.metered_wh
        assert all(entry.unknown_wh == entry.to_wh - entry.from_wh for entry in rebased.entries)

    @precondition(lambda self: self.is_well() and self.serial)
    @rule(first_wh=st.integers(0, 900_000), seconds=st.integers(3, 500), runs=st.integers(1, 20))
    def fit_another_meter(self, first_wh: int, seconds: int, runs: int) -> None:
        """The old one is read off, the supply goes on around it, the new one is read off."""
        old_wh = self.shown_wh()
        self.power_w, power_w = 0.0, self.power_w
        for _ in range(seconds):
            self.tick(is_silent=True)
        self.serial = self.serial + "+"
        self.shift_wh = first_wh - self.true_wh
        new_wh = self.shown_wh()
        self.power_w = power_w
        for _ in range(runs):
            self.tick()
            assert "serial" in self.state.fusion.suspect
            self.holds()
        told = {"serial": self.serial, "reason": "worn out"}
        with pytest.raises(RebaseError, match="by these figures"):
            exchange(
                self.state,
                self.snapshot(),
                old_register_wh=old_wh + 100_000,
                new_register_wh=new_wh,
                **told,
            )
        if self.shown_wh() < new_wh:
            return  # the new one has wrapped meanwhile: only an accept helps
        rebased = exchange(
            self.state, self.snapshot(), old_register_wh=old_wh, new_register_wh=new_wh, **told
        )
        before = self.state.ledger
        unknown_wh = rebased.state.ledger.unknown_wh - before.unknown_wh - before.owed_wh
        assert unknown_wh == STEP_WH
        self.go_on(rebased.state, unknown_wh)

    def go_on(self, state: SiteState, unknown_wh: int) -> None:
        event = state.events[0]
        assert event.unknown_wh == unknown_wh
        assert event.offset_wh == state.ledger.offset_wh
        self.state = state
        self.stated += state.statements
        self.is_disturbed = False
        self.rebases += 1
        self.tick()
        assert not self.state.fusion.suspect
        self.holds()

    @precondition(lambda self: self.state.ledger.booked_wh is not None)
    @rule(away_s=st.integers(0, 300))
    def restart(self, away_s: int) -> None:
        """What outlives it is in the records; the time away is real."""
        old = self.state
        self.now_s += away_s
        self.true_wh += away_s * self.power_w / 3600
        ledger = replace(old.ledger, accounts=tuple(old.ledger.accounts), windows=None)
        away_ms = START_MS + round(self.now_s * 1000) - ledger.booked_at_ms
        fusion = resumed(TRAITS, register_wh=ledger.booked_wh, at_s=self.now_s - away_ms / 1000)
        if old.fusion.suspect:
            fusion = held_over(
                fusion,
                reason=old.fusion.suspect,
                least_wh=int(old.fusion.doubt.least_wh),
                register_wh=old.fusion.held.register_wh,
                has_strayed=old.fusion.doubt.has_strayed,
            )
        self.state = SiteState(
            fusion=fusion, ledger=ledger, is_recovering=True, quarter=old.quarter
        )
        self.reading = None
        self.tick(is_silent=True)
        self.holds()

    def holds(self) -> None:
        flowed_wh = self.true_wh - self.true_first_wh
        upper_wh = self.picture.interval.upper_wh
        assert upper_wh >= self.first_wh + flowed_wh - 0.01, self.state.fusion
        if not self.is_lifted:  # a register that shows too much is believed within the slack
            assert self.state.ledger.metered_wh <= flowed_wh + STEP_WH * (1 + self.rebases)

    @invariant()
    def the_books_add_up(self) -> None:
        ledger = self.state.ledger
        check(ledger)
        assert ledger.metered_wh + ledger.unknown_wh == ledger.booked_wh - self.first_wh
        open_accounts = ledger.open_accounts(ledger.booked_at_ms)
        assert open_accounts == tuple(a for a in ledger.accounts if a.is_open(ledger.booked_at_ms))

    @invariant()
    def statements_add_up_to_the_books(self) -> None:
        ledger = self.state.ledger
        stated = [*self.stated, *([self.state.quarter] if self.state.quarter else [])]
        for one in stated:
            assert one.metered_wh + one.unknown_wh == one.allocated_wh + one.over_wh
        (total,) = merged(stated, lambda _: 0) or (SimpleNamespace(),)
        if stated:
            assert (total.metered_wh, total.unknown_wh) == (ledger.metered_wh, ledger.unknown_wh)
            assert (total.allocated_wh, total.over_wh) == (ledger.allocated_wh, ledger.over_wh)


Meters.TestCase.settings = settings(max_examples=20, stateful_step_count=20)
TestMeters = pytest.mark.timeout(120)(Meters.TestCase)
