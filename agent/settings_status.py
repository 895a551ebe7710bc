"""``[status]``: where the page and its API listen, and what those elsewhere have to show.

On this machine's own loopback nothing more is asked for. An address that others can reach needs a
proof of who asks and the exact names it is asked by, or it is refused.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from agent.settings_faults import FaultList, refusal, shown
from agent.settings_fields import (
    Endpoint,
    ListenText,
    LocalPath,
    SecretPath,
    SocketPath,
    from_text,
    is_host,
)

DEFAULT_LISTEN = Endpoint(host="127.0.0.1", port=8480)
DEFAULT_SOCKET = Path("/run/kwota/kwota.sock")
HOSTS_MAX = 32

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?")


def host_name(text: str) -> str:
    """A value of the Host header: a name or address, with its port where it is another one."""
    remedy = "write what stands in the browser's address line, like kwota.farm.example:8480"
    match = _HOST.fullmatch(text.lower())
    if match is None or not is_host(match[1].strip("[]")):
        raise refusal(f"is {shown(text)}, not a host", remedy)
    if match[2] is not None and not 1 <= int(match[2]) <= 65_535:
        raise refusal(f"is {shown(text)}, whose port is none", remedy)
    return match[0]


HostText = Annotated[str, from_text(host_name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """``socket`` is the operator's door, ``page_socket`` one that only shows."""

    listen: ListenText = DEFAULT_LISTEN
    socket: SocketPath = DEFAULT_SOCKET
    page_socket: SocketPath | None = None
    hosts: Annotated[tuple[HostText, ...], Field(max_length=HOSTS_MAX)] = ()
    token_file: SecretPath | None = None
    tls_cert_file: LocalPath | None = None
    tls_key_file: SecretPath | None = None
    client_ca_file: LocalPath | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def is_reachable(self) -> bool:
        """Whether others than this machine can reach the address."""
        return not ipaddress.ip_address(self.listen.host).is_loopback

    @property
    def files(self) -> tuple[tuple[str, Path | None], ...]:
        """Every file that it names, by key."""
        names = ("token_file", "tls_cert_file", "tls_key_file", "client_ca_file")
        return tuple((f"status.{name}", getattr(self, name)) for name in names)


def check_status(found: FaultList, status: StatusSettings | None) -> None:
    """Note what its values say against each other."""
    if status is None:
        return
    if (status.tls_cert_file is None) != (status.tls_key_file is None):
        lacking = "tls_cert_file" if status.tls_cert_file is None else "tls_key_file"
        found.add(f"status.{lacking}", "is missing beside its partner", "give both or neither")
    if status.client_ca_file is not None and status.tls_cert_file is None:
        remedy = "clients show certificates only over TLS: give tls_cert_file and tls_key_file too"
        found.add("status.client_ca_file", "stands without TLS", remedy)
    if status.page_socket == status.socket:
        remedy = "the operator's socket shows all of it already: leave page_socket away or move it"
        found.add("status.page_socket", "is the same as status.socket", remedy)
    if not status.is_reachable:
        return
    if status.token_file is None and status.tls_cert_file is None:
        found.add(
            "status.listen",
            f"is {status.listen}, which others on the network could reach and nobody is asked",
            "give token_file, or tls_cert_file with tls_key_file, and hosts (docs/access.md), or "
            "write 127.0.0.1:8480 and reach it through ssh -L",
        )
    elif not status.hosts:
        found.add(
            "status.hosts",
            "is missing: a web page elsewhere could point a name of its own at this address",
            "list what people write in the browser's address line",
        )
