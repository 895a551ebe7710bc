"""``[luxos]`` of a farm file."""

from simulator.table import Table


class LuxosTable(Table):
    """``[luxos]``: what the firmware of all LuxOS machines of the farm has.

    ``has_power_target``: profiles are power targets, told by ``atm`` and set by ``powertargetset``.
    ``has_supply_report``: ``psuget`` is answered. ``has_metering_supply``: the watts come from
    the power supply, not from an estimate. ``has_tuned_profiles``: all are tuned, not only the
    default.
    """

    has_power_target: bool = False
    has_supply_report: bool = False
    has_metering_supply: bool = False
    has_tuned_profiles: bool = False
