"""What is waiting to be journalled, so that no tick ever waits for a disk.

A hand-over takes no time; the records go to the journal in order, in as few commits as they arrive
faster than the disk. What must be on the disk before something may happen comes with a call that is
made once it is. When the journal is full, readings are thinned and counted, evidence is retried.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.journal import Journal
from agent.records import JournalFullError, NewRecord

WAITING_RECORDS_MAX = 20_000
RECORDS_PER_COMMIT = 500
LONG_KINDS = frozenset({"frame", "tick", "decision"})
LONG_WEIGHT = 32  # such a record may be as long as a line may be: fifteen of them fill a commit
FULL_PAUSE_S = 5.0

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

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[_HandOver] = deque()
        self._count = 0
        self._something = asyncio.Event()
        self._thinned: Counter[str] = Counter()
        self._thinned_since_ms = 0
        self._thinned_by_quota = False
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
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                await self._write(self._batch())
                await asyncio.sleep(FULL_PAUSE_S if self.is_full and self._waiting else 0)

    async def flush(self) -> None:
        """Write what is still waiting, at the end; a full journal is not waited for."""
        while self._waiting:
            await self._write(self._batch())
            if self.is_full:
                _log.error("journal event=left_unwritten records=%d reason=full", self._count)
                return
        if self._thinned and not self.is_full:
            await self._write([])

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
        self._thinned_by_quota = self._thinned_by_quota or self.is_full
        self._thinned.update(record.kind for record in records)
        self.lost += len(records)

    def _gap(self) -> _HandOver:
        """What was dropped up to now, of each kind, since when and why: evidence like any other."""
        data = {
            "event": "thinned",
            "records": self._thinned.total(),
            "kinds": dict(self._thinned),
            "since_ms": self._thinned_since_ms,
            "until_ms": self._journal.now_ms(),
            "reason": "quota" if self._thinned_by_quota else "backlog",
        }
        self._thinned, self._thinned_by_quota = Counter(), False
        gap = NewRecord(kind="gap", source="agent", data=data)
        return _HandOver(records=(gap,), is_evidence=True, then=None)

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
