"""One scenario from start to end, and what came of it by the plant's own truth."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simulator.optimum import best_hashes
from simulator.scenario import Scenario
from simulator.virtual.actuator import Actuator
from simulator.virtual.agenda import Agenda
from simulator.virtual.brain import TICK_S, Brain, first_state, parameters_of
from simulator.virtual.disarm import disarmed
from simulator.virtual.orders import limit_of
from simulator.virtual.polls import open_polls
from simulator.virtual.result import Result, Trace, judge
from simulator.virtual.site import build_site
from simulator.virtual.troubles import arrange
from simulator.virtual.wallclock import WallClock


@dataclass(slots=True, kw_only=True)
class Run:
    """A loop that has been built and not yet run."""

    brain: Brain
    trace: Trace
    end_s: float

    def go(self, on_progress: Callable[[float], None] | None = None) -> Result:
        """Run to the end. ``on_progress`` is told the virtual time now and then."""
        started_s = time.perf_counter()
        brain, site = self.brain, self.brain.site
        agenda = site.agenda
        site.start()
        brain.polls.start()
        next_progress_s = 0.0
        while agenda.now_s < self.end_s:
            agenda.run_until(min(agenda.now_s + TICK_S, self.end_s))
            site.settle()
            self.trace.note(site)
            brain.tick()
            if on_progress is not None and agenda.now_s >= next_progress_s:
                next_progress_s = agenda.now_s + 60.0
                on_progress(agenda.now_s)
        windows = [
            (one.until_s - one.from_s, one.machines_wh)
            for one in site.truth.stretches
            if one.is_bought
        ]
        best = best_hashes(windows, [unit.machine for unit in site.units])
        wall_s = time.perf_counter() - started_s
        return judge(brain, self.trace, best=best, wall_s=wall_s)


def prepare(scenario: Scenario, *, without: frozenset[str] = frozenset()) -> Run:
    """Build the loop of a scenario, without the protections that are named."""
    agenda = Agenda()
    site = build_site(scenario, agenda)
    polls = open_polls(site)
    posts = {post.unit.miner_id: post for post in polls.posts}
    brain = Brain(
        site=site,
        polls=polls,
        actuator=Actuator(site=site, posts=posts),
        clock=WallClock(),
        parameters=disarmed(parameters_of(scenario), without),
        without=without,
        state=first_state(scenario),
    )
    for purchase in scenario.all_purchases():
        agenda.at(purchase.arrives_min * 60.0, partial(brain.deliver, purchase))
        if purchase.again_min is not None:
            agenda.at(purchase.again_min * 60.0, partial(brain.deliver, purchase))
        if purchase.revised_kwh is not None:
            at_s = purchase.arrives_min * 60.0 + 60.0
            agenda.at(at_s, partial(brain.deliver, purchase, kwh=purchase.revised_kwh))
    for order in scenario.orders:
        limit = limit_of(order, brain.parameters.rated_power_w)
        agenda.at(order.comes_min * 60.0, partial(brain.order, limit))
    for number, fault in enumerate(scenario.faults):
        arrange(brain, fault, number, has_watchdog="watchdog" not in without)
    return Run(brain=brain, trace=Trace(), end_s=scenario.minutes * 60.0)


def run_scenario(scenario: Scenario, *, without: frozenset[str] = frozenset()) -> Result:
    """Build and run."""
    return prepare(scenario, without=without).go()
