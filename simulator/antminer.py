"""Stock Antminers: cgminer's API on TCP 4028, pages behind a digest login, watts on TCP 6060.

The API takes one command per connection, joins none and changes nothing. A machine whose control
board restarts cuts every connection.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from simulator.antminer_login import Doorkeeper
from simulator.antminer_reads import NEW_API, NORMAL, PAGES, RPC, SLEEP, Json, Moment, Traits
from simulator.antminer_writes import reboot, set_blink, set_miner_conf
from simulator.caller import Caller
from simulator.door import Door
from simulator.farm import Farm
from simulator.faults import FaultKind
from simulator.web_callers import WebCallers

MAX_REQUEST_BYTES = 16_384
_INVALID_COMMAND, _INVALID_JSON, _DENIED = 14, 23, 45
_GARBAGE = (
    b"<html><body>502 Bad Gateway</body></html>",
    b'{"STATUS":[{"STATUS":"S","When":17602',
    b"Socket connect failed: Connection refused\n",
)
_PRIVILEGED = {"addpool", "switchpool", "removepool", "restart", "quit", "save"}
_DENIED_PAGE = "<html><head><title>401 Unauthorized</title></head><body></body></html>"
_FRONT_PAGE = "<html><head><title>Miner</title></head><body></body></html>"
_NO_PAGE = "<html><head><title>404 Not Found</title></head><body></body></html>"


Script = Callable[[int, web.BaseRequest], Awaitable[Json]]


@dataclass(slots=True, kw_only=True)
class AntminerFarm:
    """What all Antminers of a farm answer; the sockets only carry it."""

    farm: Farm
    patience_s: float = 5.0
    garbled: int = field(init=False, default=0)
    callers: set[Caller] = field(init=False, default_factory=set)
    pages: WebCallers = field(init=False)
    service: WebCallers = field(init=False)
    _scripts: dict[str, Script] = field(init=False)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)
    _keepers: dict[int, Doorkeeper] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.pages = WebCallers(farm=self.farm, answer=self._page)
        self.service = WebCallers(farm=self.farm, answer=self._service)
        self._scripts = dict.fromkeys(PAGES, self._read)
        self._scripts |= {"set_miner_conf": self._form, "reboot": self._reboot}
        self._scripts["blink"] = self._blink

    def doors(self, index: int) -> Sequence[Door]:
        """TCP 4028, the pages, and the service where the machine has it."""
        addresses, table = self.farm.file.addresses, self.farm.file.antminer
        doors = [
            Door(port=addresses.rpc_port, receive=lambda: Caller(self, index)),
            Door(port=addresses.web_port, receive=self.pages.receive, name="web"),
        ]
        if table.power in {"service", "old_service"}:
            doors.append(Door(port=table.service_port, receive=self.service.receive))
        return doors

    def password(self, index: int) -> str:
        """The one of the user "root"."""
        del index
        return self.farm.file.antminer.password

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()
        await self.pages.close()
        await self.service.close()

    def is_complete(self, received: bytes) -> bool:
        """Whether the bytes are one object; too many of them are none."""
        if len(received) > MAX_REQUEST_BYTES or received[-1:] in {b"\n", b"\0"}:
            return True
        return _document(received) is not None

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.farm.clock.now_s() < self.farm.plant.machines[index].rebooting_until_s

    def delay_s(self, index: int) -> float:
        """They answer at once."""
        del index
        return 0.0

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; None where this machine stays silent."""
        if self.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        if self.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index):
            self.garbled += 1
            return _GARBAGE[self.garbled % len(_GARBAGE)]
        at = self.moment(index)
        document = _document(received)
        if document is None:
            return _encoded(_refusal(at, _INVALID_JSON, "Invalid JSON"))
        return self._flawed(_encoded(self._answer(at, document)))

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        if index not in self._traits:
            machine, label = self.farm.plant.machines[index], self.farm.labels[index]
            low_mode = self.farm.file.antminer.low_mode
            awake_mode = NORMAL if machine.point.step == 0 else low_mode
            self._traits[index] = Traits(
                mode=awake_mode if machine.is_awake else SLEEP,
                mining_since_s=machine.started_s,
                pools=[
                    {
                        "url": f"stratum+tcp://pool{slot}.example:3333",
                        "user": f"farm.{label.hostname}",
                        "pass": f"pool-secret-{slot}",
                    }
                    for slot in range(3)
                ],
            )
        return self._traits[index]

    def moment(self, index: int) -> Moment:
        """One machine now, as its answers see it."""
        now_s = self.farm.clock.now_s()
        return Moment(
            farm=self.farm,
            machine=self.farm.plant.machines[index],
            label=self.farm.labels[index],
            traits=self.traits(index),
            now_s=now_s,
            when_s=self.farm.clock.ms_at(now_s) // 1000,
        )

    def _answer(self, at: Moment, document: Json) -> Json:
        command = document.get("command")
        is_newer = at.table.stats == "new_api" and document.get("new_api") is True
        if is_newer and command in NEW_API:
            return NEW_API[command](at)
        if command in RPC:
            return RPC[command](at)
        if command in _PRIVILEGED:
            return _refusal(at, _DENIED, f"Access denied to '{command}' command")
        return _refusal(at, _INVALID_COMMAND, "Invalid command")

    def _flawed(self, reply: bytes) -> bytes:
        match self.farm.file.antminer.flaw:
            case "nul":
                return reply + b"\0"
            case "joint":
                return reply.replace(b"},{", b"}{")
            case "comma":
                return reply.replace(b":[{", b":[,{")
        return reply

    async def _page(self, index: int, request: web.BaseRequest) -> web.StreamResponse:
        at = self.moment(index)
        header = request.headers.get("Authorization", "")
        if index not in self._keepers:
            self._keepers[index] = Doorkeeper(uses=at.table.nonce_uses)
        keeper = self._keepers[index]
        verdict = keeper.judge(
            header,
            method=request.method,
            path=request.raw_path,
            password=at.table.password,
        )
        if verdict != "in":
            challenge = keeper.challenge(is_stale=verdict == "stale")
            return _html(_DENIED_PAGE, status=401, headers={"WWW-Authenticate": challenge})
        if at.table.page_s > 0.0:
            await asyncio.sleep(at.table.page_s)
        if request.path == "/":
            return _html(_FRONT_PAGE)
        name = request.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
        if request.path != f"/cgi-bin/{name}.cgi" or name not in self._scripts:
            return _html(_NO_PAGE, status=404)
        return web.json_response(await self._scripts[name](index, request))

    async def _read(self, index: int, request: web.BaseRequest) -> Json:
        name = request.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
        return PAGES[name](self.moment(index))

    async def _form(self, index: int, request: web.BaseRequest) -> Json:
        done = set_miner_conf(self.moment(index), _body(await request.read()))
        await asyncio.sleep(self.farm.file.antminer.form_s)
        return done

    async def _blink(self, index: int, request: web.BaseRequest) -> Json:
        return set_blink(self.moment(index), _body(await request.read()))

    async def _reboot(self, index: int, _request: web.BaseRequest) -> Json:
        reboot(self.moment(index))
        return {}

    async def _service(self, index: int, request: web.BaseRequest) -> web.StreamResponse:
        at = self.moment(index)
        if at.table.power == "old_service" or at.traits.is_service_old:
            return web.Response(text="error 6060 cmd")
        if request.path == "/miner_power":
            return web.Response(text=f"miner power:{at.machine.reported_w(at.now_s)}")
        if request.path == "/warning":
            return web.json_response({"error_message": at.traits.warning})
        return web.Response(text="error 6060 cmd")


def _document(received: bytes) -> Json | None:
    document = _body(received.strip(b"\0 \r\n"))
    return document if isinstance(document, dict) else None


def _body(received: bytes) -> object:
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        return None


def _encoded(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _refusal(at: Moment, code: int, words: str) -> Json:
    status = {"STATUS": "E", "When": at.when_s, "Code": code, "Msg": words}
    return {"STATUS": [status | {"Description": "cgminer 1.0.0"}], "id": 1}


def _html(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=text, status=status, headers=headers, content_type="text/html")
