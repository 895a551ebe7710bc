"""Which keys of a device sign its log from which size on, learned from nothing but the log.

A key counts from the checkpoint over the record that names it, if that checkpoint bears the
signatures of the keys before it as well. It may retire an older one once both have signed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.signed_note import NoteError, VerifierKey, parse_vkey


class KeyChangeError(Exception):
    """A change of keys that nobody may make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChain:
    """``steps``: from which size on which keys sign, all of them."""

    steps: tuple[tuple[int, tuple[VerifierKey, ...]], ...]

    def at(self, size: int) -> tuple[VerifierKey, ...]:
        """Who signs a checkpoint of this size."""
        return [keys for since, keys in self.steps if since <= size][-1]

    def grown(self, records: Sequence[bytes], start: int, proven: int) -> "KeyChain":
        """With the changes that these records make, of which the first has the index ``start``.

        ``proven`` is the size of the newest checkpoint that was found good. Raises KeyChangeError.
        """
        steps = list(self.steps)
        for index, line in enumerate(records, start):
            change = _change_in(line)
            if change is not None:
                is_seen = steps[-1][0] <= proven
                keys = _after(steps[-1][1], *change, is_seen=is_seen)
                steps.append((index + 1, keys))
        return KeyChain(steps=tuple(steps))


def _change_in(line: bytes) -> tuple[str, str] | None:
    """What a record says of a key; None: it is of another kind."""
    if b'"k":"key"' not in line:
        return None
    try:
        record = json.loads(line)
        if record["k"] != "key":
            return None
        return str(record["d"]["event"]), str(record["d"]["vkey"])
    except (ValueError, LookupError, TypeError) as error:
        raise KeyChangeError("a record about keys cannot be read") from error


def _after(
    keys: tuple[VerifierKey, ...], event: str, text: str, *, is_seen: bool
) -> tuple[VerifierKey, ...]:
    try:
        key = parse_vkey(text)
    except NoteError as error:
        raise KeyChangeError(str(error)) from error
    if key.name != keys[0].name:
        raise KeyChangeError(f"the key {key.name} is of another log")
    if event == "added" and key not in keys:
        return (*keys, key)
    if event == "retired" and key in keys[:-1] and is_seen:
        return tuple(one for one in keys if one != key)
    raise KeyChangeError(f"a key cannot be {event} so")
