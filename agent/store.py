"""The journal's SQLite file: rows, frontier and signed checkpoint in one transaction each.

Synchronous, for one thread and one connection (``agent.journal`` owns both). Any state that a
power cut leaves ends in a valid signed checkpoint: WAL with ``synchronous=FULL`` keeps what was
acknowledged, and EXCLUSIVE keeps everybody else out, which also avoids SQLite's WAL-reset bug
(sqlite.org/wal.html, walresetbug: two connections are needed for it).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from agent.core.merkle import Frontier, decode_frontier, leaf_hash
from agent.core.note import Checkpoint as Head
from agent.core.note import NoteError, parse_checkpoint, parse_note, sign_text, verified_by
from agent.journalfile import PAGE_BYTES, open_connection, purchase_of
from agent.keys import LogKey
from agent.records import (
    JournalError,
    JournalFullError,
    PreparedRecord,
    encode_record,
)
from agent.siteclock import Stamp

SOFT_SHARE = 0.9
"""Readings are refused from this share of the quota on: the rest is for evidence of decisions."""

_ROWS_MAX = 10_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """Where the journal lies and how much it may hold. ``version`` is that of the program."""

    path: Path
    max_bytes: int
    version: str
    group_commit_s: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A stored checkpoint: the note's text and the size it stands for."""

    size: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """How far the pool has cosigned: the size, and its last note (empty before the first)."""

    size: int
    note: str


def open_store(settings: JournalSettings, key: LogKey, stamp: Stamp) -> "Store":
    """Open the journal, check it and write the ``boot`` record. Raises JournalError."""
    connection = open_connection(settings.path, settings.max_bytes)
    store = Store(connection, settings, key)
    try:
        store.restore()
        store.begin_boot(settings.version, stamp, _BOOT_ID.read_text(encoding="ascii").strip())
    except BaseException:
        connection.close()
        raise
    return store


class Store:
    """One open journal file. Every method may raise JournalError; after one, only ``close``."""

    def __init__(
        self, connection: sqlite3.Connection, settings: JournalSettings, key: LogKey
    ) -> None:
        self._connection = connection
        self._key = key
        self._is_cosigned_dirty = False
        self._soft_pages = int(settings.max_bytes // PAGE_BYTES * SOFT_SHARE)
        self._max_pages = settings.max_bytes // PAGE_BYTES
        self.pages = 0
        self.boot = 0
        self.frontier = Frontier()
        self.cosigned = Cosigned(size=0, note="")
        self._previous = Frontier()
        self.previous_stop = "first"

    @property
    def size(self) -> int:
        return self.frontier.size

    @property
    def used_bytes(self) -> int:
        return self.pages * PAGE_BYTES

    def restore(self) -> None:
        """Read the state and check it against what was signed. Raises JournalError."""
        try:
            self._restore()
        except (TypeError, ValueError) as error:
            # A damaged page can turn one type into another, which STRICT checks only on writing.
            raise _damaged(f"a row is damaged ({error})") from error

    def _restore(self) -> None:
        row = self._one(
            "SELECT origin, boot, is_clean, size, frontier, previous_size, previous_frontier,"
            " cosigned_size, cosigned_note FROM head WHERE id = 1"
        )
        if row is None:
            self._write(
                "INSERT INTO head VALUES (1, ?, 0, 1, 0, x'', 0, x'', 0, '')", (self._key.origin,)
            )
            return
        if row[0] != self._key.origin:
            raise JournalError(
                f"The journal is the log {row[0]}, not {self._key.origin}: use another file."
            )
        self.boot = row[1]
        if self.boot:
            self.previous_stop = "clean" if row[2] else "unclean"
        self.frontier = decode_frontier(row[3], row[4])
        self._previous = decode_frontier(row[5], row[6])
        self.cosigned = Cosigned(size=row[7], note=row[8])
        self._check_head()

    def commit(
        self,
        records: Sequence[PreparedRecord],
        *,
        boot_id: str | None = None,
        is_reading: bool = False,
    ) -> range:
        """Write records with the checkpoint over them, durably. Returns their indices.

        Raises JournalFullError, after which the store goes on; ``is_reading`` says that all of
        it may be refused early, to leave room for evidence of decisions.
        """
        if is_reading and self.pages >= self._soft_pages:
            raise JournalFullError(
                "The journal is nearly full and takes no more readings: raise max_bytes"
                " or move the exported past away."
            )
        first = self.size
        bodies = [
            encode_record(record, index=index, boot=self.boot, boot_id=boot_id)
            for index, record in enumerate(records, first)
        ]
        leaves = [leaf_hash(body) for body in bodies]
        rows = [
            (index, record.kind, record.source, body, leaf)
            for index, (record, body, leaf) in enumerate(
                zip(records, bodies, leaves, strict=True), first
            )
        ]
        frontier = self.frontier.extend(leaves)
        head = Head(origin=self._key.origin, size=frontier.size, root=frontier.root())
        note = sign_text(head.encode(), self._key.verifier, self._key.sign).encode()
        self._commit_rows(rows, frontier, note)
        self._previous, self.frontier = self.frontier, frontier
        self._is_cosigned_dirty = False
        return range(first, frontier.size)

    def begin_boot(self, version: str, stamp: Stamp, boot_id: str) -> None:
        """Count this start and write its record."""
        self.boot += 1
        data = {
            "version": version,
            "previous_stop": self.previous_stop,
            "sqlite": sqlite3.sqlite_version,
        }
        record = PreparedRecord(
            kind="boot",
            source="agent",
            state="G",
            data=orjson.dumps(data),
            stamp=stamp,
            time_us=stamp.time_us,
        )
        self.commit((record,), boot_id=boot_id)

    def set_cosigned(self, cosigned: Cosigned) -> None:
        """Note how far the pool has everything; written with the next commit or at close.

        Losing it in a power cut costs a resend, so it is not worth a sync of its own.
        """
        self.cosigned = cosigned
        self._is_cosigned_dirty = True

    def read(self, from_index: int, limit_bytes: int) -> list[bytes]:
        """Records in order from an index: at least one if there is one, else within the limit."""
        records: list[bytes] = []
        total = 0
        sql = "SELECT body FROM records WHERE i >= ? ORDER BY i LIMIT ?"
        with _reading():
            for (body,) in self._connection.execute(sql, (from_index, _ROWS_MAX)):
                total += len(body) + 1
                if records and total > limit_bytes:
                    break
                records.append(body)
        return records

    def tail(self, count: int, kind: str | None) -> list[bytes]:
        limit = min(max(count, 0), _ROWS_MAX)
        if kind is None:
            sql, values = "SELECT body FROM records ORDER BY i DESC LIMIT ?", (limit,)
            return self._bodies(sql, values)[::-1]
        sql = "SELECT body FROM records WHERE kind = ? ORDER BY i DESC LIMIT ?"
        return self._bodies(sql, (kind, limit))[::-1]

    def page_of(
        self, kinds: Sequence[str], since_index: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Index and bytes of the next records of some kinds."""
        marks = ",".join("?" * len(kinds))
        sql = (
            f"SELECT i, body FROM records WHERE kind IN ({marks}) AND i >= ?"  # noqa: S608 – marks are question marks
            " ORDER BY i LIMIT ?"
        )
        return self._rows(sql, (*kinds, since_index, limit))

    def last(self, kind: str, source: str | None) -> bytes | None:
        """The newest record of a kind, and of a source if given. None: there is none."""
        row = self._one(
            "SELECT body FROM records WHERE kind = ? AND (? IS NULL OR source = ?)"
            " ORDER BY i DESC LIMIT 1",
            (kind, source, source),
        )
        return None if row is None else bytes(row[0])

    def purchases_of(self, names: Sequence[str]) -> list[bytes]:
        """The records in which these purchases were taken into the books, oldest first."""
        sql = "SELECT body FROM purchases JOIN records USING (i) WHERE id = ? ORDER BY purchases.i"
        return [body for name in names for body in self._bodies(sql, (name,))]

    def checkpoints_from(self, size: int, limit: int) -> list[SignedCheckpoint]:
        """The first checkpoints of this size or larger."""
        rows = self._rows(
            "SELECT size, note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT ?",
            (size, limit),
        )
        return [SignedCheckpoint(size=row[0], note=row[1]) for row in rows]

    def newest_checkpoint(self, above: int, up_to: int) -> SignedCheckpoint | None:
        """The largest checkpoint above one size and up to another. None: there is none between."""
        row = self._one(
            "SELECT size, note FROM checkpoints WHERE size > ? AND size <= ?"
            " ORDER BY size DESC LIMIT 1",
            (above, up_to),
        )
        return None if row is None else SignedCheckpoint(size=row[0], note=row[1])

    def close(self, *, is_clean: bool) -> None:
        try:
            if is_clean:
                self._write(
                    "UPDATE head SET is_clean = 1, cosigned_size = ?, cosigned_note = ?",
                    (self.cosigned.size, self.cosigned.note),
                )
        finally:
            self._connection.close()

    def _commit_rows(
        self, rows: Sequence[tuple[int, str, str, bytes, bytes]], frontier: Frontier, note: str
    ) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
            connection.executemany("INSERT INTO purchases VALUES (?, ?)", _purchases(rows))
            connection.execute("INSERT INTO checkpoints VALUES (?, ?)", (frontier.size, note))
            connection.execute(
                "UPDATE head SET boot = ?, is_clean = 0, size = ?, frontier = ?,"
                " previous_size = ?, previous_frontier = ? WHERE id = 1",
                (
                    self.boot,
                    frontier.size,
                    frontier.encode(),
                    self.frontier.size,
                    self.frontier.encode(),
                ),
            )
            if self._is_cosigned_dirty:
                connection.execute(
                    "UPDATE head SET cosigned_size = ?, cosigned_note = ?",
                    (self.cosigned.size, self.cosigned.note),
                )
            connection.execute("COMMIT")
            self.pages = connection.execute("PRAGMA page_count").fetchone()[0]
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Undo, and say whether the store can go on: only a full file is harmless.

        After any other error on commit Linux may have dropped the dirty pages, so what a retry
        reports as written need not be on the disk.
        """
        code = getattr(error, "sqlite_errorcode", None)
        if code != sqlite3.SQLITE_FULL:
            raise JournalError(f"The journal cannot be written: {error}.") from error
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as second:
            raise JournalError(f"The journal cannot be written: {second}.") from second
        raise JournalFullError(
            f"The journal has reached {self._max_pages * PAGE_BYTES} bytes or the disk is full:"
            " raise max_bytes or free space."
        ) from error

    def _check_head(self) -> None:
        """What was signed last must be what is stored, as far as one commit back."""
        first, last = self._one("SELECT min(i), max(i) FROM records") or (None, None)
        stored = 0 if last is None else last + 1
        if stored != self.size or (stored and first != 0):
            raise _damaged(f"{stored} records are stored and {self.size} are signed for")
        if not self.size:
            return
        for frontier in (self._previous, self.frontier):
            if frontier.size:
                self._check_checkpoint(frontier)
        leaves = []
        rows = self._rows(
            "SELECT i, body, leaf FROM records WHERE i >= ? ORDER BY i", (self._previous.size,)
        )
        for index, body, leaf in rows:
            if leaf_hash(body) != leaf:
                raise _damaged(f"record {index} was changed")
            leaves.append(leaf)
        if self._previous.extend(leaves) != self.frontier:
            raise _damaged("the last commit does not lead to the signed root")

    def _check_checkpoint(self, frontier: Frontier) -> None:
        row = self._one("SELECT note FROM checkpoints WHERE size = ?", (frontier.size,))
        if row is None:
            raise _damaged(f"the checkpoint of size {frontier.size} is missing")
        try:
            note = parse_note(row[0])
            verified_by(note, (self._key.verifier,))
            head = parse_checkpoint(note.text)
        except NoteError as error:
            raise _damaged(f"the checkpoint of size {frontier.size}: {error}") from error
        expected = Head(origin=self._key.origin, size=frontier.size, root=frontier.root())
        if head != expected:
            raise _damaged(f"the checkpoint of size {frontier.size} signs something else")

    def _bodies(self, sql: str, values: Sequence[str | int]) -> list[bytes]:
        return [body for (body,) in self._rows(sql, values)]

    def _one(self, sql: str, values: Sequence[str | int | None] = ()) -> tuple[Any, ...] | None:
        rows = self._rows(sql, values)
        return rows[0] if rows else None

    def _rows(self, sql: str, values: Sequence[str | int | None]) -> list[tuple[Any, ...]]:
        with _reading():
            return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, values: Sequence[str | int]) -> None:
        try:
            self._connection.execute(sql, values)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._give_up(error)


def _purchases(rows: Sequence[tuple[int, str, str, bytes, bytes]]) -> Iterator[tuple[str, int]]:
    for index, kind, _, body, _ in rows:
        name = purchase_of(body) if kind == "ledger" else None
        if name is not None:
            yield name, index


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise JournalError(f"The journal cannot be read: {error}.") from error


def _damaged(what: str) -> JournalError:
    return JournalError(
        f"The journal does not match what was signed: {what}; keep the file, run `kwota verify`"
        " on it and start a new epoch."
    )
