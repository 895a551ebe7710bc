"""Draws one random site with its purchases and faults from a seed. The same seed, the same site.

The ranges are those of farms that exist: three machines on a test bench to forty in a container, a
meter from a good one to a coarse one, purchases for a part of what the machines could draw.
"""

import math
import random

from simulator.families import families, model_keys, nameplate
from simulator.scenario import (
    FaultTable,
    GroupTable,
    MeterTable,
    PurchaseTable,
    Scenario,
    SeriesTable,
    SiteTable,
)

RELAY_CHANCE = 0.4
FOLLOWED_CHANCE = 0.8
KINDS = (
    "meter_silent",
    "meter_frozen",
    "meter_frozen_all",
    "meter_backwards",
    "meter_ahead",
    "meter_glitch",
    "meter_nan",
    "meter_slow",
    "miner_ignores",
    "miner_late",
    "miner_refuses",
    "miner_unreachable",
    "miner_reboots",
    "miner_resumes",
    "miner_misreports",
    "agent_killed",
    "agent_paused",
    "clock_step",
    "base_load_jump",
    "purchase_late",
    "purchase_twice",
    "purchase_revised",
    "purchase_missing",
)


def draw(seed: int, faults_max: int) -> Scenario:
    """A site, its purchases, and up to ``faults_max`` faults at random instants."""
    rng = random.Random(f"campaign-{seed}")
    machines = _machines(rng)
    full_kw = sum(nameplate(group.model).watts * group.count for group in machines) / 1000.0
    base_kw = full_kw * rng.uniform(0.01, 0.08)
    jump_kw = base_kw * rng.uniform(0.1, 0.5)
    series = _series(rng, full_kw, base_kw)
    minutes = series.from_min + series.each_min * len(series.kwh)
    # Hours are bought ahead: where a run ends, the next purchase mostly follows.
    if rng.random() < FOLLOWED_CHANCE:
        following = (round(series.kwh[-1] * rng.uniform(0.7, 1.3), 3),)
        series = series.model_copy(update={"kwh": series.kwh + following})
    kinds = [rng.choice(KINDS) for _ in range(rng.randint(0, faults_max))]
    faults = tuple(
        _fault(rng, kind, minutes=minutes, jump_kw=jump_kw, full_kw=full_kw)
        for kind in kinds
        if not kind.startswith("purchase")
    )
    return Scenario(
        title=f"campaign {seed}",
        story="Drawn at random.",
        minutes=minutes,
        seed=seed,
        site=SiteTable(
            rated_kw=full_kw * rng.uniform(1.1, 1.4) + base_kw + jump_kw,
            start="running" if rng.random() < 0.85 else "asleep",
            base_load_kw=base_kw,
            base_load_wander_kw=base_kw * rng.uniform(0.0, 0.1),
            base_load_max_kw=(base_kw * 1.1 + jump_kw) * 1.02,
            tolerance=rng.choice((0.0, 0.02, 0.05)),
            reporting=rng.choice((0.0, 0.03, 0.08)),
            miner_poll_s=rng.choice((2.0, 5.0, 10.0)),
        ),
        machines=machines,
        meter=_meter(rng, series),
        purchases=_purchases(rng, series, [k for k in kinds if k.startswith("purchase")]),
        faults=faults,
    )


def _machines(rng: random.Random) -> tuple[GroupTable, ...]:
    total = round(math.exp(rng.uniform(math.log(3), math.log(40))))
    names = rng.sample(sorted(set(families()) - {"bitaxe"}), min(rng.randint(1, 3), total))
    if rng.random() < 0.5:
        names[0] = "luxos"
    names = list(dict.fromkeys(names))
    has_relays = rng.random() < RELAY_CHANCE
    groups = []
    for place, name in enumerate(names):
        count = total // len(names) + (1 if place < total % len(names) else 0)
        groups.append(
            GroupTable(
                family=name,
                model=rng.choice(model_keys(name)),
                count=count,
                relay=f"relay-{place}" if has_relays else None,
            )
        )
    return tuple(groups)


def _series(rng: random.Random, full_kw: float, base_kw: float) -> SeriesTable:
    each_min = float(rng.randint(11, 19))
    windows = rng.randint(1, 2)
    shares = [rng.uniform(0.4, 0.95) for _ in range(windows)]
    hours = each_min / 60.0
    return SeriesTable(
        from_min=rng.choice((0.0, 0.0, 0.0, 2.0)),
        each_min=each_min,
        kwh=tuple(round((share * full_kw + base_kw) * hours, 3) for share in shares),
        split=rng.choice((1, 1, 1, 2, 5)),
    )


def _meter(rng: random.Random, series: SeriesTable) -> MeterTable:
    guard = rng.choice((0.0, 0.0, 0.0, 0.002, 0.005))
    fine_enough = [step for step in (1, 10, 100, 1000) if step <= 2.0 * min(series.kwh)]
    return MeterTable(
        refresh_s=rng.choice((0.2, 0.5, 0.5, 1.0, 2.0)),
        step_wh=rng.choice(fine_enough or [1]),
        gain_error=rng.uniform(-guard, guard),
        guard_share=guard,
    )


def _purchases(
    rng: random.Random, series: SeriesTable, kinds: list[str]
) -> tuple[PurchaseTable, ...]:
    purchases = list(series.purchases())
    for kind in kinds:
        place = rng.randrange(len(purchases))
        one = purchases[place]
        assert one.to_min is not None
        if kind == "purchase_late":
            arrives_min = rng.uniform(one.from_min, one.to_min - 1.0)
            purchases[place] = one.model_copy(update={"arrives_min": arrives_min})
        elif kind == "purchase_twice":
            again_min = rng.uniform(0.5, one.to_min - 0.5)
            again_min = max(again_min, one.arrives_min + 0.1)
            purchases[place] = one.model_copy(update={"again_min": again_min})
        elif kind == "purchase_revised":
            update = {"revised_kwh": round(one.kwh * rng.uniform(0.5, 2.0), 3)}
            purchases[place] = one.model_copy(update=update)
        elif len(purchases) > 1:
            del purchases[place]
    return tuple(purchases)


def _fault(
    rng: random.Random, kind: str, *, minutes: float, jump_kw: float, full_kw: float
) -> FaultTable:
    at_min = rng.uniform(0.5, minutes - 0.5)
    for_s = math.exp(rng.uniform(math.log(2.0), math.log(400.0)))
    share, value = 1.0, 0.0
    if kind in ("meter_backwards", "meter_ahead", "meter_glitch"):
        value = math.exp(rng.uniform(math.log(0.05), math.log(1000.0)))
    elif kind == "meter_slow":
        value = rng.uniform(0.3, 4.0)
    elif kind.startswith("miner"):
        share = (
            rng.choice((0.05, 0.1, 0.3, 0.5, 1.0))
            if kind != "miner_unreachable"
            else (rng.choice((0.05, 0.1, 0.3)))
        )
    if kind == "miner_late":
        value = rng.uniform(2.0, 30.0)
    elif kind == "miner_resumes":
        value, for_s = rng.uniform(20.0, 240.0), 1e6
    elif kind == "miner_misreports":
        value = rng.uniform(-0.4, 0.4)
    elif kind == "agent_killed":
        for_s = rng.uniform(2.0, 10.0)
    elif kind == "clock_step":
        value, for_s = rng.choice((-1.0, 1.0)) * rng.uniform(2.0, 4000.0), rng.uniform(2.0, 55.0)
    elif kind == "base_load_jump":
        value = rng.uniform(-1.0, 1.0) * min(jump_kw, full_kw)
    return FaultTable.model_validate(
        {"what": kind, "at_min": at_min, "for_s": for_s, "share": share, "value": value}
    )
