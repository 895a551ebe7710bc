"""VNish (AnthillOS) machines: REST on the web port, reads of cgminer's API on 4028 beside it.

Quirks: a login that locks everybody out after wrong tries, tokens that end, reads that may be
closed, a yes without a body, one answer for presets whether they are tuned or not.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from simulator.caller import Caller
from simulator.door import Door
from simulator.farm import Farm
from simulator.vnish_logins import Logins
from simulator.vnish_reads import LOCKED, OPEN
from simulator.vnish_rpc import OlderReads
from simulator.vnish_state import Moment, Traits, fresh_traits
from simulator.vnish_writes import WRITES, WriteError
from simulator.web_callers import WebCallers

_API = "/api/v1/"
_PAGE = "<!DOCTYPE html><html><head><title>AnthillOS</title></head><body></body></html>"


@dataclass(slots=True, kw_only=True)
class VnishFarm:
    """What all VNish machines of a farm answer."""

    farm: Farm
    pages: WebCallers = field(init=False)
    older: OlderReads = field(init=False)
    asked: list[tuple[str, str]] = field(init=False, default_factory=list)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)
    _logins: dict[int, Logins] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.pages = WebCallers(farm=self.farm, answer=self._answer)
        self.older = OlderReads(machines=self)

    def doors(self, index: int) -> Sequence[Door]:
        """HTTP, and TCP 4028 where the farm has it."""
        addresses = self.farm.file.addresses
        http = Door(port=addresses.web_port, receive=self.pages.receive)
        if not self.farm.file.vnish.has_older_reads:
            return (http,)
        return (http, Door(port=addresses.rpc_port, receive=lambda: Caller(self.older, index)))

    def password(self, index: int) -> str:
        """The one of the web page."""
        del index
        return self.farm.file.vnish.password

    async def close(self) -> None:
        """Cut off whoever is connected."""
        self.older.close()
        await self.pages.close()

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        if index not in self._traits:
            self._traits[index] = fresh_traits(self.farm.plant.machines[index])
        return self._traits[index]

    def logins(self, index: int) -> Logins:
        """Who is logged in at a machine."""
        if index not in self._logins:
            self._logins[index] = Logins(table=self.farm.file.vnish)
        return self._logins[index]

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
        delay_s = self.farm.file.vnish.answer_delay_s
        if delay_s > 0.0:
            await asyncio.sleep(delay_s)
        path = request.path
        if request.method == "GET" and path == "/":
            return web.Response(text=_PAGE, content_type="text/html")
        name = path.removeprefix(_API)
        if not path.startswith(_API):
            return _refused(404, "Not Found")
        self.asked.append((request.method, name))
        if request.method == "GET":
            return self._read(index, name, request.headers.get("Authorization", ""))
        if request.method != "POST":
            return _refused(405, "Method Not Allowed")
        body = await _body_of(request)
        if name == "unlock":
            return self._unlock(index, body)
        return self._write(index, name, body, request.headers.get("Authorization", ""))

    def _read(self, index: int, name: str, header: str) -> web.Response:
        at = self.moment(index)
        is_open = name in OPEN and (name != "summary" or at.table.has_open_summary)
        if not is_open and name not in OPEN and name not in LOCKED:
            return _refused(404, "Not Found")
        if not is_open and not self.logins(index).knows(header, at.now_s):
            return web.Response(status=401)
        return _said((OPEN.get(name) or LOCKED[name])(at))

    def _unlock(self, index: int, body: Any) -> web.Response:
        password = body.get("pw") if isinstance(body, dict) else None
        status, token = self.logins(index).unlock(password, self.farm.clock.now_s())
        return _said({"token": token}) if token else _said({"unlock_timeout": 0}, status=status)

    def _write(self, index: int, name: str, body: Any, header: str) -> web.Response:
        at = self.moment(index)
        if name not in WRITES:
            return _refused(404, "Not Found")
        if not self.logins(index).knows(header, at.now_s):
            return web.Response(status=401)
        try:
            answer = WRITES[name](at, body)
        except WriteError as error:
            return _refused(error.status, str(error))
        at.machine.counters.commands += 1
        if not answer and at.table.has_silent_yes:
            return web.Response()
        return _said(answer)


async def _body_of(request: web.BaseRequest) -> Any:
    """What was sent as JSON; None for anything else."""
    content = await request.read()
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _said(document: Any, *, status: int = 200) -> web.Response:
    body = json.dumps(document).encode()
    return web.Response(body=body, status=status, content_type="application/json")


def _refused(status: int, reason: str) -> web.Response:
    return _said({"err": reason}, status=status)
