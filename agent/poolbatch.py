"""A batch of purchases as the pool signs it, and when it may be taken.

A sequence is used once. The newest batch may come again, as QoS 1 does that, and gets the answer it
had; whatever else has its number or a lower one is a replay. No batch is good for longer than an
hour, so that one that was recorded has no worth where the journal that remembers it is lost.
"""

from dataclasses import dataclass

from agent.admitting import ItemResult
from agent.core.note import VerifierKey
from agent.poolnote import (
    Addressee,
    PoolNote,
    PoolRefusalError,
    name_of,
    number_of,
    read_pool_note,
    require_addressee,
    require_fields,
)

PURPOSE = "kwota/transactions/v1"
VALID_MS_MAX = 3_600_000
ITEMS_MAX = 500

_FIELDS = frozenset(
    {"v", "farm", "agent", "id", "sequence", "not_before_ms", "expires_ms", "transactions"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBatch:
    """A batch whose signature, form and addressee hold. The purchases are not read yet."""

    batch_id: str
    sequence: int
    not_before_ms: int
    expires_ms: int
    items: int
    note: PoolNote


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBatch:
    """A batch that was taken, and what became of each item."""

    batch_id: str
    sequence: int
    sha256: str
    items: tuple[ItemResult, ...]


def read_batch(payload: bytes, key: VerifierKey, site: Addressee) -> SignedBatch:
    """Check a batch by itself. Raises PoolRefusalError."""
    note = read_pool_note(payload, PURPOSE, key)
    require_fields(note, _FIELDS)
    batch_id, sequence = name_of(note, "id"), number_of(note, "sequence")
    try:
        require_addressee(note, site)
        not_before_ms, expires_ms = _validity(note)
        items = _count(note)
    except PoolRefusalError as error:
        raise PoolRefusalError(
            error.reason, str(error), batch_id=batch_id, sequence=sequence
        ) from error
    return SignedBatch(
        batch_id=batch_id,
        sequence=sequence,
        not_before_ms=not_before_ms,
        expires_ms=expires_ms,
        items=items,
        note=note,
    )


def _validity(note: PoolNote) -> tuple[int, int]:
    start_ms, end_ms = number_of(note, "not_before_ms"), number_of(note, "expires_ms")
    if not start_ms < end_ms <= start_ms + VALID_MS_MAX:
        raise PoolRefusalError("malformed", "the batch is not good for up to an hour")
    return start_ms, end_ms


def _count(note: PoolNote) -> int:
    rows = note.fields["transactions"]
    if not isinstance(rows, list) or not 0 < len(rows) <= ITEMS_MAX:
        raise PoolRefusalError("malformed", f"transactions is not a list of 1 to {ITEMS_MAX}")
    return len(rows)


def is_repeated(batch: SignedBatch, newest: TakenBatch | None) -> bool:
    """Whether this is the newest batch once more, byte for byte."""
    return newest is not None and newest.sha256 == batch.note.sha256


def require_due(batch: SignedBatch, newest: TakenBatch | None, now_ms: int) -> None:
    """Whether it may be taken now. Raises PoolRefusalError."""
    if newest is not None and batch.sequence == newest.sequence:
        raise _refusal(batch, "reused", f"sequence {batch.sequence} was another batch's already")
    if newest is not None and batch.sequence < newest.sequence:
        raise _refusal(
            batch, "replayed", f"sequence {batch.sequence} is past, {newest.sequence} was taken"
        )
    if now_ms < batch.not_before_ms:
        early_s = (batch.not_before_ms - now_ms) / 1000
        raise _refusal(batch, "not_yet", f"it is good only in {early_s:.0f} s, by our clock")
    if now_ms >= batch.expires_ms:
        late_s = (now_ms - batch.expires_ms) / 1000
        raise _refusal(batch, "expired", f"it ended {late_s:.0f} s ago, by our clock")


def _refusal(batch: SignedBatch, reason: str, words: str) -> PoolRefusalError:
    return PoolRefusalError(reason, words, batch_id=batch.batch_id, sequence=batch.sequence)
