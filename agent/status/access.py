"""Who may ask, how often, and for what: the guard before every route of the status endpoint.

The order is from cheap to dear: how often, by which name, with what body, by which method, by what
right. A wrong Host comes before the token, so that a foreign page never learns that there is one.
"""

import base64
import binascii
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agent.status.doorway import LOCAL, Bounds, client_of

CLIENTS_KEPT: Final = 1024
# Whether the agent lives is nobody's secret, and whoever restarts it has no token.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="kwota", charset="UTF-8"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a client has to show. ``hosts`` None asks for no name: nobody rebinds a file's name."""

    hosts: frozenset[str] | None
    token: bytes | None = None


class Allowance:
    """So many at once and so many per second, for each client; the longest silent are forgotten."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def has(self, client: str, now_s: float) -> bool:
        """Whether one more would be allowed now."""
        return self._now(client, now_s) >= 1.0

    def spend(self, client: str, now_s: float) -> bool:
        """Take one; False where there is none to take."""
        left = self._now(client, now_s)
        is_allowed = left >= 1.0
        self._left[client] = (left - is_allowed, now_s)
        self._left.move_to_end(client)
        if len(self._left) > CLIENTS_KEPT:
            self._left.popitem(last=False)
        return is_allowed

    def _now(self, client: str, now_s: float) -> float:
        left, at_s = self._left.get(client, (float(self._burst), now_s))
        return min(left + (now_s - at_s) * self._per_s, float(self._burst))


def allowed_hosts(host: str, port: int, *, is_tls: bool = False) -> frozenset[str]:
    """The Host values that are us, compared whole: a prefix check lets ``127.evil.com`` through."""
    return with_port({"127.0.0.1", "localhost", "[::1]", bracketed(host)}, port, is_tls=is_tls)


def with_port(names: set[str], port: int, *, is_tls: bool) -> frozenset[str]:
    """Names as browsers send them: a name without a port has ours."""
    allowed = {name if _has_port(name) else f"{name}:{port}" for name in names}
    is_default = port == (443 if is_tls else 80)
    return frozenset(allowed | names if is_default else allowed)


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _has_port(name: str) -> bool:
    return ":" in name.rpartition("]")[2]


def guard_of(
    access: Access, bounds: Bounds, clock: Callable[[], float] = time.monotonic
) -> Middleware:
    """The guard, with the memory of how often each client asked."""
    gate = _Gate(access, bounds, clock)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = gate.refusal(request)
        return await handler(request) if refusal is None else refusal

    return guard


class _Gate:
    def __init__(self, access: Access, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._access = access
        self._clock = clock
        self._requests = Allowance(burst=bounds.requests_burst, per_s=bounds.requests_per_s)
        self._refusals = Allowance(burst=bounds.refusals_burst, per_s=1.0 / bounds.refusal_rest_s)

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why a request is not answered; None where it is."""
        client, now_s = _client(request), self._clock()
        if not self._requests.spend(client, now_s):
            return _refused(429, "Too many requests: ask less often.", {"Retry-After": "2"})
        # The Host header alone counts: an absolute request target changes request.url, not this.
        hosts = self._access.hosts
        if hosts is not None and request.host.lower() not in hosts:
            sentence = "This address is not served here: open the page as http://localhost:<port>/."
            return _refused(421, sentence)
        if request.can_read_body:
            return _refused(413, "Nothing that is asked here has a body: leave it away.")
        if request.method not in {"GET", "HEAD"}:
            sentence = "This endpoint only answers GET and HEAD: use the kwota command for changes."
            return _refused(405, sentence, {"Allow": "GET, HEAD"}, ends=False)
        return self._unproven(request, client, now_s)

    def _unproven(self, request: web.Request, client: str, now_s: float) -> web.Response | None:
        token = self._access.token
        if token is None or request.path in OPEN_PATHS:
            return None
        if not self._refusals.has(client, now_s):
            return _refused(429, "Too many wrong tokens: wait a minute.", {"Retry-After": "60"})
        if _shows(request, token):
            return None
        self._refusals.spend(client, now_s)
        sentence = "A token is asked for here: send it as a bearer token or as password."
        return _refused(401, sentence, _CHALLENGE, ends=False)


def _client(request: web.Request) -> str:
    transport = request.transport
    return LOCAL if transport is None else client_of(transport.get_extra_info("peername"))


def _shows(request: web.Request, token: bytes) -> bool:
    """Whether the request carries the token: as a bearer, or as the password of any user."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    shown = value.strip().encode("utf-8", "surrogateescape")
    if kind.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(shown, token)


def _refused(
    status: int, sentence: str, headers: dict[str, str] | None = None, *, ends: bool = True
) -> web.Response:
    """A no in one sentence; after most of them the connection ends, so that a flood pays for it."""
    response = web.Response(status=status, text=f"{sentence}\n", headers=headers)
    if ends:
        response.force_close()
    return response
