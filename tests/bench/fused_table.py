"""How far the estimate of a coarse register is off, and whether it is ever below the truth.

A plant of exactly known energy at a random load, a meter that latches register and power once a
second, its power one per cent too high, and a poll about every second, until a megawatt-hour has
flowed. At every answer these are laid beside the truth: the register; the estimate, which is power
summed up and clamped into the interval that ``agent.core.meterfusion`` knows; the middle of that
interval; the integral of the power alone. The upper end of the interval, by which purchases are
kept, also just before the next answer. The table goes into docs/meters.md; the program fails where
an estimate is worse than the known technique's, or an upper end below the truth.

    python tests/bench/fused_table.py [--energy-kwh 1000] [--seeds 3] [--json FILE]
"""

import argparse
import bisect
import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.core.meterfusion import Fusion, MeterTraits, advance, interval_now, observe
from drivers.readings import MeterReading

REFRESH_S, POLL_S, LATENCY_S = 1.0, 1.0, 0.05
GAIN = 0.01
POWERS_KW, STEPS_WH = (100, 1000, 3000), (10, 100, 1000, 10_000)
# What fusing a register with power by clamping comes to in the same world: largest error in kWh.
KNOWN_KWH = {
    100: (0.031, 0.050, 0.065, 3.7),
    1000: (0.29, 0.31, 0.49, 0.60),
    3000: (0.85, 0.88, 1.01, 1.56),
}
ROUNDING_WH = 1e-3


@dataclass(slots=True, kw_only=True)
class Errors:
    """The largest errors of one row, in Wh; ``below_wh`` is how far the upper end was too low."""

    power_kw: int
    step_wh: int
    register_wh: float = 0.0
    start_wh: float = 0.0
    fused_wh: float = 0.0
    middle_wh: float = 0.0
    integral_wh: float = 0.0
    above_wh: float = 0.0
    below_wh: float = 0.0


class Plant:
    """Levels of 50 to 100 % held for some seconds each; energy and power at any instant."""

    def __init__(self, rng: random.Random, rated_w: float, energy_wh: float) -> None:
        self._edges_s, self._sums_wh, self._levels_w = [0.0], [0.0], []
        while self._sums_wh[-1] < energy_wh:
            held_s = rng.uniform(2.0, 60.0)
            self._levels_w.append(rated_w * rng.uniform(0.5, 1.0))
            self._edges_s.append(self._edges_s[-1] + held_s)
            self._sums_wh.append(self._sums_wh[-1] + self._levels_w[-1] * held_s / 3600.0)

    @property
    def end_s(self) -> float:
        return self._edges_s[-1]

    def at(self, at_s: float) -> tuple[float, float]:
        """Energy and power."""
        place = min(bisect.bisect_right(self._edges_s, at_s) - 1, len(self._levels_w) - 1)
        power_w = self._levels_w[place]
        return self._sums_wh[place] + power_w * (at_s - self._edges_s[place]) / 3600.0, power_w


def readings(
    plant: Plant, rng: random.Random, step_wh: int, before_wh: float
) -> Iterator[MeterReading]:
    """What the poll gets: register and power of the last refresh, the register truncated."""
    phase_s, at_s = rng.uniform(0.0, REFRESH_S), REFRESH_S + rng.uniform(0.0, POLL_S)
    while at_s < plant.end_s - 2 * POLL_S:
        latched_s = math.floor((at_s - phase_s) / REFRESH_S) * REFRESH_S + phase_s
        energy_wh, power_w = plant.at(latched_s)
        yield MeterReading(
            meter_id="site",
            requested_at_s=at_s,
            replied_at_s=at_s + LATENCY_S,
            taken_at_ms=0,
            power_w=power_w * (1 + GAIN),
            energy_import_wh=int((before_wh + energy_wh) // step_wh) * step_wh,
            voltage_v=None,
            frequency_hz=None,
        )
        at_s += POLL_S + rng.uniform(-0.02, 0.02)


def _added(errors: Errors, plant: Plant, rng: random.Random) -> None:
    """One run: the largest errors so far, or larger ones."""
    rated_w = errors.power_kw * 1000.0
    before_wh = rng.uniform(0.0, 1e5)
    traits = MeterTraits(
        refresh_s=REFRESH_S,
        step_wh=errors.step_wh,
        power_error_share=GAIN,
        rated_power_w=rated_w,
    )
    fusion = Fusion(traits=traits)
    estimate_wh: float | None = None
    integral_wh, last, has_ticked = 0.0, None, False
    for one in readings(plant, rng, errors.step_wh, before_wh):
        now_s = one.replied_at_s
        truth_wh, flowed_wh = before_wh + plant.at(now_s)[0], 0.0
        if last is None:
            integral_wh = truth_wh
        else:
            fusion = advance(fusion, now_s=now_s - 1e-6, power_upper_w=rated_w)
            _bounded(errors, fusion, before_wh + plant.at(now_s - 1e-6)[0])
            mean_w = (last.power_w + one.power_w) / 2
            flowed_wh = mean_w * (now_s - last.replied_at_s) / 3600.0
            has_ticked = has_ticked or one.energy_import_wh != last.energy_import_wh
        fusion = advance(observe(fusion, one), now_s=now_s, power_upper_w=rated_w)
        _bounded(errors, fusion, truth_wh)
        integral_wh += flowed_wh
        estimate_wh = estimated(estimate_wh, flowed_wh, fusion, has_ticked=has_ticked)
        _noted(errors, "fused_wh" if has_ticked else "start_wh", estimate_wh - truth_wh)
        _noted(errors, "middle_wh", interval_now(fusion).middle_wh - truth_wh)
        _noted(errors, "register_wh", one.energy_import_wh - truth_wh)
        _noted(errors, "integral_wh", integral_wh - truth_wh)
        last = one


def _noted(errors: Errors, which: str, off_wh: float) -> None:
    setattr(errors, which, max(getattr(errors, which), abs(off_wh)))


def estimated(
    before_wh: float | None, flowed_wh: float, fusion: Fusion, *, has_ticked: bool
) -> float:
    """The estimate so far and what power says has flowed since, never outside the interval.

    As the known technique does, it takes a register that stands for one that still counts: then it
    is within a step, and once it was seen to move, no further on than what has flowed since then.
    """
    known, last = interval_now(fusion), fusion.latest
    if before_wh is None:
        return known.middle_wh
    stale_wh = last.power_w * REFRESH_S / 3600.0
    upper_wh = min(known.upper_wh, last.register_wh + fusion.traits.step_wh + stale_wh)
    if has_ticked:
        unseen_wh = last.power_w * (REFRESH_S + POLL_S + LATENCY_S) / 3600.0
        upper_wh = min(upper_wh, last.register_wh + fusion.still_wh + unseen_wh)
    return max(min(before_wh + flowed_wh, upper_wh), known.lower_wh)


def _bounded(errors: Errors, fusion: Fusion, truth_wh: float) -> None:
    above_wh = interval_now(fusion).upper_wh - truth_wh
    errors.above_wh = max(errors.above_wh, above_wh)
    errors.below_wh = max(errors.below_wh, -above_wh)


def errors_of(power_kw: int, step_wh: int, *, energy_kwh: float, seeds: int) -> Errors:
    """The largest errors of all seeds for one power and one step."""
    errors = Errors(power_kw=power_kw, step_wh=step_wh)
    for seed in range(seeds):
        rng = random.Random(f"{power_kw}-{step_wh}-{seed}")
        plant = Plant(rng, power_kw * 1000.0, energy_kwh * 1000.0)
        _added(errors, plant, rng)
    return errors


def is_no_worse(errors: Errors) -> bool:
    """Whether the estimate is at most as far off as the known technique's."""
    known_kwh = KNOWN_KWH[errors.power_kw][STEPS_WH.index(errors.step_wh)]
    return errors.fused_wh <= 1000.0 * known_kwh and errors.below_wh <= ROUNDING_WH


def line(errors: Errors) -> str:
    known_kwh = KNOWN_KWH[errors.power_kw][STEPS_WH.index(errors.step_wh)]
    figures = (errors.register_wh, errors.start_wh, errors.fused_wh, errors.middle_wh)
    figures += (errors.integral_wh, errors.above_wh)
    cells = " | ".join(f"{one / 1000:.3f}" for one in figures)
    never = "never" if errors.below_wh <= ROUNDING_WH else f"{errors.below_wh / 1000:.3f}"
    return f"| {errors.power_kw} | {errors.step_wh / 1000:g} | {known_kwh:g} | {cells} | {never} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--energy-kwh", type=float, default=1000.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.stdout.write(
        "| kW | step, kWh | known | register | first | fused | middle | integral | above "
        "| below |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    rows = []
    for power_kw in POWERS_KW:
        for step_wh in STEPS_WH:
            rows.append(
                errors_of(power_kw, step_wh, energy_kwh=arguments.energy_kwh, seeds=arguments.seeds)
            )
            sys.stdout.write(line(rows[-1]) + "\n")
            sys.stdout.flush()
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), "utf-8")
    return 0 if all(map(is_no_worse, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
