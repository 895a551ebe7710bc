"""What is shown of the next window and of the relays is what the core says, rounded safely."""

from agent.core.decisions import Preflight
from agent.core.escalation import DAY_S
from agent.core.site import RelayMemory
from agent.core.snapshot import RelayView
from agent.status.foresight import preflight_view, relay_rows


def relay(name: str, *miners: str, is_open: bool | None) -> RelayView:
    return RelayView(relay_id=name, miner_ids=frozenset(miners), is_open=is_open)


def test_no_window_ahead_is_nothing_to_show() -> None:
    assert preflight_view(None) is None


def test_what_flows_at_least_is_never_shown_smaller_than_it_is() -> None:
    ahead = Preflight(
        start_ms=5,
        transaction_ids=("a", "b"),
        purchased_wh=1000,
        controllable_share=0.5,
        stop_s=2.5,
        stop_wh=9.001,
        least_wh=999.2,
        losable_share=0.1,
        can_comply=True,
        words="so",
    )
    shown = preflight_view(ahead)
    assert shown is not None
    assert (shown.stop_wh, shown.least_wh, shown.transactions) == (10, 1000, ["a", "b"])
    assert (shown.can_comply, shown.words) == (True, "so")


def test_a_site_without_relays_shows_none() -> None:
    assert relay_rows((), {"gone": RelayMemory(trips_s=(1.0,))}, 5.0) == []


def test_a_relay_shows_its_state_who_is_behind_it_and_the_openings_of_a_day() -> None:
    now_s = 2 * DAY_S
    relays = (
        relay("row", "m2", "m1", is_open=True),
        relay("new", is_open=False),
        relay("mute", is_open=None),
    )
    trips_s = (now_s - DAY_S - 1, now_s - DAY_S + 1, now_s - 5)
    rows = relay_rows(relays, {"row": RelayMemory(trips_s=trips_s)}, now_s)
    assert [(row.relay_id, row.state, row.openings_24h) for row in rows] == [
        ("row", "open", 2),
        ("new", "closed", 0),
        ("mute", "unknown", 0),
    ]
    assert rows[0].miners == ["m1", "m2"]
