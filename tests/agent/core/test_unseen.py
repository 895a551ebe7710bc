"""What flowed before the first reading ever is charged to windows that had just opened."""

import pytest

from agent.core.ledger import Ledger, Transaction, admit, anchor
from agent.core.unseen import JUST_OPENED_MS, unseen_start

OPENED_MS = 1_000_000_000


def books(*windows: tuple[str, int, int]) -> Ledger:
    ledger = Ledger(meter_point="mp-1")
    for name, start_ms, end_ms in windows:
        transaction = Transaction(
            transaction_id=name,
            meter_point="mp-1",
            start_ms=start_ms,
            end_ms=end_ms,
            energy_wh=1000,
            price_kzt_per_kwh="20",
            source="single_purchaser",
            received_at_ms=0,
        )
        ledger, admission = admit(ledger, transaction, cap_wh=10_000, now_ms=start_ms)
        assert admission.result == "accepted", admission
    return ledger


@pytest.mark.parametrize(
    ("late_ms", "error_wh"),
    [
        (0, 0),
        (1, 1),
        (600, 3),
        (3000, 15),
        (3001, 31),
        (JUST_OPENED_MS, 600),
        (JUST_OPENED_MS + 1, 0),
    ],
)
def test_a_window_that_has_just_opened_is_charged_with_the_most_that_can_have_flowed(
    late_ms: int, error_wh: int
) -> None:
    ledger = books(
        ("now", OPENED_MS, OPENED_MS + 900_000), ("next", OPENED_MS + 900_000, 2 * OPENED_MS)
    )
    at_ms = OPENED_MS + late_ms
    started = anchor(ledger, at_wh=5000, at_ms=at_ms)
    charged = unseen_start(started, at_ms=at_ms, power_w=18_000.0, rated_w=36_000.0)
    assert [account.start_error_wh for account in charged.accounts] == [error_wh, 0]
    assert charged.allocated_wh == started.allocated_wh


def test_without_a_window_nothing_is_charged() -> None:
    ledger = anchor(Ledger(meter_point="mp-1"), at_wh=5000, at_ms=OPENED_MS)
    assert unseen_start(ledger, at_ms=OPENED_MS, power_w=1.0, rated_w=2.0) == ledger
