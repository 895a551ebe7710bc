"""Verbs about the daemon as a process: run, logs, demo, and the look before: check-config."""

import logging
import os
import shutil
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.console import Code, CommandError, JsonOption, print_json, say
from agent.policy import load_policy
from agent.settings import Settings, load_settings, missing_files
from agent.settings_faults import Fault, SettingsError


class LogLevel(StrEnum):
    """What is logged: an error wakes someone, a warning is read tomorrow."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


def run(
    *,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The site's file.")],
    log_level: Annotated[LogLevel, typer.Option(help="Logs go to stderr.")] = LogLevel.INFO,
    is_shadow: Annotated[
        bool, typer.Option("--shadow", help="Decide and journal, but send nothing to any machine.")
    ] = False,
) -> None:
    """Run the daemon until it is told to stop.

    With --shadow everything is read, decided and journalled, and nothing is sent to a machine.

    Exit 0: stopped in order; 1: it could not go on, the log says why; 2: the file has faults.
    """
    settings, faults = _examined(config)
    if settings is None or faults:
        raise CommandError("\n".join(map(str, faults)), Code.WRONG_INPUT)
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    from agent.app import run as run_daemon  # noqa: PLC0415 the other verbs start without its load

    raise typer.Exit(run_daemon(settings, is_shadow=is_shadow))


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The site's file.")],
    *,
    is_json: JsonOption = False,
) -> None:
    """Say everything that is wrong with a configuration, at once.

    Looks at the file, at the policy it names, and whether the other files it names are there.

    Exit 0: nothing; 2: the faults are listed.
    """
    settings, faults = _examined(file)
    if is_json:
        names = ("file", "key", "reason", "remedy")
        print_json({"faults": [{name: getattr(fault, name) for name in names} for fault in faults]})
    else:
        for fault in faults:
            say(str(fault))
    if settings is None or faults:
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        raise CommandError(f"{count} in {file}", Code.WRONG_INPUT)
    counts = f"{len(settings.meters)} meters, {len(settings.miners)} miners"
    say(f"{file} is in order: {len(settings.meter_points)} meter points, {counts}")


def logs(
    *,
    lines: Annotated[int, typer.Option("--lines", min=1, help="How many lines back.")] = 50,
    is_following: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
    unit: Annotated[str, typer.Option(metavar="UNIT", help="The service.")] = "kwota",
    is_json: JsonOption = False,
) -> None:
    """Show what the daemon logged, by systemd's journalctl.

    Exit 0: shown; 3: there is no journalctl here; else journalctl's own code.
    """
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        sentence = "there is no journalctl here; where kwota runs without systemd it logs to stderr"
        raise CommandError(sentence, Code.UNREACHABLE)
    command = [journalctl, f"--unit={unit}", f"--lines={lines}", "--no-hostname"]
    if is_following:
        command.append("--follow")
    if is_json:
        command.append("--output=json")  # one object a line, systemd.journal-fields(7)
    os.execv(journalctl, command)  # noqa: S606 - its output and its end are ours


def demo(
    *,
    farm: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="demo, mixed (all families), or a farm file.")
    ] = "demo",
    miners: Annotated[int, typer.Option(min=1, max=1000, help="How many machines.")] = 60,
    window_s: Annotated[int, typer.Option(min=10, max=86_400, help="Length of a purchase.")] = 300,
    windows: Annotated[int, typer.Option(min=1, max=1000, help="How many purchases.")] = 3,
    is_ending: Annotated[
        bool, typer.Option("--exit", help="End after the last purchase with a verdict.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Leave journal, keys and logs in this new directory."),
    ] = None,
    sells_through_pool: Annotated[
        bool, typer.Option("--through-pool", help="The pool sells over MQTT; no file is imported.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Run a whole simulated farm here.

    Farm, broker, pool and agent run on loopback, without root and without a network.

    Exit 0: ended in order; 1: a promise was broken; 3: something could not be started.
    """
    from agent.demo.run import run_demo  # noqa: PLC0415 the other verbs start without its load

    code = run_demo(
        farm=farm,
        miners=miners,
        window_s=window_s,
        windows=windows,
        is_ending=is_ending,
        is_json=is_json,
        keep=keep,
        sells_through_pool=sells_through_pool,
    )
    raise typer.Exit(code)


def _examined(path: Path) -> tuple[Settings | None, list[Fault]]:
    """The settings if they can be used at all, and every fault of them and of what they name."""
    try:
        settings = load_settings(path)
    except SettingsError as error:
        return None, list(error.faults)
    faults = list(missing_files(settings))
    if settings.policy.file.is_file():
        try:
            load_policy(settings.policy.file).at(datetime.now(UTC).date())
        except SettingsError as error:
            faults += error.faults
    return settings, faults
