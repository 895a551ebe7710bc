"""Comparisons with the commercial meter, as the journal holds them: written down, and read back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agent.core.calibration import Calibration, Pair, Verdict
from agent.journal import Journal
from agent.records import NewRecord

KIND = "calibration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a meter of that serial was found to be at its newest clear comparison."""

    serial: str
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """Whose meter it is that was compared, by whose word, and why.

    ``read_from`` is the billing meter that the figures were read from; empty where a person typed.
    """

    meter_id: str
    meter_point: str
    serial: str
    told_by: str
    reason: str
    read_from: str = ""


def calibration_record(
    found: Calibration, pairs: Sequence[Pair], testimony: Testimony
) -> NewRecord:
    """``calibration``: what the commercial meter counted, and what came of it.

    With the statements before it in the log, everything in it can be worked out again.
    """
    data = {
        "meter_point": testimony.meter_point,
        "serial": testimony.serial,
        **_numbers(found),
        "verdict": found.verdict.value,
        "rounding_wh": sum(pair.reading.rounding_wh for pair in pairs),
        "readings": [
            [pair.reading.start_ms, pair.reading.end_ms, pair.reading.energy_wh] for pair in pairs
        ],
        "told_by": testimony.told_by,
        "reason": testimony.reason,
    }
    if testimony.read_from:
        data["read_from"] = testimony.read_from
    return NewRecord(kind=KIND, source=testimony.meter_id, data=data)


def newest(before: Known | None, after: Known) -> Known:
    """Which of two comparisons stands: of one meter the clear one of the later time."""
    if before is None or before.serial != after.serial:
        return after
    if after.calibration.verdict is Verdict.UNCLEAR:
        return before  # too short or too coarse to contradict anything
    return before if before.calibration.to_ms > after.calibration.to_ms else after


async def recover_calibrations(journal: Journal) -> dict[str, Known]:
    """What stands of each meter, by their records alone."""
    known: dict[str, Known] = {}
    async for raw in journal.records_of([KIND]):
        record = orjson.loads(raw)
        known[record["s"]] = newest(known.get(record["s"]), _known(record["d"]))
    return known


_FIELDS = (
    "from_ms",
    "to_ms",
    "commercial_wh",
    "metered_wh",
    "unknown_wh",
    "factor_ppm",
    "uncertainty_ppm",
    "class_ppm",
)


def _numbers(found: Calibration) -> dict[str, int]:
    return {name: getattr(found, name) for name in _FIELDS}


def _known(data: dict[str, Any]) -> Known:
    numbers = {name: data[name] for name in _FIELDS}
    calibration = Calibration(**numbers, verdict=Verdict(data["verdict"]))
    return Known(serial=data["serial"], calibration=calibration)
