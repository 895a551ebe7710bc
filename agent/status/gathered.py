"""The images of all meter points as one: what the top of every document says of a whole farm.

Of one point it is that point's image. Of several it is what can honestly be said of them together:
powers, counts and energies add up, a number that one of them does not know nobody knows, and the
mode is that of the point that a person should look at first.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

from agent.core.decisions import Mode
from agent.status.portrait import DECISIONS_KEPT
from agent.status.view import BecauseView, PreflightView, SiteView, StatusView, WindowView

# Who has to be looked at first: the blind one counts upwards, a calm one needs nobody.
_WORST_FIRST: Final = (
    Mode.BLIND, Mode.FAILSAFE, Mode.SHEDDING, Mode.NO_PURCHASE, Mode.FOLLOWING,
)  # fmt: skip
_SUMS: Final = (
    "power_w",
    "power_cap_w",
    "planned_w",
    "base_load_w",
    "hashrate_hs",
    "miners_total",
    "miners_hashing",
    "miners_throttled",
    "miners_sleeping",
    "miners_faulty",
    "board_switches",
    "mining_restarts",
    "over_wh",
)


def gathered(points: Sequence[SiteView]) -> SiteView:
    """One image of the farm from those of its points, at least one, in their order."""
    if len(points) == 1:
        return points[0]
    decisions = sorted(_all(points, "decisions"), key=attrgetter("at_ms"), reverse=True)
    statements = sorted(_all(points, "statements"), key=attrgetter("start_ms"))
    history = sorted(_all(points, "history"), key=attrgetter("at_ms"))
    return SiteView(
        status=_status([point.status for point in points]),
        miners=list(_all(points, "miners")),
        meters=list(_all(points, "meters")),
        transactions=list(_all(points, "transactions")),
        statements=statements,
        history=history,
        decisions=decisions[: DECISIONS_KEPT // len(points) * len(points)],
    )


def _all(points: Iterable[SiteView], name: str) -> Iterable[Any]:
    return chain.from_iterable(getattr(point, name) for point in points)


def _status(points: Sequence[StatusView]) -> StatusView:
    """What is not named here is the same for all points, and taken from the one to look at."""
    first = min(points, key=_rank)
    because = first.because
    together: dict[str, Any] = {
        "at_ms": min(point.at_ms for point in points),
        "because": BecauseView(
            limit=because.limit,
            source=because.source,
            words=f"{_name(first)}: {because.words}",
            numbers=because.numbers,
        ),
        "window": _window([point.window for point in points if point.window is not None]),
        "preflight": _preflight(points),
        "limits": list(chain.from_iterable(point.limits for point in points)),
        "relays": list(chain.from_iterable(point.relays for point in points)),
        "meter_points": list(chain.from_iterable(point.meter_points for point in points)),
    }
    together |= {name: _sum([getattr(point, name) for point in points]) for name in _SUMS}
    return first.model_copy(update=together)


def _rank(point: StatusView) -> int:
    modes = [mode.value for mode in _WORST_FIRST]
    return modes.index(point.mode)


def _sum(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _preflight(points: Sequence[StatusView]) -> PreflightView | None:
    """Of the next windows one that cannot be kept, else the first to open."""
    named = [
        one.preflight.model_copy(update={"words": f"{_name(one)}: {one.preflight.words}"})
        for one in points
        if one.preflight is not None
    ]
    return min(named, key=attrgetter("can_comply", "start_ms"), default=None)


def _name(point: StatusView) -> str:
    return point.meter_points[0].meter_point


def _window(windows: Sequence[WindowView]) -> WindowView | None:
    """What is open anywhere, until the earliest end."""
    if not windows:
        return None
    next_to_end = min(windows, key=attrgetter("end_ms"))
    return WindowView(
        start_ms=min(window.start_ms for window in windows),
        end_ms=next_to_end.end_ms,
        time_left_s=next_to_end.time_left_s,
        purchased_wh=sum(window.purchased_wh for window in windows),
        used_wh=sum(window.used_wh for window in windows),
        used_upper_wh=sum(window.used_upper_wh for window in windows),
        left_wh=sum(window.left_wh for window in windows),
        transactions=list(chain.from_iterable(window.transactions for window in windows)),
    )
