"""LuxOS machines on TCP 4028: one listening socket per machine, no task per machine.

A request ends with EOF, newline, NUL or a whole JSON object; the answer ends with NUL and the
server closes. Whoever sends half a request gets an error after a while, never silence.
"""

import asyncio
from dataclasses import dataclass, field

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

# A silent machine holds a caller so long, then resets: half-closed sockets must not pile up.
_SILENCE_S = 60.0
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
    sessions: Sessions
    patience_s: float = 5.0
    garbled: int = field(init=False, default=0)
    connections: set["LuxosConnection"] = field(init=False, default_factory=set)

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


class LuxosConnection(asyncio.Protocol):
    """One connection: collects one request, answers it, closes."""

    def __init__(self, luxos: LuxosFarm, index: int) -> None:
        self._luxos = luxos
        self._index = index
        self._received = bytearray()
        self._is_answered = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._luxos.connections.add(self)
        if self._luxos.is_rebooting(self._index):
            self._is_answered = True
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._luxos.patience_s, self._finish)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to do for this caller."""
        del exc
        self._luxos.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Cut the caller off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Collect; answer as soon as the request has ended."""
        if self._is_answered:
            return
        self._received += data
        if len(self._received) > MAX_REQUEST_BYTES or is_complete(bytes(self._received)):
            self._finish()

    def eof_received(self) -> bool:
        """The caller has said everything: answer what there is."""
        if not self._is_answered:
            self._finish()
        return True

    def _finish(self) -> None:
        if self._is_answered or self._transport is None:
            return
        self._is_answered = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._received:
            self._transport.close()
            return
        reply = self._luxos.reply(self._index, bytes(self._received))
        if reply is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SILENCE_S, self._transport.abort)
            return
        self._transport.write(reply)
        self._transport.close()
