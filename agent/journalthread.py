"""The thread that owns the journal's file: takes jobs in order, groups appends into commits.

Speaks to the event loop only by ``call_soon_threadsafe``. It ends by itself after its last job,
so nobody has to join it: joining would block the loop.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from agent.journalfile import PAGE_BYTES
from agent.keys import LogKey
from agent.records import JournalError, JournalFullError, PreparedRecord
from agent.siteclock import Stamp
from agent.store import JournalSettings, Store, open_store

COMMIT_ROWS_MAX = 1000

_COMMIT_PAGES = 8  # of tables and indices that each commit writes beside its records, about
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Answer(Generic[_T]):
    """A future of the loop that is settled from the journal's thread."""

    __slots__ = ("_loop", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_T] = self._loop.create_future()

    def give(self, value: _T) -> None:
        self._on_loop(lambda: None if self.future.done() else self.future.set_result(value))

    def fail(self, error: BaseException) -> None:
        self._on_loop(lambda: None if self.future.done() else self.future.set_exception(error))

    def _on_loop(self, settle: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(settle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Records that belong together. ``is_urgent`` false allows them to wait for company."""

    records: Sequence[PreparedRecord]
    is_urgent: bool
    answer: Answer[range]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one commit did, for the loop's image of the journal."""

    size: int
    content_size: int
    used_bytes: int
    took_s: float


Job = Append | Callable[[Store], None] | None
"""An append, a question to the store, or None: the end."""


class JournalThread:
    """Commits and answers in the order in which jobs were put."""

    def __init__(
        self,
        settings: JournalSettings,
        on_commit: Callable[[Commit], None],
        on_failure: Callable[[JournalError], None],
    ) -> None:
        self._settings = settings
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._held: list[Job] = []
        self._pages = 0
        self._failure: JournalError | None = None

    def start(self, key: LogKey, stamp: Stamp) -> Answer[Store]:
        """Open the file on the thread; the answer is the opened store, for its numbers alone."""
        opened = Answer[Store]()
        arguments = (key, stamp, opened)
        threading.Thread(target=self._run, args=arguments, name="journal", daemon=True).start()
        return opened

    def put(self, job: Job) -> None:
        """Hand over a job; never blocks. The caller bounds how many wait."""
        self._jobs.put(job)

    def _run(self, key: LogKey, stamp: Stamp, opened: Answer[Store]) -> None:
        try:
            store = open_store(self._settings, key, stamp)
        except Exception as error:  # noqa: BLE001 – handed to whoever opens the journal
            opened.fail(error)
            return
        opened.give(store)
        while (job := self._next()) is not None:
            if isinstance(job, Append):
                self._commit(store, self._gather(job))
                self._carry_over(store)
            else:
                job(store)

    def _next(self) -> Job:
        return self._held.pop() if self._held else self._jobs.get()

    def _gather(self, first: Append) -> list[Append]:
        """Wait for company of a patient append; an urgent one only takes who is there already."""
        group, rows = [first], len(first.records)
        is_urgent = first.is_urgent
        until_s = time.monotonic() + self._settings.group_commit_s
        while rows < COMMIT_ROWS_MAX:
            wait_s = 0.0 if is_urgent else max(0.0, until_s - time.monotonic())
            try:
                job = self._jobs.get(block=wait_s > 0, timeout=wait_s or None)
            except Empty:
                break
            if not isinstance(job, Append) or rows + len(job.records) > COMMIT_ROWS_MAX:
                self._held.append(job)
                break
            group.append(job)
            rows += len(job.records)
            is_urgent = is_urgent or job.is_urgent
        return group

    def _commit(self, store: Store, group: Sequence[Append]) -> None:
        records = [record for append in group for record in append.records]
        is_reading = not any(append.is_urgent for append in group)
        try:
            written = self._commit_records(store, records, is_reading=is_reading)
        except JournalFullError as error:
            if len(group) == 1:
                group[0].answer.fail(error)
                return
            # One of them may be too large alone: none may be refused for its company.
            for append in group:
                self._commit(store, [append])
            return
        except JournalError as error:
            for append in group:
                append.answer.fail(error)
            return
        at = written.start
        for append in group:
            append.answer.give(range(at, at + len(append.records)))
            at += len(append.records)

    def _commit_records(
        self, store: Store, records: Sequence[PreparedRecord], *, is_reading: bool
    ) -> range:
        if self._failure is not None:
            raise self._failure
        started_s = time.monotonic()
        try:
            written = store.commit(records, is_reading=is_reading)
        except JournalFullError:
            raise
        except JournalError as error:
            self._end(error)
            raise
        self._pages += _COMMIT_PAGES + sum(len(record.data) for record in records) // PAGE_BYTES
        acks = next((n for n, one in enumerate(reversed(records)) if one.kind != "ack"), None)
        commit = Commit(
            size=store.size,
            content_size=0 if acks is None else written.stop - acks,
            used_bytes=store.used_bytes,
            took_s=time.monotonic() - started_s,
        )
        self._notify(lambda: self._on_commit(commit))
        return written

    def _carry_over(self, store: Store) -> None:
        """Keep the write-ahead log short, once those who waited for the commit have their answer.

        What is acknowledged is safe without it; but a file that cannot be written is no journal.
        """
        if self._failure is not None or self._pages < self._settings.carry_over_pages:
            return
        try:
            store.carry_over()
        except JournalError as error:
            self._end(error)
        self._pages = 0

    def _end(self, failure: JournalError) -> None:
        self._failure = failure
        self._notify(lambda: self._on_failure(failure))

    def _notify(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody is interested any more
            self._loop.call_soon_threadsafe(call)
