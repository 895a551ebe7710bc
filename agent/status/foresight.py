"""What is known of the next window, and the relays that stand behind it, as they are shown."""

import math

from agent.core.decisions import Preflight
from agent.core.escalation import openings_today
from agent.core.governor import Outcome
from agent.core.site import RelayMemory
from agent.status.view import PreflightView, RelayRow

_STATES = {True: "open", False: "closed", None: "unknown"}


def preflight_view(ahead: Preflight | None) -> PreflightView | None:
    """The pre-flight of the next window; what flows at least is never rounded down."""
    if ahead is None:
        return None
    return PreflightView(
        start_ms=ahead.start_ms,
        transactions=list(ahead.transaction_ids),
        purchased_wh=ahead.purchased_wh,
        controllable_share=ahead.controllable_share,
        stop_s=ahead.stop_s,
        stop_wh=math.ceil(ahead.stop_wh),
        least_wh=math.ceil(ahead.least_wh),
        losable_share=ahead.losable_share,
        can_comply=ahead.can_comply,
        words=ahead.words,
    )


def relay_rows(outcome: Outcome) -> list[RelayRow]:
    """The relays of this tick; a site without any has an empty list."""
    memories, snapshot = outcome.state.relays, outcome.picture.snapshot
    return [
        RelayRow(
            relay_id=relay.relay_id,
            state=_STATES[relay.is_open],
            miners=sorted(relay.miner_ids),
            openings_24h=openings_today(
                memories.get(relay.relay_id, RelayMemory()), snapshot.now_s
            ),
        )
        for relay in snapshot.relays
    ]
