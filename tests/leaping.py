"""A world whose clock leaps to the next timer while nobody in it has anything to do.

``leaping.py <program> [argument ...]`` runs a program with it: hours pass in as long as the work in
them takes. The program is not touched. Everything that it waits for has to be in it, on sockets of
its own; what runs beside it, a thread or a disk, is given real time: a pause is waited for by its
``SPEED``-th part before it is leapt over. A program that has seen enough and ends calls ``end``.
"""

import asyncio
import importlib
import runpy
import selectors
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPEED = 200.0
QUARTER_S = 900
LEAD_S = 60  # the world begins so long before a quarter of an hour does
AGO_S = 4 * 3600  # and in the past: nothing in it may come from the future


class Leaps(selectors.DefaultSelector):
    """Waits for sockets, and has leapt ``leapt_s`` in all."""

    leapt_s = 0.0
    is_over = False

    def select(self, timeout: float | None = None) -> list[Any]:
        """As any selector; where nothing comes meanwhile, the pause is over sooner."""
        if timeout is None or timeout <= 0.0 or Leaps.is_over:
            return super().select(timeout)
        ready = super().select(0) or super().select(timeout / SPEED)
        if not ready:
            Leaps.leapt_s += timeout * (1.0 - 1.0 / SPEED)
        return ready


class LeapingPolicy(asyncio.DefaultEventLoopPolicy):
    """Every loop of the program leaps."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(Leaps())


def _leaping(read: Callable[..., float], scale: int, offset_s: float = 0.0) -> Callable[..., Any]:
    """A clock of ``time`` that leaps as well; ``scale`` is how many of its units a second has."""

    def tell(*clock: int) -> Any:
        moved = (Leaps.leapt_s + offset_s) * scale
        return read(*clock) + (moved if scale == 1 else int(moved))

    return tell


def begin() -> None:
    """From here on all clocks leap together."""
    now_s = time.time()
    to_s = now_s - now_s % QUARTER_S - AGO_S - LEAD_S
    nanoseconds = 1_000_000_000
    clocks = {
        "time": (1, to_s - now_s),
        "time_ns": (nanoseconds, to_s - now_s),
        "monotonic": (1, 0.0),
        "clock_gettime": (1, 0.0),
        "clock_gettime_ns": (nanoseconds, 0.0),
    }
    for name, (scale, offset_s) in clocks.items():
        setattr(time, name, _leaping(getattr(time, name), scale, offset_s))
    asyncio.set_event_loop_policy(LeapingPolicy())


def end() -> None:
    """From here on time goes as it goes, from where it has come to."""
    Leaps.is_over = True


if __name__ == "__main__":
    # Beside this file lies a folder `agent` of tests; the program means the agent itself.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    importlib.import_module("leaping").begin()  # the program is to find this very module
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
