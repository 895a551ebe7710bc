"""The verb that looks at everything a site needs and says how to mend what is broken."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from agent.commands.console import Code, JsonOption, print_json, show, table_of
from agent.doctor.examination import configuration, examine
from agent.doctor.finding import Finding, Grade

DEFAULT_CONFIG = Path("/etc/kwota/site.toml")


def doctor(
    *,
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="The site's file.")
    ] = DEFAULT_CONFIG,
    shows_all: Annotated[bool, typer.Option("--all", help="Show what is fine as well.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Look at clock, disk, keys, rights, brokers, meters, machines and relays, and say how to mend
    them.

    Everything is only read, also beside a running daemon.

    Exit 0: nothing has failed; 1: something has; 2: the configuration cannot be used at all.
    """
    settings, findings = configuration(config)
    if settings is not None:
        with Progress(
            TextColumn("examining"),
            BarColumn(),
            MofNCompleteColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=is_json or not sys.stderr.isatty(),
        ) as progress:
            total = len(settings.meters) + len(settings.miners) + len(settings.relays)
            bar = progress.add_task("", total=total)
            found = asyncio.run(examine(settings, lambda: progress.advance(bar)))
        findings = [*findings, *found]
    if is_json:
        print_json([asdict(one) for one in findings])
    else:
        _tell(findings, shows_all=shows_all)
    if settings is None:
        raise typer.Exit(Code.WRONG_INPUT)
    if any(one.grade is Grade.FAILED for one in findings):
        raise typer.Exit(Code.NEGATIVE)


def _tell(findings: Sequence[Finding], *, shows_all: bool) -> None:
    order = [Grade.FAILED, Grade.WARNING, Grade.FINE]
    shown = [one for one in findings if shows_all or one.grade is not Grade.FINE]
    if shown:
        rows = [
            [one.grade.value, one.check, one.subject, one.words, one.remedy]
            for one in sorted(shown, key=lambda one: order.index(one.grade))
        ]
        show(table_of(["state", "what", "which", "how it is", "what to do"], rows))
    counts = {grade: sum(one.grade is grade for one in findings) for grade in order}
    show(", ".join(f"{count} {grade.value}" for grade, count in counts.items()))
