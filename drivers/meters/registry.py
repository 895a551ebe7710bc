"""From a meter's URI to its driver: ``modbus://host:502/1?profile=sdm630``.

What else may stand in front is in drivers.link.endpoint; the last part of the path is the unit.
"""

from collections.abc import Sequence
from pathlib import Path

from drivers.link.endpoint import SCHEMES as SCHEMES_OF_UNITS
from drivers.link.endpoint import unit_address
from drivers.link.modbus import Rank
from drivers.link.rack import SHARED_RACK
from drivers.meters.meter import ModbusMeter
from drivers.meters.profile import SUNSPEC, load_profile, profile_paths
from drivers.meters.sunspec import SunSpecMeter

SCHEMES = SCHEMES_OF_UNITS

_EXAMPLE = "modbus://10.1.0.10:502/1?profile=sdm630"


def open_meter(
    uri: str,
    *,
    meter_id: str,
    serial: str | None,
    rated_power_w: float | None,
    profile_dirs: Sequence[Path] = (),
    is_budget: bool = False,
) -> ModbusMeter | SunSpecMeter:
    """The meter's driver; nothing is sent yet. Raises ValueError with one sentence.

    ``is_budget``: a purchase rests on it, so that it goes first on a bus that it shares.
    """
    address = unit_address(uri)
    if set(address.more) != {"profile"}:
        raise ValueError(f"{uri!r}: exactly one ?profile= is needed and nothing else: {_EXAMPLE}.")
    rank = Rank.BUDGET if is_budget else Rank.OTHER
    if address.more["profile"] == SUNSPEC and SUNSPEC not in profile_paths(profile_dirs):
        return SunSpecMeter(
            meter_id=meter_id,
            lease=SHARED_RACK.lease(address.way, rank),
            unit=address.unit,
            serial=serial,
            rated_power_w=rated_power_w,
        )
    profile = load_profile(address.more["profile"], profile_dirs)
    return ModbusMeter(
        meter_id=meter_id,
        lease=SHARED_RACK.lease(address.way, rank),
        unit=address.unit,
        profile=profile,
        serial=serial,
        rated_power_w=rated_power_w,
    )
