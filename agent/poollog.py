"""What the pool told, as the journal holds it: written down, and read back at the start."""

from collections.abc import Mapping
from typing import Any

import orjson

from agent.admitting import ItemResult
from agent.journal import Journal
from agent.poolbatch import SignedBatch, TakenBatch
from agent.poolnote import PoolRefusalError
from agent.poolreport import PoolReport
from agent.records import NewRecord

KIND = "pool"
TRANSACTIONS, REFUSALS, REPORTS = "transactions", "refusals", "equivocation"
ITEMS_PER_RECORD = 40  # an id of 64 letters and a reason, both escaped, fit so often into a line

_READ_BYTES_MAX = 900_000


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


async def recover_taken(journal: Journal) -> TakenBatch | None:
    """The newest batch that was taken. None: there is none. Raises JournalError."""
    raw = await journal.last(KIND, TRANSACTIONS)
    if raw is None:
        return None
    record = orjson.loads(raw)
    data = record["d"]
    items: list[ItemResult] = []
    lines = await journal.read(record["i"] - data["parts"], _READ_BYTES_MAX)
    for line in lines[: data["parts"]]:
        for transaction_id, result, reason in orjson.loads(line)["d"]["items"]:
            items.append(
                ItemResult(
                    item=len(items) + 1,
                    transaction_id=transaction_id,
                    result=result,
                    reason=reason,
                )
            )
    return TakenBatch(
        batch_id=data["id"],
        sequence=data["sequence"],
        sha256=data["sha256"],
        items=tuple(items),
    )


async def recover_report(journal: Journal) -> tuple[str, str] | None:
    """Digest and words of the newest report about this very log. None: nothing stands."""
    raw = await journal.last(KIND, REPORTS)
    if raw is None:
        return None
    data = orjson.loads(raw)["d"]
    if data["origin"] != journal.key.origin:
        return None
    return data["sha256"], data["words"]
