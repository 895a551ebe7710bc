"""The pool's signed word that two logs were shown to it under this agent's name.

It names two heads that this agent's key has signed and that cannot both be of one log. One of them
this disk does not have: either it went back in time, or somebody else holds the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.note import (
    Checkpoint,
    Note,
    NoteError,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    verified_by,
)
from agent.epochs import key_of_epoch
from agent.poolnote import (
    Addressee,
    PoolNote,
    PoolRefusalError,
    name_of,
    read_pool_note,
    require_addressee,
    require_fields,
)

PURPOSE = "kwota/equivocation/v1"
REASONS = frozenset({"went_back", "another_root", "forked"})

_FIELDS = frozenset({"v", "farm", "agent", "origin", "reason", "words", "at_ms", "seen", "shown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """What the pool reports. ``seen`` it had cosigned, ``shown`` came afterwards."""

    reason: str
    origin: str
    seen: Checkpoint
    shown: Checkpoint
    seen_note: str
    note: PoolNote

    @property
    def words(self) -> str:
        return (
            f"the pool was shown two logs as {self.origin}: one of {self.seen.size} records, which"
            f" it has cosigned, and then one of {self.shown.size} that is not the same"
        )


def read_report(
    payload: bytes, key: VerifierKey, site: Addressee, signers: Sequence[VerifierKey]
) -> PoolReport:
    """Check a report by itself: signed by the pool, and about heads that one of ``signers``, the
    keys of our own log, has signed.

    Raises PoolRefusalError.
    """
    note = read_pool_note(payload, PURPOSE, key)
    require_fields(note, _FIELDS)
    require_addressee(note, site)
    reason, origin = name_of(note, "reason"), str(note.fields["origin"])
    if reason not in REASONS:
        raise PoolRefusalError("malformed", f"there is no reason {reason!r}")
    seen_note, shown_note = note.fields["seen"], note.fields["shown"]
    seen, shown = (
        _own_head(name, text, origin, signers)
        for name, text in (("seen", seen_note), ("shown", shown_note))
    )
    if seen == shown or (reason == "another_root") != (seen.size == shown.size):
        raise PoolRefusalError("unproven", f"its two heads do not show what it says: {reason}")
    if (reason == "went_back") != (shown.size < seen.size):
        raise PoolRefusalError("unproven", f"its two heads do not show what it says: {reason}")
    return PoolReport(
        reason=reason, origin=origin, seen=seen, shown=shown, seen_note=str(seen_note), note=note
    )


def _own_head(name: str, text: object, origin: str, signers: Sequence[VerifierKey]) -> Checkpoint:
    """A head that this device has signed under that name."""
    try:
        note = _parsed(text)
        head = parse_checkpoint(note.text)
        verified_by(note, [key_of_epoch(one, origin) for one in signers])
    except NoteError as error:
        raise PoolRefusalError(
            "unproven", f"the head {name!r} is none that this agent has signed: {error}"
        ) from error
    if head.origin != origin:
        raise PoolRefusalError("unproven", f"the head {name!r} is of the log {head.origin}")
    return head


def _parsed(text: object) -> Note:
    if not isinstance(text, str):
        raise NoteError("it is not text")
    return parse_note(text)
