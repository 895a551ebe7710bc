"""``[discovery]``: the networks in which the daemon may look for machines that have moved.

A network is one of a farm: private, at most a /16, written by its first address. The same text is
what ``kwota discover`` takes.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

from agent.settings_faults import refusal, shown
from agent.settings_fields import from_text

ADDRESSES_MAX = 65_536

_EXAMPLE = "10.1.0.0/22"


def network(text: str) -> ipaddress.IPv4Network:
    """A private network or a single address."""
    try:
        loose = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        raise refusal(f"is {shown(text)}, not a network", f"write it like {_EXAMPLE}") from None
    if "/" in text and not text.startswith(f"{loose.network_address}/"):
        raise refusal(f"is {shown(text)}, which is inside a network", f"write {loose}")
    if loose.num_addresses > ADDRESSES_MAX:
        raise refusal(f"is {shown(text)}, more than 65536 addresses", "write smaller networks")
    if loose[0].is_global or loose[-1].is_global or loose[0].is_multicast:
        remedy = f"write the network of the machines, like {_EXAMPLE}"
        raise refusal(f"is {shown(text)}, which is not a private network", remedy)
    return loose


def hosts_of(networks: Iterable[ipaddress.IPv4Network]) -> tuple[str, ...]:
    """Every address that a machine can have, once, in the order of the networks."""
    return tuple(dict.fromkeys(str(host) for one in networks for host in one.hosts()))


Network = Annotated[ipaddress.IPv4Network, from_text(network)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """Without a network nobody is looked for."""

    networks: Annotated[tuple[Network, ...], Field(max_length=64)] = ()
    __pydantic_config__ = ConfigDict(extra="forbid")
