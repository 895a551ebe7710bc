"""One Modbus bus: a physical endpoint shared by the units behind it, with a strict order of things.

One request is on its way at a time. Every reply is compared with its request byte by byte before
anything decodes it, and whatever ends otherwise than with the right reply closes the line and
leaves the unit alone until a late reply must have passed. PDUs are encoded and decoded by pymodbus;
its framers and transactions are not used: 3.16 hands over a late RTU reply as the answer to the
next request. The argument is in docs/bus.md.
"""

import asyncio
import random
from dataclasses import dataclass

from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from drivers.errors import BadReplyError, DriverError, UnreachableError
from drivers.link.busline import Line, open_tcp
from drivers.link.endpoint import Endpoint, SerialEndpoint, Way
from drivers.link.freshness import Freshness
from drivers.link.refusals import RegisterRefusedError, refusal
from drivers.link.requests import REGISTER_LIMIT, Answer, ReadRequest, RegistersRead, Timing
from drivers.link.serialport import open_serial
from drivers.link.tcp import NoAnswerError
from drivers.link.turns import Rank, Turns, now_s
from drivers.link.units import UnitState
from drivers.wire.adu import Question, rtu_reply, rtu_request, tcp_reply, tcp_request

__all__ = [
    "REGISTER_LIMIT",
    "Answer",
    "BusLease",
    "BusRack",
    "Endpoint",
    "ModbusBus",
    "Rank",
    "ReadRequest",
    "RegisterRefusedError",
    "RegistersRead",
    "SerialEndpoint",
    "Timing",
]

# How long a unit of lower rank may keep a budget meter's bus waiting, besides the bytes' own time.
YIELD_S = 0.5
_NO_WAY_PAUSES_S = (0.0, 0.0, 0.25, 0.5, 1.0)
# A serial port that brings nothing so many times in a row is opened anew: adapters do hang.
_BARREN_MAX = 5


@dataclass(slots=True)
class _NoWay:
    """The last failure to open the line."""

    failures: int = 0
    until_s: float = 0.0
    error: UnreachableError | None = None


class ModbusBus:
    """One endpoint. ``read`` and ``ask`` may be called by many: requests wait for their turn."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._line: Line | None = None
        self._leaving: Line | None = None
        self._turns = Turns()
        self._units: dict[int, UnitState] = {}
        self._freshness = Freshness()
        self._no_way = _NoWay()
        self._barren = 0
        self._bus_free_s = 0.0
        self._last: tuple[int, float, float] = (0, 0.0, 0.0)  # unit, end of exchange, unit gap
        self._transaction = random.randrange(0xFFFF)  # noqa: S311 - not to meet an old reply
        self._decoder = DecodePDU(is_server=False)

    async def read(
        self, request: ReadRequest, timing: Timing, rank: Rank = Rank.OTHER
    ) -> RegistersRead:
        """Read registers, or say exactly why not.

        Raises UnreachableError (no connection, no reply, gateway without the unit), BadReplyError
        (a reply to something else), RegisterRefusedError, BusyError.
        """
        if rank is Rank.BUDGET:
            self._freshness.asked(request.unit, now_s())
        block = f"0x{request.address:04X}…0x{request.address + request.count - 1:04X}"
        answer = await self.ask(request.question(), timing, rank, f"registers {block}")
        assert isinstance(answer.pdu, ReadHoldingRegistersResponse)  # input registers come as one
        if rank is Rank.BUDGET:
            took_s = answer.replied_at_s - answer.requested_at_s
            self._freshness.read(request.unit, answer.requested_at_s, took_s)
        return RegistersRead(
            requested_at_s=answer.requested_at_s,
            replied_at_s=answer.replied_at_s,
            registers=tuple(answer.pdu.registers),
        )

    async def ask(self, question: Question, timing: Timing, rank: Rank, subject: str) -> Answer:
        """One request and its reply, whatever the function. ``subject`` is for a refusal's words.

        Raises as ``read``. A request that may have left and has no reply is an UnreachableError:
        whoever writes must read back.
        """
        unit = self._units.setdefault(question.unit, UnitState())
        self._refuse_paused(unit, question)
        async with self._turns.turn(rank, lambda: self._ready_s(question, timing, rank, unit)):
            self._refuse_paused(unit, question)
            line = await self._connected(timing)
            began_s = now_s()
            is_answered = False
            try:
                answer = await self._exchange(line, question, timing, rank)
                error = self._refusal(answer, question, subject)
                is_answered = not isinstance(error, BadReplyError)
            except _NoReplyError as silence:
                unit.missed(now_s(), is_urgent=rank < Rank.OTHER)
                raise self._no_reply(question, silence, timing, unit) from silence
            finally:
                self._heed(is_answered=is_answered)
                self._note_end(question, timing, began_s, is_answered=is_answered)
            unit.answered(answer.replied_at_s - answer.requested_at_s)
            if error is not None:
                raise error
            return answer

    def _refusal(self, answer: Answer, question: Question, subject: str) -> DriverError | None:
        if not answer.pdu.isError():
            return None
        code = answer.pdu.exception_code
        return refusal(code, unit=question.unit, way=str(self._way), subject=subject)

    def close(self) -> None:
        """Close the line; a later read opens it again."""
        self._drop()

    def _refuse_paused(self, unit: UnitState, question: Question) -> None:
        if unit.is_paused(now_s()):
            raise self._silent(question)

    def _ready_s(self, question: Question, timing: Timing, rank: Rank, unit: UnitState) -> float:
        """From when on a request may begin."""
        last_unit, ended_s, last_gap_s = self._last
        ready_s = max(self._bus_free_s, unit.free_s)
        gap_s = max(timing.unit_gap_s, last_gap_s) if self._way.is_rtu else 0.0
        if question.unit != last_unit:
            ready_s = max(ready_s, ended_s + gap_s)
        if rank < Rank.OTHER:
            return ready_s
        lasts_s = self._limit_s(question, timing, rank)
        if not unit.is_doubtful and unit.took_s is not None:
            lasts_s = min(lasts_s, 1.5 * unit.took_s)
        at_s = max(ready_s, now_s())
        return self._freshness.begin_s(at_s, lasts_s=lasts_s, gap_s=gap_s)

    def _limit_s(self, question: Question, timing: Timing, rank: Rank) -> float:
        """When a reply is late. Where a budget meter shares an RTU line, others yield to it."""
        if rank < Rank.OTHER or not self._way.is_rtu or not self._freshness.is_kept(now_s()):
            return timing.answer_s
        byte_count = len(rtu_request(question)) + question.reply_bytes + 3
        return min(timing.answer_s, YIELD_S + byte_count * self._byte_s)

    @property
    def _byte_s(self) -> float:
        return 11.0 / self._way.baud

    def _note_end(
        self, question: Question, timing: Timing, began_s: float, *, is_answered: bool
    ) -> None:
        """Keep the silence that is due after an exchange."""
        at_s = now_s()
        self._last = (question.unit, at_s, timing.unit_gap_s)
        unit = self._units[question.unit]
        if is_answered:
            unit.free_s = at_s + timing.gap_s
        else:
            unit.free_s = max(at_s, began_s + timing.answer_s + timing.quiet_s)
        if self._way.is_rtu:
            # 3.5 characters end a frame; 1.75 ms are enough above 19 200 baud.
            self._bus_free_s = at_s + max(3.5 * self._byte_s, 0.00175)
        elif not is_answered:
            # A gateway may put the next request's header around the last one's late reply.
            self._bus_free_s = unit.free_s

    async def _connected(self, timing: Timing) -> Line:
        """The open line, a new one if the old one is gone or holds what nobody asked for."""
        line = self._line
        if line is not None and line.is_open:
            if not line.received:
                return line
            if isinstance(self._way, SerialEndpoint):
                line.received.clear()
                return line
        self._drop()
        if now_s() < self._no_way.until_s and self._no_way.error is not None:
            raise UnreachableError(str(self._no_way.error))
        try:
            await self._left(timing)
            if isinstance(self._way, SerialEndpoint):
                self._line = await open_serial(self._way, timing.connect_s)
            else:
                self._line = await open_tcp(self._way, timing.connect_s)
        except UnreachableError as error:
            failures = min(self._no_way.failures + 1, len(_NO_WAY_PAUSES_S) - 1)
            self._no_way = _NoWay(failures, now_s() + _NO_WAY_PAUSES_S[failures], error)
            raise
        self._no_way = _NoWay()
        return self._line

    async def _left(self, timing: Timing) -> None:
        """Wait until the last line has ended: a port or gateway may have room for one."""
        if self._leaving is None:
            return
        try:
            async with asyncio.timeout(timing.connect_s):
                await self._leaving.closed()
        except TimeoutError as error:
            raise UnreachableError(
                f"The last connection to {self._way} does not end: check the network between."
            ) from error
        self._leaving = None

    async def _exchange(self, line: Line, question: Question, timing: Timing, rank: Rank) -> Answer:
        """One request and its reply. Everything raised here makes the caller drop the line."""
        self._transaction = self._transaction % 0xFFFF + 1
        requested_at_s = now_s()
        is_rtu = self._way.is_rtu
        line.send(rtu_request(question) if is_rtu else tcp_request(question, self._transaction))
        try:
            async with asyncio.timeout(self._limit_s(question, timing, rank)):
                while (pdu := self._reply(line, question)) is None:
                    if not line.is_open:
                        raise NoAnswerError(
                            f"{self._way} closed the connection instead of answering: many "
                            "gateways accept only one client.",
                            reply=bytes(line.received),
                        )
                    await line.arrival()
        except TimeoutError as error:
            raise _NoReplyError("silent", reply=bytes(line.received)) from error
        line.received.clear()
        decoded = self._decoder.decode(pdu)
        assert decoded is not None
        return Answer(requested_at_s=requested_at_s, replied_at_s=now_s(), pdu=decoded)

    def _reply(self, line: Line, question: Question) -> bytes | None:
        received = bytes(line.received)
        try:
            if self._way.is_rtu:
                return rtu_reply(question, received)
            return tcp_reply(question, self._transaction, received)
        except BadReplyError as error:
            raise BadReplyError(f"{self._way} {error}.", reply=error.reply) from error

    def _no_reply(
        self, question: Question, error: "_NoReplyError", timing: Timing, unit: UnitState
    ) -> DriverError:
        if unit.is_silent:
            return self._silent(question, error.reply)
        if error.reply:
            return BadReplyError(
                f"{self._way} answered with something that is no reply to unit "
                f"{question.unit}: check the protocol (modbus or modbus+rtu), the unit, "
                "and on a serial line speed and parity.",
                reply=error.reply,
            )
        return NoAnswerError(
            f"Unit {question.unit} of {self._way} did not answer within "
            f"{timing.answer_s:g} s: check the bus, the unit's address and its speed."
        )

    def _silent(self, question: Question, reply: bytes = b"") -> UnreachableError:
        # The same words with and without a request, so that a log tells it once.
        return NoAnswerError(
            f"Unit {question.unit} of {self._way} does not answer and is asked only now and then: "
            "check the bus, the unit's address, its speed and parity.",
            reply=reply,
        )

    def _heed(self, *, is_answered: bool) -> None:
        """Drop a connection that did not bring the reply: what comes late ends with it.

        A serial port stays open: closing it keeps nothing away, and some adapters live on its
        control lines.
        """
        self._barren = 0 if is_answered else self._barren + 1
        is_socket = not isinstance(self._way, SerialEndpoint)
        if not is_answered and (is_socket or self._barren >= _BARREN_MAX):
            self._barren = 0
            self._drop()

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
            self._leaving, self._line = self._line, None


class _NoReplyError(DriverError):
    """A time-out, to be told in the bus' own words."""


class BusRack:
    """All endpoints in use: units of one endpoint share one bus, the last user closes it."""

    def __init__(self) -> None:
        self._buses: dict[Way, tuple[ModbusBus, int]] = {}

    def lease(self, way: Way, rank: Rank = Rank.OTHER) -> "BusLease":
        """The endpoint's bus, opened at the first read. Raises ValueError on a contradiction."""
        for other in self._buses:
            if str(other) == str(way) and other != way:
                raise ValueError(_contradiction(way))
        bus, users = self._buses.get(way) or (ModbusBus(way), 0)
        self._buses[way] = (bus, users + 1)
        return BusLease(rack=self, way=way, bus=bus, rank=rank)

    def give_back(self, way: Way) -> None:
        """Count one user less; nobody else calls this but a lease."""
        bus, users = self._buses[way]
        if users > 1:
            self._buses[way] = (bus, users - 1)
            return
        del self._buses[way]
        bus.close()


def _contradiction(way: Way) -> str:
    if isinstance(way, SerialEndpoint):
        return f"{way} is configured with different speeds or parities: one port has one of each."
    return f"{way} is configured both as modbus and as modbus+rtu: one port speaks one of them."


class BusLease:
    """One user's share of a bus. Giving it back twice does no harm."""

    def __init__(self, *, rack: BusRack, way: Way, bus: ModbusBus, rank: Rank) -> None:
        self.endpoint = way
        self.rank = rank
        self._rack = rack
        self._bus: ModbusBus | None = bus

    async def read(
        self, request: ReadRequest, timing: Timing, rank: Rank | None = None
    ) -> RegistersRead:
        """As ModbusBus.read; UnreachableError after ``close``. ``rank``: of this request alone."""
        return await self._open().read(request, timing, self.rank if rank is None else rank)

    async def ask(self, question: Question, timing: Timing, subject: str) -> Answer:
        """As ModbusBus.ask; UnreachableError after ``close``."""
        return await self._open().ask(question, timing, self.rank, subject)

    def close(self) -> None:
        """Give the share back."""
        if self._bus is not None:
            self._bus = None
            self._rack.give_back(self.endpoint)

    def _open(self) -> ModbusBus:
        if self._bus is None:
            raise UnreachableError(f"The way to {self.endpoint} has been closed.")
        return self._bus
