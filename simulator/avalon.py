"""Avalons on TCP 4028: a single-threaded server per machine, one question per connection.

Whoever connects while another caller is served waits in line, however long that takes. The answer
ends with NUL and the connection with it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.avalon_reads import READS, Moment
from simulator.avalon_wire import (
    INVALID_COMMAND,
    Question,
    QuestionError,
    Told,
    encode,
    encode_joined,
    is_complete,
    parse_question,
)
from simulator.avalon_writes import Timers, ascset
from simulator.caller import Caller
from simulator.door import Door
from simulator.farm import Farm
from simulator.faults import FaultKind

_GARBAGE = (
    b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    b'{"STATUS":[{"STATUS":"S","When":17602',
    b"STATUS=S,When=1,Code=22,Msg=CGMiner ver",
)
_MAX_JOINED = 16


@dataclass(slots=True, kw_only=True)
class AvalonFarm:
    """What all Avalons of a farm answer; the sockets only carry it.

    ``complaints`` are values of a machine's report that a test wants otherwise; ``most_at_once``
    counts how many callers a machine ever had at the same time.
    """

    farm: Farm
    patience_s: float = 5.0
    garbled: int = field(init=False, default=0)
    callers: set[Caller] = field(init=False, default_factory=set)
    complaints: dict[int, dict[str, str]] = field(init=False, default_factory=dict)
    lines: dict[int, deque["QueuedCaller"]] = field(init=False, default_factory=dict)
    most_at_once: int = field(init=False, default=0)
    timers: Timers = field(init=False)

    def __post_init__(self) -> None:
        self.timers = Timers(farm=self.farm)

    def doors(self, index: int) -> Sequence[Door]:
        """TCP 4028."""
        port = self.farm.file.addresses.rpc_port
        return (Door(port=port, receive=lambda: QueuedCaller(self, index)),)

    def password(self, index: int) -> None:
        """There is none."""
        del index

    async def close(self) -> None:
        """Cut off whoever is connected."""
        self.timers.close()
        for caller in tuple(self.callers):
            caller.abort()

    def is_complete(self, received: bytes) -> bool:
        """Whether a question has ended, or is too long to be one."""
        return is_complete(received)

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.farm.clock.now_s() < self.farm.plant.machines[index].rebooting_until_s

    def delay_s(self, index: int) -> float:
        """How long it thinks."""
        del index
        return self.farm.file.avalon.answer_delay_s

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; none to close without a word, None to stay silent."""
        if self.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        if self.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index):
            self.garbled += 1
            return _GARBAGE[self.garbled % len(_GARBAGE)]
        at = self.moment(index)
        try:
            question = parse_question(received)
        except QuestionError as error:
            told = Told(letter="E", code=error.code, message=str(error))
            return encode(told, at.when_s, is_json=True)
        is_json = question.is_json and not at.table.answers_text_only
        if "+" in question.command and is_json:
            names = question.command.split("+")[:_MAX_JOINED]
            return encode_joined({name: self._read(at, name) for name in names}, at.when_s)
        answer = self._answer(at, question)
        return b"" if answer is None else encode(answer, at.when_s, is_json=is_json)

    def moment(self, index: int) -> Moment:
        """One machine now, as its answers see it."""
        now_s = self.farm.clock.now_s()
        machine = self.farm.plant.machines[index]
        clock_s = self.farm.clock.ms_at(now_s) // 1000
        if self.farm.file.avalon.counts_from_start:
            clock_s = int(now_s - machine.started_s)
        return Moment(
            farm=self.farm,
            machine=machine,
            label=self.farm.labels[index],
            complaints=self.complaints.get(index, {}),
            now_s=now_s,
            when_s=clock_s,
        )

    def _answer(self, at: Moment, question: Question) -> Told | None:
        if question.command == "ascset":
            return ascset(at, self.timers, question.parameter)
        return self._read(at, question.command)

    @staticmethod
    def _read(at: Moment, name: str) -> Told:
        if name not in READS or (name == "litestats" and not at.table.has_lite_stats):
            return Told(letter="E", code=INVALID_COMMAND, message="Invalid command")
        return READS[name](at)


class QueuedCaller(Caller):
    """A caller of a single-threaded server: it is heard when those before it are gone."""

    def __init__(self, server: AvalonFarm, index: int) -> None:
        super().__init__(server, index)
        self._line = server.lines.setdefault(index, deque())
        self._avalons = server
        self._way: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected: it waits unless it is the first."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._way = transport
        self._line.append(self)
        self._avalons.most_at_once = max(self._avalons.most_at_once, len(self._line))
        if len(self._line) > 1 and not transport.is_closing():
            transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The next in line is heard."""
        super().connection_lost(exc)
        self._line.remove(self)
        if self._line:
            self._line[0].hear()

    def hear(self) -> None:
        """Its turn has come."""
        if self._way is not None and not self._way.is_closing():
            self._way.resume_reading()
