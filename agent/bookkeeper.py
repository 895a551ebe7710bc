"""The books of one meter point on record: what is written when, and answered once it is durable.

Knows which purchases the journal has where and which have their statement. The state itself is the
keeper's; here it becomes records, the ones that belong together in one commit.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from agent.control import NotNowError
from agent.core.ledger import Admission, Entry, Transaction
from agent.core.site import SiteState
from agent.journal import Journal
from agent.recorder import Recorder
from agent.records import NewRecord
from agent.recovery import Recovered
from agent.testimony import (
    closed_record,
    entry_record,
    purchase_record,
    refusal_record,
    register_record,
    state_record,
    statement_record,
)

DURABLE_WITHIN_S = 25.0
RECORDS_PER_COMMIT = 400

_log = logging.getLogger(__name__)


async def settled(durables: "Sequence[asyncio.Future[None]]", sentence: str) -> None:
    """Wait until records are on the disk. Raises NotNowError with the sentence if it takes long."""
    try:
        async with asyncio.timeout(DURABLE_WITHIN_S):
            for durable in durables:
                await durable
    except TimeoutError:
        raise NotNowError(sentence) from None


class Bookkeeper:
    """Writes the books of one meter point down.

    The newest ``ledger`` record is always a ``state``, whatever happens between two commits: what
    does not fit into one ends with the state as it was before, and would be done again from there.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        recorder: Recorder,
        meter_id: str,
        recovered: Recovered,
        state: SiteState,
    ) -> None:
        self._journal = journal
        self._recorder = recorder
        self._meter_id = meter_id
        self._purchase_index = dict(recovered.purchase_index)
        self._closed = set(recovered.closed)
        self._closed_until_ms = 0
        self._unwritten = recovered.statements
        self._last_state = self._state_record(state)

    def keep_purchases(
        self, state: SiteState, candidates: Sequence[Transaction], admissions: Sequence[Admission]
    ) -> "asyncio.Future[None] | None":
        """Write down what was taken and what was refused.

        Returns what is done once it is on the disk, or None where there was nothing to write.
        """
        point = state.ledger.meter_point
        records = []
        for candidate, admission in zip(candidates, admissions, strict=True):
            if admission.result == "accepted":
                records.append(purchase_record(candidate))
                # Not before this, until the disk says where exactly.
                self._purchase_index[candidate.transaction_id] = self._journal.size
            elif admission.result == "refused":
                records.append(refusal_record(point, admission))
        if not records:
            return None
        self._last_state = self._state_record(state)  # what was bought is not booked on yet
        return self._handed_over(records, self._last_state)

    async def record_rebase(self, state: SiteState, entries: Sequence[Entry]) -> None:
        """Write down what a person vouched for. Raises NotNowError where the disk is too slow."""
        sentence = (
            "the disk did not take it in time; see `kwota journal tail --kind ledger` before "
            "saying it again"
        )
        records = self._records(state, entries)
        await settled([self._handed_over(records, self._state_record(state))], sentence)

    def keep(self, state: SiteState, entries: Sequence[Entry], *, is_due: bool) -> None:
        """Write down what a tick did to the books; where they stand alone only if that is due."""
        records = self._records(state, entries)
        if records or is_due:
            self._hand_over(records, self._state_record(state), lambda: None)

    def _handed_over(
        self, records: Sequence[NewRecord], state: NewRecord
    ) -> "asyncio.Future[None]":
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def is_durable() -> None:
            if not durable.done():
                durable.set_result(None)

        self._hand_over(records, state, is_durable)
        return durable

    def _hand_over(
        self, records: Sequence[NewRecord], state: NewRecord, then: Callable[[], None]
    ) -> None:
        """Hand records and the state after them to the disk, in as many commits as they take."""
        before, self._last_state = self._last_state, state
        for first in range(0, max(len(records), 1), RECORDS_PER_COMMIT):
            part = records[first : first + RECORDS_PER_COMMIT]
            is_last = first + RECORDS_PER_COMMIT >= len(records)

            def note(
                indices: range, part: Sequence[NewRecord] = part, is_last: bool = is_last
            ) -> None:
                for at, record in zip(indices, part, strict=False):
                    if record.data.get("event") == "purchase":
                        self._purchase_index[record.data["id"]] = at
                if is_last:
                    then()

            self._recorder.keep([*part, state if is_last else before], then=note)

    def _records(self, state: SiteState, entries: Sequence[Entry]) -> list[NewRecord]:
        """What befell the register, entries worth a line, and statements of what has ended."""
        ledger = state.ledger
        point = ledger.meter_point
        records = [register_record(point, self._meter_id, event) for event in state.events]
        records += [entry_record(point, entry) for entry in entries if entry.flags or entry.over_wh]
        for account in ledger.ended_accounts(self._closed_until_ms, ledger.booked_at_ms):
            name = account.transaction.transaction_id
            if name not in self._closed:
                self._closed.add(name)
                records.append(closed_record(account))
                _log.info(
                    "transaction=%s event=closed allocated_wh=%d unused_wh=%d",
                    name,
                    account.allocated_wh,
                    account.unused_wh,
                )
        self._closed_until_ms = ledger.booked_at_ms
        statements, self._unwritten = (*self._unwritten, *state.statements), ()
        return records + [statement_record(point, one) for one in statements]

    def _state_record(self, state: SiteState) -> NewRecord:
        """Where the books stand; always the newest ``ledger`` record, the restart relies on it."""
        names = {account.transaction.transaction_id for account in state.ledger.accounts}
        self._closed &= names
        self._purchase_index = {n: at for n, at in self._purchase_index.items() if n in names}
        purchases_from = min(self._purchase_index.values(), default=self._journal.size)
        return state_record(
            state.ledger,
            closed=self._closed,
            purchases_from=purchases_from,
            quarter=state.quarter,
            fusion=state.fusion,
        )
