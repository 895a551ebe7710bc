"""A register that fell or leapt for good: when the books go on by themselves, and never too low."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.decisions import Mode
from agent.core.doubt import Doubt
from agent.core.fleet import Machine
from agent.core.governor import step
from agent.core.rebase import resumed
from agent.core.resumption import AGREED_S, Resumption, followed, is_due
from agent.core.samples import Fusion, MeterTraits, Sample
from agent.core.site import SiteState
from agent.core.snapshot import MeterView, Snapshot

TRAITS = MeterTraits(refresh_s=0.5, step_wh=1, power_error_share=0.01, rated_power_w=100_000.0)


def farm(toy: SimpleNamespace, **changes: Any) -> Any:
    """Two windows of two minutes and a half, the first of which begins at once."""
    site = toy.Site(machines=toy.fleet(4), transactions=[], **changes)
    full_w = sum(m.profiles[8].power_w for m in site.machines) + site.base_w
    for number in range(2):
        bought_wh = int(full_w * 0.75 * 150 / 3600)
        site.transactions.append(toy.purchase(number, number * 150, (number + 1) * 150, bought_wh))
    return site


def watched(site: Any, shifts: dict[int, int]) -> list[tuple[float, str]]:
    """Run to the end while the register is moved; what befell it."""
    befell: list[tuple[float, str]] = []

    def at(site: Any, now_s: float) -> None:
        site.base_w = 8_000.0 + now_s % 7  # a meter that lives
        site.register_offset_wh = next(
            (shift for since_s, shift in sorted(shifts.items(), reverse=True) if now_s >= since_s),
            0,
        )
        if site.outcome is not None:
            befell.extend((now_s, event.event) for event in site.outcome.state.events)

    site.on_tick = at
    site.run(299)
    return befell


@pytest.mark.parametrize("shift_wh", [-1_200_000, -400, 60, 50_000, 900_000_000])
def test_a_register_that_is_moved_for_good_is_followed_again_within_a_minute(
    toy: SimpleNamespace, shift_wh: int
) -> None:
    site = farm(toy)
    befell = watched(site, {70: shift_wh})
    assert [event for _, event in befell] == ["held", "resumed", "released"][: len(befell)]
    assert befell[1][0] - befell[0][0] < 60
    assert site.decisions[200].mode is Mode.FOLLOWING
    assert site.over_wh == 0
    assert site.under_wh <= 0
    assert site.unused_share() < 0.1  # with the register held to the end it is 0.3
    assert site.state.resumed.unknown_wh > 0
    assert "counted on" in site.state.resumed.reason


@settings(max_examples=12)
@given(
    shifts=st.dictionaries(st.integers(30, 260), st.integers(-3_000, 3_000), max_size=4),
    step_wh=st.sampled_from([1, 10, 100]),
)
def test_whatever_a_register_does_the_books_are_never_below_what_flowed(
    toy: SimpleNamespace, shifts: dict[int, int], step_wh: int
) -> None:
    site = farm(toy, step_wh=step_wh)
    watched(site, shifts)
    assert site.over_wh == 0
    assert site.under_wh <= 0


def sample(at_s: float, register_wh: int, power_w: float = 36_000.0) -> Sample:
    return Sample(
        requested_at_s=at_s,
        replied_at_s=at_s + 0.01,
        latched_s=at_s - 0.5,
        register_wh=register_wh,
        power_w=power_w,
        ceiling_wh=register_wh + 1.0,
        has_moved=True,
    )


def told(samples: list[Sample]) -> tuple[Resumption | None, Fusion]:
    """What is known after these readings, none of which was believed."""
    known, fusion = None, Fusion(traits=TRAITS)
    for one in samples:
        fusion = replace(fusion, held=one, last_seen_w=one.power_w)
        known = followed(known, fusion)
    return known, fusion


def counting(seconds: int, *, wh_per_s: int = 10, power_w: float = 36_000.0) -> list[Sample]:
    """The power is told with its last digit moving, as a meter that lives tells it."""
    return [sample(at, 500 + at * wh_per_s, power_w + at % 2) for at in range(seconds + 1)]


def test_only_what_counts_on_as_its_power_says_for_long_enough_is_due() -> None:
    assert not is_due(*told(counting(int(AGREED_S) - 1)), [], 0.0)
    assert is_due(*told(counting(int(AGREED_S))), [], 0.0)
    assert not is_due(*told(counting(30, wh_per_s=0)), [], 0.0)
    assert not is_due(*told(counting(30, wh_per_s=20)), [], 0.0)
    assert not is_due(*told(counting(30, power_w=0.0, wh_per_s=0)), [], 0.0)
    assert followed(told(counting(30))[0], Fusion(traits=TRAITS)) is None
    assert not is_due(None, Fusion(traits=TRAITS), [], 0.0)


def test_a_reading_is_counted_once_and_a_silence_begins_anew() -> None:
    known, fusion = told(counting(10))
    assert followed(known, fusion) is known
    late = replace(fusion, held=sample(60, 1100))
    begun = followed(known, late)
    assert begun is not None
    assert begun.since is begun.last is late.held


def test_a_power_that_stands_to_the_last_digit_proves_nothing() -> None:
    known, fusion = told([sample(at, 500 + at * 10) for at in range(31)])
    assert not is_due(known, fusion, [], 0.0)


def test_a_meter_that_shows_less_than_the_machines_draw_is_for_a_person(
    toy: SimpleNamespace,
) -> None:
    site = farm(toy)
    site.run(5)
    machines: list[Machine] = [one.machine for one in site.state.judgements.values()]
    drawn_w = sum(one.at_w for one in machines)
    known, fusion = told(counting(30))
    base_w = drawn_w / 4
    for share, is_enough in ((0.9, True), (0.8, False)):
        seen = replace(fusion, last_seen_w=(drawn_w + base_w) * share)
        assert is_due(known, seen, machines, base_w) is is_enough
    moving = [replace(one, is_in_transit=True) for one in machines]
    assert is_due(known, replace(fusion, last_seen_w=base_w), moving, base_w)


def due(toy: SimpleNamespace) -> tuple[SiteState, Snapshot, Any]:
    """A site whose register fell at 40 s and has counted on for long enough, one tick before."""
    site = farm(toy)
    last: list[tuple[SiteState, Snapshot]] = []

    def at(site: Any, now_s: float) -> None:
        site.base_w = 8_000.0 + now_s % 7
        site.register_offset_wh = -5000 if now_s >= 40 else 0
        if site.outcome is not None and not last:
            picture = site.outcome.picture
            if resumed(site.state, picture.snapshot, site.parameters()) is not None:
                last.append((site.state, picture.snapshot))

    site.on_tick = at
    site.run(100)
    ((state, snapshot),) = last
    return state, snapshot, site.parameters()


def test_what_speaks_against_the_meter_itself_is_for_a_person(toy: SimpleNamespace) -> None:
    state, snapshot, parameters = due(toy)
    (meter,) = snapshot.meters

    def goes_on(state: SiteState, meter: MeterView) -> bool:
        seen = replace(snapshot, meters=(meter,))
        return resumed(state, seen, parameters) is not None

    assert goes_on(state, meter)
    known = replace(state, ledger=replace(state.ledger, serial="A"))
    assert not goes_on(known, replace(meter, serial="B"))
    assert not goes_on(state, replace(meter, refusal="a phase is dead"))
    assert not goes_on(state, replace(meter, reading=None))
    assert not goes_on(replace(state, ledger=replace(state.ledger, booked_wh=None)), meter)
    doubted = replace(state.agreement, words="they contradict each other")
    assert not goes_on(replace(state, agreement=doubted), meter)


def test_the_tick_that_goes_on_tells_it_and_books_it(toy: SimpleNamespace) -> None:
    state, snapshot, parameters = due(toy)
    outcome = step(state, replace(snapshot, now_s=snapshot.now_s + 0.2), parameters)
    assert outcome.state.events[0].event == "resumed"
    assert outcome.state.resumed is outcome.state.events[0]
    assert sum(entry.unknown_wh for entry in outcome.entries) > 0
    assert outcome.state.fusion.suspect == ""
    assert outcome.state.resumption is None
    assert outcome.picture.meter_words == ""


def test_the_rest_of_a_doubt_is_told_apart() -> None:
    """The least that power explains rises from nothing: what was doubted before is another tale."""
    known, _ = told(counting(3))
    assert known is not None
    assert known.flowed.least_wh < known.flowed.most_wh
    assert known.since.register_wh == 500
    assert Resumption(since=known.since, last=known.since).flowed == Doubt()
