"""Random lives of a ledger, against a second set of books kept one watt-hour at a time."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core.ledger import FOREVER_MS, Entry, Ledger, Transaction, admit, anchor, book, forget

CAP_WH = 400
IDS = st.sampled_from("abcdefgh")
TIMES_MS = st.integers(0, 40).map(lambda n: n * 50)


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(meter_point="mp-1")
        self.entries: list[Entry] = []
        self.taken_wh: dict[str, int] = {}
        self.forgotten_wh = 0
        self.over_wh = 0

    @initialize(at_wh=st.integers(0, 10**9), at_ms=st.integers(0, 500))
    def fit_a_meter(self, at_wh: int, at_ms: int) -> None:
        self.ledger = anchor(self.ledger, at_wh=at_wh, at_ms=at_ms)
        self.first_wh = at_wh

    @rule(
        name=IDS,
        start_ms=TIMES_MS,
        end_ms=st.none() | TIMES_MS,
        energy_wh=st.integers(-1, CAP_WH + 2),
        price=st.sampled_from(["9", "10", "10.0", "21.35"]),
        meter_point=st.sampled_from(["mp-1", "mp-1", "mp-1", "mp-2"]),
    )
    def offer(
        self,
        *,
        name: str,
        start_ms: int,
        end_ms: int | None,
        energy_wh: int,
        price: str,
        meter_point: str,
    ) -> None:
        offered = Transaction(
            transaction_id=name,
            meter_point=meter_point,
            start_ms=start_ms,
            end_ms=end_ms,
            energy_wh=energy_wh,
            price_kzt_per_kwh=price,
            source="s",
            received_at_ms=self.ledger.booked_at_ms,
        )
        before = self.ledger
        now_ms = before.booked_at_ms
        self.ledger, admission = admit(before, offered, cap_wh=CAP_WH, now_ms=now_ms)
        known = before.account(name)
        is_good = (
            meter_point == "mp-1"
            and 0 < energy_wh <= CAP_WH
            and (end_ms is None or (end_ms > start_ms and end_ms > now_ms))
        )
        if known is not None:
            assert self.ledger is before
            is_same = replace(known.transaction, received_at_ms=0) == replace(
                offered, received_at_ms=0
            )
            assert admission.result == ("unchanged" if is_same else "refused")
        elif is_good:
            assert admission.result == "accepted"
            assert self.ledger.account(name).unused_wh == energy_wh
            self.taken_wh[name] = 0
        else:
            assert self.ledger is before
            assert admission.result == "refused"
        assert admission.reason

    @precondition(lambda self: self.ledger.accounts)
    @rule(data=st.data(), at_ms=st.integers(0, 2**41))
    def offer_again(self, data: st.DataObject, at_ms: int) -> None:
        known = data.draw(st.sampled_from(self.ledger.accounts)).transaction
        before = self.ledger
        self.ledger, admission = admit(
            before, replace(known, received_at_ms=at_ms), cap_wh=CAP_WH, now_ms=at_ms
        )
        assert self.ledger is before
        assert admission.result == "unchanged"

    @rule(
        grown_wh=st.integers(0, 250),
        passed_ms=st.integers(0, 700),
        estimates=st.lists(st.integers(-50, 300), min_size=20, max_size=20),
    )
    def meter(self, grown_wh: int, passed_ms: int, estimates: list[int]) -> None:
        before = self.ledger
        guesses = iter(estimates)
        edges_wh: dict[int, int] = {}

        def register_at(edge_ms: int) -> int:
            edges_wh[edge_ms] = before.booked_wh + next(guesses)
            return edges_wh[edge_ms]

        self.ledger, entries = book(
            before,
            to_wh=before.booked_wh + grown_wh,
            to_ms=before.booked_at_ms + passed_ms,
            register_at=register_at,
        )
        assert list(edges_wh) == sorted(
            {
                edge
                for a in before.accounts
                for edge in (a.transaction.start_ms, a.transaction.deadline_ms)
                if before.booked_at_ms < edge <= before.booked_at_ms + passed_ms
            }
        )
        self._count_one_by_one(before, edges_wh, grown_wh)
        self.entries += entries
        assert [e.flags for e in entries] == [("split",) if edges_wh else ()] * len(entries)

    def _count_one_by_one(self, before: Ledger, edges_wh: dict[int, int], grown_wh: int) -> None:
        """Each watt-hour lies between two edges and goes to the first who may have it."""
        top_wh = before.booked_wh + grown_wh
        bounds, floor_wh = [], before.booked_wh
        for edge_ms, edge_wh in edges_wh.items():
            floor_wh = min(max(edge_wh, floor_wh), top_wh)
            bounds.append((edge_ms, floor_wh))
        for number in range(before.booked_wh, top_wh):
            passed = [edge_ms for edge_ms, edge_wh in bounds if edge_wh <= number]
            self._take_one(before, max(passed, default=before.booked_at_ms))

    def _take_one(self, before: Ledger, at_ms: int) -> None:
        takers = sorted(
            (
                (t.end_ms or FOREVER_MS, t.start_ms, Decimal(t.price_kzt_per_kwh), t.transaction_id)
                for t in (account.transaction for account in before.accounts)
                if t.start_ms <= at_ms
                and (t.end_ms is None or at_ms < t.end_ms)
                and self.taken_wh[t.transaction_id] < t.energy_wh
            ),
        )
        if takers:
            self.taken_wh[takers[0][3]] += 1
        else:
            self.over_wh += 1

    @rule(age_ms=st.integers(0, 600))
    def forget_the_old(self, age_ms: int) -> None:
        before = self.ledger
        limit_ms = before.booked_at_ms - age_ms
        self.ledger = forget(before, ended_before_ms=limit_ms)
        for account in before.accounts:
            name = account.transaction.transaction_id
            is_kept = account.transaction.deadline_ms >= limit_ms
            assert (self.ledger.account(name) is not None) == is_kept
            if not is_kept:
                self.forgotten_wh += self.taken_wh.pop(name)

    @invariant()
    def bought_is_allocated_plus_unused(self) -> None:
        for account in self.ledger.accounts:
            assert account.allocated_wh == self.taken_wh[account.transaction.transaction_id]
            assert account.allocated_wh + account.unused_wh == account.transaction.energy_wh
            assert account.unused_wh >= 0

    @invariant()
    def metered_is_allocated_plus_over(self) -> None:
        ledger = self.ledger
        assert ledger.metered_wh == ledger.allocated_wh + ledger.over_wh
        assert ledger.over_wh == self.over_wh
        assert ledger.allocated_wh == sum(self.taken_wh.values()) + self.forgotten_wh
        if ledger.booked_wh is not None:
            assert ledger.metered_wh == ledger.booked_wh - self.first_wh

    @invariant()
    def entries_cover_the_register_without_gap_and_add_up(self) -> None:
        for entry in self.entries:
            shared_wh = sum(wh for _, wh in entry.shares)
            assert entry.to_wh - entry.from_wh == shared_wh + entry.over_wh
            assert all(wh > 0 for _, wh in entry.shares)
        for earlier, later in zip(self.entries, self.entries[1:], strict=False):
            assert (earlier.to_wh, earlier.end_ms) == (later.from_wh, later.start_ms)
        assert sum(e.over_wh for e in self.entries) == self.ledger.over_wh


Books.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase
