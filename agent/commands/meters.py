"""Verbs about meters: list them, and vouch for a register that is held."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from agent.commands.calibrate import calibrate
from agent.commands.console import (
    ConfigOption,
    JsonOption,
    SocketOption,
    asked,
    plain,
    print_json,
    print_raw,
    refused,
    show,
    socket_of,
    table_of,
    understood,
)
from agent.commands.reconcile import reconcile
from agent.commands.words import kwh, scaled
from agent.control_client import NoDaemonError, RefusedError, vouch
from agent.status.view import MeterRow

app = typer.Typer(invoke_without_command=True)

app.command()(calibrate)
app.command()(reconcile)

MeterArgument = Annotated[str, typer.Argument(metavar="METER", help="The meter's id.")]
ReasonOption = Annotated[
    str, typer.Option(metavar="TEXT", help="Why, and by whose word; it goes on record.")
]


@app.callback()
def meters(
    context: typer.Context,
    *,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """List the meters, or vouch for a register that is held.

    The list shows power, register, quality and age.

    Exit 0: answered; 3: no daemon answers, or it has not finished its first tick.
    """
    if context.invoked_subcommand is not None:
        return
    document = asked(socket_of(socket, config), "/api/v1/meters")
    if is_json:
        print_raw(document)
        return
    rows = understood(TypeAdapter(list[MeterRow]), document)
    headings = [
        "meter", "address", "profile", "serial", "power kW", "register kWh", "state", "age s",
        "fault",
    ]  # fmt: skip
    cells: list[list[object]] = [
        [
            row.meter_id,
            row.address,
            row.profile,
            row.serial,
            scaled(row.power_w, 1e3),
            kwh(row.energy_import_wh),
            row.quality,
            scaled(row.age_s, 1),
            row.fault,
        ]
        for row in rows
    ]
    if len({row.meter_point for row in rows} - {None}) > 1:
        headings.insert(1, "point")
        for shown, row in zip(cells, rows, strict=True):
            shown.insert(1, row.meter_point)
    show(table_of(headings, cells))


@app.command()
def exchange(
    meter: MeterArgument,
    *,
    old_register_wh: Annotated[
        int, typer.Option(metavar="WH", help="What the old meter showed at its end.")
    ],
    new_register_wh: Annotated[
        int, typer.Option(metavar="WH", help="What the new meter showed when it was fitted.")
    ],
    reason: ReasonOption,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Go on at a new meter, with the last value of the old one and the first of the new one.

    The new meter must answer; its register is held until this is said. Nothing is lost or found:
    what the two values do not explain is refused.

    Exit 0: on record; 2: wrong usage; 3: no daemon; 4: refused, with the reason.
    """
    figures = {"old_register_wh": old_register_wh, "new_register_wh": new_register_wh}
    event = _vouched(config, socket, meter, "exchange", reason=reason, **figures)
    _tell(event, is_json=is_json)


@app.command()
def accept(
    meter: MeterArgument,
    *,
    reason: ReasonOption,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Believe a register that is held, from what it shows now.

    What flowed meanwhile is not known: the most that can have flowed is charged to the purchases
    that were open, and marked as unknown.

    Exit 0: on record; 2: wrong usage; 3: no daemon; 4: refused, with the reason.
    """
    _tell(_vouched(config, socket, meter, "accept", reason=reason), is_json=is_json)


def _vouched(
    config: Path | None, socket: Path | None, meter: str, action: str, **fields: str | int
) -> dict[str, Any]:
    try:
        return vouch(socket_of(socket, config), meter, action, **fields)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error


def _tell(event: dict[str, Any], *, is_json: bool) -> None:
    if is_json:
        print_json(event)
        return
    shown, unknown = kwh(event["register_wh"]), kwh(event["unknown_wh"])
    words = f"on record: the books go on from {shown} kWh, {unknown} kWh are charged as unknown"
    show(plain(words))
