"""What the pool told before, read back from the journal at the start."""

import orjson

from agent.admitting import ItemResult
from agent.journal import Journal
from agent.poolbatch import TakenBatch
from agent.poolrecords import KIND, REPORTS, TRANSACTIONS

_READ_BYTES_MAX = 900_000


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
