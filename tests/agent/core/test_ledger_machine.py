"""Random lives of a ledger, against a second set of books kept one watt-hour at a time."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core.ledger import (
    FOREVER_MS,
    QUARTER_MS,
    Account,
    Entry,
    Ledger,
    Transaction,
    admit,
    admit_all,
    anchor,
    book,
    check,
    forget,
    set_start_error,
)
from agent.core.statement import Statement, collect, merged

CAP_WH = 400
IDS = st.sampled_from("abcdefgh")
TIMES_MS = st.integers(0, 40).map(lambda n: n * 50_000)  # a quarter of an hour is 18 of them


class Books(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(meter_point="mp-1")
        self.entries: list[Entry] = []
        self.taken_wh: dict[str, int] = {}
        self.forgotten_wh = 0
        self.over_wh = 0
        self.unknown_wh = 0
        self.errors_wh: dict[str, int] = {}
        self.gone: dict[str, Transaction] = {}
        self.bought = 0
        self.stated: list[Statement] = []
        self.quarter: Statement | None = None

    @initialize(at_wh=st.integers(0, 10**9), at_ms=st.integers(0, 500_000))
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

    @rule(start_ms=TIMES_MS, length_ms=st.integers(1, 900_000), energy_wh=st.integers(1, 9))
    def offer_eighty(self, start_ms: int, length_ms: int, energy_wh: int) -> None:
        offers = []
        for _ in range(80):
            self.bought += 1
            end_ms = None if self.bought % 27 == 0 else start_ms + length_ms
            offers.append(
                Transaction(
                    transaction_id=f"n{self.bought:05}",
                    meter_point="mp-1",
                    start_ms=start_ms,
                    end_ms=end_ms,
                    energy_wh=energy_wh,
                    price_kzt_per_kwh=str(self.bought % 3),
                    source="s",
                    received_at_ms=0,
                )
            )
        now_ms = self.ledger.booked_at_ms
        self.ledger, admissions = admit_all(
            self.ledger, offers, cap_wh=lambda _: CAP_WH, now_ms=now_ms
        )
        for offered, admission in zip(offers, admissions, strict=True):
            is_good = offered.deadline_ms > now_ms
            assert admission.result == ("accepted" if is_good else "refused")
            if is_good:
                self.taken_wh[offered.transaction_id] = 0

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), more_wh=st.integers(0, 1))
    def offer_what_was_forgotten(self, data: st.DataObject, more_wh: int) -> None:
        known = data.draw(st.sampled_from(sorted(self.gone)))
        if self.ledger.account(known) is not None:
            return
        offered = replace(
            self.gone[known],
            energy_wh=self.gone[known].energy_wh + more_wh,
            end_ms=None if more_wh else self.gone[known].end_ms,
        )
        before = self.ledger
        self.ledger, (admission,) = admit_all(
            before, [offered], cap_wh=lambda _: 10**6, now_ms=0, remembered=self.gone
        )
        assert self.ledger is before
        assert admission.result == ("refused" if more_wh else "unchanged")

    @rule()
    def start_again(self) -> None:
        """What the records hold: purchases, what was attributed to each, and the totals."""
        old = self.ledger
        accounts = [
            Account(
                transaction=a.transaction,
                allocated_wh=a.allocated_wh,
                opened_at_wh=a.opened_at_wh,
                start_error_wh=a.start_error_wh,
            )
            for a in old.accounts
        ]
        self.ledger = Ledger(
            meter_point=old.meter_point,
            accounts=tuple(accounts),
            booked_wh=old.booked_wh,
            booked_at_ms=old.booked_at_ms,
            metered_wh=old.metered_wh,
            unknown_wh=old.unknown_wh,
            allocated_wh=old.allocated_wh,
            over_wh=old.over_wh,
        )

    @precondition(lambda self: self.ledger.accounts)
    @rule(data=st.data(), error_wh=st.integers(0, 30))
    def sharpen(self, data: st.DataObject, error_wh: int) -> None:
        start_ms = data.draw(st.sampled_from(self.ledger.accounts)).transaction.start_ms
        self.ledger = set_start_error(self.ledger, start_ms=start_ms, error_wh=error_wh)
        for account in self.ledger.accounts:
            if account.transaction.start_ms == start_ms:
                self.errors_wh[account.transaction.transaction_id] = error_wh

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
        passed_ms=st.integers(0, 700_000),
        estimates=st.lists(st.integers(-50, 300), min_size=40, max_size=40),
        is_unknown=st.booleans(),
    )
    def meter(self, grown_wh: int, passed_ms: int, estimates: list[int], is_unknown: bool) -> None:
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
            is_unknown=is_unknown,
        )
        to_ms = before.booked_at_ms + passed_ms
        windows = {
            edge
            for a in before.accounts
            for edge in (a.transaction.start_ms, a.transaction.deadline_ms)
        }
        quarters = set(range(0, to_ms + 1, QUARTER_MS))
        assert list(edges_wh) == sorted(
            edge for edge in windows | quarters if before.booked_at_ms < edge <= to_ms
        )
        self.unknown_wh += grown_wh if is_unknown else 0
        done, self.quarter = collect(self.quarter, entries, self.ledger)
        self.stated += done
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

    @rule(age_ms=st.integers(0, 600_000))
    def forget_the_old(self, age_ms: int) -> None:
        before = self.ledger
        limit_ms = before.booked_at_ms - age_ms
        self.ledger = forget(before, ended_before_ms=limit_ms)
        for account in before.accounts:
            name = account.transaction.transaction_id
            is_kept = account.transaction.deadline_ms >= limit_ms
            assert (self.ledger.account(name) is not None) == is_kept
            if not is_kept:
                self.gone[name] = account.transaction
                self.forgotten_wh += self.taken_wh.pop(name)

    @invariant()
    def bought_is_allocated_plus_unused(self) -> None:
        for account in self.ledger.accounts:
            assert account.allocated_wh == self.taken_wh[account.transaction.transaction_id]
            assert account.allocated_wh + account.unused_wh == account.transaction.energy_wh
            assert account.unused_wh >= 0
            name = account.transaction.transaction_id
            assert account.start_error_wh == self.errors_wh.get(name, 0)

    @invariant()
    def metered_is_allocated_plus_over(self) -> None:
        ledger = self.ledger
        check(ledger)
        assert ledger.metered_wh + ledger.unknown_wh == ledger.allocated_wh + ledger.over_wh
        assert ledger.unknown_wh == self.unknown_wh
        assert ledger.over_wh == self.over_wh
        assert ledger.allocated_wh == sum(self.taken_wh.values()) + self.forgotten_wh
        if ledger.booked_wh is not None:
            assert ledger.metered_wh + ledger.unknown_wh == ledger.booked_wh - self.first_wh

    @invariant()
    def entries_cover_the_register_without_gap_and_add_up(self) -> None:
        for entry in self.entries:
            shared_wh = sum(wh for _, wh in entry.shares)
            assert entry.to_wh - entry.from_wh == shared_wh + entry.over_wh
            assert entry.unknown_wh in (0, entry.to_wh - entry.from_wh)
            last_ms = max(entry.end_ms - 1, entry.start_ms)
            assert entry.start_ms // QUARTER_MS == last_ms // QUARTER_MS
            assert all(wh > 0 for _, wh in entry.shares)
        for earlier, later in zip(self.entries, self.entries[1:], strict=False):
            assert (earlier.to_wh, earlier.end_ms) == (later.from_wh, later.start_ms)
        assert sum(e.over_wh for e in self.entries) == self.ledger.over_wh

    @invariant()
    def statements_add_up_to_the_ledger(self) -> None:
        stated = [*self.stated, *([self.quarter] if self.quarter else [])]
        if stated:
            (total,) = merged(stated, lambda _: 0)
            assert total.allocated_wh == self.ledger.allocated_wh
            assert (total.over_wh, total.unknown_wh) == (self.over_wh, self.unknown_wh)

    @invariant()
    def what_is_open_is_looked_up_as_it_would_be_searched(self) -> None:
        for at_ms in (self.ledger.booked_at_ms, self.ledger.booked_at_ms + 400_000):
            found = tuple(a for a in self.ledger.accounts if a.is_open(at_ms))
            assert self.ledger.open_accounts(at_ms) == found


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestBooks = pytest.mark.timeout(60)(Books.TestCase)  # coverage makes it three times as slow
