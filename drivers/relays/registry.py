"""From a relay's URI to its driver: ``modbus://host:502/1?profile=wb-mr6``.

As for meters, ``modbus+rtu://`` speaks RTU frames over TCP and the path is the unit's address.
"""

from dataclasses import dataclass

from drivers.link.endpoint import Way, unit_address
from drivers.link.modbus import Rank
from drivers.link.rack import SHARED_RACK
from drivers.relays.board import RelayBoard
from drivers.relays.profile import load_relay_profile
from drivers.relays.relay import Channel, CoilRelay, Guard

EXAMPLE = "modbus://10.1.0.20:502/1?profile=wb-mr6"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayAddress:
    """Where a board is and what it is."""

    endpoint: Way
    unit: int
    profile: str


def relay_address(uri: str) -> RelayAddress:
    """Take a relay's URI apart. Raises ValueError with one sentence."""
    address = unit_address(uri)
    if set(address.more) != {"profile"}:
        raise ValueError(f"{uri!r}: exactly one ?profile= is needed and nothing else: {EXAMPLE}.")
    return RelayAddress(endpoint=address.way, unit=address.unit, profile=address.more["profile"])


def open_relay(uri: str, *, relay_id: str, channel: int, guard: Guard | None = None) -> CoilRelay:
    """The relay's driver; nothing is sent yet. Raises ValueError with one sentence."""
    address = relay_address(uri)
    profile = load_relay_profile(address.profile)
    profile.coil(channel)
    return CoilRelay(
        relay_id=relay_id,
        lease=SHARED_RACK.lease(address.endpoint, Rank.TRIP),
        channel=Channel(unit=address.unit, number=channel),
        profile=profile,
        guard=guard,
    )


def open_board(uri: str) -> RelayBoard:
    """The whole board, to be looked at; nothing is sent yet. Raises ValueError in one sentence."""
    address = relay_address(uri)
    return RelayBoard(
        lease=SHARED_RACK.lease(address.endpoint, Rank.OTHER),
        unit=address.unit,
        profile=load_relay_profile(address.profile),
    )
