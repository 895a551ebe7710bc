"""What meters measure, by name, and the units in which profiles may give it.

The first unit of a dimension is the one in which values leave the driver.
"""

_UNITS = {
    "energy": {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6},
    "reactive energy": {"varh": 1.0, "kvarh": 1e3},
    "power": {"W": 1.0, "kW": 1e3, "MW": 1e6},
    "reactive power": {"var": 1.0, "kvar": 1e3},
    "apparent power": {"VA": 1.0, "kVA": 1e3},
    "voltage": {"V": 1.0, "kV": 1e3},
    "current": {"A": 1.0, "mA": 1e-3},
    "frequency": {"Hz": 1.0},
    "ratio": {"1": 1.0},
}

# What every reading asks for; everything else is read where a person asks for it.
FAST = ("energy", "power", "voltage", "frequency")

_MORE = {
    "energy_export": "energy",
    "energy_reactive_import": "reactive energy",
    "energy_reactive_export": "reactive energy",
    "power_l1": "power",
    "power_l2": "power",
    "power_l3": "power",
    "power_reactive": "reactive power",
    "power_apparent": "apparent power",
    "power_factor": "ratio",
    "ct_ratio": "ratio",
    "voltage_l1": "voltage",
    "voltage_l2": "voltage",
    "voltage_l3": "voltage",
    "current_l1": "current",
    "current_l2": "current",
    "current_l3": "current",
}


def dimension_of(name: str) -> str | None:
    """What kind of quantity a name stands for; None where it stands for none."""
    return name if name in FAST else _MORE.get(name)


def units_of(dimension: str) -> dict[str, float]:
    """The units of a dimension with their factors to the first of them."""
    return _UNITS[dimension]


def base_unit(name: str) -> str:
    """The unit in which a quantity leaves the driver. Raises KeyError for an unknown name."""
    dimension = dimension_of(name)
    return next(iter(_UNITS[dimension or name]))
