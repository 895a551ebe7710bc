"""Questions to the journal's file: records and checkpoints as they are stored, nothing else."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agent.records import JournalError, parse_record

_ROWS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A stored checkpoint: the note's text and the size it stands for."""

    size: int
    note: str


class LogRows:
    """Reads through one connection. Every method may raise JournalError."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

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

    def stop_gap(self, now_ms: int) -> dict[str, Any]:
        """What is said of a stop without a word: nothing was written after the newest record."""
        newest = parse_record(self.tail(1, None)[0])
        since_ms = newest.time_us // 1000
        return {
            "event": "stopped",
            "since_ms": since_ms,
            "until_ms": now_ms,
            "after": newest.index,
            "reason": "unclean",
        }

    def page_of(
        self, kinds: Sequence[str], since_index: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Index and bytes of the next records of some kinds."""
        marks = ",".join("?" * len(kinds))
        sql = (
            f"SELECT i, body FROM records WHERE kind IN ({marks}) AND i >= ?"  # noqa: S608 – marks are question marks
            " ORDER BY i LIMIT ?"
        )
        return self.rows(sql, (*kinds, since_index, limit))

    def last(self, kind: str, source: str | None) -> bytes | None:
        """The newest record of a kind, and of a source if given. None: there is none."""
        row = self.one(
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
        rows = self.rows(
            "SELECT size, note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT ?",
            (size, limit),
        )
        return [SignedCheckpoint(size=row[0], note=row[1]) for row in rows]

    def newest_checkpoint(self, above: int, up_to: int) -> SignedCheckpoint | None:
        """The largest checkpoint above one size and up to another. None: there is none between."""
        row = self.one(
            "SELECT size, note FROM checkpoints WHERE size > ? AND size <= ?"
            " ORDER BY size DESC LIMIT 1",
            (above, up_to),
        )
        return None if row is None else SignedCheckpoint(size=row[0], note=row[1])

    def _bodies(self, sql: str, values: Sequence[str | int]) -> list[bytes]:
        return [body for (body,) in self.rows(sql, values)]

    def one(self, sql: str, values: Sequence[str | int | None] = ()) -> tuple[Any, ...] | None:
        rows = self.rows(sql, values)
        return rows[0] if rows else None

    def rows(self, sql: str, values: Sequence[str | int | None]) -> list[tuple[Any, ...]]:
        with _reading():
            return self._connection.execute(sql, values).fetchall()


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise JournalError(f"The journal cannot be read: {error}.") from error
