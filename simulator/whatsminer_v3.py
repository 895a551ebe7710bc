"""Whatsminers with API v3 on TCP 4433: one listening socket per machine, many questions each.

Quirks: ten callers at most, heartbeats of length 0, no word while the control board is down, and
faults as a broken machine has them: silence, frames with garbage, lengths that are none.
"""

import asyncio
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.door import Door
from simulator.farm import Farm
from simulator.faults import FaultKind
from simulator.whatsminer_v3_reads import READS, Moment, Traits
from simulator.whatsminer_v3_wire import (
    HEARTBEAT,
    INVALID,
    AnswerError,
    FrameError,
    Question,
    answer,
    framed,
    parse_question,
    take_frame,
)
from simulator.whatsminer_v3_writes import write

MAX_CALLERS = 10
_IDLE_S = 60.0
# A ceiling a little above what the model draws, as machines come from the factory: an assumption.
_LIMIT_SHARE = 1.05
_GARBAGE = (
    b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>nginx</html>",
    b"\x20\x00\x00\x00" + b'{"code":0,"when":17602,"msg":{"m',
    b"\x02\x00\x00\x00[]",
)


@dataclass(slots=True, kw_only=True)
class WhatsminerFarm:
    """What all Whatsminers of a farm answer; the sockets only carry it."""

    farm: Farm
    garbled: int = field(init=False, default=0)
    connections: set["WhatsminerConnection"] = field(init=False, default_factory=set)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)

    def doors(self, index: int) -> Sequence[Door]:
        """TCP 4433."""
        port = self.farm.file.addresses.whatsminer_v3_port
        return (Door(port=port, receive=lambda: WhatsminerConnection(self, index)),)

    def password(self, index: int) -> str:
        """The one of the account "super"."""
        del index
        return self.farm.file.whatsminer.password

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.connections):
            caller.abort()

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        if index not in self._traits:
            rng = random.Random(f"salt-{self.farm.file.site.seed}-{index}")
            machine = self.farm.plant.machines[index]
            watts = max(point.watts for point in machine.model.profiles)
            self._traits[index] = Traits(
                salt="".join(rng.choices(string.ascii_letters + string.digits, k=8)),
                percent=0 if machine.point.step == 0 else int(machine.point.name.rstrip("%")),
                limit_w=round(watts * _LIMIT_SHARE),
            )
        return self._traits[index]

    def reply(self, index: int, frame: bytes) -> bytes | None:
        """Bytes for a question; None where this machine stays silent."""
        if self.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        if self.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index):
            self.garbled += 1
            return _GARBAGE[self.garbled % len(_GARBAGE)]
        at = self.moment(index)
        beat = HEARTBEAT if self.farm.file.whatsminer.has_heartbeats else b""
        try:
            question = parse_question(frame)
            command = question.command
            message = self._message(at, question)
        except AnswerError as error:
            refused = answer(self._name(frame), str(error), at.when_s, code=error.code)
            return beat + framed(refused)
        return beat + framed(answer(command, message, at.when_s))

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.farm.clock.now_s() < self.farm.plant.machines[index].rebooting_until_s

    def is_away(self, index: int) -> bool:
        """Whether nobody is there any more for those who are still connected."""
        is_gone = self.farm.faults.has_miner(FaultKind.MINER_GONE, index)
        return is_gone or self.is_rebooting(index)

    @staticmethod
    def _message(at: Moment, question: Question) -> object:
        if question.command in READS:
            return READS[question.command](at, question.param)
        if question.command.startswith("set."):
            return write(at, question)
        raise AnswerError(INVALID, "invalid command")

    @staticmethod
    def _name(frame: bytes) -> str:
        try:
            return parse_question(frame).command
        except AnswerError:
            return ""

    def moment(self, index: int) -> Moment:
        """One machine now, as its answers see it."""
        now_s = self.farm.clock.now_s()
        skew_s = self.farm.file.whatsminer.clock_skew_s
        return Moment(
            farm=self.farm,
            machine=self.farm.plant.machines[index],
            label=self.farm.labels[index],
            traits=self.traits(index),
            now_s=now_s,
            when_s=self.farm.clock.ms_at(now_s) // 1000 + skew_s,
        )


class WhatsminerConnection(asyncio.Protocol):
    """One caller: question after question, until it goes or says nothing for a while."""

    def __init__(self, whatsminers: WhatsminerFarm, index: int) -> None:
        self.index = index
        self._whatsminers = whatsminers
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answers: set[asyncio.TimerHandle] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        others = self._whatsminers.connections
        callers = sum(other.index == self.index for other in others)
        others.add(self)
        if callers >= MAX_CALLERS or self._whatsminers.is_rebooting(self.index):
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to do for this caller."""
        del exc
        self._whatsminers.connections.discard(self)
        for timer in (self._timer, *self._answers):
            if timer is not None:
                timer.cancel()

    def abort(self) -> None:
        """Cut the caller off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer every whole frame."""
        self._received += data
        self._wait()
        try:
            while (frame := take_frame(self._received)) is not None:
                self._answer(frame)
        except FrameError:
            self.abort()

    def _answer(self, frame: bytes) -> None:
        if self._whatsminers.is_away(self.index):
            self.abort()
            return
        reply = HEARTBEAT if not frame else self._whatsminers.reply(self.index, frame)
        delay_s = self._whatsminers.farm.file.whatsminer.answer_delay_s
        if reply is None or self._transport is None:
            return
        if delay_s > 0.0:
            loop = asyncio.get_running_loop()
            self._answers.add(loop.call_later(delay_s, self._transport.write, reply))
        else:
            self._transport.write(reply)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self.abort)
