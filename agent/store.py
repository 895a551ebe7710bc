"""The journal's SQLite file: rows, frontier and signed checkpoint in one transaction each.

Synchronous, for one thread and one connection (``agent.journal`` owns both). Any state that a
power cut leaves ends in a valid signed checkpoint: WAL with ``synchronous=FULL`` keeps what was
acknowledged, and EXCLUSIVE keeps everybody else out, which also avoids SQLite's WAL-reset bug
(sqlite.org/wal.html, walresetbug: two connections are needed for it).
"""

import itertools
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.ballast import Ballast
from agent.core.merkle import Frontier, decode_frontier, leaf_hashes
from agent.core.note import Checkpoint as Head
from agent.core.note import NoteError, VerifierKey, parse_checkpoint, parse_note
from agent.epochs import (
    AT_ONCE,
    Break,
    break_between,
    break_by_other_key,
    break_in_the_dark,
    carried_records,
    epoch_data,
    next_origin,
    put_in_place,
    split_origin,
)
from agent.headcheck import check_head, damaged
from agent.journalfile import (
    PAGE_BYTES,
    carry_over,
    insert_records,
    open_connection,
    purchase_rows,
)
from agent.keys import LogKey
from agent.logrows import LogRows
from agent.records import (
    JournalError,
    JournalFullError,
    NewRecord,
    PreparedRecord,
    encode_records,
    prepare,
)
from agent.secondcopy import SecondCopy, signed_head
from agent.signers import Signers
from agent.siteclock import Stamp

SOFT_SHARE = 0.9
"""Readings are refused from this share of the quota on: the rest is for evidence of decisions."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """Where the journal lies and how much it may hold. ``version`` is that of the program.

    ``second_copy`` remembers how far the log went where a backup of the journal does not.
    ``ballast_bytes`` of the disk are held in reserve for evidence when others have filled it.
    """

    path: Path
    max_bytes: int
    version: str
    group_commit_s: float = 0.05
    second_copy: Path | None = None
    ballast_bytes: int = 0
    carry_over_pages: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """How far the pool has cosigned: the size, and its last note (empty before the first)."""

    size: int
    note: str


def open_store(settings: JournalSettings, key: LogKey, stamp: Stamp) -> "Store":
    """Open the journal, check it and write the ``boot`` record. Raises JournalError.

    Where the disk has forgotten what was signed, the log of the next epoch is opened instead.
    """
    store = _opened(settings, key)
    try:
        found = store.find_break(stamp)
        if found is not None:
            _succeed(store, found, settings, stamp)
            store = _opened(settings, key)
        store.begin_boot(settings.version, stamp)
    except BaseException:
        store.abandon()
        raise
    return store


def _opened(settings: JournalSettings, key: LogKey) -> "Store":
    store = Store(open_connection(settings.path, settings.max_bytes), settings, key)
    try:
        store.restore()
    except BaseException:
        store.abandon()
        raise
    return store


def _succeed(old: "Store", found: Break, settings: JournalSettings, stamp: Stamp) -> None:
    """Make the log of the next epoch, whole, and put it into the old one's place."""
    path = settings.path.with_name(f"{settings.path.name}.new")
    for leftover in (path, path.with_name(f"{path.name}-wal")):
        leftover.unlink(missing_ok=True)
    origin = next_origin(found)
    new = _opened(
        replace(settings, path=path, second_copy=None, ballast_bytes=0),
        replace(old.key.named(origin), successor=None),
    )
    try:
        carried = carried_records(old, stamp, first=1)
        data = epoch_data(found, split_origin(origin)[1], len(carried))
        new.begin_boot(settings.version, stamp, epoch=data)
        for at in range(0, len(carried), AT_ONCE):
            new.commit(carried[at : at + AT_ONCE])
    except BaseException:
        new.abandon()
        raise
    new.close(is_clean=True)
    old.abandon()
    put_in_place(path, settings.path, found.kept)


class Store(LogRows):
    """One open journal file. Every method may raise JournalError; after one, only ``close``."""

    def __init__(
        self, connection: sqlite3.Connection, settings: JournalSettings, key: LogKey
    ) -> None:
        super().__init__(connection)
        self._signers = Signers(key)
        self._second_copy = (
            None if settings.second_copy is None else SecondCopy(settings.second_copy)
        )
        self._ballast: Ballast | None = None
        if settings.ballast_bytes:
            path = settings.path.with_name(f"{settings.path.name}.ballast")
            self._ballast = Ballast(path, settings.ballast_bytes)
        self._newest_note = ""
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
    def key(self) -> LogKey:
        """The key that signs, the youngest of several, under the name of the log's epoch."""
        return self._signers.key

    @property
    def signers(self) -> tuple[VerifierKey, ...]:
        """Every public key that may have signed for this device, former ones included."""
        return self._signers.known

    @property
    def head(self) -> Head:
        return Head(origin=self.key.origin, size=self.size, root=self.frontier.root())

    @property
    def used_bytes(self) -> int:
        return self.pages * PAGE_BYTES

    def restore(self) -> None:
        """Read the state and check it against what was signed. Raises JournalError."""
        try:
            self._restore()
        except (TypeError, ValueError) as error:
            # A damaged page can turn one type into another, which STRICT checks only on writing.
            raise damaged(f"a row is damaged ({error})") from error

    def _restore(self) -> None:
        row = self.one(
            "SELECT origin, boot, is_clean, size, frontier, previous_size, previous_frontier,"
            " cosigned_size, cosigned_note FROM head WHERE id = 1"
        )
        if row is None:
            self._write(
                "INSERT INTO head VALUES (1, ?, 0, 1, 0, x'', 0, x'', 0, '')", (self.key.origin,)
            )
            return
        self._signers.restore(self, row[0])
        self.boot = row[1]
        if self.boot:
            self.previous_stop = "clean" if row[2] else "unclean"
        self.frontier = decode_frontier(row[3], row[4])
        self._previous = decode_frontier(row[5], row[6])
        self.cosigned = Cosigned(size=row[7], note=row[8])
        check_head(self, self._signers.ring, self._previous, self.frontier)

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
        if is_reading and not self._has_reserve():
            raise JournalFullError("The disk is full and takes no more readings: free space on it.")
        first = self.size
        bodies = encode_records(records, index=first, boot=self.boot, boot_id=boot_id)
        leaves = leaf_hashes(bodies)
        kinds, sources = [one.kind for one in records], [one.source for one in records]
        rows = list(zip(itertools.count(first), kinds, sources, bodies, leaves, strict=False))
        frontier = self.frontier.extend(leaves)
        head = Head(origin=self.key.origin, size=frontier.size, root=frontier.root())
        note = self._signers.sign(head)
        try:
            self._commit_rows(rows, frontier, note)
        except JournalFullError:
            # Not the quota, but the disk: somebody else has filled it.
            is_quota = self.pages >= self._soft_pages
            if is_quota or self._ballast is None or not self._ballast.cast_off():
                raise
            self._commit_rows(rows, frontier, note)
        self._previous, self.frontier = self.frontier, frontier
        self._is_cosigned_dirty = False
        self._newest_note = note
        if self._second_copy is not None:
            self._second_copy.offer(note)
        return range(first, frontier.size)

    def _has_reserve(self) -> bool:
        """Whether the ballast is where it should be, now that there is room or still."""
        return self._ballast is None or self._ballast.lay() or not self._ballast.was_needed

    def begin_boot(
        self, version: str, stamp: Stamp, epoch: Mapping[str, Any] | None = None
    ) -> None:
        """Count this start and write its record, with those of keys that change at this start.

        ``epoch``: why this log follows on another. Raises JournalError.
        """
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
        if self._ballast is not None:
            self._ballast.lay()
        self.boot += 1
        doubt = "" if self._second_copy is None else self._second_copy.doubt
        data = {
            "version": version,
            "previous_stop": self.previous_stop,
            "sqlite": sqlite3.sqlite_version,
            **({} if epoch is None else {"epoch": epoch}),
            **({"second_copy": doubt} if doubt else {}),
        }
        said = [("boot", data)]
        said += [("key", change) for change in self._signers.take_up(self.size + 1)]
        if self.previous_stop == "unclean":
            said.append(("gap", self.stop_gap(stamp.time_us // 1000)))
        records = [prepare(NewRecord(kind=k, source="agent", data=d), stamp) for k, d in said]
        self.commit(records, boot_id=boot_id)

    def find_break(self, stamp: Stamp) -> Break | None:
        """Whether this device has signed what is not here, as far as this disk remembers."""
        keys = self.signers
        known = [signed_head(self.cosigned.note, keys)] if self.cosigned.note else []
        found: list[Break | None] = []
        if (copy := self._second_copy) is not None:
            known.append(copy.read(keys))
            found.append(break_by_other_key(copy.stranger, self.head))
            found.append(break_in_the_dark(copy.silence, self.head, stamp))
        found += [self.break_from(head) for head in known if head is not None]
        return next((one for one in found if one is not None), None)

    def break_from(self, signed: Head) -> Break | None:
        """Whether this head, which this device has signed, is not in this log."""
        stored = self.newest_checkpoint(signed.size - 1, signed.size)
        try:
            root = None if stored is None else parse_checkpoint(parse_note(stored.note).text).root
        except NoteError as error:
            raise damaged(f"the checkpoint of size {signed.size}: {error}") from error
        return break_between(signed, self.head, root)

    def remember_break(self, note: str) -> Break | None:
        """A break that this head shows, kept where the next start finds it."""
        signed = signed_head(note, self.signers)
        found = None if signed is None else self.break_from(signed)
        if found is not None and self._second_copy is not None:
            self._second_copy.write(note)
            self._second_copy = None  # nothing that is signed from here on may take its place
        return found

    def set_cosigned(self, cosigned: Cosigned) -> None:
        """Note how far the pool has everything; written with the next commit or at close.

        Losing it in a power cut costs a resend, so it is not worth a sync of its own.
        """
        self.cosigned = cosigned
        self._is_cosigned_dirty = True

    def carry_over(self) -> None:
        """Copy what is committed into the main file, between two commits."""
        carry_over(self._connection)

    def close(self, *, is_clean: bool) -> None:
        if is_clean and self._second_copy is not None and self._newest_note:
            self._second_copy.write(self._newest_note)
        try:
            if is_clean:
                self._write(
                    "UPDATE head SET is_clean = 1, cosigned_size = ?, cosigned_note = ?",
                    (self.cosigned.size, self.cosigned.note),
                )
        finally:
            self._connection.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._connection.close()

    def _commit_rows(
        self, rows: Sequence[tuple[int, str, str, bytes, bytes]], frontier: Frontier, note: str
    ) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            insert_records(connection, rows)
            connection.executemany("INSERT INTO purchases VALUES (?, ?)", purchase_rows(rows))
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

    def _write(self, sql: str, values: Sequence[str | int]) -> None:
        try:
            self._connection.execute(sql, values)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._give_up(error)
