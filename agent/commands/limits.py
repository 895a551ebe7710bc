"""Verbs about limits: list, set, clear, order."""

from typing import Annotated

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
    refused,
    show,
    socket_of,
    table_of,
    understood,
)
from agent.commands.words import local_time, scaled
from agent.control_client import NoDaemonError, RefusedError, clear_limit, tell_limit
from agent.limit_reader import DEFAULT_SOURCE, MANUAL, OPEN_END, ORDER
from agent.status.view import LimitView, StatusView

app = typer.Typer(
    no_args_is_help=True, help="List what bounds the power, set or clear a limit, hand in an order."
)

PowerOption = Annotated[str, typer.Option("--kw", metavar="KW", help="At most so many kW, or 0.")]
PointOption = Annotated[
    str | None,
    typer.Option("--meter-point", metavar="ID", help="Whose; needed where there are several."),
]
ThenOption = Annotated[
    str | None,
    typer.Option("--then-kw", metavar="KW", help="What holds after its end, until cleared."),
]


@app.command("list")
def list_(
    *,
    meter_point: PointOption = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """List what bounds the power now or later; the one that rules at a point has a mark.

    Exit 0: answered; 3: no daemon answers, or it has not finished its first tick.
    """
    view = understood(TypeAdapter(StatusView), asked(socket_of(socket, config), "/api/v1/status"))
    points = [point.meter_point for point in view.meter_points]
    if meter_point is not None and meter_point not in points:
        sentence = f"there is no meter point {meter_point!r}; there is {', '.join(points)}"
        raise CommandError(sentence, Code.WRONG_INPUT)
    limits = [one for one in view.limits if meter_point in (None, one.meter_point)]
    if is_json:
        print_json([limit.model_dump() for limit in limits])
        return
    headings = ["", "id", "kind", "source", "limit kW", "from", "until", "after it kW", "in words"]
    cells = [_cells(limit, view.zone) for limit in limits]
    if len(points) > 1:
        headings.insert(1, "point")
        for row, limit in zip(cells, limits, strict=True):
            row.insert(1, limit.meter_point)
    show(table_of(headings, cells))


@app.command("set")
def set_(
    *,
    power: PowerOption,
    duration: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long: 30m, 1h30m; then it is over.")
    ],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever asks later.")],
    begins: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Without it: from now on.")
    ] = None,
    then: ThenOption = None,
    meter_point: PointOption = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Hold a meter point at or below a power for some time.

    Exit 0: it rules by its times; 2: wrong input; 3: no daemon; 4: refused, with the reason.
    """
    fields = {
        "kind": MANUAL,
        "kw": power,
        "for": duration,
        "from": begins,
        "reason": reason,
        "then_kw": then,
    }
    _tell(fields, meter_point, config=config, socket=socket, is_json=is_json)


@app.command()
def order(
    *,
    power: PowerOption,
    begins: Annotated[
        str, typer.Option("--from", metavar="TIME", help="2026-01-31T14:00; the site's zone.")
    ],
    ends: Annotated[
        str, typer.Option("--to", metavar="TIME", help=f'The end, or "{OPEN_END}": until cleared.')
    ],
    identity: Annotated[str, typer.Option("--id", metavar="ID", help="As the order has it.")],
    source: Annotated[str, typer.Option(metavar="NAME", help="Who ordered it.")] = DEFAULT_SOURCE,
    then: ThenOption = None,
    meter_point: PointOption = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Hand in an order of the grid operator. The same once more changes nothing.

    Exit 0: it rules by its times, or did already; 2: wrong input; 3: no daemon; 4: refused.
    """
    fields = {
        "kind": ORDER,
        "kw": power,
        "from": begins,
        "to": ends,
        "id": identity,
        "source": source,
        "then_kw": then,
    }
    _tell(fields, meter_point, config=config, socket=socket, is_json=is_json)


@app.command()
def clear(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As `kwota limit list` shows it.")],
    *,
    meter_point: PointOption = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Lift a limit or an order before its end.

    Exit 0: it bounds nothing any more; 2: wrong input; 3: no daemon; 4: refused, with the reason.
    """
    try:
        answer = clear_limit(socket_of(socket, config), identity, meter_point)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error
    _show_answer(answer, is_json=is_json)


def _tell(
    fields: dict[str, str | None],
    meter_point: str | None,
    *,
    config: ConfigOption,
    socket: SocketOption,
    is_json: bool,
) -> None:
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        answer = tell_limit(socket_of(socket, config), given, meter_point)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error
    _show_answer(answer, is_json=is_json)


def _show_answer(answer: dict[str, str], *, is_json: bool) -> None:
    if is_json:
        print_json(answer)
    elif answer["result"] != "refused":
        show(table_of(list(answer), [list(answer.values())]))
    if answer["result"] == "refused":
        raise CommandError(f"{answer['limit_id']}: {answer['reason']}", Code.REFUSED)


def _cells(limit: LimitView, zone: str) -> list[object]:
    return [
        "▶" if limit.is_ruling else "",
        limit.id,
        limit.kind,
        limit.source,
        scaled(limit.power_w, 1e3),
        "" if limit.from_ms is None else local_time(limit.from_ms, zone),
        "" if limit.until_ms is None else local_time(limit.until_ms, zone),
        "" if limit.until_ms is None else scaled(limit.safe_w, 1e3),
        limit.words,
    ]
