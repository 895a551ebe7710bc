"""Who signs the heads of one open log: the keys in force, as far as their private halves are here.

A change of keys is taken up when the log is opened: a successor that the log does not name yet is
named, and a predecessor whose file was laid aside is retired, each by a `key` record.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from agent.core.note import (
    Checkpoint,
    Note,
    NoteError,
    Signature,
    VerifierKey,
    parse_note,
    sign_text,
)
from agent.epochs import is_same_log
from agent.headcheck import damaged
from agent.keyring import ADDED, RETIRED, key_data, ring_from, ring_of, short
from agent.keys import LogKey
from agent.logrows import SignedCheckpoint
from agent.records import JournalError


class Rows(Protocol):
    """Asks the journal's file."""

    def page_of(
        self, kinds: Sequence[str], since_index: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Index and bytes of the next records of some kinds."""

    def checkpoints_from(self, size: int, limit: int) -> list[SignedCheckpoint]:
        """The first checkpoints of this size or larger."""


_CHANGES_MAX = 10_000


class Signers:
    """The private halves, and the keys in force. Made anew for each log that is opened."""

    def __init__(self, key: LogKey) -> None:
        self._mine: tuple[LogKey, ...] = (key,) if key.successor is None else (key, key.successor)
        self.ring = ring_of(key.verifier)

    @property
    def key(self) -> LogKey:
        """The youngest key that signs, with what follows on it."""
        held = [key for key in self._mine if key.verifier in self.ring.active]
        return held[-1] if held else self._mine[0]

    @property
    def known(self) -> tuple[VerifierKey, ...]:
        """Every public key that may have signed for this device."""
        mine = tuple(key.verifier for key in self._mine)
        return tuple(dict.fromkeys((*self.ring.keys, *mine)))

    def restore(self, rows: Rows, origin: str) -> None:
        """Take the name of the log as it is there, and read who signs it. Raises JournalError."""
        own = self._mine[0].origin
        if origin != own:
            if not is_same_log(origin, own):
                raise JournalError(f"The journal is the log {origin}, not {own}: use another file.")
            self._mine = tuple(key.named(origin) for key in self._mine)
        page = rows.page_of(("key",), 0, _CHANGES_MAX)
        try:
            changes = [(index, orjson.loads(body)["d"]) for index, body in page]
            self.ring = ring_from(self._first(rows), changes)
        except (NoteError, ValueError, KeyError, TypeError) as error:
            raise damaged(f"a key record does not hold: {error}") from error

    def _first(self, rows: Rows) -> VerifierKey:
        """The key that the log begins under, where no record of it says so."""
        own = [key.verifier for key in self._mine]
        first = rows.checkpoints_from(1, 1)
        if not first:
            return own[0]
        signatures = parse_note(first[0].note).signatures
        signers = [key for key in own if any(one.is_by(key) for one in signatures)]
        return signers[0] if signers else own[0]

    def take_up(self, index: int) -> list[dict[str, Any]]:
        """What this start has to say about keys, from record ``index`` on; in force at once.

        Raises JournalError.
        """
        held = [key.verifier for key in self._mine]
        if self.ring.active[-1] not in held:
            raise JournalError(
                f"The log is signed by the key {short(self.ring.active[-1])}, which is not here:"
                " put its file back (docs/keys.md)."
            )
        wanted = [(RETIRED, key) for key in self.ring.active if key not in held]
        if held[-1] not in self.ring.keys:
            wanted.append((ADDED, held[-1]))
        said: list[dict[str, Any]] = []
        for event, key in wanted:
            data = key_data(event, key, self.ring)
            self.ring = self.ring.after(index + len(said), data, checked=index)
            said.append(data)
        return said

    def sign(self, head: Checkpoint) -> str:
        """The note with a signature by every key in force. Raises JournalError."""
        text = head.encode()
        lines: list[Signature] = []
        for verifier in self.ring.at(head.size):
            key = next((one for one in self._mine if one.verifier == verifier), None)
            if key is None:
                raise JournalError(f"The key {short(verifier)} that has to sign is not here.")
            lines += sign_text(text, verifier, key.sign).signatures
        return Note(text=text, signatures=tuple(lines)).encode()
