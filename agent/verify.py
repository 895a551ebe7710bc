"""Proving a log, or naming what is wrong with it: the auditor's side, and ``kwota verify``.

Recomputes every leaf and every root, checks every signature, and reports the first record that a
defect can be pinned to. Reads a journal that is not in use, a copy of one, or an exported bundle;
writes nothing. A log that is internally sound may still be cut short: only the pool's receipts
say how far it once went.
"""

import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agent.audit import Audit, Report, StoredRecord
from agent.core.note import VerifierKey
from agent.records import RECORD_MAX_BYTES

Progress = Callable[[int, int], None]
"""Told how many records are done, and of how many (0: not known)."""

_PROGRESS_EVERY = 5_000
_NOTE_LINE_MAX_BYTES = 1_000_000
_RECORDS, _CHECKPOINTS = "records.ndjson", "checkpoints.ndjson"


class VerifyError(Exception):
    """The log cannot be read at all; the sentence says what to do."""


class _DamagedRowError(Exception):
    """A row that holds something else than its columns say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What to verify with. Without ``device`` no signature of the log's own can be checked."""

    device: VerifierKey | None = None
    pool: VerifierKey | None = None


def verify(path: Path, keys: Keys, progress: Progress | None = None) -> Report:
    """Verify a journal file, an exported directory or an exported zip. Raises VerifyError."""
    if not path.exists():
        raise VerifyError(f"{path} does not exist.")
    if path.is_dir() or zipfile.is_zipfile(path):
        return verify_bundle(path, keys, progress)
    return verify_journal(path, keys, progress)


def verify_journal(path: Path, keys: Keys, progress: Progress | None = None) -> Report:
    """Verify a journal that no daemon has open, or a copy of its files. Raises VerifyError."""
    with closing(_open_read_only(path)) as connection:
        origin, size, cosigned_note = _head(connection, path)
        audit = Audit(device=keys.device, pool=keys.pool, origin=origin)
        try:
            _feed(audit, _stored_records(connection), _stored_notes(connection), size, progress)
        except (sqlite3.Error, UnicodeDecodeError, _DamagedRowError) as error:
            audit.cannot_read(str(error))
        else:
            audit.expect_size(size)
        return audit.report(cosigned_note)


def verify_bundle(path: Path, keys: Keys, progress: Progress | None = None) -> Report:
    """Verify what ``export_bundle`` wrote: a directory or a zip. Raises VerifyError."""
    audit = Audit(device=keys.device, pool=keys.pool, origin="")
    try:
        if path.is_dir():
            with (path / _RECORDS).open("rb") as records, (path / _CHECKPOINTS).open("rb") as notes:
                _feed(audit, _lines(records), _notes(notes), 0, progress)
        else:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(_RECORDS) as records,
                archive.open(_CHECKPOINTS) as notes,
            ):
                _feed(audit, _lines(records), _notes(notes), 0, progress)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise VerifyError(f"{path} is not a whole evidence bundle: {error}.") from error
    return audit.report("")


def _feed(
    audit: Audit,
    records: Iterable[StoredRecord],
    checkpoints: Iterable[tuple[int, str]],
    total: int,
    progress: Progress | None,
) -> None:
    """Hand everything over in the order in which it was committed."""
    heads = iter(checkpoints)
    head = next(heads, None)
    for count, record in enumerate(records, 1):
        while head is not None and head[0] <= record.row:
            audit.checkpoint(*head)
            head = next(heads, None)
        audit.record(record)
        if progress is not None and not count % _PROGRESS_EVERY:
            progress(count, total)
    while head is not None:
        audit.checkpoint(*head)
        head = next(heads, None)


def _open_read_only(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.2)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA mmap_size = 0")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _read_error(path, error) from error
    return connection


def _read_error(path: Path, error: Exception) -> VerifyError:
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return VerifyError(
            f"A running daemon has {path} open: verify an export of it, or stop the daemon first."
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return VerifyError(
            f"{path} cannot be opened: SQLite needs to write beside it, so copy the file and its"
            " -wal into a directory of your own."
        )
    return VerifyError(f"{path} is not a journal that can be read: {error}.")


def _head(connection: sqlite3.Connection, path: Path) -> tuple[str, int, str]:
    """Origin, size and the newest receipt as the journal has them."""
    try:
        row = connection.execute("SELECT origin, size, cosigned_note FROM head WHERE id = 1")
        head = row.fetchone() or ("", 0, "")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _read_error(path, error) from error
    if [type(value) for value in head] != [str, int, str]:
        raise VerifyError(f"{path} is damaged: its table head holds something else than it should.")
    return head[0], head[1], head[2]


def _stored_records(connection: sqlite3.Connection) -> Iterator[StoredRecord]:
    for row in connection.execute("SELECT i, kind, source, body, leaf FROM records ORDER BY i"):
        # A damaged page can turn one type into another, which STRICT checks only on writing.
        if [type(value) for value in row] != [int, str, str, bytes, bytes]:
            raise _DamagedRowError("a row is damaged")
        yield StoredRecord(row=row[0], kind=row[1], source=row[2], body=row[3], leaf=row[4])


def _stored_notes(connection: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    for row in connection.execute("SELECT size, note FROM checkpoints ORDER BY size"):
        if [type(value) for value in row] != [int, str]:
            raise _DamagedRowError("a checkpoint is damaged")
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
            raise VerifyError(f"A line of {_CHECKPOINTS} is not a checkpoint.") from error
