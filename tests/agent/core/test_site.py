from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.attribution import KEEP_ENDED_MS
from agent.core.cards import CARDS
from agent.core.decisions import Setpoint
from agent.core.learning import HEADROOM
from agent.core.ledger import Ledger, admit, anchor
from agent.core.reference import Reference
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import Parameters, SiteState, observe
from agent.core.snapshot import Confirmation, MeterView, MinerView, Snapshot

POWER_W = 36_000.0


@pytest.fixture
def parameters(toy: SimpleNamespace) -> Parameters:
    return toy.Site(machines=toy.fleet(2), transactions=[]).parameters()


class Ticks:
    """Feeds readings of a steady 36 kW (10 Wh a second), or whatever a test says instead."""

    def __init__(self, toy: SimpleNamespace, parameters: Parameters, *purchases: Any) -> None:
        self.toy, self.parameters = toy, parameters
        ledger = Ledger(meter_point="mp-1")
        for purchase in purchases:
            ledger, _ = admit(ledger, purchase, cap_wh=1_000_000, now_ms=toy.START_MS)
        traits = MeterTraits(
            refresh_s=0.5, step_wh=1, power_error_share=0.01, rated_power_w=100_000.0
        )
        self.state = SiteState(fusion=Fusion(traits=traits), ledger=ledger)
        self.miners: tuple[MinerView, ...] = ()
        self.power_w = POWER_W
        self.counted_wh, self.counted_s = 1000.0, 0.0
        self.missed = 0
        self.fault: str | None = None
        self.refusal = ""
        self.other: Any = None
        self.reading: Any = None
        self.entries: list[Any] = []
        self.picture: Any = None

    def tick(self, at_s: float, register_wh: int | None = None, *, is_silent: bool = False) -> None:
        self.counted_wh += self.power_w * (at_s - self.counted_s) / 3600
        self.counted_s = at_s
        if not is_silent:
            register_wh = round(self.counted_wh) if register_wh is None else register_wh
            self.reading = self.toy.meter_reading(at_s - 0.1, register_wh, self.power_w)
        meter = MeterView(
            meter_id="site",
            reading=self.reading,
            missed_polls=self.missed,
            fault=self.fault,
            refusal=self.refusal,
        )
        other = MeterView(meter_id="other", reading=self.other, missed_polls=9, fault="broken")
        snapshot = Snapshot(
            now_s=at_s,
            now_ms=self.toy.START_MS + round(at_s * 1000),
            is_clock_trusted=True,
            meters=(other, meter),
            miners=self.miners,
        )
        self.state, self.picture, entries = observe(self.state, snapshot, self.parameters)
        self.entries += entries

    def until(self, from_s: int, to_s: int) -> "Ticks":
        for at_s in range(from_s, to_s):
            self.tick(float(at_s))
        return self


def test_before_the_first_reading_the_meter_is_not_relied_on(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    ticks.tick(1.0, is_silent=True)
    assert ticks.picture.meter_words == "the meter has not answered since the start"
    assert (ticks.picture.measured_w, ticks.picture.interval) == (None, None)
    assert ticks.state.ledger.booked_wh is None
    ticks.fault = "no route to host"
    ticks.tick(2.0, is_silent=True)
    assert ticks.picture.meter_words == "no route to host"


def test_the_first_reading_anchors_the_books_and_attributes_nothing(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    ticks.tick(1.0, 5000)
    assert (ticks.state.ledger.booked_wh, ticks.state.ledger.metered_wh) == (5000, 0)
    assert ticks.entries == []


def test_books_follow_the_register_and_never_the_estimate(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters, toy.purchase(1, 0, 100, 10_000)).until(1, 12)
    ledger = ticks.state.ledger
    assert ledger.booked_wh == 1110
    assert ledger.account("t1").allocated_wh == 100
    assert ticks.picture.interval.upper_wh > 1110
    assert ticks.picture.measured_w == POWER_W


@pytest.mark.parametrize(
    ("missed", "quiet_s", "is_silent"), [(0, 2.5, False), (0, 4.0, True), (3, 1.0, True)]
)
def test_a_meter_is_silent_after_three_missed_polls_or_when_its_sample_is_old(
    toy: SimpleNamespace, parameters: Parameters, missed: int, quiet_s: float, is_silent: bool
) -> None:
    ticks = Ticks(toy, parameters).until(1, 6)
    ticks.missed = missed
    ticks.tick(5.0 + quiet_s, is_silent=True)
    assert ("silent" in ticks.picture.meter_words) is is_silent
    assert (ticks.picture.measured_w is None) is is_silent
    assert ticks.state.meter_fresh_at_s == (5.0 if is_silent else 5.0 + quiet_s)


def test_the_words_of_a_silence_name_the_fault(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters).until(1, 6)
    ticks.missed, ticks.fault = 3, "connection refused"
    ticks.tick(10.0, is_silent=True)
    assert ticks.picture.meter_words.endswith("5.1 s: connection refused")


def test_a_suspect_register_is_reported_and_not_booked(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters).until(1, 6)
    ticks.tick(6.0, 900)
    assert "fell" in ticks.picture.meter_words
    assert ticks.state.ledger.booked_wh == 1050


def test_a_window_edge_is_split_by_the_estimate_once_a_later_sample_has_settled_it(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    first, second = toy.purchase(1, 0, 10.3, 10_000), toy.purchase(2, 10.3, 60, 10_000)
    ticks = Ticks(toy, parameters, first, second).until(1, 11)
    assert ticks.state.edge_ms is None
    ticks.tick(10.5)  # a sample that may have been latched before the edge
    assert ticks.state.ledger.booked_wh == 1100
    ticks.until(11, 14)
    assert ticks.state.edge_ms == second.start_ms
    account = ticks.state.ledger.account("t2")
    assert account.opened_at_wh == pytest.approx(1103, abs=6)
    assert 0 <= account.start_error_wh <= 12
    assert [e.flags for e in ticks.entries].count(("split",)) == 2
    ledger = ticks.state.ledger
    assert ledger.metered_wh == ledger.allocated_wh == 120
    assert ledger.account("t1").closed_at_wh == account.opened_at_wh


def test_the_error_of_a_split_is_left_as_it_is_when_its_samples_are_gone(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters, toy.purchase(1, 5, 100, 10_000)).until(1, 10)
    known_wh = ticks.state.ledger.account("t1").start_error_wh
    assert ticks.state.edge_ms is not None
    ticks.until(10, 30)
    assert ticks.state.edge_ms is None
    assert ticks.state.ledger.account("t1").start_error_wh <= max(known_wh, 12)


def test_an_edge_at_which_nothing_opens_has_no_error(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters, toy.purchase(1, -100, 5, 10_000)).until(1, 9)
    assert ticks.state.edge_ms == ticks.state.ledger.accounts[0].transaction.end_ms
    assert ticks.state.ledger.account("t1").start_error_wh == 0


def test_what_flowed_while_the_agent_was_away_is_flagged_once(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters, toy.purchase(1, 0, 100, 10_000))
    ledger = anchor(ticks.state.ledger, at_wh=900, at_ms=toy.START_MS)
    ticks.state = replace(ticks.state, ledger=ledger, is_recovering=True)
    ticks.until(1, 4)
    assert [e.flags for e in ticks.entries] == [("recovered",), (), ()]
    assert ticks.state.ledger.account("t1").allocated_wh == 1030 - 900


def test_purchases_that_ended_long_ago_leave_the_working_set(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters, toy.purchase(1, 0, 5, 10_000)).until(1, 9)
    assert ticks.state.ledger.accounts
    ticks.tick(9.0 + KEEP_ENDED_MS / 1000, 1100)
    assert ticks.state.ledger.accounts == ()


def views(toy: SimpleNamespace, at_s: float, *machines: Any) -> tuple[MinerView, ...]:
    return tuple(toy.view(machine, at_s) for machine in machines)


def test_the_base_load_is_what_the_machines_do_not_explain(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    machines = toy.fleet(2)
    for machine in machines:
        machine.power_w = machine.target_w()
    drawn_w = sum(m.profiles[8].power_w for m in machines)
    ticks = Ticks(toy, parameters)
    ticks.power_w = drawn_w + 5000
    for at_s in range(1, 4):
        ticks.miners = views(toy, float(at_s), *machines)
        ticks.tick(float(at_s))
    assert ticks.state.base_load_w == pytest.approx(5000)
    ticks.power_w = drawn_w + 6000
    ticks.miners = views(toy, 4.0, *machines)
    ticks.tick(4.0)
    assert ticks.state.base_load_w == pytest.approx(5200)  # follows, does not jump


def test_while_a_machine_is_on_the_move_the_base_load_is_not_learned_from_it(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    machines = toy.fleet(2)
    for machine in machines:
        machine.power_w = machine.target_w()
    drawn_w = sum(m.profiles[8].power_w for m in machines)
    ticks = Ticks(toy, parameters)
    ticks.power_w = drawn_w + 5000
    known: list[float] = []
    for at_s in range(1, 40):
        is_moving = 3 <= at_s < 30
        resting = views(toy, float(at_s), *machines)
        moving = tuple(
            replace(v, pending=toy.sent(v, at_s - 1.0)) if is_moving else v for v in resting
        )
        ticks.miners = moving
        ticks.power_w = drawn_w + (5000 if at_s < 3 else 7000)
        ticks.tick(float(at_s))
        known.append(ticks.state.base_load_w)
    assert known[2:22] == [pytest.approx(5000)] * 20
    assert known[22] > 5000  # a move that never ends must not blind us to the base load
    assert known[-1] > known[22]
    settling = known[28], known[29]
    assert settling[0] == settling[1]  # some seconds of rest come first
    assert ticks.state.unsettled_since_s is None


def test_a_machine_never_read_delays_the_base_load_and_then_counts_as_base_load(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    unread = replace(toy.view(toy.fleet(1)[0], 1.0), reading=None)
    ticks = Ticks(toy, parameters)
    ticks.miners = (unread,)
    ticks.until(1, 11)
    assert ticks.state.base_load_w is None
    ticks.until(11, 14)
    assert ticks.state.base_load_w == POWER_W


def test_an_unread_machine_and_a_silent_meter_leave_only_the_rating_of_the_connection(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters).until(1, 6)
    before_wh = ticks.picture.interval.upper_wh
    ticks.miners = (replace(toy.view(toy.fleet(1)[0], 1.0), reading=None, profiles=()),)
    ticks.missed = 3
    ticks.tick(15.0, is_silent=True)
    grown_wh = ticks.picture.interval.upper_wh - before_wh
    assert grown_wh == pytest.approx(parameters.rated_power_w * 10 / 3600, rel=0.01)


def test_every_machine_is_judged_by_the_card_of_its_family(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    ticks.miners = views(toy, 1.0, *toy.fleet(3))
    ticks.tick(1.0)
    assert set(ticks.picture.machines) == {"m000", "m001", "m002"}
    assert {m.card for m in ticks.picture.machines.values()} == {CARDS["luxos"]}


def test_a_machine_that_was_slower_than_its_card_lengthens_every_stop(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    ticks.miners = views(toy, 1.0, *toy.fleet(2))
    ticks.until(1, 6)
    before_s = ticks.picture.exposure.stop_s
    awake, stopped = (
        Setpoint(is_awake=True, profile="default", boards_on=frozenset(boards))
        for boards in ((0, 1, 2), ())
    )
    late = Confirmation(
        setpoint=stopped, origin=awake, sent_at_s=1.0, confirmed_at_s=9.0, is_measured=True
    )
    seen = views(toy, 6.0, *toy.fleet(2))
    ticks.miners = (replace(seen[0], confirmed=late), seen[1])
    ticks.tick(7.0)
    longer_s = HEADROOM * 8.0 - CARDS["luxos"].board_off_s
    assert ticks.picture.exposure.stop_s == pytest.approx(before_s + longer_s)
    assert ticks.picture.machines["m001"].card == CARDS["luxos"]


def test_a_meter_whose_registers_contradict_each_other_is_held_and_not_relied_on(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    for at_s in range(1, 200):
        ticks.tick(float(at_s), 1000 + at_s)  # 3.6 kW where the power says 36
    assert "much less; check ratios" in ticks.picture.meter_words
    assert ticks.picture.measured_w is None
    assert ticks.state.ledger.booked_wh < 1150


@pytest.mark.parametrize(("power_w", "is_held"), [(-20_000.0, True), (-50.0, False)])
def test_a_meter_that_says_that_the_site_feeds_the_grid_is_held(
    toy: SimpleNamespace, parameters: Parameters, power_w: float, *, is_held: bool
) -> None:
    ticks = Ticks(toy, parameters).until(1, 6)
    ticks.power_w = power_w
    ticks.tick(6.0, 1050)
    assert ("feeds the grid" in ticks.picture.meter_words) is is_held
    ticks.power_w = POWER_W
    ticks.tick(7.0, 1060)
    assert ticks.picture.meter_words == ""


def test_a_power_that_is_no_number_is_as_good_as_no_answer(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters).until(1, 6)
    ticks.power_w = float("nan")
    ticks.tick(6.0, 1060)
    assert ticks.state.fusion.latest.register_wh == 1050
    assert ticks.picture.meter_words == ""


def test_the_first_reading_of_a_refused_meter_anchors_no_books(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    ticks.refusal = "phase 2 flows out"
    ticks.tick(1.0)
    assert ticks.picture.meter_words == "phase 2 flows out"
    assert ticks.state.ledger.booked_wh is None
    ticks.refusal = ""
    ticks.tick(2.0)
    ticks.tick(3.0)
    assert ticks.picture.meter_words == ""
    assert ticks.state.ledger.booked_wh is not None


def test_meter_and_machines_are_laid_beside_each_other_each_quarter(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    ticks = Ticks(toy, parameters)
    machine = toy.fleet(1)[0]
    machine.power_w, ticks.power_w = 3_000.0, 3_600.0
    for at_s in range(1, 1830):
        ticks.miners = (toy.view(machine, float(at_s)),)
        ticks.tick(float(at_s))
    found = ticks.state.watch.found
    assert found.count == 1  # of the first quarter the meter's part was not whole
    assert (found.mean_x, found.mean_y) == (pytest.approx(900, abs=2), pytest.approx(750, abs=2))
    assert ticks.state.watch.current.start_ms == toy.START_MS + 1_800_000


def test_a_second_meter_is_compared_as_soon_as_both_have_answered(
    toy: SimpleNamespace, parameters: Parameters
) -> None:
    reference = Reference(meter_id="other", error_share=0.01, step_wh=2, refresh_s=1.0)
    ticks = Ticks(toy, replace(parameters, reference=reference))
    ticks.tick(1.0)
    assert ticks.state.comparison.since_s is None
    for at_s in range(2, 1850):
        ticks.other = toy.meter_reading(at_s - 0.1, at_s * 8, 0.8 * POWER_W)
        ticks.tick(float(at_s))
    assert "the reference other" in ticks.state.comparison.words
    assert ticks.picture.meter_words == ""  # told, and nothing is kept by another meter for it
