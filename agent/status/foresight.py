"""What is known of the next window, and the relays that stand behind it, as they are shown."""

import math
from collections.abc import Mapping, Sequence

from agent.core.decisions import Preflight
from agent.core.escalation import openings_today
from agent.core.site import RelayMemory
from agent.core.snapshot import RelayView
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


def relay_rows(
    relays: Sequence[RelayView], memories: Mapping[str, RelayMemory], now_s: float
) -> list[RelayRow]:
    """The relays of a tick at ``now_s`` (monotonic); a site without any has an empty list."""
    return [
        RelayRow(
            relay_id=relay.relay_id,
            state=_STATES[relay.is_open],
            miners=sorted(relay.miner_ids),
            openings_24h=openings_today(memories.get(relay.relay_id, RelayMemory()), now_s),
        )
        for relay in relays
    ]
