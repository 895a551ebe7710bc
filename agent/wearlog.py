"""The wear of the machines, read back from what the journal says they were told."""

from collections.abc import Mapping
from typing import Any

import orjson

from agent.core.card import ActuatorCard
from agent.core.decisions import Setpoint, Stage
from agent.core.wear import DAY_S, UNWORN, Wear, worn
from agent.journal import Journal

THROTTLES_READ = 10_000  # as many as the journal hands out at once


async def recover_wear(
    journal: Journal, cards: Mapping[str, ActuatorCard], *, now_s: float, now_ms: int
) -> dict[str, Wear]:
    """What each machine was told in the last day: wear is counted over all lives of the agent.

    ``cards`` is by machine. Looks at the newest ``THROTTLES_READ`` records; a farm that writes more
    in a day starts with a count that is too low.
    """
    wear: dict[str, Wear] = {}
    for raw in await journal.tail(THROTTLES_READ, "throttle"):
        record = orjson.loads(raw)
        miner_id, data = record["s"], record["d"]
        at_s = now_s - (now_ms - record["t"] / 1000) / 1000.0
        if data["stage"] != Stage.SENT.value or miner_id not in cards or at_s < now_s - DAY_S:
            continue
        origin = data.get("origin")  # not in journals of version 0.1.0
        wear[miner_id] = worn(
            wear.get(miner_id, UNWORN),
            cards[miner_id],
            None if origin is None else _setpoint(origin),
            _setpoint(data["setpoint"]),
            at_s,
        )
    return wear


def _setpoint(data: dict[str, Any]) -> Setpoint:
    boards_on = frozenset(data["boards_on"])
    return Setpoint(is_awake=data["is_awake"], profile=data["profile"], boards_on=boards_on)
