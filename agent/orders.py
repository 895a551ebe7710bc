"""What was decided and what became of it, as records of the journal: whole numbers in scaled units.

The shapes are those of docs/wire.md; ``agent.testimony`` has the readings and the books.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from agent.actuator import Actuation
from agent.core.decisions import Because, Command, Decision, RelayOrder, Setpoint, Stage
from agent.core.snapshot import PendingCommand
from agent.records import NewRecord

ROWS_PER_RECORD = 400


def decision_records(
    decision: Decision, *, meter_point: str, is_shadow: bool = False
) -> Iterator[NewRecord]:
    """``decision``: mode, cap, reason and all commands, in as many records as it takes.

    ``is_shadow`` says that none of the commands was sent. Orders to relays stand in the first part,
    each with a reason of its own; one that is only said again is left out.
    """
    orders = [_relay_order(order) for order in decision.relays if not order.is_repeated]
    commands = decision.commands
    parts = max((len(commands) + ROWS_PER_RECORD - 1) // ROWS_PER_RECORD, 1)
    for part in range(parts):
        rows = commands[part * ROWS_PER_RECORD : (part + 1) * ROWS_PER_RECORD]
        yield NewRecord(
            kind="decision",
            source=meter_point,
            taken_at_ms=decision.at_ms,
            data={
                "part": part,
                "parts": parts,
                "mode": decision.mode.value,
                **({"is_shadow": True} if is_shadow else {}),
                "power_cap_w": round(decision.power_cap_w),
                "planned_w": round(decision.planned_w),
                "because": _because(decision.because),
                "commands": [_command(command) for command in rows],
                **({"relays": orders} if orders and part == 0 else {}),
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
            "sent_mono_ms": round(actuation.sent_at_s * 1000),
            "setpoint": _setpoint(actuation.setpoint),
            "expected_w": round(actuation.expected_w),
            "power_w": None if actuation.power_w is None else round(actuation.power_w),
            "detail": actuation.detail,
            "origin": None if actuation.origin is None else _setpoint(actuation.origin),
            "after_ms": round(actuation.after_s * 1000),
        },
    )


def pending_from(data: Mapping[str, Any]) -> PendingCommand:
    """The command under way that a ``throttle`` record speaks of."""
    origin = data["origin"]
    return PendingCommand(
        setpoint=_setpoint_from(data["setpoint"]),
        sent_at_s=data["sent_mono_ms"] / 1000,
        stage=Stage(data["stage"]),
        detail=data["detail"],
        origin=None if origin is None else _setpoint_from(origin),
    )


def _setpoint_from(data: Mapping[str, Any]) -> Setpoint:
    return Setpoint(
        is_awake=data["is_awake"],
        profile=data["profile"],
        boards_on=frozenset(data["boards_on"]),
    )


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


def _relay_order(order: RelayOrder) -> dict[str, Any]:
    return {
        "relay": order.relay_id,
        "is_open": order.is_open,
        "because": _because(order.because),
    }


def _setpoint(setpoint: Setpoint) -> dict[str, Any]:
    return {
        "is_awake": setpoint.is_awake,
        "profile": setpoint.profile,
        "boards_on": sorted(setpoint.boards_on),
    }
