"""The local, read-only HTTP face of the agent: page, JSON, metrics, health.

Knows only the ``SiteView`` that the tick produced; it asks no device and changes nothing. What it
refuses: an address that others can reach without a proof and a list of names, methods other than
GET and HEAD, and every Host that is not exactly its own, since a web page elsewhere can point its
own name at this address (DNS rebinding). There are no CORS headers, so a foreign page can send a
request but never read the answer.
"""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import http_parser, web

from agent.status.access import Access, allowed_hosts, bracketed, guard_of, with_port
from agent.status.doorway import DEFAULT_BOUNDS, Bounds, Doorway
from agent.status.routes import RESPONSE_HEADERS, StatusSource, add_read_routes

log = logging.getLogger(__name__)
# One line per poll and second says nothing; whoever needs it lowers the level of this logger.
access_log = logging.getLogger(f"{__name__}.access")
access_log.setLevel(logging.WARNING)

BACKLOG: Final = 32
REQUEST_BYTES_MAX: Final = 16 * 1024
LINE_BYTES_MAX: Final = 8190
SHUTDOWN_S: Final = 2.0
PATIENCE_S: Final = 15.0

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class StatusError(Exception):
    """The status endpoint cannot be opened. The message is one sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What an address that others can reach asks for: a token, TLS, or both; and by which names."""

    hosts: tuple[str, ...] = ()
    token: bytes | None = None
    tls: ssl.SSLContext | None = None


NO_PROOF: Final = Proof()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusServer:
    """Where the endpoint really listens; ``port`` is the chosen one if 0 was asked for."""

    host: str
    port: int
    is_tls: bool = False

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return f"{'https' if self.is_tls else 'http'}://{bracketed(self.host)}:{self.port}/"


@contextlib.asynccontextmanager
async def open_status_server(
    source: StatusSource,
    host: str,
    port: int,
    *,
    proof: Proof = NO_PROOF,
    bounds: Bounds = DEFAULT_BOUNDS,
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[StatusServer]:
    """Serve ``source`` on an address until the block is left. Raises StatusError.

    ``patience_s`` bounds how long an idle, half-sent or unread connection is kept.
    """
    address = _permitted(host, proof)
    listener = _listen(address, port)
    bound = StatusServer(
        host=str(address), port=listener.getsockname()[1], is_tls=proof.tls is not None
    )
    access = Access(hosts=_hosts(bound, address, proof), token=proof.token)
    _set_patience(listener, patience_s)
    doorway = Doorway.around(listener, bounds, is_plain=proof.tls is None)
    async with _served(source, doorway, access, proof.tls, patience_s):
        log.info("event=status_open url=%s", bound.url)
        yield bound


@contextlib.asynccontextmanager
async def serve_status_on(
    source: StatusSource, listener: socket.socket, *, bounds: Bounds = DEFAULT_BOUNDS
) -> AsyncIterator[None]:
    """Serve ``source`` on a bound unix socket; who may open it is the file system's business."""
    listener.listen(BACKLOG)
    doorway = Doorway.around(listener.dup(), bounds, is_plain=True)
    async with _served(source, doorway, Access(hosts=None), None, PATIENCE_S):
        log.info("event=status_open socket=%s", doorway.getsockname())
        yield


@contextlib.asynccontextmanager
async def _served(
    source: StatusSource,
    doorway: Doorway,
    access: Access,
    tls: ssl.SSLContext | None,
    patience_s: float,
) -> AsyncIterator[None]:
    _warn_without_c_parser()
    with doorway:
        guard = guard_of(access, doorway.bounds)
        app = web.Application(middlewares=[guard], client_max_size=REQUEST_BYTES_MAX)
        add_read_routes(app, source)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            async with _accepting(doorway, _connections(runner, patience_s), tls, patience_s):
                yield
        finally:
            await runner.cleanup()


def _hosts(bound: StatusServer, address: _Address, proof: Proof) -> frozenset[str]:
    """On loopback this machine's own names too; elsewhere those that are listed and no others."""
    listed = with_port(set(proof.hosts), bound.port, is_tls=bound.is_tls)
    if not address.is_loopback:
        return listed
    return listed | allowed_hosts(bound.host, bound.port, is_tls=bound.is_tls)


class _Connection(web.RequestHandler):
    """aiohttp's connection, except that a bad request is neither an error in our log nor a leak."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never reached the app; such a response passes no app hook."""
        if status >= 500 or request.writer.output_size > 0:
            response = super().handle_error(request, status, exc, message)
        else:
            log.debug("event=status_bad_request status=%d reason=%r", status, message)
            response = web.Response(status=status, text="This is not a valid HTTP request.\n")
            response.force_close()
        response.headers.update(RESPONSE_HEADERS)
        return response


def _connections(runner: web.AppRunner, patience_s: float) -> Callable[[], asyncio.Protocol]:
    server = runner.server
    assert server is not None, "the runner is set up before it accepts"
    loop = asyncio.get_running_loop()

    def accept() -> asyncio.Protocol:
        return _Connection(
            server,
            loop=loop,
            keepalive_timeout=patience_s,
            lingering_time=0.0,  # no body is ever wanted, so none is waited for
            access_log=access_log,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
        )

    return accept


@contextlib.asynccontextmanager
async def _accepting(
    listener: socket.socket,
    factory: Callable[[], asyncio.Protocol],
    tls: ssl.SSLContext | None,
    patience_s: float,
) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    patience = None if tls is None else patience_s
    if listener.family == socket.AF_UNIX:
        server = await loop.create_unix_server(factory, sock=listener, backlog=BACKLOG)
    else:
        server = await loop.create_server(
            factory,
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=patience and min(patience, SHUTDOWN_S),
        )
    try:
        yield
    finally:
        server.close()


def _permitted(host: str, proof: Proof) -> _Address:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError as error:
        raise StatusError(
            f"The status page cannot listen on {host!r}: write an address such as 127.0.0.1."
        ) from error
    if not address.is_loopback and not (proof.hosts and (proof.token or proof.tls)):
        raise StatusError(
            f"The status page does not listen on {host}, since it asks for no proof there: give "
            "[status] token_file or tls_cert_file, and hosts, or use 127.0.0.1 and an SSH tunnel."
        )
    return address


def _listen(address: _Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        # Listening claims the port: with SO_REUSEADDR two sockets may both bind it before that.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StatusError(_sentence(error, f"{bracketed(str(address))}:{port}")) from error
    except OverflowError as error:
        listener.close()
        raise StatusError(f"The status page cannot use port {port}: take 1 to 65535.") from error
    return listener


def _sentence(error: OSError, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"The status page cannot listen on {where}, another program has that port: "
            "stop it or change [status] listen."
        )
    if error.errno == errno.EACCES:
        return (
            f"The status page may not listen on {where}: "
            "choose a port above 1023 in [status] listen."
        )
    return (
        f"The status page cannot listen on {where} ({error.strerror}): "
        "check [status] listen against the addresses of this machine."
    )


def _set_patience(listener: socket.socket, patience_s: float) -> None:
    """Let the kernel drop a client that does not read; accepted sockets inherit the option."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(patience_s * 1000))


def _warn_without_c_parser() -> None:
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        log.warning(
            "event=status_slow_parser reason=%s",
            "aiohttp runs without its C parser, whose Python twin has had request smuggling "
            "holes: reinstall aiohttp from a wheel",
        )
