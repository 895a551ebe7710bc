"""Whatsminers with API v2 on TCP 4028: one question per connection, answered and closed.

Quirks: only so many of the mining program's reads in one question, an answer that may end with NUL,
JSON broken in the ways in which firmwares break it, no word to some writes, ten seconds for a
caller who says nothing. Opening the write API from outside is not served: attempts are counted.
"""

import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.caller import Caller
from simulator.door import Door
from simulator.farm import Farm
from simulator.faults import FaultKind
from simulator.whatsminer_v2_reads import MINER_READS, Moment, Traits, has_odd_list, read_named
from simulator.whatsminer_v2_wire import (
    INVALID_COMMAND,
    AnswerError,
    Json,
    flat,
    is_complete,
    key_text,
    open_sealed,
    parse_json,
    question_of,
    seal,
)
from simulator.whatsminer_v2_writes import (
    WRITES,
    factory_limit_w,
    grant_token,
    require_permission,
    write,
)

_NO_MINER = b"Socket connect failed: Connection refused\n"
_GARBAGE = (
    b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    b'{"STATUS":"S","When":17602,"Code":131,"Msg":{"m',
    b"\x00",
)


@dataclass(slots=True, kw_only=True)
class WhatsminerV2Farm:
    """What all machines of this family in a farm answer; the sockets only carry it."""

    farm: Farm
    patience_s: float = 10.0
    garbled: int = field(init=False, default=0)
    callers: set[Caller] = field(init=False, default_factory=set)
    _traits: dict[int, Traits] = field(init=False, default_factory=dict)

    def doors(self, index: int) -> Sequence[Door]:
        """TCP 4028."""
        port = self.farm.file.addresses.rpc_port
        return (Door(port=port, receive=lambda: Caller(self, index)),)

    def password(self, index: int) -> str:
        """The one of the account "admin"."""
        del index
        return self.farm.file.whatsminer_v2.password

    async def close(self) -> None:
        """Cut off whoever is connected."""
        for caller in tuple(self.callers):
            caller.abort()

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down."""
        return self.farm.clock.now_s() < self.farm.plant.machines[index].rebooting_until_s

    def is_complete(self, received: bytes) -> bool:
        """Whether a question has ended, or is too long to be one."""
        return is_complete(received)

    def delay_s(self, index: int) -> float:
        """How long this machine thinks before it answers."""
        del index
        return self.farm.file.whatsminer_v2.answer_delay_s

    def traits(self, index: int) -> Traits:
        """What a machine keeps besides its physics."""
        if index not in self._traits:
            rng = random.Random(f"salt-v2-{self.farm.file.site.seed}-{index}")
            machine = self.farm.plant.machines[index]
            self._traits[index] = Traits(
                salt="".join(rng.choices(string.ascii_letters + string.digits, k=8)),
                percent=int(machine.point.name.rstrip("%")),
                limit_w=factory_limit_w(machine),
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

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; None where this machine stays silent."""
        if self.farm.faults.has_miner(FaultKind.MINER_SILENT, index):
            return None
        if self.farm.faults.has_miner(FaultKind.MINER_GARBAGE, index):
            self.garbled += 1
            return _GARBAGE[self.garbled % len(_GARBAGE)]
        at = self.moment(index)
        end = b"\0" if at.table.ends_with_nul else b""
        try:
            document = parse_json(received.strip(b"\0 \r\n"))
            body = _written(at, document) if document.get("enc") else _read(at, document)
        except AnswerError as error:
            body = json.dumps(_refusal(at, error)).encode()
        return None if body is None else body + end


def _refusal(at: Moment, error: AnswerError) -> Json:
    return flat(str(error), at.when_s, code=error.code, letter="E")


def _written(at: Moment, document: Json) -> bytes | None:
    require_permission(at)
    key = key_text(at.table.password, at.traits.salt)
    fields = parse_json(open_sealed(document.get("data"), key))
    try:
        answer = write(at, question_of(fields, token=str(fields.get("token"))))
    except AnswerError as error:
        if not at.table.has_sealed_refusals:
            raise
        answer = _refusal(at, error)
    if answer is None:
        return None
    return json.dumps(seal(answer, key, is_pkcs7=at.table.padding == "pkcs7")).encode()


def _read(at: Moment, document: Json) -> bytes:
    names = question_of(document).names
    if names == ("get_token",):
        return json.dumps(grant_token(at)).encode()
    if names == ("open_write_api",):
        at.traits.unlock_tries += 1
    if len(names) == 1 and names[0] in WRITES:
        require_permission(at)
        raise AnswerError(INVALID_COMMAND, "invalid cmd")
    if len(names) > at.table.joined_max or (
        len(names) > 1 and not MINER_READS.keys() >= set(names)
    ):
        raise AnswerError(INVALID_COMMAND, "invalid cmd")
    reads = {name: read_named(at, name) for name in names}
    if any(name in MINER_READS for name in names) and at.is_off and not at.table.answers_asleep:
        return _NO_MINER
    answers = {name: read(at) for name, read in reads.items() if read is not None}
    if len(answers) < len(names):
        raise AnswerError(INVALID_COMMAND, "invalid cmd")
    joined: Json = {name: [answer] for name, answer in answers.items()}
    whole = {**joined, "id": 1} if len(names) > 1 else answers[names[0]]
    return _broken(at, json.dumps(whole).encode())


def _broken(at: Moment, body: bytes) -> bytes:
    """The same answer as this firmware's printf puts it."""
    if has_odd_list(at):
        start = body.find(b'"error_code": [{')
        if start >= 0:
            head, tail = body[:start], body[start:]
            body = head + tail.replace(b"}, {", b", ").replace(b"[{", b"[").replace(b"}]", b"]", 1)
    match at.table.flaw:
        case "newline":
            return body.replace(b", ", b",\n").replace(b".R", b".\nR")
        case "comma":
            return body.replace(b"}", b",}")
        case "joint":
            return body.replace(b"}, {", b"}{").replace(b"[{", b"[,{")
        case "inf":
            return body.replace(b'"Debug": ""', b'"Debug": inf, "Voltage": nan')
        case "truncated":
            return body[:-12]
        case _:
            return body
