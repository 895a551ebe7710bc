"""Purchases that were read, judged by the books: one result per item, in the order handed in.

Whoever hands them in, a person through the socket or the pool by MQTT, comes through here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.core.ledger import Admission, Transaction
from agent.purchases import Batch

BOOKS_S = 30.0


class Books(Protocol):
    """Who takes purchases. Raises NotNowError (agent.control) where it cannot now."""

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        """One admission for each candidate, in their order, after they are durably recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What became of one item; ``item`` counts from 1. accepted, unchanged or refused."""

    item: int
    transaction_id: str
    result: str
    reason: str


async def admitted(books: Books, batch: Batch) -> tuple[ItemResult, ...]:
    """Hand a batch to the books. Raises TimeoutError, and what the books raise."""
    admissions: Sequence[Admission] = ()
    if batch.candidates:
        async with asyncio.timeout(BOOKS_S):
            admissions = await books.add_transactions(batch.candidates)
    return _results(batch, admissions)


def _results(batch: Batch, admissions: Sequence[Admission]) -> tuple[ItemResult, ...]:
    refused = {refusal.item: refusal for refusal in batch.refusals}
    judged = iter(admissions)
    rows = []
    for item in range(1, len(batch.candidates) + len(refused) + 1):
        refusal = refused.get(item)
        if refusal is not None:
            row = (refusal.transaction_id, "refused", refusal.reason)
        else:
            admission = next(judged)
            row = (admission.transaction_id, admission.result, admission.reason)
        rows.append(ItemResult(item=item, transaction_id=row[0], result=row[1], reason=row[2]))
    return tuple(rows)
