"""From a machine's URI to its driver: ``luxos://10.1.1.11``. The scheme is the family.

A family is one module of this folder and one line of this table.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.device import ReadsMiner
from drivers.link.tcp import TcpExchange
from drivers.link.uri import device_uri
from drivers.miners import luxos

_EXAMPLE = "luxos://10.1.1.11"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family: its port, and how to make a driver from an id, host and port, and a MAC."""

    default_port: int
    make: Callable[[str, str, int, str | None], ReadsMiner]


def _luxos(miner_id: str, host: str, port: int, mac: str | None) -> ReadsMiner:
    return luxos.LuxosMiner(miner_id=miner_id, link=TcpExchange(host=host, port=port), mac=mac)


FAMILIES: Mapping[str, Family] = {
    luxos.FAMILY: Family(default_port=luxos.DEFAULT_PORT, make=_luxos),
}


def open_miner(uri: str, *, miner_id: str, mac: str | None) -> ReadsMiner:
    """The machine's driver; nothing is sent yet. Raises ValueError with one sentence."""
    parts = device_uri(uri, schemes=FAMILIES, example=_EXAMPLE)
    if parts.path not in {"", "/"} or parts.query:
        raise ValueError(f"{uri!r} holds more than host and port: write it as {_EXAMPLE}.")
    family = FAMILIES[parts.scheme]
    port = parts.port or family.default_port
    return family.make(miner_id, parts.host, port, None if mac is None else normal_mac(mac))


def normal_mac(mac: str) -> str:
    """A MAC in lower case with colons. Raises ValueError with one sentence."""
    normal = mac.strip().lower().replace("-", ":")
    if not _MAC.match(normal):
        raise ValueError(f"{mac!r} is not a MAC: write it as 62:f7:5e:b7:10:46.")
    return normal
