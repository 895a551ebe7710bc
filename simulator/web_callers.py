"""HTTP of all machines of a family: one aiohttp server, told apart by the address that was called.

The faults that every family shares are here: silence, garbage, a control board that is down.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from simulator.farm import Farm
from simulator.faults import FaultKind

Handler = Callable[[int, web.BaseRequest], Awaitable[web.StreamResponse]]

_GARBAGE = (
    ("text/html", b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"),
    ("application/json", b'{"STATUS":"S","When":17602,"Ms'),
    ("application/json", b"\x00\xff\x00"),
)
_SILENCE_S = 60.0
_CLOSE_S = 1.0


@dataclass(slots=True, kw_only=True)
class WebCallers:
    """Takes connections for ``Door.receive`` and asks ``answer`` with the machine's index."""

    farm: Farm
    answer: Handler
    garbled: int = field(init=False, default=0)
    _server: web.Server | None = field(init=False, default=None)
    _places: dict[str, int] = field(init=False, default_factory=dict)

    def receive(self) -> asyncio.BaseProtocol:
        """The protocol of one connection."""
        if self._server is None:
            self._server = web.Server(self._answer, access_log=None, keepalive_timeout=15.0)
            self._places = {label.address: label.index for label in self.farm.labels}
        return self._server()

    async def close(self) -> None:
        """Cut off whoever is connected."""
        if self._server is not None:
            await self._server.shutdown(_CLOSE_S)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return web.Response(status=503)
        index = self._places[transport.get_extra_info("sockname")[0]]
        machine = self.farm.plant.machines[index]
        if self.farm.clock.now_s() < machine.rebooting_until_s:
            transport.abort()
            return web.Response(status=503)
        if self.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            await asyncio.sleep(_SILENCE_S)
        if self.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index):
            self.garbled += 1
            kind, body = _GARBAGE[self.garbled % len(_GARBAGE)]
            return web.Response(body=body, content_type=kind)
        return await self.answer(index, request)
