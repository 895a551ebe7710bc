"""The live table of a demonstration: what the agent says, once a second."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agent.demo.site import Window


class LiveTable:
    """A table that redraws itself on a terminal, and a line now and then where there is none."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last_line = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, status: dict[str, Any], windows: Sequence[Window]) -> None:
        """Draw one status document."""
        if self._console.is_terminal:
            self._live.update(_table(status, windows), refresh=True)
            return
        window = status["window"]
        current = ", ".join(window["transactions"]) if window else "none"
        line = f"purchase {current}: {status['mode']}"
        if line != self._last_line:
            self._console.print(line, markup=False, highlight=False)
            self._last_line = line

    def tell(self, sentence: str) -> None:
        """Say that there is nothing to draw."""
        if sentence != self._last_line:
            self._console.print(sentence, markup=False)
            self._last_line = sentence


def _table(status: dict[str, Any], windows: Sequence[Window]) -> Group:
    grid = Table.grid(padding=(0, 2))
    power_w, cap_w = status["power_w"], status["power_cap_w"]
    grid.add_row("state", Text(f"{status['mode']} – {status['because']['words']}"))
    grid.add_row(
        "power", f"{_kw(power_w)} of {_kw(cap_w)} allowed, base load {_kw(status['base_load_w'])}"
    )
    window = status["window"]
    if window:
        share = min(window["used_upper_wh"] / window["purchased_wh"], 1.0)
        grid.add_row(
            "purchase",
            f"{', '.join(window['transactions'])}: {window['used_wh'] / 1000:.3f} of "
            f"{window['purchased_wh'] / 1000:.3f} kWh, {window['time_left_s']:.0f} s left",
        )
        grid.add_row("", ProgressBar(total=1.0, completed=share, width=50))
    grid.add_row(
        "machines",
        f"{status['miners_hashing']} of {status['miners_total']} hashing, "
        f"{status['miners_throttled']} throttled, {status['miners_faulty']} in trouble, "
        f"{status['hashrate_hs'] / 1e15:.2f} PH/s",
    )
    delivery = status["delivery"]
    grid.add_row(
        "journal",
        f"{delivery['journal_size']} records, {delivery['cosigned_size']} cosigned by the pool, "
        f"broker {delivery['broker']}",
    )
    for alarm in status["alarms"][:4]:
        grid.add_row("alarm", Text(f"{alarm['code']} {alarm['source']}: {alarm['words']}", "red"))
    return Group(grid, Text(_progress(windows), "dim"))


def _progress(windows: Sequence[Window]) -> str:
    now_ms = datetime.now(UTC).timestamp() * 1000
    done = sum(window.end_ms <= now_ms for window in windows)
    return f"{done} of {len(windows)} purchases over"


def _kw(power_w: float | None) -> str:
    return "–" if power_w is None else f"{power_w / 1000:.1f} kW"
