"""The verb ``transactions statement``: what a day used, hour by hour or quarter by quarter."""

import csv
import io
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from pydantic import TypeAdapter

from agent.commands.console import (
    Code,
    CommandError,
    ConfigOption,
    JsonOption,
    SocketOption,
    asked,
    print_json,
    show,
    socket_of,
    table_of,
    understood,
)
from agent.commands.words import kwh, local_time
from agent.core.statement import Statement, merged
from agent.status.view import StatementRow, StatusView

HOUR_MS = 3_600_000
_WH = (
    "metered_wh",
    "unknown_wh",
    "allocated_wh",
    "over_wh",
    "purchased_wh",
    "unused_wh",
)


class Per(StrEnum):
    """How a day is divided."""

    HOUR = "hour"
    QUARTER = "quarter"


def statement(
    *,
    day: Annotated[
        str | None, typer.Option("--date", metavar="DAY", help="2026-01-31; without it: today.")
    ] = None,
    per: Annotated[Per, typer.Option(help="Hours of the site's zone, or quarters of them.")] = (
        Per.HOUR
    ),
    is_json: JsonOption = False,
    is_csv: Annotated[bool, typer.Option("--csv", help="Print data only, as CSV.")] = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Show what was bought, used, left over and overdrawn, hour by hour.

    A quarter appears when it is over. "unknown" is an upper bound of what no register shows;
    metered + unknown = used + over. Bought and unused count in the hour in which a window ends.

    Exit 0: answered; 2: wrong usage; 3: no daemon answers.
    """
    if is_json and is_csv:
        raise CommandError("give --json or --csv, one of the two", Code.WRONG_INPUT)
    path = socket_of(socket, config)
    zone = understood(TypeAdapter(StatusView), asked(path, "/api/v1/status")).zone
    wanted = day or datetime.now(UTC).astimezone(ZoneInfo(zone)).date().isoformat()
    try:
        date.fromisoformat(wanted)
    except ValueError:
        sentence = f"{wanted!r} is no day; write it like 2026-01-31"
        raise CommandError(sentence, Code.WRONG_INPUT) from None
    document = asked(path, "/control/v1/statements", date=wanted)
    rows = understood(TypeAdapter(list[StatementRow]), document)
    points = sorted({row.meter_point for row in rows})
    found = [
        (point, one, _order_of(rows, point))
        for point in points
        for one in _divided([row for row in rows if row.meter_point == point], per, zone)
    ]
    records = [_record(point, one, order) for point, one, order in found]
    if is_json:
        print_json(records)
    elif is_csv:
        sys.stdout.write(_csv(records))
    else:
        _show(records, zone)


def hour_start_ms(at_ms: int, zone: str) -> int:
    """When the hour of a zone that contains an instant begins, in UTC ms."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return at_ms - (local.minute * 60 + local.second) * 1000 - at_ms % 1000


def _divided(rows: Sequence[StatementRow], per: Per, zone: str) -> Sequence[Statement]:
    quarters = [
        Statement(
            start_ms=row.start_ms,
            end_ms=row.end_ms,
            flags=tuple(row.flags),
            **{name: getattr(row, name) for name in _WH},
        )
        for row in rows
    ]
    if per is Per.QUARTER:
        return quarters
    return merged(quarters, lambda at_ms: hour_start_ms(at_ms, zone))


def _order_of(rows: Sequence[StatementRow], point: str) -> str:
    return " ".join(sorted({row.order for row in rows if row.meter_point == point}))


def _record(point: str, one: Statement, order: str) -> dict[str, Any]:
    amounts = {name: getattr(one, name) for name in _WH}
    times = {"start_ms": one.start_ms, "end_ms": one.end_ms}
    return {"meter_point": point, **times, **amounts, "flags": list(one.flags), "order": order}


def _csv(records: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    names = ["meter_point", "start_ms", "end_ms", *_WH, "flags", "order"]
    writer = csv.DictWriter(text, names, delimiter=";", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{**record, "flags": " ".join(record["flags"])} for record in records])
    return text.getvalue()


def _show(records: Sequence[dict[str, Any]], zone: str) -> None:
    headings = ["point", "from", "to", "metered kWh", "unknown kWh", "used kWh", "over kWh"]
    headings += ["bought kWh", "unused kWh", "flags"]
    cells: list[list[object]] = [
        [
            record["meter_point"],
            local_time(record["start_ms"], zone),
            local_time(record["end_ms"], zone),
            *(kwh(record[name]) for name in _WH),
            " ".join(record["flags"]),
        ]
        for record in records
    ]
    totals = [kwh(sum(record[name] for record in records)) for name in _WH]
    show(table_of(headings, [*cells, ["total", "", "", *totals, ""]]))
