"""What is said of a window before it opens, on record: nobody has to take it on trust afterwards.

One record when a window comes into sight, and one more whenever what was said of it has changed:
the newest record of a window before its start is what the agent stood by when it opened.
"""

import math
from collections.abc import Sequence

from agent.core.decisions import Preflight
from agent.records import NewRecord

MOVED_SHARE = 0.05  # a share that has moved less since it was said is not said again


def preflight_record(meter_point: str, ahead: Preflight) -> NewRecord:
    """``preflight``: whether the next window can be kept, and what it would take to break it.

    What flows at least is rounded up, what may be lost is rounded down.
    """
    return NewRecord(
        kind="preflight",
        source=meter_point,
        data={
            "start_ms": ahead.start_ms,
            "transactions": list(ahead.transaction_ids),
            "purchased_wh": ahead.purchased_wh,
            "controllable_permille": math.floor(ahead.controllable_share * 1000),
            "stop_ms": math.ceil(ahead.stop_s * 1000),
            "stop_wh": math.ceil(ahead.stop_wh),
            "least_wh": math.ceil(ahead.least_wh),
            "losable_permille": math.floor(ahead.losable_share * 1000),
            "can_comply": ahead.can_comply,
            "words": ahead.words,
        },
    )


class Announcer:
    """Remembers what was said last, and says what is new."""

    def __init__(self) -> None:
        self._said: Preflight | None = None

    def records(self, meter_point: str, ahead: Preflight | None) -> Sequence[NewRecord]:
        """The record of this tick, if there is anything to say that was not said."""
        if ahead is None or ahead is self._said:
            return ()
        if self._said is not None and not _is_news(self._said, ahead):
            return ()
        self._said = ahead
        return (preflight_record(meter_point, ahead),)


def _is_news(said: Preflight, ahead: Preflight) -> bool:
    if _verdict(said) != _verdict(ahead):
        return True
    moved = max(
        abs(said.controllable_share - ahead.controllable_share),
        abs(said.losable_share - ahead.losable_share),
    )
    return moved >= MOVED_SHARE


def _verdict(ahead: Preflight) -> tuple[int, tuple[str, ...], int, bool]:
    return (ahead.start_ms, ahead.transaction_ids, ahead.purchased_wh, ahead.can_comply)
