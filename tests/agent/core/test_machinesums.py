"""The machines' own account of a quarter, and which quarters may be laid beside the meter's."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.cards import CARDS
from agent.core.fleet import Judged, Memory, Taught, judged
from agent.core.ledger import QUARTER_MS
from agent.core.machinesums import Watch, compared, is_due, summed
from agent.core.statement import Statement
from drivers.readings import PowerProvenance

START_MS = 1_800_000_000_000
EDGE_MS = START_MS + QUARTER_MS
POWER_W = 3_000.0


@pytest.fixture
def machines(toy: SimpleNamespace) -> list[Judged]:
    """Two machines of 3 kW each by their own estimate."""
    found = []
    for machine in toy.fleet(2):
        view = toy.view(machine, 0.0)
        reading = replace(view.reading, power_w=POWER_W)
        found.append(at(replace(view, reading=reading), 0.0))
    return found


def at(view: Any, now_s: float, *, is_dark: bool = False) -> Judged:
    return judged(None, view, Memory(), Taught(card=CARDS["luxos"]), now_s, is_dark=is_dark)


def watched(machines: list[Judged], *, to_ms: int = EDGE_MS + 5000, step_ms: int = 5000) -> Watch:
    watch = Watch()
    for now_ms in range(START_MS, to_ms + 1, step_ms):
        watch = summed(watch, machines, 0.0, now_ms)
    return watch


def statement(**changes: Any) -> Statement:
    whole = Statement(start_ms=START_MS, end_ms=EDGE_MS, metered_wh=1600, flags=("split",))
    return replace(whole, **changes)


def seen(watch: Watch, one: Statement) -> Watch:
    return compared(watch, [one], meter_share=0.005, step_wh=10, base_max_w=1000.0)


def test_a_look_is_due_every_few_seconds_and_at_the_edge_of_a_quarter() -> None:
    assert is_due(Watch(), START_MS)
    watch = Watch(at_ms=EDGE_MS - 2000)
    assert not is_due(watch, EDGE_MS - 1000)
    assert is_due(watch, EDGE_MS)
    assert is_due(Watch(at_ms=START_MS), START_MS + 5000)
    assert is_due(watch, EDGE_MS - 3000)  # the clock was set back


def test_a_quarter_is_summed_to_its_edge_and_not_beyond(machines: list[Judged]) -> None:
    for step_ms in (5000, 7000):
        watch = watched(machines, to_ms=EDGE_MS + 10_000, step_ms=step_ms)
        assert watch.ended[0].machines_wh == pytest.approx(2 * POWER_W / 4)
        assert watch.ended[0].error_wh == pytest.approx(2 * POWER_W / 4 * 0.12)
        assert watch.current is not None
        assert watch.current.start_ms == EDGE_MS


def test_a_machine_without_watts_counts_by_its_model_and_one_without_feed_not_at_all(
    machines: list[Judged],
) -> None:
    first, second = machines
    assert first.view.reading is not None
    mute = replace(first.view.reading, power_w=None, power_provenance=PowerProvenance.LIMIT_ONLY)
    one = at(replace(first.view, reading=mute), 0.0)
    other = at(second.view, 0.0, is_dark=True)
    never = at(replace(second.view, reading=None), 0.0)
    (sums,) = watched([one, other, never]).ended
    assert sums.machines_wh == pytest.approx(one.machine.at_w / 4)
    assert sums.error_wh == pytest.approx(one.machine.at_w / 4 * 0.25)


def test_a_whole_quarter_is_laid_beside_its_statement(machines: list[Judged]) -> None:
    watch = watched(machines)
    found = seen(watch, statement()).found
    assert (found.count, found.mean_x) == (1, 1600.0)
    assert found.mean_y == pytest.approx(1500.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": ("recovered",)},
        {"flags": ("split", "unknown")},
        {"unknown_wh": 3},
        {"end_ms": EDGE_MS + QUARTER_MS},
        {"start_ms": START_MS + 60_000},
    ],
)
def test_what_was_not_measured_whole_proves_nothing(
    machines: list[Judged], changes: dict[str, Any]
) -> None:
    assert seen(watched(machines), statement(**changes)).found.count == 0


def test_a_quarter_that_was_not_watched_whole_is_left_out(machines: list[Judged]) -> None:
    watch = Watch()
    for now_ms in (
        *range(START_MS, START_MS + 60_000, 5000),
        *range(START_MS + 90_000, EDGE_MS + 1, 5000),
    ):
        watch = summed(watch, machines, 0.0, now_ms)
    assert seen(watch, statement()).found.count == 0


def test_machines_that_do_not_answer_spoil_a_quarter_where_they_are_many(
    machines: list[Judged],
) -> None:
    silent = [at(one.view, 100.0) for one in machines]
    watch = Watch()
    for now_ms in range(START_MS, EDGE_MS + 5001, 5000):
        watch = summed(watch, silent, 100.0, now_ms)
    assert watch.ended[0].doubtful_wh > 0.0
    assert watch.ended[0].machines_wh == 0.0
    assert seen(watch, statement()).found.count == 0


def test_a_site_without_a_drawing_machine_has_nothing_to_compare() -> None:
    assert seen(watched([]), statement()).found.count == 0
