"""The journal's file: made, locked, set up and migrated. Knows tables, not records.

One process and one connection: EXCLUSIVE is asked for before WAL, so that SQLite keeps the WAL
index in memory and a second process is refused instead of becoming a second writer.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import orjson
from sqlite_utils import Database, Migrations

from agent.records import JournalError

PAGE_BYTES = 4096

_BUSY_S = 0.2
_GROUP = 50
_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?)"
_INSERT_GROUP = _INSERT + ", (?, ?, ?, ?, ?)" * (_GROUP - 1)
_MIGRATIONS = Migrations("journal")


@_MIGRATIONS()
def m001_log(database: Database) -> None:
    """The log itself: exact bytes with their leaf hash, and one checkpoint per commit."""
    database.table("records").create(
        {"i": int, "kind": str, "source": str, "body": bytes, "leaf": bytes},
        pk="i",
        not_null={"kind", "source", "body", "leaf"},
        strict=True,
    )
    database.table("records").create_index(["kind"])
    database.table("checkpoints").create(
        {"size": int, "note": str}, pk="size", not_null={"note"}, strict=True
    )


@_MIGRATIONS()
def m002_head(database: Database) -> None:
    """One row: what the next commit and the next start go on from."""
    columns = {
        "id": int,
        "origin": str,
        "boot": int,
        "is_clean": int,
        "size": int,
        "frontier": bytes,
        "previous_size": int,
        "previous_frontier": bytes,
        "cosigned_size": int,
        "cosigned_note": str,
    }
    database.table("head").create(columns, pk="id", not_null=set(columns) - {"id"}, strict=True)


@_MIGRATIONS()
def m003_purchases(database: Database) -> None:
    """Purchases by their id: one that was bought years ago may not be bought again otherwise.

    A table and no index on the record's text, because SQLite 3.40 has no JSON function that a
    schema may use while it is not trusted.
    """
    database.table("purchases").create({"id": str, "i": int}, pk=("id", "i"), strict=True)
    rows = database.execute("SELECT i, body FROM records WHERE kind = 'ledger' ORDER BY i")
    found = [(name, index) for index, body in rows if (name := purchase_of(body)) is not None]
    database.conn.executemany("INSERT INTO purchases VALUES (?, ?)", found)


def purchase_of(body: bytes) -> str | None:
    """The id of the purchase that a ledger record takes into the books; None for other events."""
    if b'"event":"purchase"' not in body:
        return None
    name = orjson.loads(body)["d"]["id"]
    return str(name)


def purchase_rows(
    rows: Iterable[tuple[int, str, str, bytes, bytes]],
) -> Iterator[tuple[str, int]]:
    """The rows of the table of purchases for new rows of the log."""
    for index, kind, _, body, _ in rows:
        name = purchase_of(body) if kind == "ledger" else None
        if name is not None:
            yield name, index


def insert_records(
    connection: sqlite3.Connection, rows: Sequence[tuple[int, str, str, bytes, bytes]]
) -> None:
    """New rows of the log, many in a statement: one for each costs half as much again."""
    grouped = len(rows) - len(rows) % _GROUP
    for at in range(0, grouped, _GROUP):
        values = tuple(chain.from_iterable(rows[at : at + _GROUP]))
        connection.execute(_INSERT_GROUP, values)
    connection.executemany(_INSERT, rows[grouped:])


def open_connection(path: Path, max_bytes: int) -> sqlite3.Connection:
    """Open or make the file for this process alone. Raises JournalError."""
    _make_file(path)
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        _set_up(connection, max_bytes)
        database = Database(connection, execute_plugins=False)
        _MIGRATIONS.apply(database)
        _sync_directory(path.parent)
    except OSError as error:
        connection.close()
        raise JournalError(
            f"The journal's directory {path.parent} cannot be synced: {error.strerror}."
        ) from error
    except (sqlite3.Error, ValueError, TypeError) as error:
        # A damaged schema reaches us in many forms, even as a message that is not UTF-8.
        connection.close()
        raise _open_error(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def carry_over(connection: sqlite3.Connection) -> None:
    """Copy what is committed from the write-ahead log into the file. Raises JournalError.

    SQLite would do it at the end of a commit, and would keep an error on writing to itself. A full
    disk is none: all stays in the log, where it counts as much.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            raise JournalError(f"The journal cannot be written: {error}.") from error


def _make_file(path: Path) -> None:
    """Make the file with mode 0600 if there is none: SQLite itself would follow the umask."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except FileNotFoundError as error:
        raise JournalError(f"The journal's directory {path.parent} does not exist.") from error
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be made: {error.strerror}.") from error


def _set_up(connection: sqlite3.Connection, max_bytes: int) -> None:
    for pragma in (
        "locking_mode = EXCLUSIVE",
        f"page_size = {PAGE_BYTES}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 0",  # carry_over does it, and tells when it fails
        "journal_size_limit = 16777216",
        "mmap_size = 0",
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "foreign_keys = ON",
        f"max_page_count = {max_bytes // PAGE_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    # EXCLUSIVE takes its lock at the first write: take it now, so that a second daemon stops here.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")
    # What a killed process left in the log may be in the kernel's memory alone, if the disk failed
    # it: write it once more into the file and sync that, before anything is built on it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _sync_directory(directory: Path) -> None:
    """Make the names of the file and of its write-ahead log certain.

    At every start, because a log is made anew at each, and SQLite overlooks it when this fails.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_error(path: Path, error: Exception) -> JournalError:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalError(f"Another process has the journal {path} open: stop it first.")
    is_damaged = not isinstance(error, sqlite3.Error)
    if is_damaged or code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return JournalError(
            f"The journal {path} is damaged ({error}): keep it, and start a new epoch."
        )
    return JournalError(f"The journal {path} cannot be opened: {error}.")
