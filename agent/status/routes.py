"""What the agent answers over HTTP: page, JSON of one tick, a stream of ticks, metrics, health.

Read-only, of the ``SiteView`` that the tick produced. Every document is made at most once per tick,
carries an ETag, and lists can be had in pages. Who may ask is the business of whoever mounts this.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, Protocol

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from agent.status.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from agent.status.metrics import render_metrics
from agent.status.openapi import PAGE_ROWS_MAX, openapi_document
from agent.status.view import SiteView
from agent.status.vocabulary import LANGUAGES, language_module

STREAMS_MAX: Final = 24
_STREAM_LOOK_S: Final = 0.2
_STREAM_BEAT_S: Final = 10.0
_PAGES_KEPT: Final = 64

_SCRIPTS: Final = (
    "page.js",
    "bounds.js",
    "alarms.js",
    "machine.js",
    "map.js",
    "miners.js",
    "chart.js",
    "plot.js",
    "samples.js",
    "dom.js",
    "format.js",
    "reason.js",
    "scroll.js",
    "stream.js",
    "words.js",
)
_ICON: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    b'rx="3" fill="#1f5fbf"/><path d="M9 1 3 9h4l-1 6 7-9H8z" fill="#fff"/></svg>'
)
_FOLDER: Final = resources.files("agent.status")
# Read at import, before any loop runs: a disk read must not stall the control loop.
_ASSETS: Final = {
    "/": ("text/html", _FOLDER.joinpath("page.html").read_bytes()),
    "/page.css": ("text/css", _FOLDER.joinpath("page.css").read_bytes()),
    "/icon.svg": ("image/svg+xml", _ICON),
    **{f"/{name}": ("text/javascript", _FOLDER.joinpath(name).read_bytes()) for name in _SCRIPTS},
    **{f"/words-{name}.js": ("text/javascript", language_module(name)) for name in LANGUAGES},
}
# The page of one machine, as its label has it; which of them it is, the page looks up itself.
_MACHINE: Final = "/m/{mac:(?:[0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}}"

RESPONSE_HEADERS: Final = {
    "Server": "kwota",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_NOT_YET: Final = (
    "The agent has not finished its first tick yet: try again in a few seconds, "
    "and look at its log if this stays."
)


class StatusSource(Protocol):
    """Where the endpoint takes its data from. Both calls are cheap and never wait."""

    def view(self) -> SiteView | None:
        """The image of the last tick, the same object until the next; None before the first."""

    def is_healthy(self) -> bool:
        """Whether the control loop keeps its pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """A body, and the tag by which a client knows that it has it already."""

    body: bytes
    etag: str
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Rows ``offset`` to ``offset + limit - 1`` of a list; all of them where no limit is given."""

    offset: int = 0
    limit: int | None = None


class _Documents:
    """Every document is made at most once per tick, however many clients poll it."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source
        self._view: SiteView | None = None
        self._made: dict[tuple[str, _Page], _Document] = {}

    def made(self, name: str, page: _Page = _Page()) -> _Document | None:
        """The document of the last tick; None before the first."""
        view = self._source.view()
        if view is None:
            return None
        if view is not self._view or len(self._made) > _PAGES_KEPT:
            self._view = view
            self._made = {}
        key = (name, page)
        if key not in self._made:
            self._made[key] = _made(name, view, page)
        return self._made[key]


def _made(name: str, view: SiteView, page: _Page) -> _Document:
    rows = None
    if name in _LISTS:
        listed = _LISTS[name](view)
        rows = len(listed)
        end = None if page.limit is None else page.offset + page.limit
        body = orjson.dumps([row.model_dump() for row in listed[page.offset : end]])
    else:
        body = _WHOLES[name](view)
    tag = hashlib.blake2b(body, digest_size=12).hexdigest()
    return _Document(body=body, etag=f'"{tag}"', rows=rows)


_WHOLES: Final[dict[str, Callable[[SiteView], bytes]]] = {
    "status": lambda view: orjson.dumps(view.status.model_dump()),
    "metrics": render_metrics,
}
_LISTS: Final[dict[str, Callable[[SiteView], Sequence[BaseModel]]]] = {
    "miners": lambda view: view.miners,
    "meters": lambda view: view.meters,
    "transactions": lambda view: view.transactions,
    "statements": lambda view: view.statements,
    "decisions": lambda view: view.decisions,
    "history": lambda view: view.history,
    "events": lambda view: view.status.alarms,
}


def add_read_routes(app: web.Application, source: StatusSource) -> None:
    """Mount the page, ``/api/v1/*``, ``/healthz``, ``/readyz``, ``/metrics`` and ``/openapi.json``.

    The caller brings its own guard: the TCP endpoint checks the Host, a unix socket checks who may
    open it.
    """
    documents = _Documents(source)
    for path, (content_type, body) in _ASSETS.items():
        app.router.add_get(path, _asset_handler(body, content_type))
    app.router.add_get(_MACHINE, _asset_handler(_ASSETS["/"][1], "text/html"))
    for name in ("status", *_LISTS):
        app.router.add_get(f"/api/v1/{name}", _json_handler(documents, name))
    stream = _Stream(source, documents)
    app.router.add_get("/api/v1/stream", stream.handle)
    app.on_shutdown.append(stream.end)
    openapi = orjson.dumps(openapi_document())
    app.router.add_get("/openapi.json", _asset_handler(openapi, "application/json"))

    async def metrics(_request: web.Request) -> web.Response:
        document = documents.made("metrics")
        if document is None:
            return web.Response(status=503, text=f"{_NOT_YET}\n", headers={"Retry-After": "2"})
        return web.Response(body=document.body, headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def healthz(_request: web.Request) -> web.Response:
        if source.is_healthy():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="unhealthy\n")

    async def readyz(_request: web.Request) -> web.Response:
        if source.view() is not None and source.is_healthy():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready\n", headers={"Retry-After": "2"})

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.on_response_prepare.append(_add_headers)


class _Stream:
    """Server-sent events (HTML standard, section 9.2): the status document at every tick.

    Whoever finds no place is told to poll; so is whoever is still here when the agent stops.
    """

    def __init__(self, source: StatusSource, documents: _Documents) -> None:
        self._source = source
        self._documents = documents
        self._count = 0
        self._is_ending = asyncio.Event()

    async def end(self, _app: web.Application) -> None:
        """Let every listener go."""
        self._is_ending.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One listener, until it goes or the agent stops."""
        if self._count >= STREAMS_MAX or self._is_ending.is_set():
            words = orjson.dumps({"error": "All places are taken: poll /api/v1/status instead."})
            return web.Response(status=503, body=words, content_type="application/json")
        self._count += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            response.content_length = None
            await response.prepare(request)
            if request.method == "GET":
                # Whoever goes while it is told something has what it wanted.
                with contextlib.suppress(ConnectionResetError):
                    await self._tell(response)
            return response
        finally:
            self._count -= 1

    async def _tell(self, response: web.StreamResponse) -> None:
        told: SiteView | None = None
        quiet_s = 0.0
        await response.write(b"retry: 2000\n\n")
        while not self._is_ending.is_set():
            view, document = self._source.view(), self._documents.made("status")
            if view is not told and document is not None:
                told, quiet_s = view, 0.0
                await response.write(b"event: tick\ndata: " + document.body + b"\n\n")
            elif quiet_s >= _STREAM_BEAT_S:
                quiet_s = 0.0
                await response.write(b": nothing new\n\n")
            quiet_s += _STREAM_LOOK_S
            await asyncio.sleep(_STREAM_LOOK_S)


def _asset_handler(body: bytes, content_type: str) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return handler


def _json_handler(documents: _Documents, name: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            page = _page_of(request) if name in _LISTS else _Page()
        except ValueError as error:
            words = orjson.dumps({"error": str(error)})
            return web.Response(status=400, body=words, content_type="application/json")
        document = documents.made(name, page)
        if document is None:
            return web.Response(
                status=503,
                body=orjson.dumps({"error": _NOT_YET}),
                content_type="application/json",
                headers={"Retry-After": "2"},
            )
        headers = {"ETag": document.etag, "Cache-Control": "no-cache"}
        if document.rows is not None:
            headers["X-Total-Count"] = str(document.rows)
        known = request.headers.get("If-None-Match", "")
        if document.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=document.body, content_type="application/json", headers=headers)

    return handler


def _page_of(request: web.Request) -> _Page:
    """The page that a query asks for. Raises ValueError with one sentence."""
    return _Page(
        offset=_number(request, "offset", 0, 10_000_000),
        limit=_number(request, "limit", 1, PAGE_ROWS_MAX) if "limit" in request.query else None,
    )


def _number(request: web.Request, name: str, least: int, most: int) -> int:
    text = request.query.get(name, str(least))
    if not text.isascii() or not text.isdigit() or len(text) > 8 or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}.")
    return int(text)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    own = response.headers.get("Cache-Control")
    response.headers.update(RESPONSE_HEADERS)
    if own is not None:
        response.headers["Cache-Control"] = own
