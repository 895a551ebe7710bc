"""What may have been drawn unseen: by machines since they were last asked, and before the start.

A machine that stands lower than its nameplate may start by itself at any moment. Until it is asked
again it counts at its nameplate; what its answer then shows is counted for the whole time between.
Energies are Wh, powers W, times monotonic seconds.
"""

import math
from collections.abc import Mapping

from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.fleet import Judged, nameplate_w
from agent.core.ledger import Ledger, set_start_error
from agent.core.suspicion import SILENCE_S

JUST_OPENED_MS = 60_000


def unseen_wh(judgements: Mapping[str, Judged], now_s: float) -> float:
    """The most that lowered machines can have drawn above their known draw since their answers."""
    watt_seconds = 0.0
    for one in judgements.values():
        reading = one.view.reading
        if reading is not None and not one.is_dark:
            hidden_w = max(nameplate_w(one.machine) - one.machine.upper_w, 0.0)
            watt_seconds += hidden_w * max(now_s - reading.replied_at_s, 0.0)
    return watt_seconds / SECONDS_PER_HOUR


def surprise_wh(before: Mapping[str, Judged], after: Mapping[str, Judged]) -> float:
    """What machines that now answer with more than they could draw have drawn in the meantime."""
    watt_seconds = 0.0
    for miner_id, now in after.items():
        then = before.get(miner_id)
        if then is None or then is now or now.view.reading is None or then.view.reading is None:
            continue
        risen_w = max(now.machine.upper_w - then.machine.upper_w, 0.0)
        elapsed_s = now.view.reading.replied_at_s - then.view.reading.replied_at_s
        watt_seconds += risen_w * max(elapsed_s, 0.0)
    return watt_seconds / SECONDS_PER_HOUR


def unseen_start(ledger: Ledger, *, at_ms: int, power_w: float, rated_w: float) -> Ledger:
    """Charge windows that opened just before the first reading ever with the most that has flowed.

    Nothing in the books tells where the register stood then. As between two readings, the power of
    the one stands for a moment, and the connection's rating for any longer. A window that is open
    for longer than a minute counts from this reading on: what was used of it before only its owner
    knows, and takes off.
    """
    charged = ledger
    for start_ms in {account.transaction.start_ms for account in ledger.open_accounts(at_ms)}:
        gap_ms = at_ms - start_ms
        if 0 < gap_ms <= JUST_OPENED_MS:
            most_w = rated_w if gap_ms > SILENCE_S * 1000 else min(power_w, rated_w)
            error_wh = math.ceil(most_w * gap_ms / 3_600_000)
            charged = set_start_error(charged, start_ms=start_ms, error_wh=error_wh)
    return charged
