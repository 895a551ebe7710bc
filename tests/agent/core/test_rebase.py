"""A person vouches for a register, against the true energy in each window."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent.core.cards import CARDS
from agent.core.doubt import Doubt, objection
from agent.core.ledger import Ledger, Transaction, admit
from agent.core.rebase import Rebased, RebaseError, accept, exchange
from agent.core.register import stranger_words, wrap_wh
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import Parameters, SiteState, observe
from agent.core.snapshot import MeterView, Snapshot
from agent.core.waiting import Waiting, waited

TRAITS = MeterTraits(
    refresh_s=0.5, step_wh=1, power_error_share=0.01, rated_power_w=100_000.0, modulus_wh=10**6
)


class Site:
    """A steady 36 kW (10 Wh a second); the meter shows the truth moved by ``shift_wh``."""

    def __init__(
        self, toy: SimpleNamespace, *purchases: Transaction, traits: MeterTraits = TRAITS
    ) -> None:
        self.toy = toy
        self.parameters: Parameters = replace(
            toy.Site(machines=toy.fleet(2), transactions=[]).parameters(),
            rated_power_w=100_000.0,
            base_load_max_w=40_000.0,
            cards=CARDS,
        )
        ledger = Ledger(meter_point="mp-1")
        for purchase in purchases:
            ledger, _ = admit(ledger, purchase, cap_wh=1_000_000, now_ms=toy.START_MS)
        self.state = SiteState(fusion=Fusion(traits=traits), ledger=ledger)
        self.shift_wh = 1000
        self.serial = "A"
        self.now_s = 0.0
        self.reading = None

    def true_wh(self, at_s: float | None = None) -> float:
        return 10 * (self.now_s if at_s is None else at_s)

    def until(self, to_s: float, *, is_silent: bool = False) -> "Site":
        while self.now_s < to_s:
            self.now_s += 1.0
            if not is_silent:
                shown_wh = int(self.true_wh(self.now_s - 0.1)) + self.shift_wh
                power_w = 36_000.0 + self.now_s % 2
                self.reading = self.toy.meter_reading(self.now_s - 0.1, shown_wh, power_w)
            self.state, self.picture, _ = observe(self.state, self.snapshot(), self.parameters)
        return self

    def snapshot(self) -> Snapshot:
        meter = MeterView(
            meter_id="site", reading=self.reading, missed_polls=0, fault=None, serial=self.serial
        )
        return Snapshot(
            now_s=self.now_s,
            now_ms=self.toy.START_MS + round(self.now_s * 1000),
            is_clock_trusted=True,
            meters=(meter,),
            miners=(),
        )

    def accept(self) -> Rebased:
        rebased = accept(self.state, self.snapshot(), serial=self.serial, reason="seen to")
        self.state = rebased.state
        return rebased

    def exchange(self, old_wh: int, new_wh: int) -> Rebased:
        rebased = exchange(
            self.state,
            self.snapshot(),
            old_register_wh=old_wh,
            new_register_wh=new_wh,
            serial=self.serial,
            reason="worn out",
        )
        self.state = rebased.state
        return rebased


def charged(site: Site, name: str) -> int:
    account = site.state.ledger.account(name)
    return account.allocated_wh + account.start_error_wh


def test_each_window_is_charged_no_less_than_truly_flowed_in_it(toy: SimpleNamespace) -> None:
    """The register is reset, and two windows begin before anybody looks."""
    windows = [toy.purchase(n, n * 40, (n + 1) * 40, 100_000) for n in range(3)]
    site = Site(toy, *windows).until(20)
    site.shift_wh = -200
    site.until(110)
    assert "fell" in site.state.fusion.suspect
    rebased = site.accept()
    site.until(114)
    for number in range(3):
        true_wh = site.true_wh(min((number + 1) * 40, site.now_s)) - site.true_wh(number * 40)
        assert charged(site, f"t{number}") >= true_wh - 25 * (number == 0)
        assert charged(site, f"t{number}") <= true_wh * 1.25 + 40
    ledger = site.state.ledger
    assert ledger.over_wh == 0
    assert [entry.flags for entry in rebased.entries] == [("unknown", "split")] * 3
    assert rebased.state.events[0].event == "accepted"
    assert 0 < rebased.state.events[0].least_wh <= rebased.state.events[0].unknown_wh
    assert ledger.booked_wh == ledger.offset_wh + site.reading.energy_import_wh
    assert site.state.fusion.suspect == ""


def test_an_exchange_charges_what_both_registers_show_and_one_step(toy: SimpleNamespace) -> None:
    windows = [toy.purchase(n, n * 40, (n + 1) * 40, 100_000) for n in range(2)]
    site = Site(toy, *windows, toy.purchase(2, 0, 50, 1)).until(20)
    old_wh = int(site.true_wh(30)) + 1000
    site.until(30, is_silent=True)
    site.shift_wh, site.serial = 77_000 - 300, "B"
    site.until(60)
    assert "serial B" in site.state.fusion.suspect
    rebased = site.exchange(old_wh, 77_000)
    ledger = site.state.ledger
    assert ledger.serial == "B"
    assert (ledger.unknown_wh, rebased.state.events[0].unknown_wh) == (1, 1)
    assert ledger.metered_wh == int(site.true_wh(59.9)) - 9
    site.until(64)
    assert charged(site, "t0") + charged(site, "t1") >= site.true_wh(63.9) - 10
    assert charged(site, "t1") >= site.true_wh(63.9) - site.true_wh(40)


def test_the_meter_itself_comes_back_and_is_believed(toy: SimpleNamespace) -> None:
    site = Site(toy).until(20)
    site.serial, site.shift_wh = "B", 500_000
    site.until(25)
    assert site.state.fusion.suspect
    site.serial, site.shift_wh = "A", 1000
    site.until(27)
    assert site.state.fusion.suspect == ""
    ledger = site.state.ledger
    assert 0 < ledger.offset_wh == ledger.unknown_wh < 30  # what power leaves open meanwhile


@pytest.mark.parametrize(
    ("old_wh", "new_wh", "words"),
    [
        (1100, 77_000, "read the old register off again"),
        (1300, 79_000, "less than the 79000 Wh at which it was fitted"),
        (9300, 77_000, "no more than"),
    ],
)
def test_an_exchange_that_cannot_be_true_is_refused(
    toy: SimpleNamespace, old_wh: int, new_wh: int, words: str
) -> None:
    site = Site(toy).until(30)
    site.shift_wh, site.serial = 77_000 - 300, "B"
    site.until(40)
    before = site.state
    with pytest.raises(RebaseError, match=words):
        site.exchange(old_wh, new_wh)
    assert site.state is before


def test_nobody_can_vouch_for_a_register_that_is_believed_or_unknown(toy: SimpleNamespace) -> None:
    site = Site(toy)
    with pytest.raises(RebaseError, match="wait for the meter"):
        site.accept()
    with pytest.raises(RebaseError, match="is not held"):
        site.until(5).accept()


def test_a_window_whose_edge_was_not_settled_is_charged_from_the_lower_bound(
    toy: SimpleNamespace,
) -> None:
    window = toy.purchase(1, 19.7, 100, 100_000)
    site = Site(toy, window).until(20)
    assert site.state.ledger.account("t1").opened_at_wh is None
    site.shift_wh = -100
    site.until(30)
    site.accept()
    assert charged(site, "t1") >= site.true_wh(29.9) - site.true_wh(19.7)


def test_the_edge_that_a_slow_meter_may_not_show_yet_is_charged_from_the_lower_bound(
    toy: SimpleNamespace,
) -> None:
    """Its register moved after the edge, and may have been latched before it all the same."""
    window = toy.purchase(1, 18.4, 100, 100_000)
    site = Site(toy, window, traits=replace(TRAITS, refresh_s=3.0)).until(20)
    assert site.state.ledger.account("t1").opened_at_wh is None
    site.shift_wh = -100
    site.until(30)
    site.accept()
    assert charged(site, "t1") >= site.true_wh(29.9) - site.true_wh(18.4)


def test_an_edge_that_waits_for_the_quarter_after_it_is_charged_from_the_lower_bound(
    toy: SimpleNamespace,
) -> None:
    """A sample latched between the two has settled the first and not the second."""
    site = Site(toy, toy.purchase(1, 899.5, 1000, 100_000))
    site.now_s = 0.3
    site.until(900)
    booked_ms = site.state.ledger.booked_at_ms
    assert site.state.fusion.samples[-1].requested_at_s > 900
    assert booked_ms < toy.START_MS + 899_500
    site.shift_wh = -5000
    site.until(905)
    site.accept()
    assert charged(site, "t1") >= site.true_wh(905.2) - site.true_wh(899.5)


def test_a_clock_that_is_set_back_takes_nothing_back(toy: SimpleNamespace) -> None:
    site = Site(toy).until(10)
    snapshot = replace(site.snapshot(), now_ms=toy.START_MS)
    waiting = site.state.waiting
    assert waited(waiting, site.state.fusion, site.state.ledger, snapshot) is waiting


def test_a_register_wraps_only_at_its_end() -> None:
    def wrapped(before_wh: int, shown_wh: int, modulus_wh: int | None = 10**6) -> int:
        traits = replace(TRAITS, modulus_wh=modulus_wh)
        return wrap_wh(traits, before_wh=before_wh, shown_wh=shown_wh)

    assert wrapped(999_990, 5) == 10**6
    assert wrapped(990_000, 10_000) == 10**6
    assert wrapped(989_999, 5) == 0
    assert wrapped(999_990, 10_001) == 0
    assert wrapped(999_990, 999_991) == 0
    assert wrapped(999_990, 5, None) == 0


def test_a_wrap_is_on_record_and_costs_nothing(toy: SimpleNamespace) -> None:
    site = Site(toy, toy.purchase(1, 0, 100, 100_000))
    site.shift_wh = 999_900
    site.until(9)
    site.shift_wh -= 10**6
    site.until(12)
    assert site.state.ledger.offset_wh == 10**6
    assert site.state.ledger.metered_wh == 110
    assert site.state.ledger.booked_wh == 10**6 + site.reading.energy_import_wh


def test_a_wrap_that_power_does_not_explain_is_held(toy: SimpleNamespace) -> None:
    site = Site(toy)
    site.shift_wh = 999_000
    site.until(9)
    site.shift_wh = 5000
    site.until(10)
    assert "fell" in site.state.fusion.suspect
    assert site.state.ledger.offset_wh == 0


def test_only_another_serial_makes_a_stranger() -> None:
    assert [bool(stranger_words(*pair)) for pair in (("", "B"), ("A", ""), ("A", "A"))] == [
        False
    ] * 3
    assert "kwota meters exchange" in stranger_words("A", "B")


def test_what_waited_is_known_at_every_instant() -> None:
    waiting = Waiting(sampled_at_s=0.0, knots=((0, 0.0), (10, 5.0), (20, 25.0)))
    assert [waiting.flowed_wh(ms) for ms in (-5, 0, 5, 10, 15, 20, 99)] == [
        0.0, 0.0, 2.5, 5.0, 15.0, 25.0, 25.0,
    ]  # fmt: skip


def test_a_growth_outside_of_what_power_explains_is_not_believed() -> None:
    doubt = Doubt(least_wh=100.0, most_wh=120.0)
    says = [
        objection(doubt, grown_wh=wh, counted_wh=wh, slack_wh=10.0) for wh in (89, 90, 164, 165)
    ]
    assert [bool(words) for words in says] == [True, False, False, True]


def test_a_register_that_went_on_unseen_from_where_it_was_held_needs_a_word() -> None:
    doubt = Doubt(most_wh=120.0, lately_wh=50.0, is_blind=True)
    says = [objection(doubt, grown_wh=60, counted_wh=wh, slack_wh=10.0) for wh in (-1, 0, 70, 71)]
    assert ["say so" in words for words in says] == [False, True, True, False]
    assert not says[0]
