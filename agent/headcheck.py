"""What was signed last must be what is stored: the check of a journal when it is opened.

As far as one commit back, which is what a power cut can touch; `kwota verify` looks at all of it.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import Checkpoint, NoteError, parse_checkpoint, parse_note
from agent.keyring import KeyRing
from agent.records import JournalError


class Rows(Protocol):
    """Asks the journal's file."""

    def rows(self, sql: str, values: Sequence[str | int | None]) -> list[tuple[Any, ...]]:
        """All rows of the answer. Raises JournalError."""


def check_head(journal: Rows, ring: KeyRing, previous: Frontier, frontier: Frontier) -> None:
    """Compare rows, the last commit and its checkpoints with what is signed. Raises JournalError.

    ``frontier`` is the tree as the journal remembers it, ``previous`` that of one commit before,
    ``ring`` the keys that had to sign.
    """
    first, last = journal.rows("SELECT min(i), max(i) FROM records", ())[0]
    stored = 0 if last is None else last + 1
    if stored != frontier.size or (stored and first != 0):
        raise damaged(f"{stored} records are stored and {frontier.size} are signed for")
    if not frontier.size:
        return
    for one in (previous, frontier):
        if one.size:
            _check_checkpoint(journal, ring, one)
    leaves = []
    rows = journal.rows(
        "SELECT i, body, leaf FROM records WHERE i >= ? ORDER BY i", (previous.size,)
    )
    for index, body, leaf in rows:
        if leaf_hash(body) != leaf:
            raise damaged(f"record {index} was changed")
        leaves.append(leaf)
    if previous.extend(leaves) != frontier:
        raise damaged("the last commit does not lead to the signed root")


def _check_checkpoint(journal: Rows, ring: KeyRing, frontier: Frontier) -> None:
    rows = journal.rows("SELECT note FROM checkpoints WHERE size = ?", (frontier.size,))
    if not rows:
        raise damaged(f"the checkpoint of size {frontier.size} is missing")
    try:
        note = parse_note(rows[0][0])
        ring.check(frontier.size, note)
        head = parse_checkpoint(note.text)
    except NoteError as error:
        raise damaged(f"the checkpoint of size {frontier.size}: {error}") from error
    if head != Checkpoint(origin=ring.active[0].name, size=frontier.size, root=frontier.root()):
        raise damaged(f"the checkpoint of size {frontier.size} signs something else")


def damaged(what: str) -> JournalError:
    """The journal is not what was signed, and what to do."""
    return JournalError(
        f"The journal does not match what was signed: {what}; keep the file, run `kwota verify`"
        " on it and move it away: the next start opens a new epoch."
    )
