"""From a meter's URI to its driver: ``modbus://host:502/1?profile=sdm630``.

``modbus+rtu://`` speaks RTU frames over TCP, as transparent serial gateways want it. The path is
the unit's address.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs

from drivers.link.modbus import SHARED_RACK, Endpoint
from drivers.link.uri import device_uri
from drivers.meters.meter import ModbusMeter
from drivers.meters.profile import load_profile

DEFAULT_PORT = 502
SCHEMES = {"modbus": False, "modbus+rtu": True}

_EXAMPLE = "modbus://10.1.0.10:502/1?profile=sdm630"


def open_meter(
    uri: str,
    *,
    meter_id: str,
    serial: str | None,
    rated_power_w: float | None,
    profile_dirs: Sequence[Path] = (),
) -> ModbusMeter:
    """The meter's driver; nothing is sent yet. Raises ValueError with one sentence."""
    parts = device_uri(uri, schemes=SCHEMES, example=_EXAMPLE)
    unit_text = parts.path.removeprefix("/")
    if not (
        unit_text.isascii()
        and unit_text.isdecimal()
        and len(unit_text) <= 3
        and 1 <= int(unit_text) <= 247
    ):
        raise ValueError(f"{uri!r}: the unit's address, 1 to 247, is missing: {_EXAMPLE}.")
    query = parse_qs(parts.query, keep_blank_values=True)
    names = query.pop("profile", [])
    if len(names) != 1 or query:
        raise ValueError(f"{uri!r}: exactly one ?profile= is needed and nothing else: {_EXAMPLE}.")
    profile = load_profile(names[0], profile_dirs)
    endpoint = Endpoint(
        host=parts.host, port=parts.port or DEFAULT_PORT, is_rtu=SCHEMES[parts.scheme]
    )
    return ModbusMeter(
        meter_id=meter_id,
        lease=SHARED_RACK.lease(endpoint),
        unit=int(unit_text),
        profile=profile,
        serial=serial,
        rated_power_w=rated_power_w,
    )
