"""The verb ``meters calibrate``: a meter held against the commercial (ASKUE) one."""

from collections.abc import Sequence
from pathlib import Path
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
    plain,
    print_json,
    refused,
    show,
    socket_of,
    table_of,
    understood,
)
from agent.commands.words import kwh, local_time
from agent.commercial import (
    TEXT_BYTES_MAX,
    BadRow,
    CommercialError,
    Row,
    read_commercial,
    stretch,
)
from agent.control_client import NoDaemonError, RefusedError, calibrate_meter
from agent.core.calibration import Verdict
from agent.purchase_values import Unreadable
from agent.status.view import StatusView

_VERDICTS = {
    Verdict.WITHIN: "within the meter's class",
    Verdict.OUTSIDE: "outside the meter's class: the alarm CALIBRATION_DRIFT stands",
    Verdict.UNCLEAR: "too uncertain to tell: compare more hours, or figures with more digits",
}


def calibrate(
    meter: Annotated[str, typer.Argument(metavar="METER", help="The id of a point's meter.")],
    *,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="In the site's zone, or +05:00.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="The end.")] = None,
    energy_kwh: Annotated[
        str | None,
        typer.Option(metavar="KWH", help="What the commercial meter counted, with all its digits."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Columns from (or date and hour), energy_kwh; to."
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Where the figures are from; it goes on record.")
    ] = "",
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Compare a meter with what the commercial (ASKUE) meter counted in the same hours.

    The factor goes on record. It informs and alarms; the books go on by the meter as before. Bad
    rows of a file are named by their lines, the good ones are compared.

    Exit 0: on record; 1: and outside the meter's class; 2: wrong usage; 3: no daemon; 4: refused,
    or some rows were left out.
    """
    typed = (start, end, energy_kwh)
    if (csv is None) is not all(typed) or (csv is not None and any(typed)):
        sentence = "give --from, --to and --energy-kwh, or --csv alone"
        raise CommandError(sentence, Code.WRONG_INPUT)
    path = socket_of(socket, config)
    zone = understood(TypeAdapter(StatusView), asked(path, "/api/v1/status")).zone
    rows, bad = _rows(csv, typed, ZoneInfo(zone))
    answer: dict[str, Any] = {"calibration": None, "left_out": []}
    if rows:
        readings = [row.reading for row in rows]
        try:
            answer = calibrate_meter(path, meter, readings, reason)
        except (NoDaemonError, RefusedError) as error:
            raise refused(error) from error
    left_out = [BadRow(line=rows[one["item"]].line, reason=one["reason"]) for one in
                answer["left_out"]]  # fmt: skip
    tell_comparison(
        answer["calibration"], sorted([*bad, *left_out], key=_line), zone, is_json=is_json
    )


def _line(row: BadRow) -> int:
    return row.line


def _rows(
    file: Path | None, typed: Sequence[str | None], zone: ZoneInfo
) -> tuple[Sequence[Row], Sequence[BadRow]]:
    try:
        if file is None:
            start, end, energy_kwh = (value or "" for value in typed)
            return [Row(line=1, reading=stretch(start, end, energy_kwh, zone))], []
        with file.open("rb") as stream:
            return read_commercial(stream.read(TEXT_BYTES_MAX + 1), zone)
    except OSError as error:
        sentence = f"{file} cannot be read: {error.strerror}; check the path"
        raise CommandError(sentence, Code.WRONG_INPUT) from error
    except (CommercialError, Unreadable) as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error


def tell_comparison(
    found: dict[str, Any] | None, left_out: Sequence[BadRow], zone: str, *, is_json: bool
) -> None:
    """Show what came of it; ends the verb with its code where that is not 0."""
    if is_json:
        rows = [{"line": one.line, "reason": one.reason} for one in left_out]
        print_json({"calibration": found, "left_out": rows})
    else:
        if left_out:
            show(table_of(["line", "left out because"], [[x.line, x.reason] for x in left_out]))
        if found is not None:
            show(plain(_words(found, zone)))
    if found is None:
        raise CommandError("nothing could be compared; nothing is on record", Code.REFUSED)
    if left_out:
        sentence = f"{len(left_out)} rows were left out; the others are on record"
        raise CommandError(sentence, Code.REFUSED)
    if found["verdict"] == Verdict.OUTSIDE.value:
        raise typer.Exit(Code.NEGATIVE)


def _words(found: dict[str, Any], zone: str) -> str:
    factor, off = found["factor_ppm"] / 1e6, found["uncertainty_ppm"] / 1e6
    times = f"{local_time(found['from_ms'], zone)} to {local_time(found['to_ms'], zone)}"
    return (
        f"{times}: commercial {kwh(found['commercial_wh'])} kWh, metered "
        f"{kwh(found['metered_wh'])} kWh, unknown {kwh(found['unknown_wh'])} kWh; factor "
        f"{factor:.5f} give or take {off:.5f}: {_VERDICTS[Verdict(found['verdict'])]}"
    )
