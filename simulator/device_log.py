"""One device's log as the witness keeps it: contiguous, compared byte for byte, rooted.

Pure: bytes in, outcome out. What is not yet covered by a checkpoint waits aside and is dropped if
its root turns out wrong, so a bad message never poisons the log.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.key_chain import KeyChain, KeyChangeError
from simulator.merkle import Frontier, leaf_hash, root_of
from simulator.signed_note import Checkpoint, NoteError, VerifierKey, open_checkpoint

MAX_MESSAGE_BYTES = 8_000_000
_MAX_RECORD_BYTES = 65_535
_MAX_WAITING = 100_000


class RejectError(Exception):
    """A message that is not taken; ``reason`` is one word for counting."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One evidence message."""

    origin: str
    start: int
    end: int
    checkpoint: bytes
    records: tuple[bytes, ...]


def parse_message(payload: bytes) -> Message:
    """Split a message into header and exact record bytes. Raises RejectError."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise RejectError("too_long", "the message is longer than the pool takes")
    head, _, body = payload.partition(b"\n")
    try:
        header = json.loads(head)
    except (ValueError, RecursionError):
        raise RejectError("header", "the header is not JSON") from None
    if not isinstance(header, dict) or header.get("v") != 1:
        raise RejectError("header", "the header is not an object of version 1")
    origin, start, end = header.get("origin"), header.get("from"), header.get("to")
    note = header.get("checkpoint")
    if not isinstance(origin, str) or not isinstance(note, str):
        raise RejectError("header", "the header lacks origin or checkpoint")
    if type(start) is not int or type(end) is not int or not 0 <= start <= end:
        raise RejectError("header", "from and to of the header are not a range")
    lines = body.removesuffix(b"\n").split(b"\n") if body else []
    if len(lines) != end - start:
        raise RejectError("count", f"{len(lines)} records where {end - start} are announced")
    if any(not line or len(line) > _MAX_RECORD_BYTES for line in lines):
        raise RejectError("record", "a record is empty or too long")
    try:
        checkpoint = note.encode()
    except UnicodeEncodeError:
        raise RejectError("header", "the checkpoint is not UTF-8") from None
    return Message(origin=origin, start=start, end=end, checkpoint=checkpoint, records=tuple(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a message led to. ``accepted`` records are proven by ``cosignable``, if there is one."""

    accepted: tuple[bytes, ...]
    cosignable: Checkpoint | None
    is_known: bool


@dataclass(slots=True, kw_only=True)
class DeviceLog:
    """Everything proven of one origin, and what waits for its checkpoint.

    ``vkey`` is the key as it was registered; the keys after it are in ``keys``.
    """

    vkey: VerifierKey
    records: list[bytes] = field(default_factory=list)
    keys: KeyChain = field(init=False)
    _leaves: list[bytes] = field(init=False, default_factory=list)
    _frontier: Frontier = field(init=False, default_factory=Frontier)
    _waiting: list[bytes] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        first = KeyChain(steps=((0, (self.vkey,)),))
        try:
            self.keys = first.grown(self.records, 0, len(self.records))
        except KeyChangeError as error:
            raise RejectError("storage", f"the records on disk do not hold: {error}") from error
        for record in self.records:
            leaf = leaf_hash(record)
            self._leaves.append(leaf)
            self._frontier.append(leaf)

    @property
    def size(self) -> int:
        """How many records are proven."""
        return self._frontier.size

    def take(self, message: Message) -> Outcome:
        """Take one message. Raises RejectError; the log is then as it was before."""
        checkpoint = self._verified(message)
        held = self.size + len(self._waiting)
        if message.start > held:
            sentence = f"records {held} to {message.start - 1} are missing"
            raise RejectError("gap", sentence)
        self._compare(message, held)
        if checkpoint.size <= self.size:
            return self._known(checkpoint)
        fresh = message.records[max(0, held - message.start) :]
        if len(self._waiting) + len(fresh) > _MAX_WAITING:
            raise RejectError("too_long", "too many records wait for their checkpoint")
        self._waiting.extend(fresh)
        if self.size + len(self._waiting) < checkpoint.size:
            return Outcome(accepted=(), cosignable=None, is_known=not fresh)
        return self._prove(checkpoint)

    def _verified(self, message: Message) -> Checkpoint:
        if message.origin != self.vkey.name:
            raise RejectError("origin", "the origin is not that of the registered key")
        try:
            claimed = open_checkpoint(message.checkpoint)
            # The youngest key has signed in any case; who else must have shows with the records.
            checkpoint = open_checkpoint(message.checkpoint, self.keys.at(claimed.size)[-1])
        except NoteError as error:
            raise RejectError("signature", str(error)) from error
        if checkpoint.origin != message.origin:
            raise RejectError("origin", "header and checkpoint name different origins")
        if checkpoint.size < message.end:
            raise RejectError("size", "the checkpoint does not cover the message")
        return checkpoint

    def _compare(self, message: Message, held: int) -> None:
        for index in range(message.start, min(message.end, held)):
            record = message.records[index - message.start]
            if index < self.size:
                is_same = leaf_hash(record) == self._leaves[index]
            else:
                is_same = record == self._waiting[index - self.size]
            if not is_same:
                if index >= self.size:
                    self._waiting.clear()
                raise RejectError("equivocation", f"record {index} has other bytes than before")

    def _known(self, checkpoint: Checkpoint) -> Outcome:
        is_latest = checkpoint.size == self.size
        root = self._frontier.root() if is_latest else root_of(self._leaves[: checkpoint.size])
        if root != checkpoint.root:
            raise RejectError("equivocation", f"another root for size {checkpoint.size}")
        return Outcome(accepted=(), cosignable=checkpoint if is_latest else None, is_known=True)

    def _prove(self, checkpoint: Checkpoint) -> Outcome:
        count = checkpoint.size - self.size
        accepted = self._waiting[:count]
        keys = self._signed_keys(checkpoint, accepted)
        trial = self._frontier.copy()
        leaves = [leaf_hash(record) for record in accepted]
        for leaf in leaves:
            trial.append(leaf)
        if trial.root() != checkpoint.root:
            self._waiting.clear()
            raise RejectError("root", f"the records do not give the root of size {checkpoint.size}")
        self._frontier, self.keys = trial, keys
        self._leaves.extend(leaves)
        self.records.extend(accepted)
        del self._waiting[:count]
        return Outcome(accepted=tuple(accepted), cosignable=checkpoint, is_known=False)

    def _signed_keys(self, checkpoint: Checkpoint, accepted: Sequence[bytes]) -> KeyChain:
        """The keys with these records, all of which have signed the checkpoint over them."""
        try:
            keys = self.keys.grown(accepted, self.size, self.size)
            open_checkpoint(checkpoint.note, *keys.at(checkpoint.size))
        except (KeyChangeError, NoteError) as error:
            self._waiting.clear()
            raise RejectError("signature", str(error)) from error
        return keys


def recorded(lines: Sequence[bytes], vkey: VerifierKey) -> DeviceLog:
    """A log rebuilt from proven records that were kept on disk."""
    return DeviceLog(vkey=vkey, records=list(lines))
