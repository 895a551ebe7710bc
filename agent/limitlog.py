"""The limits that were told, as the journal holds them: written down, and read back by point.

A limit's id is its point's own: the same order may be told to several points.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from agent.core.limitbook import LimitBook, ToldLimit, clear, remember
from agent.core.limits import Limit
from agent.journal import Journal
from agent.records import NewRecord


def limit_record(meter_point: str, told: ToldLimit) -> NewRecord:
    """``limit``: a limit was told and rules by its times from now on."""
    limit = told.limit
    return _limit_record(
        meter_point,
        limit.limit_id,
        "told",
        {
            "kind": limit.kind,
            "source": limit.source,
            "power_w": round(limit.power_w),
            "from_ms": limit.from_ms,
            "until_ms": limit.expires_ms,
            "safe_w": round(limit.safe_w),
            "words": limit.words,
            "reason": told.reason,
            "told_by": told.told_by,
            "received_at_ms": told.received_at_ms,
        },
    )


def limit_refusal_record(meter_point: str, told: ToldLimit, reason: str) -> NewRecord:
    """``limit``: a limit was refused."""
    data = {"words": told.limit.words, "reason": reason, "told_by": told.told_by}
    return _limit_record(meter_point, told.limit.limit_id, "refused", data)


def limit_cleared_record(
    meter_point: str, limit_id: str, *, told_by: str, cleared_at_ms: int
) -> NewRecord:
    """``limit``: a limit was lifted before its end."""
    data = {"told_by": told_by, "cleared_at_ms": cleared_at_ms}
    return _limit_record(meter_point, limit_id, "cleared", data)


def limit_reached_record(meter_point: str, limit_id: str, measured_w: float) -> NewRecord:
    """``limit``: the meter shows for the first time that the limit, being in force, is kept."""
    return _limit_record(meter_point, limit_id, "reached", {"power_w": round(measured_w)})


def _limit_record(
    meter_point: str, limit_id: str, event: str, data: Mapping[str, Any]
) -> NewRecord:
    whole = {"event": event, "meter_point": meter_point, **data}
    return NewRecord(kind="limit", source=limit_id, data=whole)


async def recover_limits(
    journal: Journal, *, meter_point: str, rated_w: float
) -> tuple[LimitBook, frozenset[str]]:
    """The limits that were told to a point, by their records alone, and which had been reached."""
    book, reached = LimitBook(rated_w=rated_w), set()
    async for raw in journal.records_of(["limit"]):
        record = orjson.loads(raw)
        limit_id, data = record["s"], record["d"]
        # A journal from before there were several points names none: it had only one, and a limit
        # that were forgotten would allow more than somebody has said.
        if data.get("meter_point", meter_point) != meter_point:
            continue
        if data["event"] == "told":
            book = remember(book, _told(limit_id, data))
        elif data["event"] == "cleared":
            book, _ = clear(book, limit_id, now_ms=data["cleared_at_ms"])
        elif data["event"] == "reached":
            reached.add(limit_id)
    return book, frozenset(reached)


def _told(limit_id: str, data: dict[str, Any]) -> ToldLimit:
    limit = Limit(
        kind=data["kind"],
        source=data["source"],
        limit_id=limit_id,
        power_w=float(data["power_w"]),
        safe_w=float(data["safe_w"]),
        from_ms=data["from_ms"],
        expires_ms=data["until_ms"],
        words=data["words"],
    )
    return ToldLimit(
        limit=limit,
        told_by=data["told_by"],
        reason=data["reason"],
        received_at_ms=data["received_at_ms"],
    )
