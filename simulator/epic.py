"""Machines with ePIC's PowerPlay: HTTP on the port of cgminer's API, and a page for browsers.

GET is open. POST carries the password in its body and answers a table of ``result`` and ``error``,
whose yes says nothing about the effect: a machine with the fault ``miner_ignores`` says it too.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from simulator.door import Door
from simulator.epic_reads import READS, Moment, Traits
from simulator.farm import Farm
from simulator.machine import Machine
from simulator.web_callers import WebCallers

_PAGE = (
    "<!DOCTYPE html><html><head><title>Miner Web Dashboard</title></head>"
    "<body><div id=app></div></body></html>"
)


class RefusalError(Exception):
    """A command is answered with ``result`` false; ``error`` is the vendor's own JSON."""

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True, kw_only=True)
class EpicFarm:
    """What all machines with PowerPlay answer; the sockets only carry it."""

    farm: Farm
    _api: WebCallers = field(init=False)
    _pages: WebCallers = field(init=False)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._api = WebCallers(farm=self.farm, answer=self._answer)
        self._pages = WebCallers(farm=self.farm, answer=self._page)

    def doors(self, index: int) -> Sequence[Door]:
        """HTTP on 4028, and the page where the farm has pages."""
        del index
        addresses = self.farm.file.addresses
        api = Door(port=addresses.rpc_port, receive=self._api.receive)
        if not addresses.has_web:
            return (api,)
        page = Door(port=addresses.web_port, receive=self._pages.receive, is_optional=True)
        return (api, page)

    def password(self, index: int) -> str:
        """The one that every write carries."""
        del index
        return self.farm.file.epic.password

    async def close(self) -> None:
        """Cut off whoever is connected."""
        await self._api.close()
        await self._pages.close()

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        return self._traits.setdefault(index, Traits())

    def lose_pool(self, index: int, *, is_lost: bool) -> None:
        """The pool goes or comes back; a machine that is set so idles meanwhile by itself."""
        self.traits(index).is_pool_lost = is_lost
        if not self.farm.file.epic.is_idle_on_loss:
            return
        now_s = self.farm.clock.now_s()
        if is_lost:
            self.farm.plant.act(index, now_s, lambda machine, at_s: machine.sleep(now_s=at_s))
        else:
            self.farm.plant.act(index, now_s, lambda machine, at_s: machine.resume(now_s=at_s))

    def moment(self, index: int) -> Moment:
        """One machine now, as its answers see it."""
        return Moment(
            farm=self.farm,
            machine=self.farm.plant.machines[index],
            label=self.farm.labels[index],
            traits=self.traits(index),
            now_s=self.farm.clock.now_s(),
        )

    async def _page(self, index: int, request: web.BaseRequest) -> web.StreamResponse:
        del index
        if request.path != "/":
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return web.Response(text=_PAGE, content_type="text/html")

    async def _answer(self, index: int, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        await asyncio.sleep(self.farm.file.epic.answer_delay_s)
        if request.method == "GET" and request.path in READS:
            return web.json_response(READS[request.path](self.moment(index)))
        if request.method == "POST" and request.path in WRITES:
            return web.json_response(self._write(index, request.path, body))
        return web.Response(status=HTTPStatus.NOT_FOUND)

    def _write(self, index: int, path: str, body: bytes) -> dict[str, Any]:
        at = self.moment(index)
        try:
            param = _param_of(body, self.farm.file.epic.password)
            _require_idle(at)
            WRITES[path](at, param)
        except RefusalError as refusal:
            return {"result": False, "error": refusal.error}
        at.machine.counters.commands += 1
        at.traits.last_command = path
        return {"result": True, "error": None}


def _param_of(body: bytes, password: str) -> Any:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RefusalError("MissingParam")
    if document.get("password") != password:
        raise RefusalError("BadPassword")
    return document.get("param")


def _require_idle(at: Moment) -> None:
    if at.traits.pending:
        raise RefusalError({"LastCmdStillPending": at.traits.pending})


def _miner(at: Moment, param: Any) -> None:
    if param == "Stop":
        at.farm.act(at.machine.index, lambda machine, now_s: machine.sleep(now_s=now_s))
    elif param == "Autostart":
        at.farm.act(at.machine.index, lambda machine, now_s: machine.wake(now_s=now_s))
    else:
        raise RefusalError("MissingParam")


def _board_enable(at: Moment, param: Any) -> None:
    if not isinstance(param, list) or not param:
        raise RefusalError("MissingParam")
    wanted: list[tuple[int, bool]] = []
    for row in param:
        index, is_on = (row.get("Index"), row.get("Data")) if isinstance(row, dict) else (0, 0)
        if not isinstance(is_on, bool) or not isinstance(index, int):
            raise RefusalError("MissingParam")
        if not 0 <= index < len(at.machine.boards):
            raise RefusalError({"InvalidHashboardIndex": [index]})
        wanted.append((index, is_on))
    at.farm.act(at.machine.index, lambda machine, now_s: _switch(machine, wanted, now_s))


def _switch(machine: Machine, wanted: list[tuple[int, bool]], now_s: float) -> bool:
    changes = [machine.switch_board(index, is_on=is_on, now_s=now_s) for index, is_on in wanted]
    return any(changes)


def _identify(at: Moment, param: Any) -> None:
    if not isinstance(param, bool):
        raise RefusalError("MissingParam")
    (at.farm.blinking.add if param else at.farm.blinking.discard)(at.machine.index)


def _reboot(at: Moment, _param: Any) -> None:
    at.farm.act(at.machine.index, lambda machine, now_s: machine.reboot_device(now_s=now_s))


WRITES: dict[str, Callable[[Moment, Any], None]] = {
    "/miner": _miner,
    "/boardenable": _board_enable,
    "/identify": _identify,
    "/reboot": _reboot,
}
