"""Signs that a machine goes on as it did, so that what it said before still stands.

What stands of which family, and why, is argued in docs/polling.md. Knows no socket and no clock.
"""

STANDS_S = 60.0
# A run is told in whole or broken seconds, some time before its answer is here.
RUN_SLACK_S = 3.0
WATTS_SHARE = 0.03


def is_young(asked_at_s: float, now_s: float) -> bool:
    """Whether it was asked for less than a minute ago."""
    return 0.0 <= now_s - asked_at_s < STANDS_S


def is_same_run(*, grown_s: float, passed_s: float) -> bool:
    """Whether the age of a run of the mining program has grown by the time that passed."""
    return abs(grown_s - passed_s) <= RUN_SLACK_S


def are_same_watts(now_w: float, then_w: float) -> bool:
    """Whether these are the watts of the same working point."""
    return abs(now_w - then_w) <= WATTS_SHARE * then_w
