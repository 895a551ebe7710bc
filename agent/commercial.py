"""Readings of the commercial (ASKUE) meter as people hand them in: a CSV, or one stretch of time.

A row is judged by itself and named by its line, so that a bad one never costs the good ones.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from agent.core.calibration import CommercialReading
from agent.purchase_values import (
    WH_PER_UNIT,
    Unreadable,
    energy_of,
    hour_window,
    read_date,
    read_number,
    read_time,
)
from agent.settings_faults import shown

TEXT_BYTES_MAX = 1024 * 1024
READINGS_MAX = 1000  # so many fit into one record of the journal
HOUR_MS = 3_600_000
_ENERGY = {f"energy_{unit}": unit for unit in WH_PER_UNIT}
_KNOWN = frozenset({"from", "to", "date", "hour", *_ENERGY})


class CommercialError(Exception):
    """The text as a whole holds no readings: nothing of it was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A good row and its line in the file, from 1."""

    line: int
    reading: CommercialReading


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that was left out, by its line in the file, and why."""

    line: int
    reason: str


def stretch(start: str, end: str, energy_kwh: str, zone: ZoneInfo) -> CommercialReading:
    """One reading as it is typed in. Raises Unreadable."""
    return _reading(read_time(start, zone), read_time(end, zone), energy_kwh, "kwh")


def read_commercial(content: bytes, zone: ZoneInfo) -> tuple[tuple[Row, ...], tuple[BadRow, ...]]:
    """The rows of a CSV: ``from``, perhaps ``to``, or ``date`` and ``hour``; and ``energy_kwh``.

    Without ``to`` a row is one hour. Raises CommercialError where the text is no such table.
    """
    names, rows = _table(content)
    unit = next(_ENERGY[name] for name in names if name in _ENERGY)
    good: list[Row] = []
    bad: list[BadRow] = []
    for line, cells in rows:
        try:
            good.append(Row(line=line, reading=_of_cells(names, cells, unit, zone)))
        except Unreadable as error:
            bad.append(BadRow(line=line, reason=str(error)))
    return tuple(good), tuple(bad)


def _table(content: bytes) -> tuple[Sequence[str], Sequence[tuple[int, list[str]]]]:
    if len(content) > TEXT_BYTES_MAX:
        raise CommercialError("the file is larger than 1 MiB; hand in a month at a time")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommercialError("the file is not UTF-8; save it as UTF-8") from None
    delimiter = max(";\t,", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise CommercialError(f"the file is not CSV: {error}") from error
    if len(rows) < 2:
        raise CommercialError("the file holds no rows below a line that names the columns")
    names = [name.strip().lower() for name in rows[0][1]]
    _check_columns(names)
    if len(rows) - 1 > READINGS_MAX:
        raise CommercialError(f"there are more than {READINGS_MAX} rows; hand in a month at a time")
    return names, rows[1:]


def _check_columns(names: Sequence[str]) -> None:
    strange = [name for name in names if name not in _KNOWN]
    if strange or len(set(names)) != len(names):
        words = shown((strange or list(names))[0])
        raise CommercialError(
            f"the column {words} is unknown or there twice; name from, to (or date and hour), "
            "and energy_kwh or energy_mwh"
        )
    if "from" not in names and not {"date", "hour"} <= set(names):
        raise CommercialError("no column says when; name one from, or two date and hour")
    if len(set(names) & _ENERGY.keys()) != 1:
        raise CommercialError("not exactly one column of energy; name one energy_kwh or energy_mwh")


def _of_cells(
    names: Sequence[str], cells: Sequence[str], unit: str, zone: ZoneInfo
) -> CommercialReading:
    if len(cells) > len(names):
        raise Unreadable("it has more cells than there are columns; mend its separators")
    fields = dict(zip(names, map(str.strip, cells), strict=False))
    text = fields.get(f"energy_{unit}", "")
    if not text:
        raise Unreadable("the energy is missing; write a number, 0 where nothing flowed")
    if fields.get("from"):
        start_ms = read_time(fields["from"], zone)
        end_ms = read_time(fields["to"], zone) if fields.get("to") else start_ms + HOUR_MS
        return _reading(start_ms, end_ms, text, unit)
    day, hour = fields.get("date", ""), fields.get("hour", "")
    if not day or not (hour.isascii() and hour.isdigit() and len(hour) <= 2):
        raise Unreadable("it does not say when; write from, or date and hour (1 to 24)")
    return _reading(*hour_window(read_date(day), int(hour), zone), text, unit)


def _reading(start_ms: int, end_ms: int, text: str, unit: str) -> CommercialReading:
    """A reading that is as certain as the last digit that was written."""
    number = read_number(text)
    energy_wh = energy_of(number, unit)
    if energy_wh < 0:
        raise Unreadable(f"the energy {shown(text)} is below zero; write what was drawn")
    exponent = number.as_tuple().exponent
    digit_wh = Decimal(10) ** min(int(exponent), 0) * WH_PER_UNIT[unit]
    return CommercialReading(
        start_ms=start_ms,
        end_ms=end_ms,
        energy_wh=energy_wh,
        rounding_wh=max(int(digit_wh / 2), 0),
    )
