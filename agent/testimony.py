"""What the daemon did and saw, as records of the journal: whole numbers in scaled units.

One function per kind, from the core's values to a ``NewRecord``; ``agent.recovery`` reads the
ledger's back. The shapes are those of docs/wire.md.
"""

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from agent.core.ledger import ORDER, Account, Admission, Entry, Ledger, Transaction
from agent.core.register import RegisterEvent
from agent.core.samples import Fusion
from agent.core.snapshot import MeterView
from agent.core.statement import Statement
from agent.exact import hints_of, to_plain, with_fields
from agent.records import NewRecord
from drivers.readings import MeterReading, Quality

AGENT = "agent"

_METERED = frozenset(
    {
        "meter_id",
        "requested_at_s",
        "replied_at_s",
        "taken_at_ms",
        "power_w",
        "energy_import_wh",
        "voltage_v",
        "frequency_hz",
    }
)


def reading_record(reading: MeterReading) -> NewRecord:
    """``meter``: one reading, with the times around its exchange: CLOCK_BOOTTIME and its length.

    Request and reply are moved apart to whole milliseconds, so that neither is too certain.
    """
    mono_ms = math.floor(reading.requested_at_s * 1000)
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
            "mono_ms": mono_ms,
            "exchange_ms": math.ceil(reading.replied_at_s * 1000) - mono_ms,
            **_more_of(reading),
        },
    )


def reading_from(meter_id: str, data: Mapping[str, Any], taken_at_ms: int) -> MeterReading:
    """The reading that a ``meter`` record holds: what the governor is given, and nothing finer.

    The state letter of the record may be a later judgement and is not taken for the reading's own.
    """
    reading = MeterReading(
        meter_id=meter_id,
        requested_at_s=data["mono_ms"] / 1000,
        replied_at_s=(data["mono_ms"] + data["exchange_ms"]) / 1000,
        taken_at_ms=taken_at_ms,
        power_w=data["power_mw"] / 1000,
        energy_import_wh=data["energy_import_wh"],
        voltage_v=_unmilli(data["voltage_mv"]),
        frequency_hz=_unmilli(data["frequency_mhz"]),
    )
    return with_fields(reading, data.get("more", {}))


def _more_of(reading: MeterReading) -> dict[str, Any]:
    """What a reading holds beyond the usual, where it differs from the usual: its quality."""
    more = {
        field.name: to_plain(hints_of(MeterReading)[field.name], getattr(reading, field.name))
        for field in dataclasses.fields(reading)
        if field.name not in _METERED and getattr(reading, field.name) != field.default
    }
    return {"more": more} if more else {}


def lost_state(view: MeterView, *, is_held: bool) -> Quality:
    """Why there is no reading to go by: it is not believed, it is no value, or none came."""
    if is_held:
        return Quality.SUSPECT
    return Quality.FAULTY if view.is_faulty else Quality.TIMED_OUT


def gap_record(
    source: str, *, meter_point: str, state: str, reason: str, since_ms: int
) -> NewRecord:
    """``gap``: readings that should be here and are not."""
    data = {
        "event": "missing",
        "meter_point": meter_point,
        "since_ms": since_ms,
        "reason": reason,
    }
    return NewRecord(kind="gap", source=source, state=state, data=data)


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
            "has_strayed": fusion.doubt.has_strayed,
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
            "owed_wh": ledger.owed_wh,
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


def alarm_record(
    code: str, source: str, *, meter_point: str | None, is_raised: bool, words: str
) -> NewRecord:
    """``alarm``: raised or cleared; ``meter_point`` is None where it is about the whole agent."""
    data = {
        "code": code,
        "event": "raised" if is_raised else "cleared",
        "meter_point": meter_point,
        "words": words,
    }
    return NewRecord(kind="alarm", source=source, data=data)


def config_record(
    *, digest: str, policy_from: str, version: str, is_shadow: bool = False
) -> NewRecord:
    """``config``: by which configuration and policy the agent goes from here on."""
    data = {
        "settings_sha256": digest,
        "policy_valid_from": policy_from,
        "version": version,
        "is_shadow": is_shadow,
    }
    return NewRecord(kind="config", source=AGENT, data=data)


def _ledger_record(meter_point: str, event: str, data: Mapping[str, Any]) -> NewRecord:
    return NewRecord(kind="ledger", source=meter_point, data={"event": event, **data})


def transaction_from(meter_point: str, data: Mapping[str, Any]) -> Transaction:
    """The purchase that a ``purchase`` record holds."""
    end_ms = data["end_ms"]
    return Transaction(
        transaction_id=str(data["id"]),
        meter_point=meter_point,
        start_ms=int(data["start_ms"]),
        end_ms=None if end_ms is None else int(end_ms),
        energy_wh=int(data["energy_wh"]),
        price_kzt_per_kwh=str(data["price_kzt_per_kwh"]),
        source=str(data["source"]),
        received_at_ms=int(data["received_at_ms"]),
    )


def _unmilli(value: int | None) -> float | None:
    return None if value is None else value / 1000


def _milli(value: float | None) -> int | None:
    return None if value is None else round(value * 1000)
