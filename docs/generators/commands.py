"""The pages of both command lines: what each verb answers to ``--help``, word by word."""

import re
from collections.abc import Iterator
from typing import Any, Final

import typer

from agent.cli import command_line
from simulator.__main__ import app as simulator

WIDTH: Final = 96


def kwota_text() -> str:
    return _text(command_line(), "kwota")


def simulator_text() -> str:
    return _text(simulator, "kwota-sim")


def verbs(app: typer.Typer, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups before their members, the whole first."""
    yield from _below(typer.main.get_command(app), name)


def _below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for member in getattr(command, "commands", {}).values():
        yield from _below(member, f"{name} {member.name}")


def _text(app: typer.Typer, name: str) -> str:
    parts = [
        f"## {verb}\n\n```text\n{_help(command, verb)}\n```\n" for verb, command in verbs(app, name)
    ]
    return "\n".join(parts)


def _help(command: Any, name: str) -> str:
    """As the terminal shows it, without colours and without spaces at the ends of lines."""
    command.rich_markup_mode = None  # with frames drawn, it would be printed instead of answered
    context = command.context_class(
        command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", command.get_help(context))
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
