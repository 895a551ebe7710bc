"""Verbs about the journal: journal tail, verify."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from agent.audit import Report
from agent.commands.console import (
    Code,
    CommandError,
    ConfigOption,
    JsonOption,
    SocketOption,
    asked,
    print_json,
    print_raw,
    say,
    show,
    socket_of,
    table_of,
)
from agent.commands.words import ABSENT
from agent.control_client import TAIL_MAX
from agent.core.note import VerifierKey
from agent.keys import KeyFileError, load_vkey, load_vkeys
from agent.logfile import LogError
from agent.verify import Keys
from agent.verify import verify as verify_log

journal = typer.Typer(no_args_is_help=True, help="Look into the signed log of the daemon.")


@journal.command()
def tail(
    *,
    count: Annotated[
        int, typer.Option("--count", min=1, max=TAIL_MAX, help="How many records.")
    ] = 20,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only these: decision, ledger, meter, …")
    ] = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Show the newest records of the log, the newest last.

    With --json each line is one record, byte by byte as it was signed.

    Exit 0: shown; 2: there is no such kind; 3: no daemon answers.
    """
    lines = asked(socket_of(socket, config), "/control/v1/journal", tail=count, kind=kind)
    if is_json:
        if lines:
            print_raw(lines)
        return
    rows = [_row(orjson.loads(line)) for line in lines.splitlines()]
    show(table_of(["index", "at (UTC)", "kind", "source", "state", "data"], rows))


def _row(record: dict[str, Any]) -> list[str]:
    moment = datetime.fromtimestamp(record["t"] / 1e6, UTC)
    data = orjson.dumps(record["d"]).decode()
    at = f"{moment:%Y-%m-%d %H:%M:%S}"
    state = str(record.get("st", ABSENT))
    return [str(record["i"]), at, record["k"], record["s"], state, data]


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A journal, or an exported directory or zip.")
    ],
    *,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The log's public key (vkey).")
    ] = None,
    pool_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The pool's public key (vkey).")
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A checkpoint or receipt kept elsewhere."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Prove a log, or name the first record that is wrong.

    Without keys only the log's inner order is checked, not who signed it. A log that was set back
    is sound in itself: with --head, such as the pool's newest receipt or the second copy, what is
    gone is named.

    Exit 0: sound; 1: defects are listed; 2: it cannot be read at all.
    """
    try:
        devices = () if key is None else load_vkeys(key)
        keys = Keys(
            device=devices[0] if devices else None, successors=devices[1:], pool=_vkey(pool_key)
        )
        with _progress() as progress:
            report = verify_log(path, keys, progress, head=_text_of(head))
    except (KeyFileError, LogError) as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    if is_json:
        print_json({**asdict(report), "is_sound": report.is_sound})
    else:
        _show_report(report)
    if not report.is_sound:
        raise CommandError(f"{path} is not sound: {len(report.defects)} defects", Code.NEGATIVE)
    say(f"{path} is sound")


def _text_of(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path} cannot be read as a checkpoint: {error}.") from error


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Counts on stderr while a long log is read, where a person is looking."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed:,} records"),)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda done, _total: progress.update(task, completed=done)


def _vkey(path: Path | None) -> VerifierKey | None:
    return None if path is None else load_vkey(path)


def _show_report(report: Report) -> None:
    cosigned = "no receipt" if report.cosigned_at_s is None else f"{report.cosigned_size} records"
    rows = [
        ("log", report.origin),
        ("records", report.size),
        ("checkpoints", report.checkpoints),
        ("boots", report.boots),
        ("root", report.root),
        ("cosigned", cosigned),
        *(("remark", remark) for remark in report.remarks),
    ]
    show(table_of(["", ""], rows))
    if report.defects:
        show(
            table_of(
                ["record", "defect"], [[defect.index, defect.words] for defect in report.defects]
            )
        )
