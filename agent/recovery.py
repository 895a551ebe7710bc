"""The state of the books after a restart, rebuilt from the journal and from nothing else.

The newest ``ledger`` record is always a ``state``: it says up to which register value everything is
attributed. Purchases are read back from their own records, and meter readings that were written
after that state refine the time at which energy flowed. What the register shows at the first
reading is attributed from there and flagged ``recovered``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from agent.core.card import ActuatorCard
from agent.core.decisions import Setpoint, Stage
from agent.core.ledger import Account, Ledger, book
from agent.core.limitbook import LimitBook, ToldLimit, clear, remember
from agent.core.limits import Limit
from agent.core.meterfusion import Fusion, MeterTraits, resumed
from agent.core.wear import DAY_S, UNWORN, Wear, worn
from agent.journal import Journal
from agent.records import JournalError
from agent.testimony import transaction_from

THROTTLES_READ = 10_000  # as many as the journal hands out at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The books as the journal has them, and where each purchase stands in it.

    ``closed`` are the purchases that have their statement already. ``last_at_ms`` is the newest
    time that the journal knows: no clock may be believed that is behind it.
    """

    ledger: Ledger
    purchase_index: dict[str, int]
    closed: frozenset[str]
    last_at_ms: int


async def recover(journal: Journal, *, meter_point: str, meter_id: str) -> Recovered:
    """Read the books back. Raises JournalError where the journal contradicts itself."""
    newest = await journal.tail(1)
    last_at_ms = orjson.loads(newest[-1])["t"] // 1000 if newest else 0
    raw = await journal.last("ledger", meter_point)
    if raw is None:
        empty = Ledger(meter_point=meter_point)
        return Recovered(ledger=empty, purchase_index={}, closed=frozenset(), last_at_ms=last_at_ms)
    record = orjson.loads(raw)
    state = record["d"]
    if state["event"] != "state":
        raise JournalError("The newest ledger record is no state: the journal was written by hand.")
    accounts, purchase_index, closed = await _purchases(
        journal, meter_point, state["purchases_from"]
    )
    for name, allocated_wh, opened_at_wh, start_error_wh in state["open"]:
        accounts[name] = replace(
            accounts[name],
            allocated_wh=allocated_wh,
            opened_at_wh=opened_at_wh,
            start_error_wh=start_error_wh,
        )
    ledger = Ledger(
        meter_point=meter_point,
        accounts=tuple(sorted(accounts.values(), key=lambda a: a.transaction.order())),
        booked_wh=state["booked_wh"],
        booked_at_ms=state["booked_at_ms"],
        metered_wh=state["metered_wh"],
        allocated_wh=state["allocated_wh"],
        over_wh=state["over_wh"],
    )
    ledger = await _replay(journal, ledger, meter_id, record["i"])
    return Recovered(
        ledger=ledger,
        purchase_index=purchase_index,
        closed=frozenset(closed),
        last_at_ms=last_at_ms,
    )


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


async def recover_limits(journal: Journal, *, rated_w: float) -> tuple[LimitBook, frozenset[str]]:
    """The limits that were told, by their records alone, and which of them had been reached."""
    book, reached = LimitBook(rated_w=rated_w), set()
    async for raw in journal.records_of(["limit"]):
        record = orjson.loads(raw)
        limit_id, data = record["s"], record["d"]
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


def seeded(traits: MeterTraits, ledger: Ledger, *, now_s: float, now_ms: int) -> Fusion:
    """Fusion that starts at the journal's last register value, if it has one."""
    if ledger.booked_wh is None:
        return Fusion(traits=traits)
    at_s = now_s - max(now_ms - ledger.booked_at_ms, 0) / 1000.0
    return resumed(traits, register_wh=ledger.booked_wh, at_s=at_s)


def _setpoint(data: dict[str, Any]) -> Setpoint:
    boards_on = frozenset(data["boards_on"])
    return Setpoint(is_awake=data["is_awake"], profile=data["profile"], boards_on=boards_on)


async def _purchases(
    journal: Journal, meter_point: str, since_index: int
) -> tuple[dict[str, Account], dict[str, int], set[str]]:
    accounts: dict[str, Account] = {}
    index: dict[str, int] = {}
    closed: set[str] = set()
    async for raw in journal.records_of(["ledger"], since_index):
        record = orjson.loads(raw)
        data = record["d"]
        if record["s"] != meter_point:
            continue
        if data["event"] == "purchase":
            accounts[data["id"]] = Account(transaction=transaction_from(meter_point, data))
            index[data["id"]] = record["i"]
        elif data["event"] == "closed" and data["id"] in accounts:
            accounts[data["id"]] = replace(
                accounts[data["id"]],
                allocated_wh=data["allocated_wh"],
                opened_at_wh=data["opened_at_wh"],
            )
            closed.add(data["id"])
    return accounts, index, closed


async def _replay(journal: Journal, ledger: Ledger, meter_id: str, since_index: int) -> Ledger:
    """Book the readings that were written after the state, edge by edge.

    The register between two readings is taken as a straight line: they are a poll apart.
    """
    async for raw in journal.records_of(["meter"], since_index):
        record = orjson.loads(raw)
        register_wh, at_ms = record["d"]["energy_import_wh"], record["t"] // 1000
        if record["s"] != meter_id or record["st"] != "G":
            continue
        if ledger.booked_wh is None:
            ledger = replace(ledger, booked_wh=register_wh, booked_at_ms=at_ms)
        elif register_wh >= ledger.booked_wh and at_ms >= ledger.booked_at_ms:
            line = _Line(ledger.booked_at_ms, ledger.booked_wh, at_ms, register_wh)
            ledger, _ = book(ledger, to_wh=register_wh, to_ms=at_ms, register_at=line.at)
    return ledger


@dataclass(frozen=True, slots=True)
class _Line:
    from_ms: int
    from_wh: int
    to_ms: int
    to_wh: int

    def at(self, at_ms: int) -> int:
        span_ms = max(self.to_ms - self.from_ms, 1)
        return self.from_wh + (self.to_wh - self.from_wh) * (at_ms - self.from_ms) // span_ms
