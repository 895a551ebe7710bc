"""The verb for whoever stands in the hall: let a machine's light blink, and leave it again."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agent.commands.console import (
    Code,
    CommandError,
    ConfigOption,
    JsonOption,
    SocketOption,
    print_json,
    print_text,
    refused,
    socket_of,
)
from agent.control_client import NoDaemonError, RefusedError, blink

SECONDS_MAX = 3600
_STEP_S = 0.2


def locate(
    miner: Annotated[str, typer.Argument(metavar="MINER", help="The machine's id.")],
    *,
    seconds: Annotated[
        int, typer.Option("--for", metavar="SECONDS", help="How long it blinks.")
    ] = 60,
    is_off: Annotated[
        bool, typer.Option("--off", help="End the blinking that another call has begun.")
    ] = False,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Let a machine's light blink, so that you find it; Ctrl-C ends it early.

    Exit 0: it blinked; 1: no such machine; 2: wrong input; 3: no daemon, or no answer of the
    machine; 4: refused, with the reason.
    """
    if not 1 <= seconds <= SECONDS_MAX:
        raise CommandError(f"--for takes 1 to {SECONDS_MAX} seconds", Code.WRONG_INPUT)
    path = socket_of(socket, config)
    try:
        with _ends() as ended:  # before it blinks: from then on somebody may want it to end
            told = blink(path, miner, is_on=not is_off)
            if not is_off:
                _wait(miner, seconds, ended)
                told = blink(path, miner, is_on=False)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error
    if is_json:
        print_json(told)
    else:
        print_text(f"the light of {miner} is as before\n")


@contextmanager
def _ends() -> Iterator[list[int]]:
    """What came of Ctrl-C and of orders to end, meanwhile: one number each."""
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended.append(number)

    before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(miner: str, seconds: int, ended: list[int]) -> None:
    """Until the time is over, or somebody presses Ctrl-C or ends the process in order."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    begun_s = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{miner} blinks", total=seconds)
        while not ended and time.monotonic() - begun_s < seconds:
            time.sleep(min(_STEP_S, seconds))
            progress.update(task, completed=time.monotonic() - begun_s)
