"""Sites that need one protection: what a campaign draws when it leaves that protection out.

Most sites drawn at random are kept by the others, since each covers a trouble that most runs do not
have. A campaign that is to show that one is missed has to draw the trouble that it is there for:
two windows, the second often for much less, and at a random instant what only it answers in time.
"""

import random
from collections.abc import Callable

from simulator.campaign_draw import draw
from simulator.families import families, model_keys, nameplate
from simulator.scenario import FaultTable, GroupTable, Scenario, SeriesTable

SLOW_S = 15.0
"""A machine that takes as long to stop is a slow one."""
GUARD_SHARE = 0.005
FOR_GOOD_S = 1e6

Need = Callable[[random.Random, Scenario], Scenario]


def draw_needing(seed: int, faults_max: int, without: frozenset[str]) -> Scenario:
    """The site of a seed; one that needs what is left out, if anything is."""
    if not without:
        return draw(seed, faults_max)
    scenario = draw(seed, 0)
    rng = random.Random(f"needing-{'-'.join(sorted(without))}-{seed}")
    for name in sorted(without):
        scenario = _NEEDS[name](rng, scenario)
    return scenario


def _bought(rng: random.Random, scenario: Scenario, *shares: float) -> Scenario:
    """With a window for each of these shares of all that the machines can draw, the last one again
    behind the end, so that nothing has to be stopped for want of a successor."""
    series = SeriesTable(
        from_min=0.0,
        each_min=float(rng.randint(11, 19)),
        kwh=tuple(0.0 for _ in shares),
    )
    base_kw = scenario.site.base_load_kw
    hours = series.each_min / 60.0
    kwh = [round((share * _full_kw(scenario) + base_kw) * hours, 3) for share in shares]
    series = series.model_copy(update={"kwh": (*kwh, kwh[-1])})
    site = scenario.site.model_copy(update={"start": "running"})
    return scenario.model_copy(
        update={
            "minutes": series.each_min * len(shares),
            "site": site,
            "purchases": series.purchases(),
        }
    )


def _full_kw(scenario: Scenario) -> float:
    return sum(nameplate(one.model).watts * one.count for one in scenario.machines) / 1000.0


def _edge_min(scenario: Scenario) -> float:
    """The end of the first window."""
    end_min = scenario.purchases[0].to_min
    assert end_min is not None
    return end_min


def _with_fault(
    scenario: Scenario, what: str, at_min: float, for_s: float, value: float = 0.0
) -> Scenario:
    fault = FaultTable.model_validate(
        {"what": what, "at_min": at_min, "for_s": for_s, "value": value}
    )
    return scenario.model_copy(update={"faults": (*scenario.faults, fault)})


def _jumping(rng: random.Random, scenario: Scenario) -> Scenario:
    """A base load that may jump by much, which it does for good shortly before a window's end."""
    jump_kw = _full_kw(scenario) * rng.uniform(0.12, 0.25)
    site = scenario.site
    most_kw = site.base_load_max_kw + jump_kw
    site = site.model_copy(
        update={"base_load_max_kw": most_kw, "rated_kw": site.rated_kw + jump_kw}
    )
    at_min = _edge_min(scenario) - rng.uniform(0.3, 2.0)
    scenario = scenario.model_copy(update={"site": site})
    return _with_fault(scenario, "base_load_jump", at_min, FOR_GOOD_S, jump_kw)


def _slow(rng: random.Random, scenario: Scenario) -> Scenario:
    """The same number of machines, all of one family that takes its time to stop."""
    slow = [
        name
        for name, one in families().items()
        if one.sleeps and not one.switches_boards and one.timings.sleep_s >= SLOW_S
    ]
    family = rng.choice(sorted(slow))
    count = sum(group.count for group in scenario.machines)
    group = GroupTable(family=family, model=rng.choice(model_keys(family)), count=count)
    before_kw = _full_kw(scenario)
    scenario = scenario.model_copy(update={"machines": (group,)})
    more_kw = max(_full_kw(scenario) - before_kw, 0.0) * 1.4
    site = scenario.site
    site = site.model_copy(update={"rated_kw": site.rated_kw + more_kw})
    return scenario.model_copy(update={"site": site})


def _needs_reserve(rng: random.Random, scenario: Scenario) -> Scenario:
    """A few slow machines, and a rise so late that only what was kept back for it can bear it."""
    few = scenario.machines[0].model_copy(update={"count": rng.randint(3, 6)})
    scenario = _slow(rng, scenario.model_copy(update={"machines": (few,)}))
    return _jumping(rng, _bought(rng, scenario, rng.uniform(0.5, 0.9), 0.5))


def _needs_age(rng: random.Random, scenario: Scenario) -> Scenario:
    """A meter that falls silent, at a site that could draw twice what it may."""
    scenario = _bought(rng, scenario, rng.uniform(0.4, 0.6), 0.5)
    at_min = _edge_min(scenario) - rng.uniform(3.0, 6.0)
    return _with_fault(scenario, "meter_silent", at_min, rng.uniform(200.0, 400.0))


def _needs_confirmation(rng: random.Random, scenario: Scenario) -> Scenario:
    """Machines that say yes and do nothing when much less is bought, and relays that could."""
    groups = tuple(
        group.model_copy(update={"relay": f"relay-{place}"})
        for place, group in enumerate(scenario.machines)
    )
    scenario = scenario.model_copy(update={"machines": groups})
    scenario = _bought(rng, scenario, rng.uniform(0.85, 0.95), rng.uniform(0.3, 0.5))
    at_min = _edge_min(scenario) - rng.uniform(0.2, 1.0)
    return _with_fault(scenario, "miner_ignores", at_min, FOR_GOOD_S)


def _needs_base_load(rng: random.Random, scenario: Scenario) -> Scenario:
    """A base load that rises late, beside machines that cannot give way at once."""
    scenario = _bought(rng, _slow(rng, scenario), rng.uniform(0.85, 0.95), 0.8)
    return _jumping(rng, scenario)


def _needs_guard(rng: random.Random, scenario: Scenario) -> Scenario:
    """A meter that shows as much too little as its class allows."""
    meter = scenario.meter.model_copy(
        update={
            "guard_share": GUARD_SHARE,
            "gain_error": -GUARD_SHARE * rng.uniform(0.9, 1.0),
            "step_wh": 1,
        }
    )
    scenario = scenario.model_copy(update={"meter": meter})
    return _bought(rng, scenario, rng.uniform(0.6, 0.9), 0.7)


def _needs_watchdog(rng: random.Random, scenario: Scenario) -> Scenario:
    """An agent that stands still where the next window allows much less."""
    scenario = _bought(rng, scenario, rng.uniform(0.85, 0.95), rng.uniform(0.3, 0.5))
    at_min = _edge_min(scenario) - rng.uniform(0.2, 1.0)
    return _with_fault(scenario, "agent_paused", at_min, FOR_GOOD_S)


_NEEDS: dict[str, Need] = {
    "reserve": _needs_reserve,
    "age": _needs_age,
    "confirmation": _needs_confirmation,
    "base-load": _needs_base_load,
    "guard": _needs_guard,
    "watchdog": _needs_watchdog,
}
