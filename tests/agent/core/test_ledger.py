from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ledger import (
    FOREVER_MS,
    Account,
    Ledger,
    Transaction,
    admit,
    anchor,
    book,
    check,
    forget,
    set_start_error,
)

CAP_WH = 1_000_000


def bought(
    name: str = "a",
    start_ms: int = 0,
    end_ms: int | None = 1000,
    energy_wh: int = 100,
    *,
    price: str = "20",
    meter_point: str = "mp-1",
) -> Transaction:
    return Transaction(
        transaction_id=name,
        meter_point=meter_point,
        start_ms=start_ms,
        end_ms=end_ms,
        energy_wh=energy_wh,
        price_kzt_per_kwh=price,
        source="single_purchaser",
        received_at_ms=0,
    )


def books_of(*transactions: Transaction, at_wh: int = 5000) -> Ledger:
    ledger = Ledger(meter_point="mp-1")
    for transaction in transactions:
        ledger, admission = admit(ledger, transaction, cap_wh=CAP_WH, now_ms=0)
        assert admission.result == "accepted", admission
    return anchor(ledger, at_wh=at_wh, at_ms=0)


def never(edge_ms: int) -> int:
    raise AssertionError(f"asked for an edge at {edge_ms} ms where none lies")


def allocated(ledger: Ledger) -> dict[str, int]:
    return {a.transaction.transaction_id: a.allocated_wh for a in ledger.accounts}


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (bought(energy_wh=0), "not above zero"),
        (bought(energy_wh=-5), "not above zero"),
        (bought(energy_wh=CAP_WH + 1), "above the cap of 1000000 Wh"),
        (bought(meter_point="mp-2"), "'mp-2'"),
        (bought(start_ms=1000, end_ms=1000), "ends before it starts"),
        (bought(start_ms=2000, end_ms=1000), "ends before it starts"),
        (bought(start_ms=-500, end_ms=0), "in the past"),
    ],
)
def test_a_purchase_that_cannot_be_kept_is_refused_with_the_reason(
    offered: Transaction, reason: str
) -> None:
    empty = Ledger(meter_point="mp-1")
    ledger, admission = admit(empty, offered, cap_wh=CAP_WH, now_ms=0)
    assert ledger is empty
    assert admission.result == "refused"
    assert reason in admission.reason


@pytest.mark.parametrize(
    "offered",
    [bought(energy_wh=1), bought(energy_wh=CAP_WH), bought(end_ms=None), bought(start_ms=-9)],
)
def test_a_purchase_at_the_edge_of_what_is_allowed_is_kept(offered: Transaction) -> None:
    ledger, admission = admit(Ledger(meter_point="mp-1"), offered, cap_wh=CAP_WH, now_ms=0)
    assert admission.result == "accepted"
    assert ledger.account("a") == Account(transaction=offered)


def test_the_same_purchase_again_changes_nothing() -> None:
    ledger = books_of(bought())
    again, admission = admit(
        ledger, replace(bought(), received_at_ms=77), cap_wh=CAP_WH, now_ms=9_999_999
    )
    assert again is ledger
    assert admission.result == "unchanged"


def test_the_same_id_with_other_content_is_refused() -> None:
    ledger = books_of(bought())
    again, admission = admit(ledger, bought(energy_wh=101), cap_wh=CAP_WH, now_ms=0)
    assert again is ledger
    assert admission.result == "refused"
    assert "other content" in admission.reason


def test_energy_goes_to_the_earliest_end_then_start_then_price_then_id() -> None:
    ledger = books_of(
        bought("never-ends", end_ms=None),
        bought("late-end", end_ms=2000),
        bought("late-start", start_ms=1),
        bought("dear", price="20.10"),
        bought("z"),
        bought("cheap", price="9.5"),
        bought("y"),
    )
    order = [account.transaction.transaction_id for account in ledger.accounts]
    assert order == ["cheap", "y", "z", "dear", "late-start", "late-end", "never-ends"]
    ledger, entries = book(ledger, to_wh=5250, to_ms=1, register_at=lambda _: 5250)
    assert entries[0].shares == (("cheap", 100), ("y", 100), ("z", 50))


def test_what_no_purchase_covers_is_over_and_stays_over() -> None:
    ledger, entries = book(books_of(bought()), to_wh=5130, to_ms=10, register_at=never)
    assert allocated(ledger) == {"a": 100}
    assert [(e.shares, e.over_wh) for e in entries] == [((("a", 100),), 30)]
    ledger, _ = admit(ledger, bought("b", energy_wh=50), cap_wh=CAP_WH, now_ms=10)
    ledger, _ = book(ledger, to_wh=5131, to_ms=11, register_at=never)
    assert allocated(ledger) == {"a": 100, "b": 1}
    assert (ledger.metered_wh, ledger.allocated_wh, ledger.over_wh) == (131, 101, 30)


def test_an_interval_across_an_edge_is_split_by_the_estimate_and_flagged() -> None:
    ledger = books_of(bought("a"), bought("b", start_ms=1000, end_ms=2000))
    ledger, _ = book(ledger, to_wh=5010, to_ms=900, register_at=never)
    ledger, entries = book(
        ledger, to_wh=5050, to_ms=1100, register_at={1000: 5022}.__getitem__, flags=("recovered",)
    )
    assert [(e.start_ms, e.end_ms, e.from_wh, e.to_wh, e.shares) for e in entries] == [
        (900, 1000, 5010, 5022, (("a", 12),)),
        (1000, 1100, 5022, 5050, (("b", 28),)),
    ]
    assert [e.flags for e in entries] == [("recovered", "split")] * 2
    closed, opened = ledger.accounts
    assert (closed.closed_at_wh, opened.opened_at_wh) == (5022, 5022)
    assert (closed.opened_at_wh, opened.closed_at_wh) == (None, None)


def test_an_interval_without_edge_carries_only_the_flags_it_was_given() -> None:
    _, entries = book(books_of(), to_wh=5001, to_ms=1, register_at=never, flags=("recovered",))
    assert entries[0].flags == ("recovered",)


def test_an_edge_at_the_very_end_of_an_interval_belongs_to_it() -> None:
    ledger, entries = book(books_of(bought()), to_wh=5040, to_ms=1000, register_at=lambda _: 5038)
    assert [e.shares for e in entries] == [(("a", 38),), ()]
    assert ledger.over_wh == 2
    ledger, entries = book(ledger, to_wh=5041, to_ms=1001, register_at=never)
    assert [e.flags for e in entries] == [()]


@pytest.mark.parametrize("estimate_wh", [-7, 4999, 5101, 10**12])
def test_an_absurd_estimate_of_an_edge_neither_makes_nor_loses_energy(estimate_wh: int) -> None:
    ledger = books_of(bought("a", energy_wh=80), bought("b", start_ms=1000, end_ms=2000))
    ledger, entries = book(ledger, to_wh=5100, to_ms=1500, register_at=lambda _: estimate_wh)
    assert sum(e.to_wh - e.from_wh for e in entries) == 100
    assert all(e.to_wh >= e.from_wh for e in entries)
    assert ledger.metered_wh == 100


def test_booking_before_the_first_register_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="anchor it first"):
        book(Ledger(meter_point="mp-1"), to_wh=1, to_ms=1, register_at=never)


@pytest.mark.parametrize(("to_wh", "to_ms"), [(4999, 1), (5000, -1)])
def test_a_register_or_a_time_that_goes_backwards_is_an_error(to_wh: int, to_ms: int) -> None:
    with pytest.raises(ValueError, match="the register went from 5000 Wh at 0 ms"):
        book(books_of(), to_wh=to_wh, to_ms=to_ms, register_at=never)


def test_a_window_contains_its_start_and_not_its_end() -> None:
    ledger = books_of(bought(start_ms=10, end_ms=20))
    assert [bool(ledger.open_accounts(ms)) for ms in (9, 10, 19, 20)] == [False, True, True, False]


def test_an_open_ended_purchase_stays_open_until_the_end_of_all_clocks() -> None:
    ledger = books_of(bought(end_ms=None))
    assert ledger.open_accounts(FOREVER_MS - 1) == ledger.accounts


def test_the_next_start_is_the_nearest_in_the_future() -> None:
    ledger = books_of(bought("a", 100, 200), bought("b", 50, 200), bought("c", 0, 9))
    assert [ledger.next_start_ms(ms) for ms in (0, 50, 100)] == [50, 100, None]


def test_an_unknown_id_has_no_account() -> None:
    assert books_of(bought()).account("b") is None


def test_the_error_of_a_start_is_noted_only_for_windows_that_start_there() -> None:
    ledger = books_of(bought("a"), bought("b", start_ms=5), bought("c", start_ms=5, end_ms=None))
    ledger = set_start_error(ledger, start_ms=5, error_wh=7)
    assert [account.start_error_wh for account in ledger.accounts] == [0, 7, 7]


def test_only_purchases_that_ended_before_are_forgotten() -> None:
    ledger = books_of(bought("a", end_ms=10), bought("b", end_ms=11), bought("c", end_ms=None))
    kept = forget(ledger, ended_before_ms=11)
    assert [account.transaction.transaction_id for account in kept.accounts] == ["b", "c"]
    assert forget(kept, ended_before_ms=11) is kept


@pytest.mark.parametrize(
    "broken",
    [
        replace(books_of(bought()), metered_wh=1),
        replace(books_of(), accounts=(Account(transaction=bought(), allocated_wh=101),)),
        replace(books_of(), accounts=(Account(transaction=bought(), allocated_wh=-1),)),
    ],
)
def test_books_that_do_not_add_up_are_not_accepted(broken: Ledger) -> None:
    with pytest.raises(AssertionError):
        check(broken)


@given(
    energies=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    steps=st.lists(st.integers(0, 90), min_size=1, max_size=12),
)
def test_consecutive_windows_neither_borrow_nor_carry_over(
    energies: list[int], steps: list[int]
) -> None:
    """One booking per window, with exact edges: each takes its own energy and the rest is over."""
    windows = [
        bought(f"t{n}", n * 1000, (n + 1) * 1000, energy) for n, energy in enumerate(energies)
    ]
    ledger = books_of(*windows)
    for number, step_wh in enumerate(steps):
        at_wh = ledger.booked_wh + step_wh
        before = allocated(ledger)
        ledger, _ = book(
            ledger, to_wh=at_wh, to_ms=(number + 1) * 1000, register_at=lambda _, wh=at_wh: wh
        )
        gained = {name: wh - before[name] for name, wh in allocated(ledger).items() if wh}
        mine_wh = min(step_wh, energies[number]) if number < len(energies) else 0
        assert {name: wh for name, wh in gained.items() if wh} == (
            {f"t{number}": mine_wh} if mine_wh else {}
        )
    assert ledger.metered_wh == sum(steps)
