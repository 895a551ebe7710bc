"""What the pool told, and what was refused of it, as records of the journal."""

from collections.abc import Mapping
from typing import Any

from agent.poolbatch import SignedBatch, TakenBatch
from agent.poolnote import PoolRefusalError
from agent.poolreport import PoolReport
from agent.records import NewRecord

KIND = "pool"
TRANSACTIONS, REFUSALS, REPORTS = "transactions", "refusals", "equivocation"
ITEMS_PER_RECORD = 40  # an id of 64 letters and a reason, both escaped, fit so often into a line


def taken_records(batch: SignedBatch, taken: TakenBatch) -> list[NewRecord]:
    """``pool``: a batch was taken. The results go before; they are committed together."""
    parts = [
        taken.items[first : first + ITEMS_PER_RECORD]
        for first in range(0, len(taken.items), ITEMS_PER_RECORD)
    ]
    records = [
        _record(
            TRANSACTIONS,
            "results",
            {
                "sequence": taken.sequence,
                "part": part,
                "parts": len(parts),
                "items": [[one.transaction_id, one.result, one.reason] for one in items],
            },
        )
        for part, items in enumerate(parts)
    ]
    data = {
        "id": taken.batch_id,
        "sequence": taken.sequence,
        "sha256": taken.sha256,
        "parts": len(parts),
        "note": batch.note.text,
    }
    return [*records, _record(TRANSACTIONS, "taken", data)]


def refused_record(
    topic: str, refusal: PoolRefusalError, sha256: str, length: int, unrecorded: int
) -> NewRecord:
    """``pool``: a message was refused, and had no effect.

    ``unrecorded``: how many more were refused since the last such record and have none.
    """
    data = {
        "topic": topic,
        "reason": refusal.reason,
        "words": str(refusal),
        "sha256": sha256,
        "bytes": length,
        "id": refusal.batch_id,
        "sequence": refusal.sequence,
        "unrecorded": unrecorded,
    }
    return _record(REFUSALS, "refused", data)


def report_record(report: PoolReport) -> NewRecord:
    """``pool``: the pool reports two logs under this agent's name."""
    data = {
        "reason": report.reason,
        "origin": report.origin,
        "words": report.words,
        "sha256": report.note.sha256,
        "note": report.note.text,
    }
    return _record(REPORTS, "equivocation", data)


def _record(source: str, event: str, data: Mapping[str, Any]) -> NewRecord:
    state = "G" if source == TRANSACTIONS else "F"
    return NewRecord(kind=KIND, source=source, state=state, data={"event": event, **data})
