"""Which keys sign a log, from which of its sizes to which: read from the log's own records.

A `key` record that names another key stands under a checkpoint that the keys in force before it
have signed too; so whoever knows the first key knows them all. A key is good for sizes of the log
and not for a time: clocks can be set. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.note import ED25519, Note, NoteError, VerifierKey, parse_vkey, verified_by

ADDED, RETIRED = "added", "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The keys in force from a size on, by size, the first from 0; the oldest key first.

    A checkpoint is good with the signatures of all keys that are in force at its size.
    """

    spans: tuple[tuple[int, tuple[VerifierKey, ...]], ...]

    @property
    def active(self) -> tuple[VerifierKey, ...]:
        """The keys that sign what comes next."""
        return self.spans[-1][1]

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """All that ever were in force, the oldest first."""
        return tuple(dict.fromkeys(key for _, keys in self.spans for key in keys))

    def at(self, size: int) -> tuple[VerifierKey, ...]:
        """The keys in force for a checkpoint of this size."""
        return next(keys for since, keys in reversed(self.spans) if since <= size)

    def range_of(self, key: VerifierKey) -> tuple[int, int | None]:
        """The sizes that a key is good for, the last included; None: without end."""
        since = min(at for at, keys in self.spans if key in keys)
        after = [at for at, keys in self.spans if at > since and key not in keys]
        return since, after[0] - 1 if after else None

    def words(self) -> tuple[str, ...]:
        """Each key and its sizes, for people."""
        ranges = [(key, *self.range_of(key)) for key in self.keys]
        return tuple(
            f"Key {short(key)} signs sizes {since} {'and on' if until is None else f'to {until}'}."
            for key, since, until in ranges
        )

    def after(self, index: int, data: Mapping[str, Any], *, checked: int) -> "KeyRing":
        """The keys once record ``index`` is under a checkpoint. Raises NoteError.

        ``checked`` is the size of the newest checkpoint that holds: a key may not retire the one
        before it until that one has signed a checkpoint beside it.
        """
        key, previous = (parse_vkey(str(data.get(name, ""))) for name in ("vkey", "previous"))
        if previous != self.active[0]:
            raise NoteError(f"the key {short(previous)} that it follows on is not in force")
        if key.name != self.active[0].name or key.algorithm != ED25519:
            raise NoteError(f"{key.name} is not a key of the log {self.active[0].name}")
        if data.get("event") == ADDED:
            if key in self.keys:
                raise NoteError(f"the key {short(key)} is or was in force already")
            following = (*self.active, key)
        elif data.get("event") == RETIRED:
            if key not in self.active[:-1]:
                raise NoteError(f"the key {short(key)} has no younger one that takes its place")
            if checked < self.spans[-1][0]:
                raise NoteError(f"the key {short(key)} has never signed beside the younger one")
            following = tuple(one for one in self.active if one != key)
        else:
            raise NoteError("it neither adds a key nor retires one")
        return KeyRing(spans=(*self.spans, (index + 1, following)))

    def check(self, size: int, note: Note) -> None:
        """Whether the keys in force at a size have all signed, and no other. Raises NoteError."""
        wanted = self.at(size)
        for key in self.keys:
            if key not in wanted and any(one.is_by(key) for one in note.signatures):
                since, until = self.range_of(key)
                to = " and on" if until is None else f" to {until}"
                raise NoteError(
                    f"it is signed by the key {short(key)}, which is good for sizes {since}{to}"
                    " only"
                )
        lacking = [key for key in wanted if key not in verified_by(note, wanted)]
        if lacking:
            raise NoteError(f"the signature by the key {short(lacking[0])} is missing")


def ring_of(first: VerifierKey) -> KeyRing:
    """The keys of a log that begins under this one."""
    return KeyRing(spans=((0, (first,)),))


def ring_from(own: VerifierKey, changes: Iterable[tuple[int, Mapping[str, Any]]]) -> KeyRing:
    """The keys of a log by its `key` records; ``own`` where there are none. Raises NoteError.

    Says what the records claim: who trusts one of the keys checks the checkpoints over them.
    """
    ring = None
    for index, data in changes:
        if ring is None:
            ring = ring_of(parse_vkey(str(data.get("previous", ""))))
        ring = ring.after(index, data, checked=index)
    return ring or ring_of(own)


def key_data(event: str, key: VerifierKey, ring: KeyRing) -> dict[str, Any]:
    """What a `key` record says. ``ring``: the keys in force before it."""
    return {"event": event, "vkey": key.text, "previous": ring.active[0].text}


def short(key: VerifierKey) -> str:
    """A key by its id: all of a log's keys bear the same name."""
    return key.key_id.hex()
