"""``kwota-sim replay``: a journal's decisions taken again by the same core, and compared."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from agent.logfile import LogError
from simulator.replay.run import ReplayError, Result, Span, replay

DIFFERENT = 1
WRONG_INPUT = 2


def replay_command(
    journal: Annotated[Path, typer.Argument(help="a journal, a copy of one, or an export")],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="the result as JSON, and nothing else")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="UTC, like 2026-11-21T14:00:00, or UTC ms; begins at the last frame before it",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="the same; the end otherwise")
    ] = None,
) -> None:
    """Take the decisions of a journal again, tick by tick, and compare each with the recorded one.

    The journal of a running daemon is copied first. It proves that the recorded inputs lead to the
    recorded decisions; that nobody changed them is for `kwota verify`.

    Exit codes: 0 all that can be followed is identical, 1 there is a difference, 2 wrong input.
    """
    console = Console(stderr=True)
    try:
        span = Span(from_ms=_instant(since), to_ms=_instant(until))
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("replay", total=None)
            result = replay(
                journal,
                span=span,
                progress=lambda done, total: progress.update(
                    task, completed=done, total=total or None
                ),
            )
    except (ReplayError, LogError, ValueError) as error:
        console.print(f"kwota-sim: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(WRONG_INPUT) from error
    if as_json:
        typer.echo(json.dumps(result.document()))
    else:
        _tell(result)
    raise typer.Exit(DIFFERENT if result.found else 0)


def _instant(text: str | None) -> int | None:
    """UTC ms. Raises ValueError with the way out."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write 2026-11-21T14:00:00 (UTC) or UTC milliseconds"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _tell(result: Result) -> None:
    counts = result.counts
    rows = {
        "log": result.origin or "an export",
        "boots": counts.boots,
        "ticks": counts.ticks,
        "readings, stages, purchases": f"{counts.readings}, {counts.stages}, {counts.purchases}",
        "commands, recorded decisions": f"{counts.commands}, {counts.decisions}",
        "from": _words(counts.first_ms),
        "to": _words(counts.last_ms),
    }
    for name, value in rows.items():
        typer.echo(f"{name:<32}{value}")
    if result.is_copy:
        typer.echo("a daemon has the journal open: this was a copy of it")
    if result.is_shadow:
        typer.echo("shadow run: nothing of it was sent")
    if len(result.points) > 1:
        for name, point in result.points.items():
            typer.echo(f"{f'meter point {name}':<32}{point.ticks} ticks, {point.commands} commands")
    for hole in result.holes:
        end = "the end" if hole.to_index is None else f"record {hole.to_index}"
        when = f"{_words(hole.from_ms)} to {_words(hole.to_ms)}"
        where = f"meter point {hole.meter_point}, record {hole.from_index} to {end}, {when}"
        typer.echo(f"not followed: {where}: {hole.reason}")
    for remark in result.remarks:
        typer.echo(remark)
    found = result.found
    if found is None:
        typer.echo("identical: every decision that could be followed is the recorded one")
        return
    typer.echo(
        f"DIFFERENT at record {found.index}, meter point {found.meter_point}, tick {found.tick},"
        f" {_words(found.at_ms)}: {found.field}"
    )
    typer.echo(f"  recorded  {found.recorded}")
    typer.echo(f"  replayed  {found.replayed}")


def _words(at_ms: int | None) -> str:
    if at_ms is None:
        return "the end"
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
