"""What the pool signs for this agent: a note whose first line says what it is, the second is JSON.

The note is a C2SP signed note by a key of the pool that signs nothing else; the first line keeps a
signature under one kind of message from being shown under another. Nothing is read of the JSON
before the signature holds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any

from agent.core.note import ED25519, NoteError, VerifierKey, parse_note, verified_by

NOTE_BYTES_MAX = 30_000
"""Longer ones are refused. Twice as much, which is what escaping may make of it, fits a record."""

_NAME_CHARS_MAX = 64


class PoolRefusalError(Exception):
    """A message of the pool that is refused. ``reason`` is one word, the message one sentence.

    ``batch_id`` and ``sequence`` are what it calls itself, known only where its signature held.
    """

    def __init__(
        self, reason: str, words: str, *, batch_id: str | None = None, sequence: int | None = None
    ) -> None:
        super().__init__(words)
        self.reason = reason
        self.batch_id = batch_id
        self.sequence = sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNote:
    """A message whose signature holds. ``body`` is the exact line of JSON, ``fields`` its table."""

    text: str
    body: bytes
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def sha256(self) -> str:
        return digest_of(self.text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Whom a message must be for."""

    farm: str
    agent: str


def digest_of(payload: bytes) -> str:
    """By which an answer names the exact bytes that it answers."""
    return sha256(payload).hexdigest()


def check_signing_key(key: VerifierKey) -> VerifierKey:
    """The key itself. Raises NoteError where it is not one that signs notes."""
    if key.algorithm != ED25519:
        raise NoteError(
            f"key {key.name} cosigns checkpoints; the pool signs messages with a key of its own"
        )
    return key


def read_pool_note(payload: bytes, purpose: str, key: VerifierKey) -> PoolNote:
    """Check size, form and signature. Raises PoolRefusalError."""
    if len(payload) > NOTE_BYTES_MAX:
        raise PoolRefusalError(
            "too_large", f"the message has {len(payload)} bytes, {NOTE_BYTES_MAX} are taken"
        )
    try:
        text = payload.decode("utf-8")
        note = parse_note(text)
    except (UnicodeDecodeError, NoteError) as error:
        raise PoolRefusalError("malformed", f"the message is no signed note: {error}") from error
    if not any(signature.is_by(key) for signature in note.signatures):
        raise PoolRefusalError("wrong_key", f"the message is not signed by {key.name}")
    try:
        verified_by(note, (key,))
    except NoteError as error:
        raise PoolRefusalError("altered", f"the message was altered: {error}") from error
    lines = note.text.split("\n")
    if len(lines) != 3 or lines[0] != purpose:
        raise PoolRefusalError("malformed", f"the text is not {purpose!r} and one line of JSON")
    return PoolNote(text=text, body=lines[1].encode(), fields=_table(lines[1]))


def require_addressee(note: PoolNote, site: Addressee) -> None:
    """Raises PoolRefusalError where the message is for somebody else."""
    farm, agent = name_of(note, "farm"), name_of(note, "agent")
    if (farm, agent) != (site.farm, site.agent):
        raise PoolRefusalError(
            "wrong_site", f"the message is for {farm}/{agent}, this is {site.farm}/{site.agent}"
        )


def require_fields(note: PoolNote, names: frozenset[str]) -> None:
    """Exactly these fields and version 1: a field that nobody reads would be a promise."""
    if note.fields.keys() != names:
        odd = min(note.fields.keys() ^ names)
        words = "is missing" if odd in names else "is not known"
        raise PoolRefusalError("malformed", f"the field {odd[:40]!r} {words}")
    if note.fields["v"] != 1 or isinstance(note.fields["v"], bool):
        raise PoolRefusalError("malformed", "the message is not of version 1")


def name_of(note: PoolNote, key: str) -> str:
    """A field that is a name. Raises PoolRefusalError."""
    value = note.fields[key]
    is_name = isinstance(value, str) and 0 < len(value) <= _NAME_CHARS_MAX and value.isprintable()
    if not is_name:
        raise PoolRefusalError("malformed", f"{key} is not 1 to {_NAME_CHARS_MAX} letters")
    return str(value)


def number_of(note: PoolNote, key: str) -> int:
    """A field that counts. Raises PoolRefusalError."""
    value = note.fields[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**53:
        raise PoolRefusalError("malformed", f"{key} is not a whole number above 0")
    return value


def _table(line: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(line, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PoolRefusalError("malformed", "the second line is not JSON") from error
    if not isinstance(fields, dict):
        raise PoolRefusalError("malformed", "the second line is not a table of fields")
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is given twice")
    return fields
