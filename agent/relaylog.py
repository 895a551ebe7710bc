"""What relays were told, read back from the decisions on record.

An opening counts over all lives of the agent: a restart must not make a relay's day begin anew, nor
close at once what was opened a minute ago.
"""

from collections.abc import Collection

import orjson

from agent.core.escalation import DAY_S
from agent.core.site import RelayMemory
from agent.journal import Journal

DECISIONS_READ = 10_000  # as many as the journal hands out at once


async def recover_relays(
    journal: Journal, relay_ids: Collection[str], *, now_s: float, now_ms: int
) -> dict[str, RelayMemory]:
    """The memory of each relay that was told anything in the last day, as of monotonic ``now_s``.

    Looks at the newest ``DECISIONS_READ`` records; where more are written in a day, the oldest
    openings are forgotten.
    """
    opened: dict[str, list[float]] = {}
    closed: dict[str, float] = {}
    for raw in await journal.tail(DECISIONS_READ, "decision") if relay_ids else ():
        record = orjson.loads(raw)
        at_s = now_s - (now_ms - record["t"] / 1000) / 1000.0
        if record["d"].get("is_shadow") or at_s <= now_s - DAY_S:
            continue
        for order in record["d"].get("relays", ()):
            if order["relay"] not in relay_ids:
                continue
            if order["is_open"]:
                opened.setdefault(order["relay"], []).append(at_s)
            else:
                closed[order["relay"]] = at_s
    return {
        name: RelayMemory(
            opened_at_s=max(opened.get(name, ()), default=float("-inf")),
            closed_at_s=closed.get(name, float("-inf")),
            trips_s=tuple(opened.get(name, ())),
        )
        for name in opened.keys() | closed.keys()
    }
