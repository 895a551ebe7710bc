"""The state of the books after a restart, rebuilt from the journal and from nothing else.

The newest ``ledger`` record is always a ``state``: it says up to which register value everything is
attributed, how the register leads there, and whether the register was being held. Purchases are
read back from their own records, and meter readings that were written after that state refine the
time at which energy flowed. What the register shows at the first reading is attributed from there
and flagged ``recovered``.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from agent.core.attribution import settled
from agent.core.ledger import QUARTER_MS, Account, Ledger, Transaction, book, indexed
from agent.core.meterfusion import held_over, resumed
from agent.core.samples import Fusion, MeterTraits
from agent.core.statement import Statement, collect
from agent.journal import Journal
from agent.records import JournalError
from agent.testimony import transaction_from

TAIL_MAX = 9_000
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The books as the journal has them, and where each purchase stands in it.

    ``closed`` are the purchases that have their statement already. ``last_at_ms`` is the newest
    time that the journal knows: no clock may be believed that is behind it. ``quarter`` is the
    statement under way; ``statements`` are those of quarters that ended before the stop and that
    the journal does not have yet. ``held`` says why the register was not believed, empty where it
    was, ``held_at_wh`` at which value of the coordinate, ``held_least_wh`` what had flowed
    meanwhile at least, and ``held_has_strayed`` whether the register was where it cannot be.
    """

    ledger: Ledger
    purchase_index: dict[str, int]
    closed: frozenset[str]
    last_at_ms: int
    quarter: Statement | None = None
    statements: tuple[Statement, ...] = ()
    held: str = ""
    held_at_wh: int = 0
    held_least_wh: int = 0
    held_has_strayed: bool = False


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
        if name not in accounts:
            raise JournalError(f"The journal has lost the purchase {name!r}; keep it as it is.")
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
        unknown_wh=state.get("unknown_wh", 0),
        allocated_wh=state["allocated_wh"],
        over_wh=state["over_wh"],
        offset_wh=state.get("offset_wh", 0),
        serial=state.get("serial", ""),
        owed_wh=state.get("owed_wh", 0),
    )
    held = state.get("held") or {"reason": "", "least_wh": 0, "counter_wh": 0}
    before = Recovered(
        ledger=indexed(ledger),
        purchase_index=purchase_index,
        closed=frozenset(closed),
        last_at_ms=last_at_ms,
        quarter=statement_of(state["quarter"]) if state.get("quarter") else None,
        held=held["reason"],
        held_at_wh=held["counter_wh"],
        held_least_wh=held["least_wh"],
        held_has_strayed=held.get("has_strayed", False),
    )
    return await _replay(journal, before, meter_id, record["i"])


def seeded(traits: MeterTraits, recovered: Recovered, *, now_s: float, now_ms: int) -> Fusion:
    """Fusion that starts at the journal's last register value, if it has one.

    A register that was held stays held: only the power since then, or a person, can clear it.
    """
    ledger = recovered.ledger
    if ledger.booked_wh is None:
        return Fusion(traits=traits)
    at_s = now_s - max(now_ms - ledger.booked_at_ms, 0) / 1000.0
    fusion = resumed(traits, register_wh=ledger.booked_wh, at_s=at_s)
    if not recovered.held:
        return fusion
    return held_over(
        fusion,
        reason=recovered.held,
        least_wh=recovered.held_least_wh,
        register_wh=recovered.held_at_wh,
        has_strayed=recovered.held_has_strayed,
    )


def statement_of(data: Mapping[str, Any]) -> Statement:
    """A statement as its record has it."""
    return Statement(
        start_ms=data["start_ms"],
        end_ms=data["end_ms"],
        metered_wh=data["metered_wh"],
        unknown_wh=data["unknown_wh"],
        allocated_wh=data["allocated_wh"],
        over_wh=data["over_wh"],
        purchased_wh=data["purchased_wh"],
        unused_wh=data["unused_wh"],
        flags=tuple(data["flags"]),
    )


async def statements_since(journal: Journal, since_ms: int, now_ms: int) -> list[dict[str, Any]]:
    """The statements on record that begin at an instant or later, oldest first, with their point.

    Of each point quarters follow each other; how many points there were is not known, so that the
    tail grows until it reaches back far enough. What is further back than a tail can be is looked
    for from the beginning.
    """
    count = max(now_ms - since_ms, 0) // QUARTER_MS + 2
    while count <= TAIL_MAX:
        lines = await journal.tail(count, "statement")
        found = _begun_since(lines, since_ms)
        # Points close a quarter within seconds of each other: one that is older by an hour than
        # all that is asked for has nothing before it.
        if len(lines) < count or not _begun_since(lines[:1], since_ms - HOUR_MS):
            return found
        count *= 4
    lines = [line async for line in journal.records_of(["statement"])]
    return _begun_since(lines, since_ms)


def _begun_since(lines: Iterable[bytes], since_ms: int) -> list[dict[str, Any]]:
    records = (orjson.loads(line) for line in lines)
    return [
        {"meter_point": record["s"], **record["d"]}
        for record in records
        if record["d"]["start_ms"] >= since_ms
    ]


async def purchases_on_record(journal: Journal, names: Collection[str]) -> dict[str, Transaction]:
    """What the journal knows of these ids, however long ago they were bought.

    The books let a purchase go two days after its end; its id stays taken all the same.
    """
    found: dict[str, Transaction] = {}
    for raw in await journal.purchases_of(names):
        record = orjson.loads(raw)
        found.setdefault(record["d"]["id"], transaction_from(record["s"], record["d"]))
    return found


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


async def _replay(
    journal: Journal, before: Recovered, meter_id: str, since_index: int
) -> Recovered:
    """Book the readings that were written after the state, edge by edge.

    The register between two readings is taken as a straight line: they are a poll apart. A register
    that has gone back since, by a wrap or worse, is for the fusion to judge.
    """
    ledger, entries = settled(before.ledger)
    closed, quarter = collect(before.quarter, entries, ledger)
    statements = list(closed)
    async for raw in journal.records_of(["meter"], since_index):
        record = orjson.loads(raw)
        if record["s"] != meter_id or record["st"] != "G":
            continue
        register_wh = record["d"]["energy_import_wh"] + ledger.offset_wh
        at_ms = record["t"] // 1000
        if ledger.booked_wh is None:
            ledger = replace(ledger, booked_wh=register_wh, booked_at_ms=at_ms)
        elif register_wh >= ledger.booked_wh and at_ms >= ledger.booked_at_ms:
            line = _Line(ledger.booked_at_ms, ledger.booked_wh, at_ms, register_wh)
            ledger, entries = book(ledger, to_wh=register_wh, to_ms=at_ms, register_at=line.at)
            closed, quarter = collect(quarter, entries, ledger)
            statements += closed
    return replace(before, ledger=ledger, quarter=quarter, statements=tuple(statements))


@dataclass(frozen=True, slots=True)
class _Line:
    from_ms: int
    from_wh: int
    to_ms: int
    to_wh: int

    def at(self, at_ms: int) -> int:
        span_ms = max(self.to_ms - self.from_ms, 1)
        return self.from_wh + (self.to_wh - self.from_wh) * (at_ms - self.from_ms) // span_ms
