"""Power cuts at any step of a journal at work: nothing acknowledged is lost, and it goes on.

The harness is believed because it finds the losses that must be there: of a journal that syncs
less, of one whose folder is not synced, and on a disk that only says that it has synced.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import pytest

from simulator.disk import Cut

CUTS_PER_RECORDING = 10
RUNS_PER_JOURNAL = 4
CUTS = 30
LOST_WITHIN = 100
TORTURE_PARTS, TORTURE_CUTS = 20, 100


def outcomes(recorder, how: str, seed: int = 1, lies: str = "") -> Iterator:
    """Power cuts, some of each run of the writer; the next run starts on what one of them left."""
    rng = random.Random(seed)
    for number in itertools.count():
        if not number % RUNS_PER_JOURNAL:
            key, files = recorder.new(f"{seed}-{number}")
        recording = recorder.record(key, files, rng.randrange(2**32), how)
        steps = [step for step in recording.steps if step.letter not in lies]
        recording = replace(recording, steps=steps)
        for _ in range(CUTS_PER_RECORDING):
            cut = Cut(steps=rng.randint(0, len(steps)), seed=rng.randrange(2**32))
            one = recorder.outcome(recording, cut)
            files = one.files
            yield one


def assert_nothing_lost(found: Sequence) -> None:
    assert [one.refusal for one in found if one.refusal] == []
    assert sum(one.lost for one in found) == 0
    assert sum(one.acknowledged for one in found) > 20 * len(found)


@pytest.mark.timeout(120)
def test_a_power_cut_at_any_step_loses_nothing_that_was_acknowledged(recorder) -> None:
    assert_nothing_lost(list(islice(outcomes(recorder, "as_shipped"), CUTS)))


@pytest.mark.torture
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(100, 100 + TORTURE_PARTS))
def test_two_thousand_power_cuts_lose_nothing(recorder, seed: int) -> None:
    found = outcomes(recorder, "as_shipped", seed=seed)
    assert_nothing_lost(list(islice(found, TORTURE_CUTS)))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("how", "lies"),
    [("normal", ""), ("as_shipped", "D"), ("as_shipped", "S")],
    ids=["synchronous-normal", "no-directory-sync", "a-disk-that-lies"],
)
def test_the_harness_finds_the_loss_where_less_is_synced(recorder, how: str, lies: str) -> None:
    found = outcomes(recorder, how, lies=lies)
    assert any(one.lost for one in islice(found, LOST_WITHIN))
