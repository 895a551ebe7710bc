"""The command line: one verb per job, and a last guard so that nobody ever meets a traceback.

Only what a verb needs is imported for it: somebody in a hurry waits for half as long.
A verb ends with a CommandError where the answer is a no; anything else that gets here is a fault of
kwota itself, which is one sentence too, and the traceback for those who ask with ``--debug``.
"""

import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module, metadata
from types import TracebackType
from typing import Annotated

import typer

from agent.commands.console import EXIT_CODES, Code, CommandError, say

#: Where each verb is: a function, or a group of verbs under one name.
VERBS = {
    "run": ("daemon", "run"),
    "check-config": ("daemon", "check_config"),
    "demo": ("daemon", "demo"),
    "status": ("site", "status"),
    "why": ("site", "why"),
    "alarms": ("site", "alarms"),
    "miners": ("site", "miners"),
    "labels": ("labels", "labels"),
    "meters": ("meters", "app"),
    "transactions": ("transactions", "app"),
    "limit": ("limits", "app"),
    "locate": ("locate", "locate"),
    "poll": ("devices", "poll"),
    "doctor": ("doctor", "doctor"),
    "logs": ("daemon", "logs"),
    "discover": ("discover", "discover"),
    "verify": ("evidence", "verify"),
    "enroll": ("enroll", "enroll_device"),
    "journal": ("evidence", "journal"),
    "evidence": ("export", "evidence"),
}


def _show_version(is_asked: bool) -> None:
    if is_asked:
        try:
            version = metadata.version("kwota")
        except metadata.PackageNotFoundError:
            version = "of a checkout that is not installed"
        sys.stdout.write(f"kwota {version}\n")
        raise typer.Exit


def _options(
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


def command_line(verb: str | None = None) -> typer.Typer:
    """The command line with all its verbs, or with one of them alone."""
    app = typer.Typer(
        name="kwota",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog=EXIT_CODES,
        help="Keeps the machines of a mining farm within the energy that was purchased.",
    )
    app.callback()(_options)
    for name in VERBS if verb is None else (verb,):
        module, attribute = VERBS[name]
        found = getattr(import_module(f"agent.commands.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and end the process with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _LastGuard(is_debug="--debug" in given):
        words = [argument for argument in given if argument != "--debug"]
        # A shell that completes, a call for help and a verb that there is not need all of them.
        verb = words[0] if words and words[0] in VERBS else None
        command_line(verb)(words, prog_name="kwota")


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
