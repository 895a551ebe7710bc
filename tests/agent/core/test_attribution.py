"""What a register that came back may lack is charged once, whatever happens next."""

from types import SimpleNamespace

from agent.core.attribution import settled
from agent.core.ledger import Ledger, admit, check


def test_what_is_owed_is_charged_at_once_where_nothing_can_be_waited_for(
    toy: SimpleNamespace,
) -> None:
    bought = toy.purchase(1, start_s=0, end_s=100, energy_wh=500)
    ledger, _ = admit(Ledger(meter_point="mp-1"), bought, cap_wh=1000, now_ms=toy.START_MS)
    ledger = Ledger(
        meter_point="mp-1",
        accounts=ledger.accounts,
        booked_wh=1000,
        booked_at_ms=toy.START_MS + 50_000,
        owed_wh=15,
    )
    after, entries = settled(ledger)
    assert (after.booked_wh, after.owed_wh) == (1015, 0)
    assert (after.unknown_wh, after.metered_wh, after.allocated_wh) == (15, 0, 15)
    assert [(entry.shares, entry.unknown_wh) for entry in entries] == [((("t1", 15),), 15)]
    check(after)
    assert settled(after) == (after, ())
    nothing = Ledger(meter_point="mp-1", owed_wh=15)
    assert settled(nothing) == (nothing, ())
