"""Verbs about purchases: list, add, import, statement."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
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
    print_raw,
    refused,
    show,
    socket_of,
    table_of,
    understood,
)
from agent.commands.statement import statement
from agent.commands.words import kwh, local_time
from agent.control_client import NoDaemonError, RefusedError, send_purchases
from agent.purchases import DEFAULT_SOURCE, SOURCES, TEXT_BYTES_MAX
from agent.status.view import StatusView, TransactionRow

app = typer.Typer(
    no_args_is_help=True,
    help="List purchases, hand in one or a file of them, or see what a day used.",
)

app.command()(statement)

_CONTENT_TYPES = {
    ".toml": "application/toml",
    ".json": "application/json",
    ".csv": "text/csv",
}


@app.command("list")
def list_(
    *,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """List the purchases in the books.

    Exit 0: answered; 3: no daemon answers, or it has not finished its first tick.
    """
    path = socket_of(socket, config)
    document = asked(path, "/api/v1/transactions")
    if is_json:
        print_raw(document)
        return
    rows = understood(TypeAdapter(list[TransactionRow]), document)
    view = understood(TypeAdapter(StatusView), asked(path, "/api/v1/status"))
    zone, has_several = view.zone, len(view.meter_points) > 1
    headings = ["id", "start", "end", "bought kWh", "used kWh", "left kWh", "KZT/kWh", "status"]
    cells: list[list[object]] = [
        [
            row.transaction_id,
            local_time(row.start_ms, zone),
            "open" if row.end_ms is None else local_time(row.end_ms, zone),
            kwh(row.energy_wh),
            kwh(row.allocated_wh),
            kwh(row.unused_wh),
            row.price_kzt_per_kwh,
            row.status,
        ]
        for row in rows
    ]
    if has_several:
        headings.insert(1, "point")
        for shown, row in zip(cells, rows, strict=True):
            shown.insert(1, row.meter_point)
    show(table_of(headings, cells))


@app.command()
def add(
    *,
    identity: Annotated[str, typer.Option("--id", metavar="ID", help="As in the contract.")],
    energy: Annotated[str, typer.Option(metavar="QUANTITY", help='With its unit: "900 kWh".')],
    start: Annotated[
        str, typer.Option(metavar="TIME", help="2026-01-31T14:00+05:00; else in the site's zone.")
    ],
    price: Annotated[str, typer.Option(metavar="KZT", help="Per kWh, without VAT.")],
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help='The end, or "open" for none.')
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Instead of --end: 1h, 30min.")
    ] = None,
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help=", ".join(SOURCES))
    ] = DEFAULT_SOURCE,
    meter_point: Annotated[
        str | None, typer.Option(metavar="ID", help="Needed where there are several.")
    ] = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Hand in one purchase.

    Exit 0: in the books, or was already; 2: wrong usage; 3: no daemon; 4: refused, with the reason.
    """
    if (end is None) == (duration is None):
        raise CommandError("give --end or --for, one of the two", Code.WRONG_INPUT)
    fields = {
        "transaction_id": identity,
        "energy": energy,
        "start": start,
        "end": end,
        "for": duration,
        "price_kzt_per_kwh": price,
        "source": source,
        "meter_point": meter_point,
    }
    item = {name: value for name, value in fields.items() if value is not None}
    _send(socket_of(socket, config), orjson.dumps([item]), "application/json", is_json=is_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .toml, .json or .csv file.")],
    *,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Hand in a file of purchases.

    Bad ones are refused one by one with the reason, the good ones are kept.

    Exit 0: all in the books; 2: the file cannot be read; 3: no daemon; 4: some were refused.
    """
    content_type = _CONTENT_TYPES.get(file.suffix.lower())
    if content_type is None:
        sentence = f"{file} does not end in .toml, .json or .csv; rename it to what it is"
        raise CommandError(sentence, Code.WRONG_INPUT)
    try:
        with file.open("rb") as stream:
            content = stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        sentence = f"{file} cannot be read: {error.strerror}; check the path"
        raise CommandError(sentence, Code.WRONG_INPUT) from error
    if len(content) > TEXT_BYTES_MAX:
        raise CommandError(f"{file} is larger than 4 MiB; send it in parts", Code.WRONG_INPUT)
    _send(socket_of(socket, config), content, content_type, is_json=is_json)


def _send(path: Path, content: bytes, content_type: str, *, is_json: bool) -> None:
    try:
        results = send_purchases(path, content, content_type)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error
    if is_json:
        print_json({"results": results})
    else:
        _show_results(results)
    count = sum(result["result"] == "refused" for result in results)
    if count:
        sentence = f"{count} of {len(results)} refused; mend those and hand in the same file again"
        raise CommandError(sentence, Code.REFUSED)


def _show_results(results: Sequence[dict[str, Any]]) -> None:
    names = ("item", "transaction_id", "result", "reason")
    show(table_of(names, [[result[name] for name in names] for result in results]))
