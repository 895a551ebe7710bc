"""Many random sites with faults, on all cores, each judged by its own truth.

A run whose uncontrollable machines alone drew more than was bought, without any relay that could
have stopped them, is not coverable: it is counted, and it is no failure of the agent, provided that
the agent's own pre-flight had announced it before the window began. Where a protection is left out,
the sites are drawn so that they need it.
"""

import gc
import os
import random
import statistics
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from simulator.campaign_need import draw_needing
from simulator.virtual.run import run_scenario

BELOW_TRUTH_WH = 0.5
CHUNK = 4
COLLECTED_EVERY = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one run needs to know."""

    seed: int
    faults_max: int
    without: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one run came to. ``words`` names each broken promise; ``crash`` is a fault of ours.

    ``unforetold`` says of which windows nobody could have kept, and nothing was announced.
    """

    seed: int
    over_wh: float
    margin_wh: float
    unused_share: float | None
    is_coverable: bool
    unforetold: tuple[str, ...]
    is_estimator_below: bool
    relay_trips: int
    ticks: int
    step_s: float
    other_s: float
    faults: tuple[str, ...]
    words: tuple[str, ...]
    crash: str

    @property
    def is_announced(self) -> bool:
        """Whether all that nobody could have kept was announced before its window began."""
        return not self.is_coverable and not self.unforetold

    @property
    def failures(self) -> tuple[str, ...]:
        """What is held against the agent, in words."""
        if self.crash:
            return (self.crash,)
        return self.words if self.is_coverable else self.unforetold


def run_seeds(seed: int, runs: int) -> list[int]:
    """The seeds of a campaign's runs."""
    rng = random.Random(f"campaign-seeds-{seed}")
    return [rng.getrandbits(40) for _ in range(runs)]


def run_one(order: Order) -> Verdict:
    """Draw, run, judge."""
    scenario = draw_needing(order.seed, order.faults_max, order.without)
    faults = tuple(fault.what for fault in scenario.faults)
    try:
        result = run_scenario(scenario, without=order.without)
    except Exception:  # noqa: BLE001 - a crash is a verdict too, it must not end the campaign
        return _crashed(order.seed, faults, traceback.format_exc(limit=-3))
    return Verdict(
        seed=order.seed,
        over_wh=result.over_wh,
        margin_wh=result.margin_wh,
        unused_share=result.unused_share if result.purchased_wh else None,
        is_coverable=result.is_coverable,
        unforetold=result.unforetold,
        is_estimator_below=result.below_truth_wh > BELOW_TRUTH_WH,
        relay_trips=result.relay_trips,
        ticks=result.ticks,
        step_s=result.step_us * result.ticks / 1e6,
        other_s=result.other_us * result.ticks / 1e6,
        faults=faults,
        words=tuple(f"{one.promise} {one.id}: {one.words}" for one in result.violations),
        crash="",
    )


def run_campaign(
    *,
    runs: int,
    faults_max: int,
    seed: int,
    without: frozenset[str] = frozenset(),
    jobs: int | None = None,
    on_done: Callable[[Verdict], None] = lambda _verdict: None,
) -> dict[str, Any]:
    """The whole campaign: the JSON of the contract. `on_done` has each verdict as it comes."""
    started_s = time.perf_counter()
    orders = [
        Order(seed=one, faults_max=faults_max, without=without) for one in run_seeds(seed, runs)
    ]
    verdicts = []
    with ProcessPoolExecutor(max_workers=jobs or os.cpu_count(), initializer=_settle) as pool:
        for verdict in pool.map(run_one, orders, chunksize=CHUNK):
            verdicts.append(verdict)
            on_done(verdict)
    document = summed_up(verdicts, faults_max=faults_max, without=without)
    failures = document.pop("failures")
    wall_s = round(time.perf_counter() - started_s, 3)
    return document | {"seed": seed, "wall_s": wall_s, "failures": failures}


def _settle() -> None:
    """Leave what was imported out of the collector's rounds, and make those rare: a run's objects
    are freed as they fall out of use."""
    gc.freeze()
    gc.set_threshold(COLLECTED_EVERY)


def summed_up(
    verdicts: Iterable[Verdict], *, faults_max: int, without: frozenset[str]
) -> dict[str, Any]:
    """Figures over all runs, and one entry for each failure."""
    verdicts = list(verdicts)
    failed = [one for one in verdicts if one.failures]
    over = [one for one in verdicts if one.over_wh > 0.0 and one.is_coverable]
    shares = sorted(one.unused_share for one in verdicts if one.unused_share is not None)
    fine = [one for one in verdicts if one.is_coverable and not one.crash]
    return {
        "runs": len(verdicts),
        "runs_over": len(over),
        "worst_over_wh": round(max((one.over_wh for one in over), default=0.0), 3),
        "worst_margin_wh": round(min((one.margin_wh for one in fine), default=0.0), 3),
        "unused_share_median": round(statistics.median(shares), 6) if shares else 0.0,
        "unused_share_p95": round(shares[int(0.95 * (len(shares) - 1))], 6) if shares else 0.0,
        "estimator_below_truth_runs": sum(one.is_estimator_below for one in verdicts),
        "relay_trips": sum(one.relay_trips for one in verdicts),
        "not_coverable_runs": sum(not one.is_coverable for one in verdicts),
        "not_coverable_announced": sum(one.is_announced for one in verdicts),
        "failures": [failure(one, faults_max=faults_max, without=without) for one in failed],
    }


def failure(verdict: Verdict, *, faults_max: int, without: frozenset[str]) -> dict[str, Any]:
    """What broke in a run, and how to see it again."""
    return {
        "seed": verdict.seed,
        "over_wh": round(verdict.over_wh, 3),
        "faults": list(verdict.faults),
        "words": list(verdict.failures),
        "replay": replay_command(verdict.seed, faults_max, without),
    }


def replay_command(seed: int, faults_max: int, without: frozenset[str]) -> str:
    """The one command that runs a single run of a campaign again, exactly."""
    left_out = "".join(f" --without {name}" for name in sorted(without))
    return f"kwota-sim campaign --replay {seed} --faults {faults_max}{left_out}"


def _crashed(seed: int, faults: tuple[str, ...], crash: str) -> Verdict:
    return Verdict(
        seed=seed,
        over_wh=0.0,
        margin_wh=0.0,
        unused_share=None,
        is_coverable=True,
        unforetold=(),
        is_estimator_below=False,
        relay_trips=0,
        ticks=0,
        step_s=0.0,
        other_s=0.0,
        faults=faults,
        words=(),
        crash=crash,
    )
