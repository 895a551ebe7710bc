"""What is waiting to be journalled, so that no tick ever waits for a disk.

A hand-over takes no time; the records go to the journal in order, in as few commits as they arrive
faster than the disk. What must be on the disk before something may happen comes with a call that is
made once it is. When the journal is full, readings are thinned and counted, evidence is retried.
The count outlives the process, or a gap would say less than was thinned.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from agent.journal import Journal
from agent.records import JournalFullError, NewRecord
from agent.tally import Tally, TallyError, Untold

WAITING_RECORDS_MAX = 20_000
RECORDS_PER_COMMIT = 500
LONG_KINDS = frozenset({"frame", "tick", "decision"})
LONG_WEIGHT = 32  # such a record may be as long as a line may be: fifteen of them fill a commit
FULL_PAUSE_S = 5.0
TALLY_EVERY_S = 2.0
"""What is dropped is counted on the disk this often; a start after a kill says `at_least`."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _HandOver:
    records: Sequence[NewRecord]
    is_evidence: bool
    then: Callable[[range], None] | None

    @property
    def weight(self) -> int:
        """How much of a commit it takes."""
        return sum(LONG_WEIGHT if r.kind in LONG_KINDS else 1 for r in self.records)


class Recorder:
    """Keeps order between the loops and the journal. ``run`` is started by the app."""

    def __init__(self, journal: Journal, tally: Tally | None = None) -> None:
        self._journal = journal
        self._tally = tally
        self._is_tally_read = False
        self._is_tally_due = False
        self._is_tally_failing = False
        self._tally_at_s = 0.0
        self._untold: Counter[str] = Counter()  # in no gap yet, or in one that is not written
        self._untold_since_ms = 0
        self._untold_is_least = False
        self._waiting: deque[_HandOver] = deque()
        self._count = 0
        self._something = asyncio.Event()
        self._thinned: Counter[str] = Counter()
        self._thinned_since_ms = 0
        self._thinned_by_quota = False
        self._is_least = False
        self.is_full = False
        self.lost = 0

    def keep(
        self,
        records: Sequence[NewRecord],
        *,
        is_evidence: bool = True,
        then: Callable[[range], None] | None = None,
    ) -> None:
        """Hand records over. ``then`` is called with their indices once they are durable.

        Readings (``is_evidence`` false) are dropped, and counted in ``lost``, when too much is
        waiting.
        """
        if not records:
            return
        if not is_evidence and (self.is_full or self._count > WAITING_RECORDS_MAX):
            self._thin(records)
            return
        self._waiting.append(_HandOver(records=records, is_evidence=is_evidence, then=then))
        self._count += len(records)
        self._something.set()

    async def run(self) -> None:
        """Write for ever. Ends with the journal's JournalError."""
        await self._remember()
        while True:
            await self._something.wait()
            self._something.clear()
            await self._count_on_disk()
            while self._waiting:
                await self._write(self._batch())
                await self._count_on_disk()
                await asyncio.sleep(FULL_PAUSE_S if self.is_full and self._waiting else 0)

    async def flush(self) -> None:
        """Write what is still waiting, at the end; a full journal is not waited for."""
        await self._remember()
        while self._waiting:
            await self._write(self._batch())
            if self.is_full:
                _log.error("journal event=left_unwritten records=%d reason=full", self._count)
                break
        if self._thinned and not self.is_full:
            await self._write([])
        await self._count_on_disk(is_final=True)

    def _batch(self) -> list[_HandOver]:
        batch: list[_HandOver] = []
        weight = 0
        while self._waiting:
            weight += self._waiting[0].weight
            if batch and weight > RECORDS_PER_COMMIT:
                break
            batch.append(self._waiting.popleft())
        self._count -= sum(len(hand_over.records) for hand_over in batch)
        return batch

    def _thin(self, records: Sequence[NewRecord]) -> None:
        if not records:
            return
        if not self._thinned:
            self._thinned_since_ms = self._journal.now_ms()
        if not self._untold:
            self._untold_since_ms = self._journal.now_ms()
        self._thinned_by_quota = self._thinned_by_quota or self.is_full
        kinds = Counter(record.kind for record in records)
        self._thinned.update(kinds)
        self._untold.update(kinds)
        self.lost += len(records)
        self._is_tally_due = True
        self._something.set()

    def _gap(self) -> _HandOver:
        """What was dropped up to now, of each kind, since when and why: evidence like any other."""
        data = {
            "event": "thinned",
            "records": self._thinned.total(),
            "kinds": dict(self._thinned),
            "since_ms": self._thinned_since_ms,
            "until_ms": self._journal.now_ms(),
            "reason": "quota" if self._thinned_by_quota else "backlog",
            **({"at_least": True} if self._is_least else {}),
        }
        told, self._thinned = self._thinned, Counter()
        self._thinned_by_quota = self._is_least = False

        def then(_: range) -> None:
            self._untold -= told
            self._untold_since_ms = self._thinned_since_ms
            self._untold_is_least = False
            self._is_tally_due = True

        gap = NewRecord(kind="gap", source="agent", data=data)
        return _HandOver(records=(gap,), is_evidence=True, then=then)

    async def _write(self, batch: list[_HandOver]) -> None:
        if self._thinned and not self.is_full:
            batch = [*batch, self._gap()]
        records = [record for hand_over in batch for record in hand_over.records]
        is_evidence = any(hand_over.is_evidence for hand_over in batch)
        try:
            indices = await self._journal.append(records, urgent=is_evidence)
        except JournalFullError as error:
            await self._endure(batch, str(error))
            return
        if self.is_full:
            _log.info("journal event=has_room_again")
        self.is_full = False
        at = indices.start
        for hand_over in batch:
            if hand_over.then is not None:
                hand_over.then(range(at, at + len(hand_over.records)))
            at += len(hand_over.records)

    async def _endure(self, batch: list[_HandOver], reason: str) -> None:
        """The journal is full: readings go, evidence waits for room."""
        if not self.is_full:
            _log.error("journal event=full reason=%r", reason)
        self.is_full = True
        evidence = [hand_over for hand_over in batch if hand_over.is_evidence]
        for hand_over in batch:
            if not hand_over.is_evidence:
                self._thin(hand_over.records)
        self._waiting.extendleft(reversed(evidence))
        self._count += sum(len(hand_over.records) for hand_over in evidence)

    async def _remember(self) -> None:
        """Take up what was dropped before this start and is in no gap."""
        if self._tally is None or self._is_tally_read:
            return
        self._is_tally_read = True
        try:
            found = await asyncio.to_thread(self._tally.read)
            await asyncio.to_thread(self._tally.make_room)
        except (OSError, TallyError) as error:
            _log.error("tally=%s event=unusable reason=%r", self._tally.path, str(error))
            return
        if found is None:
            return
        left = Counter(found.kinds) - await self._told_since(found)
        if not left:
            return
        self._thinned_since_ms = self._untold_since_ms = found.since_ms
        self._thinned_by_quota = self._thinned_by_quota or found.is_by_quota
        self._is_least = self._untold_is_least = not found.is_final
        self._thinned.update(left)
        self._untold.update(left)
        _log.warning("journal event=thinned_before records=%d", left.total())

    async def _told_since(self, found: Untold) -> Counter[str]:
        """What gaps say that were written after the count."""
        told: Counter[str] = Counter()
        if found.origin == self._journal.key.origin:
            async for line in self._journal.records_of(["gap"], found.from_index):
                told.update(orjson.loads(line)["d"].get("kinds", {}))
        return told

    async def _count_on_disk(self, *, is_final: bool = False) -> None:
        """Write down what no gap says yet, at times and at the end."""
        now_s = time.monotonic()
        is_due = self._is_tally_due and (is_final or now_s >= self._tally_at_s + TALLY_EVERY_S)
        if self._tally is None or not (is_due or (is_final and self._untold)):
            return
        self._is_tally_due, self._tally_at_s = False, now_s
        untold = Untold(
            kinds=dict(self._untold),
            since_ms=self._untold_since_ms,
            is_by_quota=self._thinned_by_quota or self.is_full,
            origin=self._journal.key.origin,
            from_index=self._journal.size,
            is_final=is_final and not self._untold_is_least,
        )
        try:
            await asyncio.to_thread(self._tally.write, untold)
        except OSError as error:
            if not self._is_tally_failing:
                _log.error("tally=%s event=unwritten reason=%r", self._tally.path, error.strerror)
            self._is_tally_failing = True
        else:
            self._is_tally_failing = False
