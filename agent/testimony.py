"""What the daemon did and saw, as records of the journal: whole numbers in scaled units.

One function per kind, from the core's values to a ``NewRecord``; ``agent.recovery`` reads the
ledger's back. The shapes are those of docs/wire.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from agent.actuator import Actuation
from agent.core.decisions import Because, Command, Decision, Setpoint
from agent.core.ledger import ORDER, Account, Admission, Entry, Ledger, Transaction
from agent.core.meterfusion import Fusion
from agent.core.register import RegisterEvent
from agent.core.snapshot import MinerView
from agent.core.statement import Statement
from agent.records import NewRecord
from drivers.readings import MeterReading

AGENT = "agent"
ROWS_PER_RECORD = 400


def reading_record(reading: MeterReading) -> NewRecord:
    """``meter``: one reading, with the times around its exchange (UTC ms and its length in ms)."""
    return NewRecord(
        kind="meter",
        source=reading.meter_id,
        state=reading.quality.value,
        taken_at_ms=reading.taken_at_ms,
        data={
            "energy_import_wh": reading.energy_import_wh,
            "power_mw": _milli(reading.power_w),
            "voltage_mv": _milli(reading.voltage_v),
            "frequency_mhz": _milli(reading.frequency_hz),
            "exchange_ms": round((reading.replied_at_s - reading.requested_at_s) * 1000),
        },
    )


def gap_record(source: str, *, state: str, reason: str, since_ms: int) -> NewRecord:
    """``gap``: readings that should be here and are not."""
    data = {"event": "missing", "since_ms": since_ms, "reason": reason}
    return NewRecord(kind="gap", source=source, state=state, data=data)


def sweep_records(miners: Sequence[MinerView], now_s: float) -> Iterator[NewRecord]:
    """``sweep``: all machines in columns, in as many records as the size limit asks for."""
    parts = max((len(miners) + ROWS_PER_RECORD - 1) // ROWS_PER_RECORD, 1)
    for part in range(parts):
        rows = miners[part * ROWS_PER_RECORD : (part + 1) * ROWS_PER_RECORD]
        readings = [view.reading for view in rows]
        yield NewRecord(
            kind="sweep",
            source=AGENT,
            data={
                "part": part,
                "parts": parts,
                "miner": [view.miner_id for view in rows],
                "age_ms": [
                    None if r is None else round((now_s - r.replied_at_s) * 1000) for r in readings
                ],
                "power_mw": [None if r is None else _milli(r.power_w) for r in readings],
                "hashrate_ghs": [
                    None if r is None else round(r.hashrate_hs / 1e9) for r in readings
                ],
                "activity": [None if r is None else r.activity.value for r in readings],
                "boards_on": [
                    None if r is None else sum(b.is_enabled for b in r.boards) for r in readings
                ],
                "fault": [view.fault for view in rows],
            },
        )


def purchase_record(transaction: Transaction) -> NewRecord:
    """``ledger``: a purchase was taken into the books."""
    return _ledger_record(
        transaction.meter_point,
        "purchase",
        {
            "id": transaction.transaction_id,
            "start_ms": transaction.start_ms,
            "end_ms": transaction.end_ms,
            "energy_wh": transaction.energy_wh,
            "price_kzt_per_kwh": transaction.price_kzt_per_kwh,
            "source": transaction.source,
            "received_at_ms": transaction.received_at_ms,
        },
    )


def refusal_record(meter_point: str, admission: Admission) -> NewRecord:
    """``ledger``: a purchase was refused."""
    data = {"id": admission.transaction_id, "reason": admission.reason}
    return _ledger_record(meter_point, "refused", data)


def entry_record(meter_point: str, entry: Entry) -> NewRecord:
    """``ledger``: an interval that is worth a line: split at a window's edge, over, recovered."""
    return _ledger_record(
        meter_point,
        "booked",
        {
            "start_ms": entry.start_ms,
            "end_ms": entry.end_ms,
            "from_wh": entry.from_wh,
            "to_wh": entry.to_wh,
            "shares": [[name, share_wh] for name, share_wh in entry.shares],
            "over_wh": entry.over_wh,
            "unknown_wh": entry.unknown_wh,
            "flags": list(entry.flags),
        },
    )


def register_record(meter_point: str, meter_id: str, event: RegisterEvent) -> NewRecord:
    """``ledger``: what befell the register, and from where to where the books count since."""
    return _ledger_record(
        meter_point,
        event.event,
        {
            "meter": meter_id,
            "serial": event.serial,
            "at_ms": event.at_ms,
            "register_wh": event.register_wh,
            "offset_wh": event.offset_wh,
            "least_wh": event.least_wh,
            "unknown_wh": event.unknown_wh,
            "reason": event.reason,
        },
    )


def statement_record(meter_point: str, statement: Statement) -> NewRecord:
    """``statement``: a quarter of an hour that is over."""
    data = {**statement_data(statement), "order": ORDER}
    return NewRecord(kind="statement", source=meter_point, data=data)


def statement_data(statement: Statement) -> dict[str, Any]:
    """A statement's fields as they stand in records and answers."""
    return {
        "start_ms": statement.start_ms,
        "end_ms": statement.end_ms,
        "metered_wh": statement.metered_wh,
        "unknown_wh": statement.unknown_wh,
        "allocated_wh": statement.allocated_wh,
        "over_wh": statement.over_wh,
        "purchased_wh": statement.purchased_wh,
        "unused_wh": statement.unused_wh,
        "flags": list(statement.flags),
    }


def closed_record(account: Account) -> NewRecord:
    """``ledger``: the statement of one purchase whose window has ended."""
    transaction = account.transaction
    return _ledger_record(
        transaction.meter_point,
        "closed",
        {
            "id": transaction.transaction_id,
            "purchased_wh": transaction.energy_wh,
            "allocated_wh": account.allocated_wh,
            "unused_wh": account.unused_wh,
            "opened_at_wh": account.opened_at_wh,
            "closed_at_wh": account.closed_at_wh,
            "order": ORDER,
        },
    )


def state_record(
    ledger: Ledger,
    *,
    closed: AbstractSet[str],
    purchases_from: int,
    quarter: Statement | None,
    fusion: Fusion,
) -> NewRecord:
    """``ledger``: where the books stand; the next start begins here.

    Only purchases whose windows have begun and that have no statement yet are listed;
    ``purchases_from`` is the index of the oldest purchase record that still counts. Of the fusion
    only a doubt about the register outlives a restart.
    """
    held = None
    if fusion.held is not None:
        held = {
            "least_wh": int(fusion.doubt.least_wh),
            "counter_wh": fusion.held.register_wh,
            "reason": fusion.suspect,
        }
    return _ledger_record(
        ledger.meter_point,
        "state",
        {
            "booked_wh": ledger.booked_wh,
            "booked_at_ms": ledger.booked_at_ms,
            "metered_wh": ledger.metered_wh,
            "unknown_wh": ledger.unknown_wh,
            "allocated_wh": ledger.allocated_wh,
            "over_wh": ledger.over_wh,
            "offset_wh": ledger.offset_wh,
            "serial": ledger.serial,
            "held": held,
            "quarter": None if quarter is None else statement_data(quarter),
            "purchases_from": purchases_from,
            "open": [
                [
                    account.transaction.transaction_id,
                    account.allocated_wh,
                    account.opened_at_wh,
                    account.start_error_wh,
                ]
                for account in ledger.accounts
                if account.opened_at_wh is not None or account.allocated_wh > 0
                if account.transaction.transaction_id not in closed
            ],
        },
    )


def decision_records(decision: Decision) -> Iterator[NewRecord]:
    """``decision``: mode, cap, reason and all commands, in as many records as it takes."""
    commands = decision.commands
    parts = max((len(commands) + ROWS_PER_RECORD - 1) // ROWS_PER_RECORD, 1)
    for part in range(parts):
        rows = commands[part * ROWS_PER_RECORD : (part + 1) * ROWS_PER_RECORD]
        yield NewRecord(
            kind="decision",
            source=AGENT,
            taken_at_ms=decision.at_ms,
            data={
                "part": part,
                "parts": parts,
                "mode": decision.mode.value,
                "power_cap_w": round(decision.power_cap_w),
                "planned_w": round(decision.planned_w),
                "because": _because(decision.because),
                "commands": [_command(command) for command in rows],
            },
        )


def actuation_record(actuation: Actuation) -> NewRecord:
    """``throttle``: how far one command has got."""
    return NewRecord(
        kind="throttle",
        source=actuation.miner_id,
        taken_at_ms=actuation.at_ms,
        data={
            "stage": actuation.stage.value,
            "setpoint": _setpoint(actuation.setpoint),
            "expected_w": round(actuation.expected_w),
            "power_w": None if actuation.power_w is None else round(actuation.power_w),
            "detail": actuation.detail,
        },
    )


def alarm_record(code: str, source: str, *, is_raised: bool, words: str) -> NewRecord:
    """``alarm``: raised or cleared."""
    data = {"code": code, "event": "raised" if is_raised else "cleared", "words": words}
    return NewRecord(kind="alarm", source=source, data=data)


def config_record(*, digest: str, policy_from: str, version: str) -> NewRecord:
    """``config``: by which configuration and policy the agent goes from here on."""
    data = {"settings_sha256": digest, "policy_valid_from": policy_from, "version": version}
    return NewRecord(kind="config", source=AGENT, data=data)


def _ledger_record(meter_point: str, event: str, data: Mapping[str, Any]) -> NewRecord:
    return NewRecord(kind="ledger", source=meter_point, data={"event": event, **data})


def _because(because: Because) -> dict[str, Any]:
    return {
        "limit": because.limit,
        "source": because.source,
        "words": because.words,
        "numbers": dict(because.numbers),
    }


def _command(command: Command) -> dict[str, Any]:
    return {
        "miner": command.miner_id,
        "expected_w": round(command.expected_w),
        **_setpoint(command.setpoint),
    }


def _setpoint(setpoint: Setpoint) -> dict[str, Any]:
    return {
        "is_awake": setpoint.is_awake,
        "profile": setpoint.profile,
        "boards_on": sorted(setpoint.boards_on),
    }


def _milli(value: float | None) -> int | None:
    return None if value is None else round(value * 1000)
