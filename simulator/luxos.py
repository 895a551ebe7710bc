"""LuxOS machines on TCP 4028: one listening socket per machine, no task per machine.

A request ends with EOF, newline, NUL or a whole JSON object; the answer ends with NUL and the
server closes. Whoever sends half a request gets an error after a while, never silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.caller import Caller
from simulator.door import Door
from simulator.farm import Farm
from simulator.faults import FaultKind
from simulator.luxos_more_reads import MORE_READS, health_of_chips, voltage
from simulator.luxos_reads import Moment
from simulator.luxos_wire import (
    INVALID_COMMAND,
    MAX_REQUEST_BYTES,
    Json,
    Request,
    RequestError,
    encode,
    is_complete,
    parse_request,
    refusal,
)
from simulator.luxos_writes import WRITES, Sessions, logoff, logon, session, write
from simulator.web_face import WebConnection

_GARBAGE = (
    b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    b'{"STATUS":[{"STATUS":"S","When":17602',
    b"\x00",
)
_MAX_JOINED = 16
_BOARD_READS = {"healthchipget": health_of_chips, "voltageget": voltage}
_SESSION_VERBS = {"logon": logon, "session": session, "logoff": logoff}


@dataclass(slots=True, kw_only=True)
class LuxosFarm:
    """What all machines of a farm answer; the sockets only carry it."""

    farm: Farm
    patience_s: float = 5.0
    sessions: Sessions = field(init=False)
    garbled: int = field(init=False, default=0)
    callers: set[Caller] = field(init=False, default_factory=set)
    troubles: dict[int, list[tuple[str, str, int | None]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        file = self.farm.file
        self.sessions = Sessions(idle_s=file.timings.session_idle_s, seed=file.site.seed)

    def doors(self, index: int) -> Sequence[Door]:
        """TCP 4028, and a web page for those who look."""
        addresses = self.farm.file.addresses
        rpc = Door(port=addresses.rpc_port, receive=lambda: Caller(self, index))
        if not addresses.has_web:
            return (rpc,)
        return (rpc, Door(port=addresses.web_port, receive=WebConnection, is_optional=True))

    def password(self, index: int) -> None:
        """There is none: the session is a lock, not a login."""
        del index

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()

    def is_complete(self, received: bytes) -> bool:
        """Whether a question has ended, or is too long to be one."""
        return len(received) > MAX_REQUEST_BYTES or is_complete(received)

    def delay_s(self, index: int) -> float:
        """They answer at once."""
        del index
        return 0.0

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a request; None where this machine stays silent."""
        if self.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        if self.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index):
            self.garbled += 1
            return _GARBAGE[self.garbled % len(_GARBAGE)]
        at = self._moment(index)
        try:
            return encode(self._answer(at, parse_request(received)))
        except RequestError as error:
            return encode(refusal(error.code, str(error), at.when_s))

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.farm.clock.now_s() < self.farm.plant.machines[index].rebooting_until_s

    def _moment(self, index: int) -> Moment:
        now_s = self.farm.clock.now_s()
        return Moment(
            farm=self.farm,
            machine=self.farm.plant.machines[index],
            label=self.farm.labels[index],
            now_s=now_s,
            when_s=self.farm.clock.ms_at(now_s) // 1000,
            troubles=tuple(self.troubles.get(index, ())),
        )

    def _answer(self, at: Moment, request: Request) -> Json:
        if "+" not in request.command:
            return self._single(at, request.command, request.parameters)
        names = request.command.split("+")
        if len(names) > _MAX_JOINED:
            raise RequestError(INVALID_COMMAND, "Too many commands")
        joined: Json = {name: [self._read(at, name)] for name in names}
        return {**joined, "id": 1}

    def _read(self, at: Moment, name: str) -> Json:
        if name in MORE_READS:
            return MORE_READS[name](at)
        return refusal(INVALID_COMMAND, "Invalid command", at.when_s)

    def _single(self, at: Moment, name: str, parameters: tuple[str, ...]) -> Json:
        if name in MORE_READS:
            return MORE_READS[name](at)
        if name in _BOARD_READS:
            return _BOARD_READS[name](at, parameters)
        if name in _SESSION_VERBS:
            return _SESSION_VERBS[name](at, self.sessions, parameters)
        if name in WRITES:
            document = write(at, self.sessions, name, parameters)
            if name == "rebootdevice":
                self.sessions.drop(at.machine.index)
            return document
        raise RequestError(INVALID_COMMAND, "Invalid command")
