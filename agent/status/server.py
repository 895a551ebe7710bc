"""The local, read-only HTTP face of the agent: page, JSON, metrics, health.

Knows only the ``SiteView`` that the tick produced; it asks no device and changes nothing. What it
refuses: addresses other than loopback, methods other than GET and HEAD, and every Host that is not
exactly its own, since a web page elsewhere can point its own name at 127.0.0.1 (DNS rebinding).
There are no CORS headers, so a foreign page can send a request but never read the answer.
"""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import http_parser, web
from aiohttp.typedefs import Handler, Middleware

from agent.status.routes import RESPONSE_HEADERS, StatusSource, add_read_routes

log = logging.getLogger(__name__)
# One line per poll and second says nothing; whoever needs it lowers the level of this logger.
access_log = logging.getLogger(f"{__name__}.access")
access_log.setLevel(logging.WARNING)

CONNECTIONS_MAX: Final = 64
BACKLOG: Final = 32
REQUEST_BYTES_MAX: Final = 16 * 1024
LINE_BYTES_MAX: Final = 8190
SHUTDOWN_S: Final = 2.0
PATIENCE_S: Final = 15.0


class StatusError(Exception):
    """The status endpoint cannot be opened. The message is one sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusServer:
    """Where the endpoint really listens; ``port`` is the chosen one if 0 was asked for."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return f"http://{_bracketed(self.host)}:{self.port}/"


@contextlib.asynccontextmanager
async def open_status_server(
    source: StatusSource, host: str, port: int, *, patience_s: float = PATIENCE_S
) -> AsyncIterator[StatusServer]:
    """Serve ``source`` on a loopback address until the block is left. Raises StatusError.

    ``patience_s`` bounds how long an idle, half-sent or unread connection is kept.
    """
    _warn_without_c_parser()
    address = _loopback(host)
    listener = _listen(address, port)
    try:
        bound = StatusServer(host=str(address), port=listener.getsockname()[1])
        _set_patience(listener, patience_s)
        app = web.Application(
            middlewares=[_guard(allowed_hosts(bound.host, bound.port))],
            client_max_size=REQUEST_BYTES_MAX,
        )
        add_read_routes(app, source)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            async with _accepting(listener, _connections(runner, patience_s)):
                log.info("event=status_open url=%s", bound.url)
                yield bound
        finally:
            await runner.cleanup()
    finally:
        listener.close()


def allowed_hosts(host: str, port: int) -> frozenset[str]:
    """The Host values that are us, compared whole: a prefix check lets ``127.evil.com`` through."""
    names = {"127.0.0.1", "localhost", "[::1]", _bracketed(host)}
    allowed = {f"{name}:{port}" for name in names}
    return frozenset(allowed | names if port == 80 else allowed)


def _guard(hosts: frozenset[str]) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        # The Host header alone counts: an absolute request target changes request.url, not this.
        if request.host.lower() not in hosts:
            sentence = "This address is not served here: open the page as http://localhost:<port>/."
            return web.Response(status=421, text=f"{sentence}\n")
        if request.method not in {"GET", "HEAD"}:
            sentence = "This endpoint only answers GET and HEAD: use the kwota command for changes."
            return web.Response(status=405, text=f"{sentence}\n", headers={"Allow": "GET, HEAD"})
        return await handler(request)

    return guard


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


class _Refusal(asyncio.Protocol):
    """One connection too many: say so and hang up, without parsing anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's, so a cast and no isinstance.
        stream = cast("asyncio.WriteTransport", transport)
        stream.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        stream.close()


def _connections(runner: web.AppRunner, patience_s: float) -> Callable[[], asyncio.Protocol]:
    server = runner.server
    assert server is not None, "the runner is set up before it accepts"
    loop = asyncio.get_running_loop()

    def accept() -> asyncio.Protocol:
        if len(server.connections) >= CONNECTIONS_MAX:
            return _Refusal()
        return _Connection(
            server,
            loop=loop,
            keepalive_timeout=patience_s,
            lingering_time=1.0,
            access_log=access_log,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
        )

    return accept


@contextlib.asynccontextmanager
async def _accepting(
    listener: socket.socket, factory: Callable[[], asyncio.Protocol]
) -> AsyncIterator[None]:
    server = await asyncio.get_running_loop().create_server(factory, sock=listener, backlog=BACKLOG)
    try:
        yield
    finally:
        server.close()


def _loopback(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError as error:
        raise StatusError(
            f"The status page cannot listen on {host!r}: write an address such as 127.0.0.1."
        ) from error
    if not address.is_loopback:
        raise StatusError(
            f"The status page does not listen on {host}, since it asks for no password: "
            "use 127.0.0.1 and reach it through an SSH tunnel."
        )
    return address


def _listen(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> socket.socket:
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
        raise StatusError(_sentence(error, f"{_bracketed(str(address))}:{port}")) from error
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


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
