"""What a healthy meter on this grid cannot say, whatever way it says it."""

import math
from collections.abc import Mapping

VOLTAGE_TOLERANCE = 0.25
FREQUENCY_MIN_HZ = 45.0
FREQUENCY_MAX_HZ = 65.0
RATED_POWER_MARGIN = 1.2
ENERGY_END_WH = 10**15


def fault_of(
    values: Mapping[str, float],
    *,
    nominal_voltage_v: float,
    rated_power_w: float | None,
    modulus_wh: int | None,
) -> str | None:
    """What is wrong with the first value that cannot be, in words; None where all is plausible."""
    low_v = nominal_voltage_v * (1 - VOLTAGE_TOLERANCE)
    high_v = nominal_voltage_v * (1 + VOLTAGE_TOLERANCE)
    limit_w = (rated_power_w or math.inf) * RATED_POWER_MARGIN
    bounds = {
        "energy": (0.0, float(modulus_wh or ENERGY_END_WH), "Wh"),
        "power": (-limit_w, limit_w, "W"),
        "voltage": (low_v, high_v, "V"),
        "frequency": (FREQUENCY_MIN_HZ, FREQUENCY_MAX_HZ, "Hz"),
    }
    for name, value in values.items():
        low, high, unit = bounds[name]
        if not low <= value <= high:
            return f"{name} {value:g} {unit}, which is outside {low:g}…{high:g}"
    return None
