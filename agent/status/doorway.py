"""A listening socket that lets in only so many: the bound holds before anything else is spent.

asyncio takes connections with the listener's own ``accept``. What is counted there is counted
before a transport, a TLS handshake or a parser exists, and a refusal ends that round of accepting:
whoever knocks ten thousand times costs the control loop one short answer per turn.
"""

import contextlib
import ipaddress
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final

LOCAL: Final = "local"

_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much the endpoint spends, altogether and on one client.

    ``refusals_burst`` wrong tokens are answered at once, then one in ``refusal_rest_s``.
    """

    connections_max: int = 64
    connections_per_client_max: int = 32
    requests_per_s: float = 50.0
    requests_burst: int = 200
    refusals_burst: int = 10
    refusal_rest_s: float = 6.0


DEFAULT_BOUNDS: Final = Bounds()


def client_of(peer: object) -> str:
    """Who counts as one client: an IPv4 address, the /64 of an IPv6 one, or this machine."""
    if not isinstance(peer, tuple) or not peer:
        return LOCAL
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class _Guest(socket.socket):
    """An accepted connection, which gives its place back when it is closed."""

    doorway: "Doorway | None" = None
    client = ""

    def close(self) -> None:
        doorway, self.doorway = self.doorway, None
        if doorway is not None:
            doorway.leave(self.client)
        super().close()


class Doorway(socket.socket):
    """A listener with room for so many connections."""

    bounds = DEFAULT_BOUNDS
    is_plain = True

    @classmethod
    def around(cls, listener: socket.socket, bounds: Bounds, *, is_plain: bool) -> "Doorway":
        """Take over a listening socket; a plain one answers those it turns away."""
        doorway = cls(listener.family, listener.type, listener.proto, fileno=listener.detach())
        doorway.setblocking(False)
        doorway.bounds = bounds
        doorway.is_plain = is_plain
        doorway.inside = Counter()
        return doorway

    inside: Counter[str]

    def accept(self) -> tuple[socket.socket, object]:
        """The next connection that there is room for. Raises BlockingIOError to end a round."""
        accepted, peer = super().accept()
        client = client_of(peer)
        if (
            self.inside.total() >= self.bounds.connections_max
            or self.inside[client] >= self.bounds.connections_per_client_max
        ):
            self._turn_away(accepted)
            raise BlockingIOError
        guest = _Guest(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        guest.client, guest.doorway = client, self
        self.inside[client] += 1
        return guest, peer

    def _turn_away(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            accepted.setblocking(False)
            if self.is_plain:
                accepted.send(_TOO_MANY)
                accepted.shutdown(socket.SHUT_WR)

    def leave(self, client: str) -> None:
        """One of a client's connections is closed."""
        self.inside[client] -= 1
        if self.inside[client] <= 0:
            del self.inside[client]
