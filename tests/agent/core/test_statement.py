from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.core.ledger import QUARTER_MS, Ledger, Transaction, admit_all, anchor, book
from agent.core.statement import Statement, collect, merged

MINUTE_MS = 60_000


def bought(name: str, from_min: int, to_min: int | None, energy_wh: int) -> Transaction:
    return Transaction(
        transaction_id=name,
        meter_point="mp-1",
        start_ms=from_min * MINUTE_MS,
        end_ms=None if to_min is None else to_min * MINUTE_MS,
        energy_wh=energy_wh,
        price_kzt_per_kwh="20",
        source="s",
        received_at_ms=0,
    )


def books_of(*purchases: Transaction, from_min: int = 0) -> Ledger:
    ledger, _ = admit_all(Ledger(meter_point="mp-1"), purchases, cap_wh=lambda _: 10**6, now_ms=-1)
    return anchor(ledger, at_wh=1000, at_ms=from_min * MINUTE_MS)


def run(
    ledger: Ledger, *steps: tuple[int, int], is_unknown: bool = False
) -> tuple[Ledger, list[Statement], Statement | None]:
    """Book up to (minute, Wh since the anchor), each edge on the straight line."""
    closed: list[Statement] = []
    current: Statement | None = None
    for at_min, grown_wh in steps:
        from_ms, from_wh = ledger.booked_at_ms, ledger.booked_wh
        to_ms, to_wh = at_min * MINUTE_MS, 1000 + grown_wh

        def line(edge_ms: int, a=from_ms, b=from_wh, c=to_ms, d=to_wh) -> int:
            return b + (d - b) * (edge_ms - a) // max(c - a, 1)

        ledger, entries = book(
            ledger, to_wh=to_wh, to_ms=to_ms, register_at=line, is_unknown=is_unknown
        )
        done, current = collect(current, entries, ledger)
        closed += done
    return ledger, closed, current


def test_a_quarter_is_stated_when_it_closes_and_not_before() -> None:
    ledger = books_of(bought("a", 0, 60, 4000))
    _, closed, current = run(ledger, (10, 100), (14, 140))
    assert closed == []
    assert (current.start_ms, current.metered_wh) == (0, 140)
    _, closed, current = run(ledger, (10, 100), (20, 200))
    assert [(one.start_ms, one.end_ms, one.metered_wh) for one in closed] == [(0, QUARTER_MS, 150)]
    assert closed[0].flags == ("split",)
    assert (current.start_ms, current.metered_wh) == (QUARTER_MS, 50)


def test_what_a_window_leaves_unused_is_stated_in_the_quarter_in_which_it_ends() -> None:
    ledger = books_of(bought("a", 0, 60, 4000), bought("b", 20, 40, 500), bought("c", 0, None, 9))
    _, closed, _ = run(ledger, (61, 2440))
    assert [(one.purchased_wh, one.unused_wh) for one in closed] == [
        (0, 0),
        (0, 0),
        (500, 0),
        (4000, 4000 - (2400 - 500)),
    ]


def test_a_booking_that_ends_on_the_very_edge_closes_its_quarter_once() -> None:
    _, closed, current = run(books_of(bought("a", 0, 60, 4000)), (15, 150), (30, 300))
    assert [one.metered_wh for one in closed] == [150, 150]
    assert (current.start_ms, current.metered_wh) == (2 * QUARTER_MS, 0)


def test_books_that_begin_within_a_quarter_state_it_from_there() -> None:
    _, closed, _ = run(books_of(from_min=7), (16, 90))
    assert [(one.start_ms, one.over_wh) for one in closed] == [(7 * MINUTE_MS, 80)]


def test_what_nobody_measured_is_stated_apart() -> None:
    _, closed, _ = run(books_of(bought("a", 0, 60, 100)), (30, 300), is_unknown=True)
    assert [(one.metered_wh, one.unknown_wh, one.over_wh) for one in closed] == [
        (0, 150, 50),
        (0, 150, 150),
    ]


def test_a_clock_that_was_years_behind_costs_no_years_of_quarters() -> None:
    ledger, closed, _ = run(books_of(), (60 * 24 * 365 * 50, 5))
    assert len(closed) <= 1001
    assert closed[0].end_ms - closed[0].start_ms > 49 * 365 * 86_400_000
    assert ledger.over_wh == 5


def test_quarters_are_put_together_to_hours_of_any_zone() -> None:
    quarters = [
        Statement(start_ms=n * QUARTER_MS, end_ms=(n + 1) * QUARTER_MS, metered_wh=2**n)
        for n in range(7)
    ]
    half_past = merged(quarters, lambda at_ms: (at_ms - 1_800_000) // 3_600_000 * 3_600_000)
    assert [(one.start_ms, one.metered_wh) for one in half_past] == [
        (0, 3),
        (2 * QUARTER_MS, 60),
        (6 * QUARTER_MS, 64),
    ]
    assert half_past[1].end_ms == 6 * QUARTER_MS


@given(
    windows=st.lists(
        st.tuples(st.integers(0, 100), st.none() | st.integers(1, 100), st.integers(1, 900)),
        max_size=12,
    ),
    steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 600), st.booleans()), max_size=12),
    first_min=st.integers(0, 40),
)
def test_the_sum_of_all_statements_is_the_ledger_to_the_last_watt_hour(
    windows: list[tuple[int, int | None, int]],
    steps: list[tuple[int, int, bool]],
    first_min: int,
) -> None:
    purchases = [
        bought(f"t{n}", start, None if length is None else start + length, energy_wh)
        for n, (start, length, energy_wh) in enumerate(windows)
    ]
    ledger = books_of(*purchases, from_min=first_min)
    current: Statement | None = None
    stated: list[Statement] = []
    for passed_min, grown_wh, is_unknown in steps:
        before = ledger
        ledger, entries = book(
            before,
            to_wh=before.booked_wh + grown_wh,
            to_ms=before.booked_at_ms + passed_min * MINUTE_MS,
            register_at=lambda edge_ms, wh=before.booked_wh: wh + edge_ms % 700,
            is_unknown=is_unknown,
        )
        done, current = collect(current, entries, ledger)
        stated += done
    for one in stated:
        assert one.start_ms // QUARTER_MS == (one.end_ms - 1) // QUARTER_MS
        assert one.end_ms % QUARTER_MS == 0
    for earlier, later in pairwise(stated):
        assert earlier.end_ms == later.start_ms
    (total,) = merged([*stated, *([current] if current else [])], lambda _: 0) or (
        Statement(start_ms=0, end_ms=0),
    )
    assert total.metered_wh + total.unknown_wh == total.allocated_wh + total.over_wh
    assert (total.metered_wh, total.unknown_wh) == (ledger.metered_wh, ledger.unknown_wh)
    assert (total.allocated_wh, total.over_wh) == (ledger.allocated_wh, ledger.over_wh)
    stated_until_ms = stated[-1].end_ms if stated else first_min * MINUTE_MS
    ended = [
        a
        for a in ledger.accounts
        if first_min * MINUTE_MS < a.transaction.deadline_ms <= stated_until_ms
    ]
    assert total.unused_wh == sum(a.unused_wh for a in ended)
    assert total.purchased_wh == sum(a.transaction.energy_wh for a in ended)
