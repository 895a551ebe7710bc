"""A sign of life on a terminal while something takes long that cannot say how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def waiting(words: str, *, is_json: bool) -> Iterator[None]:
    """Says what is being waited for and since when; nothing where no terminal is."""
    console = Console(stderr=True)
    is_silent = is_json or not console.is_terminal
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=is_silent) as progress:
        progress.add_task(words, total=None)
        yield
