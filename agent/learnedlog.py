"""What has been learned of a site's discrepancy, over the lives of the agent.

Days of learning and the evidence gathered since must not be lost by a restart: a tap would only
have to wait for one. Written down once a quarter, when it changes.
"""

import logging

import orjson

from agent.core.discrepancy import Discrepancy
from agent.exact import ExactError, from_plain, to_plain
from agent.journal import Journal
from agent.records import NewRecord

KIND = "learned"
OLD_MS = 21 * 86_400_000  # as long as the learning itself remembers

_log = logging.getLogger(__name__)


def learned_record(meter_point: str, meter_id: str, found: Discrepancy) -> NewRecord:
    """``learned``: what is known after one more quarter, exact to the last bit."""
    data = {"meter": meter_id, "found": to_plain(Discrepancy, found)}
    return NewRecord(kind=KIND, source=meter_point, data=data)


async def recover_learned(
    journal: Journal, *, meter_point: str, meter_id: str, now_ms: int
) -> Discrepancy:
    """What was known last; nothing where that was of another meter, too long ago or other code."""
    raw = await journal.last(KIND, meter_point)
    if raw is None:
        return Discrepancy()
    record = orjson.loads(raw)
    data = record["d"]
    if data["meter"] != meter_id or now_ms - record["t"] // 1000 > OLD_MS:
        return Discrepancy()
    try:
        found: Discrepancy = from_plain(Discrepancy, data["found"])
    except ExactError as error:
        _log.warning("point=%s event=learning_anew reason=%r", meter_point, str(error))
        return Discrepancy()
    return found
