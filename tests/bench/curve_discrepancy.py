"""How soon the discrepancy between meter and machines is found, and how often for nothing.

Drawn sites, quarter by quarter, for weeks: machines that misreport each by its own share, a base
load with days and a wander, a plan that follows the hours, a meter within its class. Then a load is
tapped, or the meter begins to miss some. The table goes into docs/discrepancy.md.

    python tests/bench/curve_discrepancy.py [--sites 60] [--json FILE]
"""

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.core.discrepancy import LEARNING, Discrepancy, Quarter, weighed

PER_DAY = 96
CALM_DAYS, WATCHED_DAYS = 120, 14
SITES = {
    # size kW, base share, wander share of the base, day's swing share of the base
    "steady": (500.0, 0.06, 0.03, 0.10),
    "unruly": (500.0, 0.12, 0.10, 0.30),
}
# What happens: how much of the machines' power is tapped, what the meter shows of the true energy.
CASES: Mapping[str, tuple[float, float]] = {
    "tap 1 %": (0.01, 1.0),
    "tap 3 %": (0.03, 1.0),
    "tap 10 %": (0.10, 1.0),
    "bypass 1 %": (0.0, 0.99),
    "bypass 3 %": (0.0, 0.97),
    "bypass 10 %": (0.0, 0.90),
    "dead phase": (0.0, 2 / 3),
    "CT turned": (0.0, 1 / 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One drawn site: a quarter's reported and true energy of the machines, and the base load."""

    rng: random.Random
    size_wh: float
    base_wh: float
    wander: float
    swing: float

    def quarters(self) -> Iterator[tuple[float, float, float]]:
        """(reported, true, base) in Wh for ever, from midnight on."""
        rng = self.rng
        bias = rng.uniform(-0.05, 0.05)
        left = 0.0
        load = 0.9
        at = 0
        while True:
            hour = (at % PER_DAY) / 4
            if at % 4 == 0:
                load = max(0.3, min(1.0, 0.8 + 0.15 * math.sin(hour / 3.8) + rng.gauss(0, 0.08)))
            left = 0.9 * left + rng.gauss(0.0, self.wander * math.sqrt(1 - 0.81))
            day = self.swing * math.sin((hour - 9) * math.pi / 12)
            true_wh = self.size_wh * load
            reported_wh = true_wh * (1 + bias) * (1 + rng.gauss(0.0, 0.002))
            yield reported_wh, true_wh, self.base_wh * max(1 + left + day, 0.0)
            at += 1


def drawn(kind: str, seed: int) -> Site:
    kw, base, wander, swing = SITES[kind]
    rng = random.Random(f"{kind}-{seed}")
    size_wh = kw * 250 * rng.uniform(0.2, 3.0)
    return Site(rng=rng, size_wh=size_wh, base_wh=size_wh * base, wander=wander, swing=swing)


def lived(kind: str, seed: int, tap: float, seen: float) -> tuple[int, float | None]:
    """Alarms for nothing before anything happens, and hours until what happens is found."""
    site = drawn(kind, seed)
    gain = 1 + site.rng.uniform(-0.005, 0.005)
    known, alarms, was = Discrepancy(), 0, ""
    calm = LEARNING + (CALM_DAYS if seen == 1.0 and tap == 0.0 else 7) * PER_DAY
    for at, (reported_wh, true_wh, base_wh) in enumerate(site.quarters()):
        happens = at >= calm
        metered_wh = (true_wh + base_wh + (tap * true_wh if happens else 0.0)) * gain
        quarter = Quarter(
            metered_wh=metered_wh * (seen if happens else 1.0) // 10 * 10,
            machines_wh=reported_wh,
            tolerance_share=0.12,
            meter_share=0.005,
            step_wh=10.0,
            base_max_wh=2 * site.base_wh,
            hour=at % PER_DAY // 4,
        )
        known = weighed(known, quarter)
        if not happens:
            alarms += bool(known.code) and not was
        elif known.code == ("UNSEEN_LOAD" if tap else "METER_LOW"):
            return alarms, (at - calm + 1) / 4
        was = known.code
        if at >= calm + WATCHED_DAYS * PER_DAY:
            return alarms, None
    raise AssertionError("the quarters never end")


def row(kind: str, case: str, sites: int) -> dict[str, object]:
    tap, seen = CASES[case]
    hours = [lived(kind, seed, tap, seen)[1] for seed in range(sites)]
    found = sorted(one for one in hours if one is not None)
    return {
        "site": kind,
        "case": case,
        "found_share": len(found) / sites,
        "median_h": statistics.median(found) if found else None,
        "p90_h": found[min(int(0.9 * len(found)), len(found) - 1)] if found else None,
    }


def false_alarms(kind: str, sites: int) -> float:
    """Per year and site, where nothing happens."""
    alarms = sum(lived(kind, seed, 0.0, 1.0)[0] for seed in range(sites))
    return alarms * 365 / (CALM_DAYS * sites)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [row(kind, case, arguments.sites) for kind in SITES for case in CASES]
    alarms = {kind: false_alarms(kind, arguments.sites) for kind in SITES}
    lines = ["| site | what happens | found in 14 days | median, h | nine of ten, h |"]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| {one['site']} | {one['case']} | {one['found_share']:.0%} "
        f"| {one['median_h'] or '-'} | {one['p90_h'] or '-'} |"
        for one in rows
    ]
    lines += [f"false alarms a year, {kind}: {count:.2f}" for kind, count in alarms.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        whole = {"rows": rows, "false_alarms_per_year": alarms}
        arguments.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
