"""Before a window opens: whether it can be kept is said, and what is said holds at the plant."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.preflight import AHEAD_MS, EVERY_MS
from agent.core.snapshot import RelayView

OPENS_S, CLOSES_S = 60, 660


def site(toy: SimpleNamespace, energy_wh: float, count: int = 20, **more: Any) -> Any:
    """Machines at full power, told to rest until a window of ten minutes opens."""
    bought = toy.purchase(0, OPENS_S, CLOSES_S, energy_wh)
    return toy.Site(machines=toy.fleet(count), transactions=[bought], **more)


def full_wh(count: int = 20) -> float:
    return (count * 3030 + 8000) * (CLOSES_S - OPENS_S) / 3600


def last_word(run: Any) -> Any:
    """The newest pre-flight of a run."""
    return [d.preflight for d in run.decisions if d.preflight is not None][-1]


def test_a_site_in_order_says_that_it_can_keep_the_window_and_by_how_much(toy) -> None:
    run = site(toy, full_wh() * 0.6)
    run.run(OPENS_S + 5)
    ahead = last_word(run)
    assert ahead.transaction_ids == ("t0",)
    assert ahead.start_ms == run.transactions[0].start_ms
    assert ahead.purchased_wh == run.transactions[0].energy_wh
    assert (ahead.can_comply, ahead.controllable_share) == (True, 1.0)
    assert ahead.stop_wh < ahead.least_wh < ahead.purchased_wh
    assert 0.3 < ahead.losable_share < 0.6
    assert "can be kept: 100% of the watts obey" in ahead.words
    assert run.decisions[-1].preflight is None  # the window is open, and none follows


@pytest.mark.parametrize(("extra", "is_kept"), [(0.0, True), (0.4, False)])
def test_so_much_as_it_says_may_cease_to_obey_and_not_much_more(toy, extra, is_kept) -> None:
    """They cease when they stand at full power already, so that nothing takes it back."""
    run = site(toy, full_wh() * 0.6)

    def lose(it: Any, now_s: float) -> None:
        if now_s == OPENS_S - 30:  # by now everything rests, and has said that it obeys
            share = last_word(it).losable_share + extra
            watts_w = sum(m.profiles[8].power_w for m in it.machines)
            lost_w = 0.0
            for machine in it.machines:
                lost_w += machine.profiles[8].power_w
                if lost_w > share * watts_w:
                    break
                machine.is_awake, machine.boards_on = True, frozenset({0, 1, 2})
                machine.ignores = True

    run.on_tick = lose
    run.run(CLOSES_S)
    assert sum(m.ignores for m in run.machines) >= 5
    assert (run.over_wh == 0.0) is is_kept


def test_machines_that_obey_nobody_and_draw_more_than_is_bought_are_announced(toy) -> None:
    run = site(toy, full_wh() * 0.3)
    for machine in run.machines[:16]:
        machine.ignores = True
    run.run(OPENS_S + 5)
    ahead = last_word(run)
    assert not ahead.can_comply
    assert ahead.losable_share == 0.0
    assert ahead.controllable_share < 0.3
    assert ahead.least_wh > ahead.purchased_wh
    assert "cannot be kept" in ahead.words


def test_what_the_meters_class_may_hide_does_not_count_as_bought(toy) -> None:
    fair, guarded = (
        site(toy, full_wh() * 0.6, changes=c) for c in ({}, {"meter_error_share": 0.1})
    )
    fair.run(OPENS_S - 20)
    guarded.run(OPENS_S - 20)
    assert last_word(guarded).losable_share < last_word(fair).losable_share
    assert "of which" in last_word(guarded).words
    assert "of which" not in last_word(fair).words


def test_nothing_is_said_of_a_window_that_is_far_or_not_bought(toy) -> None:
    far = toy.purchase(0, AHEAD_MS // 1000 + 100, AHEAD_MS // 1000 + 700, 5000)
    for bought in ([], [far]):
        run = toy.Site(machines=toy.fleet(3), transactions=bought)
        run.run(20)
        assert {decision.preflight for decision in run.decisions} == {None}


def test_the_figures_are_worked_out_anew_every_ten_seconds(toy) -> None:
    run = site(toy, full_wh() * 0.6, 4)
    run.run(OPENS_S - 10)
    made = [d.preflight for d in run.decisions]
    anew = [
        d.at_ms for d, old in zip(run.decisions[1:], made, strict=False) if d.preflight is not old
    ]
    assert anew
    assert all(later - earlier == EVERY_MS for earlier, later in itertools.pairwise(anew))


def test_a_site_without_machines_keeps_what_its_base_load_leaves(toy) -> None:
    run = site(toy, 3000, 0)
    run.run(OPENS_S - 20)
    ahead = last_word(run)
    assert (ahead.controllable_share, ahead.losable_share, ahead.can_comply) == (1.0, 1.0, True)


def test_a_closed_relay_spares_what_its_machines_would_draw_against_every_command(toy) -> None:
    """The relay stands behind the machines that ignore; it is there, and that is what counts."""
    bare, covered = (site(toy, full_wh() * 0.3) for _ in range(2))
    deaf = frozenset(m.miner_id for m in bare.machines[:16])
    for run in (bare, covered):
        for machine in run.machines[:16]:
            machine.ignores = True
    covered.relays = (RelayView(relay_id="row", miner_ids=deaf, is_open=False),)
    bare.run(OPENS_S - 5)
    covered.run(OPENS_S - 5)
    assert not last_word(bare).can_comply
    assert last_word(covered).can_comply
