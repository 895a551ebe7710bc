"""The command line: one verb per job, and a last guard so that nobody ever meets a traceback.

A verb ends with a CommandError where the answer is a no; anything else that gets here is a fault of
kwota itself, which is one sentence too, and the traceback for those who ask with ``--debug``.
"""

import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from types import TracebackType
from typing import Annotated

import typer

from agent.commands import (
    daemon,
    devices,
    discover,
    doctor,
    enroll,
    evidence,
    export,
    labels,
    limits,
    locate,
    meters,
    site,
    transactions,
)
from agent.commands.console import EXIT_CODES, Code, CommandError, say

app = typer.Typer(
    name="kwota",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXIT_CODES,
    help="Keeps the machines of a mining farm within the energy that was purchased.",
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        try:
            version = metadata.version("kwota")
        except metadata.PackageNotFoundError:
            version = "of a checkout that is not installed"
        sys.stdout.write(f"kwota {version}\n")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="With a fault of kwota itself, show the traceback.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Keeps the machines of a mining farm within the energy that was purchased."""


app.command()(daemon.run)
app.command("check-config")(daemon.check_config)
app.command()(daemon.demo)
app.command()(site.status)
app.command()(site.why)
app.command()(site.alarms)
app.command()(site.miners)
app.command()(labels.labels)
app.add_typer(meters.app, name="meters")
app.add_typer(transactions.app, name="transactions")
app.add_typer(limits.app, name="limit")
app.command()(locate.locate)
app.command()(devices.poll)
app.command()(doctor.doctor)
app.command()(daemon.logs)
app.command()(discover.discover)
app.command()(evidence.verify)
app.command("enroll")(enroll.enroll_device)
app.add_typer(evidence.journal, name="journal")
app.add_typer(export.evidence, name="evidence")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and end the process with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _LastGuard(is_debug="--debug" in given):
        app([argument for argument in given if argument != "--debug"], prog_name="kwota")


class _LastGuard(AbstractContextManager[None]):
    """Ends the process with a sentence and a code, whatever a verb raised."""

    def __init__(self, *, is_debug: bool) -> None:
        self._is_debug = is_debug

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, Exception):
            return  # done, or the process is ending as it should
        if self._is_debug:
            traceback.print_exception(error)
        if isinstance(error, CommandError):
            say(str(error))
            raise SystemExit(error.code)
        words = f"{type(error).__name__}: {error}"
        say(f"a fault of kwota itself ({words}); run it again with --debug and report it")
        raise SystemExit(Code.INTERNAL)
