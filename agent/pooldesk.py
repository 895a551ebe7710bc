"""What the pool sends to be acted on: purchases are taken into the books, reports are recorded.

A batch is answered when it is in the journal and not before, so that an answer survives whatever
comes next. What is refused changes nothing but the journal and an alarm. Refusals are recorded one
by one up to a rate; above it they are counted, for nobody may fill the journal by sending rubbish.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from agent.admitting import Books, ItemResult, admitted
from agent.alarms import Condition
from agent.control import NotNowError
from agent.core.note import NoteError, VerifierKey, cosigned_at_s, parse_note
from agent.journal import Journal
from agent.poolbatch import SignedBatch, TakenBatch, is_repeated, read_batch, require_due
from agent.poollog import recover_report, recover_taken
from agent.poolnote import Addressee, PoolRefusalError, digest_of
from agent.poolrecords import refused_record, report_record, taken_records
from agent.poolreport import PoolReport, read_report
from agent.purchases import PurchaseFormat, PurchaseReader, PurchasesError
from agent.records import JournalFullError, NewRecord
from agent.siteclock import SiteClock

_log = logging.getLogger(__name__)

REFUSAL_SHOWN_S = 600.0
BURST, EVERY_S = 20, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKeys:
    """Whose word counts: ``signing`` for messages, ``cosigning`` for what the pool has seen."""

    signing: VerifierKey
    cosigning: VerifierKey


class PoolDesk:
    """Takes messages one after the other. Made by ``open_pool_desk``."""

    def __init__(
        self,
        *,
        journal: Journal,
        clock: SiteClock,
        books: Books,
        reader: PurchaseReader,
        site: Addressee,
        keys: PoolKeys,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._books = books
        self._reader = reader
        self._site = site
        self._keys = keys
        self._newest: TakenBatch | None = None
        self._report: tuple[str, str] | None = None
        self._refused: tuple[float, PoolRefusalError] | None = None
        self._allowance = _Allowance(clock)

    async def recover(self) -> None:
        """What was taken and reported before, from the journal. Raises JournalError."""
        self._newest = await recover_taken(self._journal)
        self._report = await recover_report(self._journal)

    @property
    def sequence(self) -> int:
        """That of the newest batch that was taken; 0 before the first."""
        return 0 if self._newest is None else self._newest.sequence

    async def take_batch(self, payload: bytes) -> bytes:
        """Take a batch of purchases or refuse it. Returns the answer. Raises JournalError."""
        digest = digest_of(payload)
        try:
            batch = read_batch(payload, self._keys.signing, self._site)
            if is_repeated(batch, self._newest) and self._newest is not None:
                return taken_answer(self._newest)
            require_due(batch, self._newest, self._clock.now_ms())
            taken = await self._take(batch)
        except PoolRefusalError as refusal:
            await self._refuse("transactions", refusal, digest, len(payload))
            return refused_answer(refusal, digest, self.sequence)
        self._newest, self._refused = taken, None
        _log.info("batch=%s sequence=%d items=%d", taken.batch_id, taken.sequence, len(taken.items))
        return taken_answer(taken)

    async def take_report(self, payload: bytes) -> None:
        """Take the pool's report of two logs under our name. Raises JournalError.

        Where it is this disk that went back, the journal ends here: the next start opens an epoch.
        """
        try:
            signers = self._journal.signers
            await self._heed(read_report(payload, self._keys.signing, self._site, signers))
        except PoolRefusalError as refusal:
            await self._refuse("equivocation", refusal, digest_of(payload), len(payload))

    def conditions(self) -> Iterator[Condition]:
        """What is wrong between us and the pool, as far as its own word goes."""
        refused = self._refused
        if refused is not None and self._clock.now_s() - refused[0] < REFUSAL_SHOWN_S:
            yield Condition(
                code="POOL_MESSAGE_REFUSED",
                severity="warning",
                source="pool",
                words=f"a message of the pool was refused ({refused[1].reason}): {refused[1]}",
                remedy="compare mqtt.pool_signing_vkey_file, the names of farm and agent and the"
                " clocks of both sides; see `kwota journal tail --kind pool`",
            )
        if self._report is not None:
            yield Condition(
                code="LOG_EQUIVOCATION",
                severity="critical",
                source="journal",
                words=self._report[1],
                remedy="find out who else holds this agent's key or a copy of its disk; then make"
                " a new key with `kwota enroll` and hand it to the pool",
            )

    async def _take(self, batch: SignedBatch) -> TakenBatch:
        """Into the books by the rules of `kwota transactions import`, then on record."""
        try:
            read = self._reader.read(
                batch.note.body, PurchaseFormat.JSON, received_at_ms=self._clock.now_ms()
            )
            items: Sequence[ItemResult] = await admitted(self._books, read)
            taken = TakenBatch(
                batch_id=batch.batch_id,
                sequence=batch.sequence,
                sha256=batch.note.sha256,
                items=tuple(items),
            )
            await self._journal.append(taken_records(batch, taken))
        except PurchasesError as error:
            raise _refusal(batch, "malformed", str(error)) from error
        except (NotNowError, TimeoutError, JournalFullError) as error:
            # Its number is not used up: the pool sends the same again, and what was taken of it
            # is unchanged then.
            words = str(error) or "the daemon did not answer in time"
            raise _refusal(batch, "not_now", words) from error
        return taken

    async def _heed(self, report: PoolReport) -> None:
        if self._report is not None and self._report[0] == report.note.sha256:
            return  # it comes again as QoS 1 does, and after each restart of the pool
        if report.origin == self._journal.key.origin:
            if await self._holds(report.seen_note, report.seen.size) and await self._holds(
                report.note.fields["shown"], report.shown.size
            ):
                raise PoolRefusalError("unproven", "this log holds both of its heads")
            self._report = (report.note.sha256, report.words)
        _log.error("pool event=equivocation reason=%s words=%r", report.reason, report.words)
        await self._append([report_record(report)])
        try:
            cosigned_at_s(parse_note(report.seen_note), self._keys.cosigning)
        except NoteError:
            return  # nothing but the pool's own cosignature may end a log
        await self._journal.refute(report.seen_note)

    async def _holds(self, note: str, size: int) -> bool:
        """Whether this log has that head."""
        stored = await self._journal.newest_checkpoint(size - 1, size)
        return stored is not None and parse_note(stored.note).text == parse_note(note).text

    async def _refuse(
        self, topic: str, refusal: PoolRefusalError, digest: str, length: int
    ) -> None:
        self._refused = (self._clock.now_s(), refusal)
        unrecorded = self._allowance.take()
        if unrecorded is None:
            return
        _log.warning("topic=%s refused=%s words=%r", topic, refusal.reason, str(refusal))
        await self._append([refused_record(topic, refusal, digest, length, unrecorded)])

    async def _append(self, records: Sequence[NewRecord]) -> None:
        try:
            await self._journal.append(records, urgent=False)
        except JournalFullError as error:
            _log.warning("journal kind=pool state=full reason=%r", str(error))


class _Allowance:
    """So many records at once and then one in a while; what gets none is counted."""

    def __init__(self, clock: SiteClock) -> None:
        self._clock = clock
        self._left = float(BURST)
        self._at_s = clock.now_s()
        self._unrecorded = 0

    def take(self) -> int | None:
        """How many got none before this one, which gets one; None: it gets none either."""
        now_s = self._clock.now_s()
        self._left = min(self._left + (now_s - self._at_s) / EVERY_S, float(BURST))
        self._at_s = now_s
        if self._left < 1.0:
            self._unrecorded += 1
            return None
        self._left -= 1.0
        unrecorded, self._unrecorded = self._unrecorded, 0
        return unrecorded


def taken_answer(taken: TakenBatch) -> bytes:
    """The answer to a batch that was taken: the same bytes whenever it is asked for again."""
    return orjson.dumps(
        {
            "v": 1,
            "result": "taken",
            "id": taken.batch_id,
            "sequence": taken.sequence,
            "sha256": taken.sha256,
            "items": taken.items,
        }
    )


def refused_answer(refusal: PoolRefusalError, digest: str, newest_sequence: int) -> bytes:
    """The answer to a message that had no effect."""
    return orjson.dumps(
        {
            "v": 1,
            "result": "refused",
            "id": refusal.batch_id,
            "sequence": refusal.sequence,
            "sha256": digest,
            "reason": refusal.reason,
            "words": str(refusal),
            "newest_sequence": newest_sequence,
        }
    )


def _refusal(batch: SignedBatch, reason: str, words: str) -> PoolRefusalError:
    return PoolRefusalError(reason, words, batch_id=batch.batch_id, sequence=batch.sequence)
