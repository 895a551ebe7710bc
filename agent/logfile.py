"""Reading a log as it lies there: a journal's file, a copy of one, or an exported bundle.

Writes nothing and proves nothing: ``agent.verify`` does that, a replay reads the same way. A
journal that a daemon has open is shut for everybody else; ``copied`` takes a copy of it that is
whole, without asking the daemon.
"""

import json
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from agent.audit import StoredRecord
from agent.records import RECORD_MAX_BYTES

Progress = Callable[[int, int], None]
"""Told how many records are done, and of how many (0: not known)."""

COPY_TRIES = 20
COPY_PAUSE_S = 0.25

_NOTE_LINE_MAX_BYTES = 1_000_000
_WAL_HEADER_BYTES = 32  # sqlite.org/fileformat2, "WAL File Format": salts change at each restart
_RECORDS, _CHECKPOINTS = "records.ndjson", "checkpoints.ndjson"
_T = TypeVar("_T")


class LogError(Exception):
    """The log cannot be read at all; the sentence says what to do."""


class InUseError(LogError):
    """A running daemon has the journal open: copy it."""


class DamagedError(LogError):
    """The journal cannot be read from here on; what was read before stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log to be read once, in order. ``size`` is what the journal claims; None: it does not."""

    origin: str
    size: int | None
    cosigned_note: str
    records: Iterable[StoredRecord]
    checkpoints: Iterable[tuple[int, str]]


@contextmanager
def open_log(path: Path) -> Iterator[Log]:
    """Open a journal's file, an exported directory or an exported zip. Raises LogError."""
    if not path.exists():
        raise LogError(f"{path} does not exist.")
    with ExitStack() as stack:
        if path.is_dir() or zipfile.is_zipfile(path):
            yield _open_bundle(path, stack)
        else:
            yield _open_journal(path, stack)


@contextmanager
def copied(path: Path, directory: Path) -> Iterator[Path]:
    """A whole copy of a journal in use, in a directory of the caller's. Raises LogError.

    What the daemon appends meanwhile is cut off by SQLite's own checksums; what must not happen
    is a checkpoint between the two files, and that shows in the file and in the WAL's header.
    """
    target = directory / "journal.sqlite"
    for _ in range(COPY_TRIES):
        try:
            before = _moment(path)
            shutil.copyfile(path, target)
            if _wal(path).exists():
                shutil.copyfile(_wal(path), _wal(target))
            is_whole = _moment(path) == before
        except OSError as error:
            raise LogError(f"{path} cannot be copied ({error.strerror}).") from error
        if is_whole:
            yield target
            return
        time.sleep(COPY_PAUSE_S)
    raise LogError(f"{path} changes faster than it can be copied: export it, and take the export.")


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _moment(path: Path) -> tuple[int, int, bytes]:
    """What changes when SQLite moves pages from the WAL to the file."""
    stat = path.stat()
    header = b""
    if _wal(path).exists():
        with _wal(path).open("rb") as wal:
            header = wal.read(_WAL_HEADER_BYTES)
    return stat.st_mtime_ns, stat.st_size, header


def _open_journal(path: Path, stack: ExitStack) -> Log:
    connection = stack.enter_context(closing(connected(path)))
    origin, size, cosigned_note = _head(connection, path)
    return Log(
        origin=origin,
        size=size,
        cosigned_note=cosigned_note,
        records=_guarded(_stored_records(connection)),
        checkpoints=_guarded(_stored_notes(connection)),
    )


def _open_bundle(path: Path, stack: ExitStack) -> Log:
    try:
        archive = None if path.is_dir() else stack.enter_context(zipfile.ZipFile(path))

        def opened(name: str) -> IO[bytes]:
            file = (path / name).open("rb") if archive is None else archive.open(name)
            return stack.enter_context(file)

        records, checkpoints = opened(_RECORDS), opened(_CHECKPOINTS)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _bundle_error(path, error) from error
    return Log(
        origin="",
        size=None,
        cosigned_note="",
        records=_whole(_lines(records), path),
        checkpoints=_whole(_notes(checkpoints), path),
    )


def connected(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.2)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA mmap_size = 0")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _read_error(path, error) from error
    return connection


def _read_error(path: Path, error: Exception) -> LogError:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return InUseError(
            f"A running daemon has {path} open: verify an export of it, or stop the daemon first."
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return LogError(
            f"{path} cannot be opened: SQLite needs to write beside it, so copy the file and its"
            " -wal into a directory of your own."
        )
    return LogError(f"{path} is not a journal that can be read: {error}.")


def _head(connection: sqlite3.Connection, path: Path) -> tuple[str, int, str]:
    """Origin, size and the newest receipt as the journal has them."""
    try:
        row = connection.execute("SELECT origin, size, cosigned_note FROM head WHERE id = 1")
        head = row.fetchone() or ("", 0, "")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _read_error(path, error) from error
    if [type(value) for value in head] != [str, int, str]:
        raise LogError(f"{path} is damaged: its table head holds something else than it should.")
    return head[0], head[1], head[2]


def _guarded(rows: Iterator[_T]) -> Iterator[_T]:
    try:
        yield from rows
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error


def _whole(rows: Iterator[_T], path: Path) -> Iterator[_T]:
    try:
        yield from rows
    except (OSError, zipfile.BadZipFile) as error:
        raise _bundle_error(path, error) from error


def _bundle_error(path: Path, error: Exception) -> LogError:
    return LogError(f"{path} is not a whole evidence bundle: {error}.")


def _stored_records(connection: sqlite3.Connection) -> Iterator[StoredRecord]:
    for row in connection.execute("SELECT i, kind, source, body, leaf FROM records ORDER BY i"):
        # A damaged page can turn one type into another, which STRICT checks only on writing.
        if [type(value) for value in row] != [int, str, str, bytes, bytes]:
            raise DamagedError("a row is damaged")
        yield StoredRecord(row=row[0], kind=row[1], source=row[2], body=row[3], leaf=row[4])


def _stored_notes(connection: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    for row in connection.execute("SELECT size, note FROM checkpoints ORDER BY size"):
        if [type(value) for value in row] != [int, str]:
            raise DamagedError("a checkpoint is damaged")
        yield row


def _lines(file: IO[bytes]) -> Iterator[StoredRecord]:
    """Records of a bundle: the line's number is the index that the record must carry."""
    row = 0
    while line := file.readline(RECORD_MAX_BYTES + 1):
        yield StoredRecord(
            row=row, kind=None, source=None, body=line.removesuffix(b"\n"), leaf=None
        )
        row += 1


def _notes(file: IO[bytes]) -> Iterator[tuple[int, str]]:
    while line := file.readline(_NOTE_LINE_MAX_BYTES):
        try:
            entry = json.loads(line)
            yield int(entry["size"]), str(entry["note"])
        except (ValueError, KeyError, TypeError) as error:
            raise LogError(f"A line of {_CHECKPOINTS} is not a checkpoint.") from error
