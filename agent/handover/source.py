"""Where the records of a bundle come from: the daemon's own journal, or a stopped one's file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from agent.logfile import LogError, connected
from agent.logrows import SignedCheckpoint

_ROWS_MAX = 10_000


class Source(Protocol):
    """What an export needs of a journal. ``Journal`` is one."""

    @property
    def size(self) -> int:
        """How many records there are."""

    @property
    def cosigned_note(self) -> str:
        """The newest checkpoint with the pool's cosignature; empty before the first."""

    async def read(self, from_index: int, limit_bytes: int) -> list[bytes]:
        """Records in order: at least one if there is one, else no more bytes than the limit."""

    async def newest_checkpoint(self, above: int, up_to: int) -> SignedCheckpoint | None:
        """The largest signed checkpoint with above < size <= up_to. None: there is none."""


@contextmanager
def open_stopped(path: Path) -> Iterator["StoppedJournal"]:
    """A journal that no daemon has open; nothing is written. Raises LogError."""
    if not path.is_file():
        raise LogError(f"{path} does not exist.")
    with closing(connected(path)) as connection:
        try:
            head = connection.execute("SELECT origin, size, cosigned_note FROM head").fetchone()
        except sqlite3.Error as error:
            raise LogError(f"{path} is not a journal that can be read: {error}.") from error
        if head is None or [type(value) for value in head] != [str, int, str]:
            raise LogError(f"{path} is empty or damaged: run `kwota verify` on it.")
        yield StoppedJournal(connection, origin=head[0], size=head[1], cosigned_note=head[2])


class StoppedJournal:
    """The file of a stopped agent. Made by ``open_stopped``."""

    def __init__(
        self, connection: sqlite3.Connection, *, origin: str, size: int, cosigned_note: str
    ) -> None:
        self._connection = connection
        self.origin = origin
        self.size = size
        self.cosigned_note = cosigned_note

    async def read(self, from_index: int, limit_bytes: int) -> list[bytes]:
        """Records in order, as the daemon's journal gives them. Raises LogError."""
        records: list[bytes] = []
        total = 0
        sql = "SELECT body FROM records WHERE i >= ? ORDER BY i LIMIT ?"
        try:
            for (body,) in self._connection.execute(sql, (from_index, _ROWS_MAX)):
                total += len(body) + 1
                if records and total > limit_bytes:
                    break
                records.append(bytes(body))
        except (sqlite3.Error, TypeError) as error:
            raise _damaged(error) from error
        return records

    async def newest_checkpoint(self, above: int, up_to: int) -> SignedCheckpoint | None:
        """As the daemon's journal gives it. Raises LogError."""
        sql = (
            "SELECT size, note FROM checkpoints WHERE size > ? AND size <= ?"
            " ORDER BY size DESC LIMIT 1"
        )
        try:
            row = self._connection.execute(sql, (above, up_to)).fetchone()
        except sqlite3.Error as error:
            raise _damaged(error) from error
        return None if row is None else SignedCheckpoint(size=row[0], note=row[1])


def _damaged(error: Exception) -> LogError:
    return LogError(f"The journal cannot be read ({error}): run `kwota verify` on it.")
