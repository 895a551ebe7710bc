"""From a relay's URI to its driver: ``modbus://host:502/1?profile=wb-mr6``.

As for meters, ``modbus+rtu://`` speaks RTU frames over TCP and the path is the unit's address.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs

from drivers.link.modbus import SHARED_RACK, Endpoint
from drivers.link.uri import device_uri
from drivers.relays.profile import load_relay_profile
from drivers.relays.relay import Channel, CoilRelay, Guard

DEFAULT_PORT = 502
SCHEMES = {"modbus": False, "modbus+rtu": True}
EXAMPLE = "modbus://10.1.0.20:502/1?profile=wb-mr6"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayAddress:
    """Where a board is and what it is."""

    endpoint: Endpoint
    unit: int
    profile: str


def relay_address(uri: str) -> RelayAddress:
    """Take a relay's URI apart. Raises ValueError with one sentence."""
    parts = device_uri(uri, schemes=SCHEMES, example=EXAMPLE)
    unit = parts.path.removeprefix("/")
    is_number = unit.isascii() and unit.isdecimal() and len(unit) <= 3
    if not is_number or not 1 <= int(unit) <= 247:
        raise ValueError(f"{uri!r}: the unit's address, 1 to 247, is missing: {EXAMPLE}.")
    query = parse_qs(parts.query, keep_blank_values=True)
    names = query.pop("profile", [])
    if len(names) != 1 or query:
        raise ValueError(f"{uri!r}: exactly one ?profile= is needed and nothing else: {EXAMPLE}.")
    endpoint = Endpoint(
        host=parts.host, port=parts.port or DEFAULT_PORT, is_rtu=SCHEMES[parts.scheme]
    )
    return RelayAddress(endpoint=endpoint, unit=int(unit), profile=names[0])


def open_relay(uri: str, *, relay_id: str, channel: int, guard: Guard | None = None) -> CoilRelay:
    """The relay's driver; nothing is sent yet. Raises ValueError with one sentence."""
    address = relay_address(uri)
    profile = load_relay_profile(address.profile)
    profile.coil(channel)
    return CoilRelay(
        relay_id=relay_id,
        lease=SHARED_RACK.lease(address.endpoint),
        channel=Channel(unit=address.unit, number=channel),
        profile=profile,
        guard=guard,
    )
