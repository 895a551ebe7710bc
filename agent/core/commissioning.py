"""What a meter says about its own wiring when it is met, and why no purchase may be kept by it.

Everything that the meter measures is asked for once: quantities that a driver checks one by one may
still contradict each other. They are not of one instant, so that only what no load explains counts:
a turned transformer, a phase without voltage, currents on the wrong phases, a factor of ten.

A meter that is refused here is one that is not believed: its register is held, nothing is booked by
it, and nothing may rise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from drivers.readings import QuantityReading

PHASES = (1, 2, 3)
VOLTAGE_SHARE = 0.25
IDLE_SHARE = 0.02  # of the rating: below that signs and factors tell nothing
LOADED_SHARE = 0.1  # of the rating: power supplies at rest shift phases, working ones do not
SAME_SHARE = 0.3  # two sums that were not read at one instant
LEAST_FACTOR = 0.6  # a current on a neighbour's phase shows half of its power
RATIO_SHARE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameplate:
    """What people say of a meter's place. ``ct_ratio`` is primary over secondary current, None
    where nobody wrote it down."""

    nominal_voltage_v: float
    rated_power_w: float
    may_export: bool = False
    ct_ratio: float | None = None


def refusal(readings: Sequence[QuantityReading], plate: Nameplate) -> str:
    """Why no purchase may be kept by this meter, in words; empty where nothing speaks against it.

    What the meter does not measure is not held against it.
    """
    values = {one.name: one.value for one in readings if one.value is not None}
    return "; ".join(_objections(values, plate))


def _objections(values: Mapping[str, float], plate: Nameplate) -> Iterator[str]:
    seen, written = values.get("ct_ratio"), plate.ct_ratio
    if seen is not None and written is not None and abs(seen - written) > RATIO_SHARE * written:
        yield (
            f"the meter is set to a current transformer ratio of {seen:g}, the nameplate says "
            f"{written:g}: set the meter, or correct ct_ratio"
        )
    yield from _voltages(values, plate.nominal_voltage_v)
    yield from _powers(values, plate)


def _voltages(values: Mapping[str, float], nominal_v: float) -> Iterator[str]:
    phases_v = {n: values[f"voltage_l{n}"] for n in PHASES if f"voltage_l{n}" in values}
    if all(volts < nominal_v / 20 for volts in phases_v.values()):
        return  # three wires and no neutral: there is nothing to measure against
    for phase, volts in phases_v.items():
        if abs(volts / nominal_v - 1) <= VOLTAGE_SHARE:
            continue
        if volts < nominal_v / 20:
            yield f"phase {phase} has no voltage: check its fuse and its tap"
        else:
            yield (
                f"phase {phase} shows {volts:.0f} V where about {nominal_v:.0f} V are: check the "
                "scale of the profile and the ratio of the voltage transformers"
            )


def _powers(values: Mapping[str, float], plate: Nameplate) -> Iterator[str]:
    idle_w = IDLE_SHARE * plate.rated_power_w
    phases_w = {n: values[f"power_l{n}"] for n in PHASES if f"power_l{n}" in values}
    for phase, watts in phases_w.items():
        if values.get(f"voltage_l{phase}") == 0.0:
            continue  # two wattmeters for three wires: either may turn back at a low factor
        if watts < -idle_w / len(PHASES) and not plate.may_export:
            yield (
                f"on phase {phase} {-watts:.0f} W flow out: turn its current transformer round, or "
                "write may_export = true at the meter if the site generates"
            )
        volt_amperes = values.get(f"voltage_l{phase}", 0.0) * values.get(f"current_l{phase}", 0.0)
        if volt_amperes < LOADED_SHARE * plate.rated_power_w / len(PHASES):
            continue
        if abs(watts) > volt_amperes * (1 + SAME_SHARE):
            yield f"phase {phase} has {watts:.0f} W of {volt_amperes:.0f} VA: check the scales"
        elif abs(watts) < volt_amperes * LEAST_FACTOR:
            yield (
                f"phase {phase} has {watts:.0f} W of {volt_amperes:.0f} VA: its current "
                "transformer may sit on another phase"
            )
    total_w = values.get("power")
    if total_w is not None and len(phases_w) == len(PHASES):
        sum_w = sum(phases_w.values())
        if abs(total_w - sum_w) > SAME_SHARE * max(abs(total_w), abs(sum_w)) + idle_w:
            yield (
                f"the power is {total_w:.0f} W and that of the phases together {sum_w:.0f} W: "
                "check the scales of the profile"
            )
