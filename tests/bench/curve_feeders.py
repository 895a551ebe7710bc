"""How soon a discrepancy is found with meters at the feeders, and whether its place is told right.

Drawn sites as in curve_discrepancy.py, each with four feeders of a quarter of its machines: the
same taps, in shares of the whole site's machines, are laid on one feeder or between the meters; a
feeder's or the site's transformers go wrong. Half of the base load hangs on
the feeders. The table goes into docs/discrepancy.md.

    python tests/bench/curve_feeders.py [--sites 30] [--json FILE]
"""

import argparse
import importlib.util
import json
import random
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.core.discrepancy import LEARNING, Discrepancy, Quarter, weighed
from agent.core.feeders import Above, Below, Branch, Feeder, findings
from agent.core.machinesums import Watch

PER_DAY, CALM_DAYS, WATCHED_DAYS = 96, 60, 14
FEEDERS = 4
ABOVE = Above(meter_id="site", meter_share=0.005, step_wh=10, base_max_w=0.0)
NAMES = tuple(
    Feeder(meter_id=f"f{at}", miner_ids=frozenset(), meter_share=0.005, step_wh=10)
    for at in range(FEEDERS)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What happens: a tap in one feeder or between, and what single meters show of the truth."""

    tap: float = 0.0
    is_between: bool = False
    feeder_sees: float = 1.0
    site_sees: float = 1.0
    place: str = "f0"


CASES: Mapping[str, Case] = {
    "tap 1 % in a feeder": Case(tap=0.01),
    "tap 3 % in a feeder": Case(tap=0.03),
    "tap 10 % in a feeder": Case(tap=0.10),
    "tap 1 % between": Case(tap=0.01, is_between=True, place="site/rest"),
    "tap 3 % between": Case(tap=0.03, is_between=True, place="site/rest"),
    "tap 10 % between": Case(tap=0.10, is_between=True, place="site/rest"),
    "feeder: dead phase": Case(feeder_sees=2 / 3),
    "feeder: CT turned": Case(feeder_sees=1 / 3),
    "site: dead phase": Case(site_sees=2 / 3, place="site/rest"),
    "site: CT turned": Case(site_sees=1 / 3, place="site/rest"),
}


def _curve() -> Any:
    """The sites of the table without feeders."""
    path = Path(__file__).with_name("curve_discrepancy.py")
    spec = importlib.util.spec_from_file_location("curve_discrepancy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CURVE = _curve()


@dataclass(slots=True)
class Known:
    """All comparisons of one site: without feeders, each feeder, and what is between."""

    site: Discrepancy
    feeders: list[Discrepancy]
    rest: Discrepancy

    def places(self) -> set[str]:
        branches = tuple(Branch(watch=Watch(found=one)) for one in self.feeders)
        below = Below(branches=branches, rest=Watch(found=self.rest))
        return {one.source for one in findings(below, NAMES, ABOVE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far a site's machines misreport, feeder by feeder, and its meters are off."""

    rng: random.Random
    biases: list[float]
    gains: list[float]
    base_max_wh: float


@dataclass(slots=True, kw_only=True)
class Life:
    """What came of one site: false alarms, and hours until found without and with feeders."""

    alarms_without: int = 0
    alarms_with: int = 0
    hours_without: float | None = None
    hours_with: float | None = None
    is_right: bool = False


def lived(kind: str, seed: int, case: Case | None) -> Life:
    """One drawn site; the calm weeks alone where nothing happens."""
    site, life = CURVE.drawn(kind, seed), Life()
    rng = random.Random(f"feeders-{kind}-{seed}")
    spread = Spread(
        rng=rng,
        biases=[rng.uniform(-0.02, 0.02) for _ in range(FEEDERS)],
        gains=[1 + rng.uniform(-0.005, 0.005) for _ in range(FEEDERS + 1)],
        base_max_wh=2 * site.base_wh,
    )
    known = Known(Discrepancy(), [Discrepancy() for _ in range(FEEDERS)], Discrepancy())
    calm = LEARNING + (7 if case else CALM_DAYS) * PER_DAY
    was_site, was = "", set[str]()
    for at, (_, true_wh, base_wh) in enumerate(site.quarters()):
        now = case if case is not None and at >= calm else Case()
        _quarter(known, now, spread, at, (true_wh, base_wh))
        places, hours = known.places(), (at - calm + 1) / 4
        if at < calm:
            life.alarms_without += bool(known.site.code) and not was_site
            life.alarms_with += len(places - was)
        else:
            if known.site.code and life.hours_without is None:
                life.hours_without = hours
            if places and life.hours_with is None:
                life.hours_with, life.is_right = hours, case is not None and case.place in places
        was_site, was = known.site.code, places
        if life.hours_with is not None and life.hours_without is not None:
            return life
        if at >= calm + (WATCHED_DAYS * PER_DAY if case else 0):
            return life
    raise AssertionError("the quarters never end")


def _quarter(known: Known, case: Case, spread: Spread, at: int, flows: tuple[float, float]) -> None:
    """The same energy as all the meters and the machines tell it."""
    (true_wh, base_wh), rng, gains = flows, spread.rng, spread.gains
    tap_wh, left = case.tap * true_wh, true_wh
    told, metered = [], []
    for place in range(FEEDERS):
        own_wh = left if place == FEEDERS - 1 else true_wh / FEEDERS * (1 + rng.gauss(0, 0.01))
        left -= own_wh
        told.append(own_wh * (1 + spread.biases[place]) * (1 + rng.gauss(0.0, 0.004)))
        behind_wh = (
            own_wh + base_wh / 2 / FEEDERS + (tap_wh if place == 0 and not case.is_between else 0.0)
        )
        sees = case.feeder_sees if place == 0 else 1.0
        metered.append(behind_wh * gains[place] * sees // 10 * 10)
    site_wh = (true_wh + base_wh + tap_wh) * gains[-1] * case.site_sees // 10 * 10
    common: dict[str, Any] = {"base_max_wh": spread.base_max_wh, "hour": at % PER_DAY // 4}
    plain = common | {"tolerance_share": 0.12, "meter_share": 0.005, "step_wh": 10.0}
    known.site = weighed(known.site, Quarter(metered_wh=site_wh, machines_wh=sum(told), **plain))
    for place, (told_wh, metered_wh) in enumerate(zip(told, metered, strict=True)):
        one = Quarter(metered_wh=metered_wh, machines_wh=told_wh, **plain)
        known.feeders[place] = weighed(known.feeders[place], one)
    slack_wh = 50.0 + 0.005 * (site_wh + sum(metered))
    rest = Quarter(
        metered_wh=site_wh - sum(metered),
        machines_wh=0.0,
        tolerance_share=0.25,
        meter_share=0.0,
        step_wh=slack_wh,
        **common,
    )
    known.rest = weighed(known.rest, rest)


def row(kind: str, name: str, sites: int) -> dict[str, Any]:
    lives = [lived(kind, seed, CASES[name]) for seed in range(sites)]
    without = [one.hours_without for one in lives if one.hours_without is not None]
    found = [one for one in lives if one.hours_with is not None]
    return {
        "site": kind,
        "case": name,
        "found_without": len(without) / sites,
        "median_without_h": statistics.median(without) if without else None,
        "found_with": len(found) / sites,
        "median_with_h": statistics.median(one.hours_with or 0.0 for one in found)
        if found
        else None,
        "right": sum(one.is_right for one in found) / len(found) if found else None,
    }


def line(one: dict[str, Any]) -> str:
    def hours(value: float | None) -> str:
        return "–" if value is None else f"{value:g}"

    right = "–" if one["right"] is None else f"{one['right']:.0%}"
    return (
        f"| {one['site']} | {one['case']} | {one['found_without']:.0%} "
        f"| {hours(one['median_without_h'])} | {one['found_with']:.0%} "
        f"| {hours(one['median_with_h'])} | {right} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.stdout.write(
        "| site | what happens | found without | median, h | found with | median, h | place right |"
        "\n|---|---|---|---|---|---|---|\n"
    )
    rows = []
    for kind in CURVE.SITES:
        for name in CASES:
            rows.append(row(kind, name, arguments.sites))
            sys.stdout.write(line(rows[-1]) + "\n")
            sys.stdout.flush()
    years = CALM_DAYS * arguments.sites / 365
    alarms = {}
    for kind in CURVE.SITES:
        lives = [lived(kind, seed, None) for seed in range(arguments.sites)]
        whole = Life(
            alarms_without=sum(one.alarms_without for one in lives),
            alarms_with=sum(one.alarms_with for one in lives),
        )
        alarms[kind] = asdict(whole)
        sys.stdout.write(
            f"false alarms a year, {kind}: {whole.alarms_without / years:.2f} without, "
            f"{whole.alarms_with / years:.2f} with\n"
        )
        sys.stdout.flush()
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"rows": rows, "alarms": alarms}, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
