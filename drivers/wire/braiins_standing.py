"""Whether what a machine with Braiins OS said of its settings before still stands.

Its power target costs a request and is the same for hours. Watts and boards show whether it is now:
a target, a pause or a fault moves the watts, or stops a board. Where any of it moved, nothing
stands.

Knows no socket and no clock, and remembers nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.readings import BoardReading
from drivers.wire.braiins import is_risen
from drivers.wire.braiins_target import Configuration
from drivers.wire.standing import are_same_watts, is_young


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What was said of a machine that had risen to its target, and the watts that it drew then."""

    asked_at_s: float
    settings: Configuration
    power_w: float
    enabled: frozenset[int]

    def holds(self, boards: Sequence[BoardReading], power_w: float | None, now_s: float) -> bool:
        """Whether a machine of which this is seen now would say the same again."""
        return (
            is_young(self.asked_at_s, now_s)
            and _enabled(boards) == self.enabled
            and is_risen(boards, power_w, self.settings.target_w)
            and power_w is not None
            and are_same_watts(power_w, self.power_w)
        )


def standing_of(
    settings: Configuration,
    boards: Sequence[BoardReading],
    power_w: float | None,
    *,
    asked_at_s: float,
) -> Standing | None:
    """What may stand from now on; nothing of a machine that has not risen to its target."""
    if power_w is None or not is_risen(boards, power_w, settings.target_w):
        return None
    return Standing(
        asked_at_s=asked_at_s, settings=settings, power_w=power_w, enabled=_enabled(boards)
    )


def _enabled(boards: Sequence[BoardReading]) -> frozenset[int]:
    return frozenset([board.board for board in boards if board.is_enabled])
