"""The append-only signed log, for the event loop: one thread owns the file, everybody else asks.

``append`` returns when the records and the checkpoint over them are on the disk. Appends that can
wait are committed together; an urgent one commits at once and carries the waiting ones along.
A full journal refuses and goes on. Any other error on writing ends it: what Linux could not sync
may be gone although a retry says otherwise, so the daemon stops and starts from the disk.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agent.core.note import VerifierKey
from agent.journalthread import COMMIT_ROWS_MAX, Answer, Append, Commit, JournalThread
from agent.keys import LogKey
from agent.logrows import SignedCheckpoint
from agent.records import (
    RECORD_MAX_BYTES,
    JournalError,
    NewRecord,
    RecordError,
    parse_record,
    prepare,
)
from agent.siteclock import SiteClock
from agent.store import Cosigned, JournalSettings, Store

EPOCH_LEAST_MS = 3_600_000
APPEND_BYTES_MAX = 16 * RECORD_MAX_BYTES

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_WAITING_MAX = 4096  # appends and questions; more means that the disk does not keep up
_ANSWER_S = 30.0
_OPEN_S = 120.0
_CLOSE_S = 10.0
_PAGE_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStats:
    """Numbers about the journal now. ``commit_max_s`` is the slowest commit since the start."""

    size: int
    boot: int
    used_bytes: int
    max_bytes: int
    commits: int
    commit_max_s: float


@asynccontextmanager
async def open_journal(
    settings: JournalSettings, key: LogKey, clock: SiteClock
) -> AsyncIterator["Journal"]:
    """Open the journal, check it, write the ``boot`` record. Raises JournalError.

    Leaving the context writes down that the stop was clean, without blocking the loop.
    """
    journal = Journal(settings, clock)
    await journal.start(key)
    try:
        yield journal
    finally:
        await journal.stop()


class Journal:
    """The log of this agent. Made by ``open_journal``; used from one event loop."""

    def __init__(self, settings: JournalSettings, clock: SiteClock) -> None:
        self._clock = clock
        self._thread = JournalThread(settings, self._on_commit, self._fail)
        self._waiting = 0
        self._failure: JournalError | None = None
        self._has_failed = asyncio.Event()
        self._grown = asyncio.Event()
        self._cosigned = Cosigned(size=0, note="")
        self._content_size = 0
        self._key: LogKey | None = None
        self._signers: tuple[VerifierKey, ...] = ()
        self._opening: dict[str, Any] = {}
        self._stats = JournalStats(
            size=0,
            boot=0,
            used_bytes=0,
            max_bytes=settings.max_bytes,
            commits=0,
            commit_max_s=0.0,
        )

    @property
    def key(self) -> LogKey:
        """The key, under the name of the epoch that this log is."""
        assert self._key is not None
        return self._key

    @property
    def signers(self) -> tuple[VerifierKey, ...]:
        """Every public key that may have signed for this device, former ones included."""
        return self._signers

    @property
    def opening(self) -> Mapping[str, Any] | None:
        """Why this log follows on another, as its first record says; None: it is the first."""
        return self._opening.get("epoch")

    @property
    def size(self) -> int:
        """How many records are durable."""
        return self._stats.size

    @property
    def content_size(self) -> int:
        """One more than the index of the newest record that is not an ``ack``."""
        return self._content_size

    @property
    def cosigned_size(self) -> int:
        return self._cosigned.size

    @property
    def cosigned_note(self) -> str:
        """The pool's last note; empty before the first."""
        return self._cosigned.note

    @property
    def boot(self) -> int:
        """How often the agent has started on this log, this start included."""
        return self._stats.boot

    @property
    def stats(self) -> JournalStats:
        return self._stats

    def now_ms(self) -> int:
        """UTC milliseconds as records are stamped."""
        return self._clock.now_ms()

    async def append(self, records: Sequence[NewRecord], urgent: bool = True) -> range:
        """Write records; returns their indices once they are on the disk.

        They are committed together or not at all. Raises RecordError (one of them may not stand
        in the journal), JournalFullError (no room; with ``urgent=False`` some room is kept for
        others), JournalError (the journal has ended).
        """
        if not records:
            return range(self.size, self.size)
        stamp = self._clock.stamp()
        prepared = [prepare(record, stamp) for record in records]
        if len(prepared) > COMMIT_ROWS_MAX:
            raise RecordError(f"{len(prepared)} records are more than one commit may hold.")
        if sum(len(record.data) for record in prepared) > APPEND_BYTES_MAX:
            raise RecordError(f"The records are longer than {APPEND_BYTES_MAX} bytes together.")
        answer = Answer[range]()
        self._check_open()
        self._thread.put(Append(records=prepared, is_urgent=urgent, answer=answer))
        try:
            return await self._answered(answer, _ANSWER_S)
        except TimeoutError as error:
            # Written or not: nobody knows, and nothing may be built on that.
            failure = JournalError(f"The disk did not write within {_ANSWER_S:.0f} s.")
            self._fail(failure)
            raise failure from error

    async def read(self, from_index: int, limit_bytes: int) -> list[bytes]:
        """Records in order: at least one if there is one, else no more bytes than the limit."""
        return await self._ask(lambda store: store.read(from_index, limit_bytes))

    async def tail(self, count: int, kind: str | None = None) -> list[bytes]:
        """The newest records, oldest of them first; of one kind if given."""
        return await self._ask(lambda store: store.tail(count, kind))

    async def records_of(self, kinds: Sequence[str], since_index: int = 0) -> AsyncIterator[bytes]:
        """All records of some kinds from an index on, in order, read page by page."""
        at, wanted = since_index, tuple(kinds)
        while True:
            page = await self._page_of(wanted, at)
            for _, record in page:
                yield record
            if len(page) < _PAGE_ROWS:
                return
            at = page[-1][0] + 1

    async def last(self, kind: str, source: str | None = None) -> bytes | None:
        """The newest record of a kind (and source). None: there is none."""
        return await self._ask(lambda store: store.last(kind, source))

    async def purchases_of(self, names: Collection[str]) -> list[bytes]:
        """The records of the purchases with these ids, by whatever meter point."""
        wanted = tuple(names)
        return await self._ask(lambda store: store.purchases_of(wanted))

    async def checkpoint_at_or_after(self, size: int) -> SignedCheckpoint | None:
        """The first signed checkpoint of this size or larger. None: nothing so large is signed."""
        found = await self._ask(lambda store: store.checkpoints_from(size, 1))
        return found[0] if found else None

    async def newest_checkpoint(self, above: int, up_to: int) -> SignedCheckpoint | None:
        """The largest signed checkpoint with above < size <= up_to. None: there is none."""
        return await self._ask(lambda store: store.newest_checkpoint(above, up_to))

    async def checkpoints_from(self, size: int) -> list[SignedCheckpoint]:
        """The next checkpoints of this size or larger, in order; empty where there are none."""
        return await self._ask(lambda store: store.checkpoints_from(size, _PAGE_ROWS))

    async def set_cosigned(self, size: int, note: str) -> None:
        """Note that the pool has everything below ``size``; durable with the next commit."""
        cosigned = Cosigned(size=size, note=note)
        await self._ask(lambda store: store.set_cosigned(cosigned))
        self._cosigned = cosigned

    async def refute(self, note: str) -> str:
        """What a head that others hold of this log says against it; empty: nothing.

        Call it only with what the pool has cosigned. A head that this device has signed and that
        is not in this log ends the journal: the next start opens a new epoch. One that was opened
        within the last hour is kept, or two copies of one disk would drive each other on for ever.
        """
        found = await self._ask(lambda store: store.remember_break(note))
        if found is None:
            return ""
        opened = parse_record((await self.read(0, 1))[0]).time_us // 1000
        if self.opening is None or self.now_ms() - opened > EPOCH_LEAST_MS:
            self._fail(JournalError(f"The log is left, for {found.words}; start the agent again."))
        return found.words

    async def wait_beyond(self, size: int) -> None:
        """Return when there are more records than this."""
        while self.size <= size:
            self._grown.clear()
            await self._grown.wait()

    async def run(self) -> None:
        """Wait for the end of a failed journal, and raise it: nothing may go on without one."""
        await self._has_failed.wait()
        raise self._failure or JournalError("The journal has failed.")

    async def start(self, key: LogKey) -> None:
        """Open the file on the journal's thread. Part of ``open_journal``."""
        opened = self._thread.start(key, self._clock.stamp())
        try:
            store = await self._answered(opened, _OPEN_S)
        except BaseException:
            self._thread.put(_close_unclean)
            self._thread.put(None)
            raise
        # The thread touches the store only for jobs, and there are none yet.
        self._cosigned = store.cosigned
        self._key, self._signers = store.key, store.signers
        self._content_size = store.size
        self._stats = replace(
            self._stats, size=store.size, boot=store.boot, used_bytes=store.used_bytes
        )
        self._opening = parse_record((await self.read(0, 1))[0]).data

    async def stop(self) -> None:
        """Commit what waits and close the file. Part of ``open_journal``."""
        is_clean = self._failure is None
        self._failure = self._failure or JournalError("The journal is closed.")
        closed = Answer[None]()

        def close(store: Store) -> None:
            _settle(closed, store, lambda store: store.close(is_clean=is_clean))

        self._thread.put(close)
        self._thread.put(None)
        try:
            await self._answered(closed, _CLOSE_S)
        except TimeoutError:
            _log.error("journal close=timeout after_s=%d", _CLOSE_S)
        except JournalError as error:
            _log.error("journal close=failed reason=%r", str(error))

    async def _page_of(self, kinds: Sequence[str], at: int) -> list[tuple[int, bytes]]:
        return await self._ask(lambda store: store.page_of(kinds, at, _PAGE_ROWS))

    async def _ask(self, ask: Callable[[Store], _T]) -> _T:
        answer = Answer[_T]()
        self._check_open()
        self._thread.put(lambda store: _settle(answer, store, ask))
        try:
            return await self._answered(answer, _ANSWER_S)
        except TimeoutError as error:
            raise JournalError(f"The disk gave no answer within {_ANSWER_S:.0f} s.") from error

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._waiting >= _WAITING_MAX:
            raise JournalError("The journal does not keep up: the disk is too slow or hangs.")

    async def _answered(self, answer: Answer[_T], limit_s: float) -> _T:
        self._waiting += 1
        try:
            async with asyncio.timeout(limit_s):
                return await answer.future
        finally:
            self._waiting -= 1

    def _on_commit(self, commit: Commit) -> None:
        self._content_size = max(self._content_size, commit.content_size)
        self._stats = replace(
            self._stats,
            size=commit.size,
            used_bytes=commit.used_bytes,
            commits=self._stats.commits + 1,
            commit_max_s=max(self._stats.commit_max_s, commit.took_s),
        )
        self._grown.set()

    def _fail(self, error: JournalError) -> None:
        if self._failure is None:
            self._failure = error
            self._has_failed.set()


def _settle(answer: Answer[_T], store: Store, ask: Callable[[Store], _T]) -> None:
    try:
        found = ask(store)
    except Exception as error:  # noqa: BLE001 – handed to whoever asked
        answer.fail(error)
    else:
        answer.give(found)


def _close_unclean(store: Store) -> None:
    store.close(is_clean=False)
