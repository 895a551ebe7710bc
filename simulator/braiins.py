"""Machines with Braiins OS on HTTP: the page, GraphQL, and the REST API below /api/v1.

A login gives a token, which every other request carries as it is; each use renews it. A firmware
before 25.07 answers 405 to a login and shows its page under every address of the API.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from simulator.braiins_graphql import graphql
from simulator.braiins_logins import login, require_token
from simulator.braiins_moment import Moment, RefusalError, Traits, traits_of
from simulator.braiins_reads import API, READS
from simulator.braiins_writes import WRITES
from simulator.door import Door
from simulator.farm import Farm
from simulator.web_callers import WebCallers

_PREFIX = "/api/v1/"
_OPEN = frozenset({"version"})
_PAGE = (
    "<!DOCTYPE html><html><head><title>Braiins OS</title></head>"
    '<body><div id="root"></div></body></html>'
)


@dataclass(slots=True, kw_only=True)
class BraiinsFarm:
    """All machines of a farm with Braiins OS."""

    farm: Farm
    callers: WebCallers = field(init=False)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.callers = WebCallers(farm=self.farm, answer=self._answer)

    def doors(self, index: int) -> Sequence[Door]:
        """HTTP."""
        del index
        return (Door(port=self.farm.file.addresses.web_port, receive=self.callers.receive),)

    def password(self, index: int) -> str:
        """The one of the account "root"."""
        del index
        return self.farm.file.braiins.password

    async def close(self) -> None:
        """Cut off whoever is connected."""
        await self.callers.close()

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        if index not in self._traits:
            self._traits[index] = traits_of(self.farm, index)
        return self._traits[index]

    def moment(self, index: int) -> Moment:
        """One machine now, as its answers see it."""
        return Moment(
            farm=self.farm,
            machine=self.farm.plant.machines[index],
            label=self.farm.labels[index],
            traits=self.traits(index),
            now_s=self.farm.clock.now_s(),
        )

    async def _answer(self, index: int, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        delay_s = self.farm.file.braiins.answer_delay_s
        if delay_s > 0.0:
            await asyncio.sleep(delay_s)
        at = self.moment(index)
        try:
            return _routed(at, request, body)
        except RefusalError as error:
            return web.Response(status=error.status, text=str(error))


def _routed(at: Moment, request: web.BaseRequest, body: bytes) -> web.Response:
    if request.path == "/graphql":
        return _json(graphql(at, _document(body))) if request.method == "POST" else _page()
    if not request.path.startswith(_PREFIX):
        return _page()
    path = request.path.removeprefix(_PREFIX).rstrip("/")
    if at.table.firmware not in API:
        if request.method != "GET":
            raise RefusalError(405)
        return _page()
    if path == "auth/login":
        if request.method != "POST":
            raise RefusalError(405)
        return _json(login(at, _document(body)))
    if path not in _OPEN:
        require_token(at, request.headers.get("Authorization", ""))
    return _served(at, request.method, path, body)


def _served(at: Moment, method: str, path: str, body: bytes) -> web.Response:
    if method == "GET" and path in READS:
        return _json(READS[path](at))
    if (method, path) in WRITES:
        at.machine.counters.commands += 1
        answer = WRITES[method, path](at, _document(body) if body else None)
        return web.Response(status=204) if answer is None else _json(answer)
    is_known = path in READS or any(path == known for _, known in WRITES)
    raise RefusalError(405 if is_known else 404)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, "invalid JSON") from error


def _json(answer: Any) -> web.Response:
    return web.json_response(answer)


def _page() -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")
