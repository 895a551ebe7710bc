"""How every verb speaks: data on stdout, people's text on stderr, a sentence and a code for a no.

``--json`` prints the data and nothing else. Colours are rich's to drop where no terminal is.
"""

import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.control_client import NoDaemonError, RefusedError, ask
from agent.settings import load_settings
from agent.settings_faults import SettingsError
from agent.settings_status import DEFAULT_SOCKET

T = TypeVar("T")

EXIT_CODES = """\b
Exit codes:
  0  done
  1  a check failed, or the answer is no
  2  wrong input or usage
  3  the daemon or the device cannot be reached
  4  refused by the daemon or the device
  5  a fault of kwota itself
"""


class Code(IntEnum):
    """What a shell sees. 0 is done."""

    NEGATIVE = 1
    WRONG_INPUT = 2
    UNREACHABLE = 3
    REFUSED = 4
    INTERNAL = 5


class CommandError(Exception):
    """A verb ends with a no: one sentence for people, one code for programs."""

    def __init__(self, sentence: str, code: Code) -> None:
        super().__init__(sentence)
        self.code = code


JsonOption = Annotated[bool, typer.Option("--json", help="Print data only, as JSON.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The daemon's file; its socket is used."),
]
SocketOption = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        envvar="KWOTA_SOCKET",
        help=f"The daemon's control socket. Without it and --config: {DEFAULT_SOCKET}.",
    ),
]


def say(text: str) -> None:
    """Lines for people, on stderr."""
    lines = "\n".join(map(_harmless, text.splitlines()))
    Console(stderr=True, highlight=False, soft_wrap=True).print(lines, markup=False)


def show(*renderables: object) -> None:
    """What a person asked for, on stdout, as wide as it needs to be where nobody's screen ends."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(*renderables, sep="\n")


def print_json(data: object) -> None:
    """Data on stdout, one document, one line."""
    sys.stdout.write(orjson.dumps(data).decode() + "\n")


def print_text(text: str) -> None:
    """Text on stdout exactly as it is, for a file or another program."""
    sys.stdout.write(text)


def print_raw(document: bytes) -> None:
    """Data that is JSON already, exactly as it came."""
    sys.stdout.write(document.decode().rstrip("\n") + "\n")


def plain(value: object) -> str:
    """Any text of the outside world, harmless for a terminal; a dash for what is absent."""
    if value is None:
        return "–"
    return escape(_harmless(str(value)))


def table_of(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; numbers stand right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        is_number = heading.endswith((" W", " kW", " kWh", " TH/s", " s", "boards", "KZT/kWh"))
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    return table


def socket_of(socket: Path | None, config: Path | None) -> Path:
    """The control socket to use: as named, as configured, or the usual one."""
    if socket is not None:
        return socket
    if config is not None:
        try:
            return load_settings(config).status.socket
        except SettingsError as error:
            raise CommandError(str(error), Code.WRONG_INPUT) from error
    return DEFAULT_SOCKET


def asked(path: Path, resource: str, **query: str | int | None) -> bytes:
    """The daemon's answer, or a CommandError with its code."""
    try:
        return ask(path, resource, **query)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error


def refused(error: NoDaemonError | RefusedError) -> CommandError:
    """The end of a verb for a failed question: unreachable, unknown, wrong or refused."""
    if isinstance(error, NoDaemonError) or error.status == 503:
        return CommandError(str(error), Code.UNREACHABLE)
    codes = {400: Code.WRONG_INPUT, 404: Code.NEGATIVE, 415: Code.WRONG_INPUT}
    return CommandError(str(error), codes.get(error.status, Code.REFUSED))


def understood(adapter: TypeAdapter[T], document: bytes) -> T:
    """A document of the daemon as its model."""
    try:
        return adapter.validate_json(document)
    except ValidationError as error:
        sentence = "the daemon is of another version than this command; use the same one for both"
        raise CommandError(sentence, Code.UNREACHABLE) from error


def _harmless(line: str) -> str:
    """A line without what would steer a terminal: a device's text may hold anything."""
    return "".join(char if char.isprintable() else "�" for char in line)
