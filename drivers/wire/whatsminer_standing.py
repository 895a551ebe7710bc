"""Whether what a Whatsminer with API v2 said of its state before still stands.

``status`` (off or not, the percent in force) and ``get_psu`` (the wattmeter) cost a connection
each, and say the same for hours. The mining program's answer shows whether they would now: a
percent, a sleep or another supply moves the firmware's watts, a start begins another run and
forgets the percent. Where any of it is missing, cannot be read or moved, nothing stands.

Knows no socket and no clock, and remembers nothing.
"""

from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.readings import BoardReading, PowerProvenance
from drivers.wire.cgminer import Answer, Row
from drivers.wire.standing import RUN_SLACK_S, are_same_watts, is_same_run, is_young
from drivers.wire.whatsminer_v2 import Status, boards_of, elapsed_of, power_of

# Farther apart, the wattmeter and the firmware's figure do not measure the same thing.
METER_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A machine wholly at work, as one answer of its mining program shows it: every board is tuned.

    ``run_s`` is for how long the program has run, ``told_w`` are the firmware's own watts,
    ``badge`` is by what the answer names its machine.
    """

    seen_at_s: float
    run_s: float
    told_w: float
    boards: tuple[BoardReading, ...]
    badge: tuple[str, ...]

    @property
    def hashing(self) -> frozenset[int]:
        """The boards that hash."""
        return frozenset([board.board for board in self.boards if board.hashrate_hs > 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What ``status`` and the wattmeter said, and the sight that was had beside it.

    ``pin_share`` is the wattmeter's watts over the firmware's; None where they were too far apart,
    or there is no wattmeter that is believed.
    """

    asked_at_s: float
    status: Status
    pin_share: float | None
    sight: Sight

    def metered(
        self, told: tuple[float | None, PowerProvenance]
    ) -> tuple[float | None, PowerProvenance]:
        """The firmware's watts as the wattmeter would have them: of the same working point, and by
        what it measured less than a minute ago."""
        told_w, _ = told
        if told_w is None or self.pin_share is None:
            return told
        return told_w * self.pin_share, PowerProvenance.METERED_PSU

    def holds(self, now: Sight | None) -> bool:
        """Whether a machine of which this is seen now would say the same again."""
        if now is None:
            return False
        then = self.sight
        return (
            is_young(self.asked_at_s, now.seen_at_s)
            and now.badge == then.badge
            and now.hashing >= then.hashing
            and are_same_watts(now.told_w, then.told_w)
            and is_same_run(grown_s=now.run_s - then.run_s, passed_s=now.seen_at_s - then.seen_at_s)
        )


def sight_of(
    summary: Row, devs: Answer, badge: tuple[str, ...], *, seen_at_s: float
) -> Sight | None:
    """What the mining program shows; None for a machine that is not wholly at work or does not
    say enough to be compared, for whatever reason: such a machine is asked."""
    try:
        boards = boards_of(devs, is_off=False)
        run_s = elapsed_of(summary)
        told_w, _ = power_of(summary, None, None)
    except BadReplyError:
        return None
    # A run shorter than the slack could pass for the one before it.
    if run_s is None or run_s <= RUN_SLACK_S or not told_w:
        return None
    if any(board.is_ramping for board in boards):
        return None
    if not any(board.hashrate_hs > 0 for board in boards):
        return None
    return Sight(seen_at_s=seen_at_s, run_s=run_s, told_w=told_w, boards=boards, badge=badge)


def standing_of(
    sight: Sight | None,
    status: Status,
    power: tuple[float | None, PowerProvenance],
    *,
    asked_at_s: float,
) -> Standing | None:
    """What may stand from now on, of a machine that said all of it in one read; ``power`` is what
    was read of its watts."""
    if sight is None or status.is_off:
        return None
    pin_w, provenance = power
    pin_share = None
    if provenance is PowerProvenance.METERED_PSU and pin_w is not None:
        share = pin_w / sight.told_w
        pin_share = share if abs(share - 1.0) <= METER_SHARE else None
    return Standing(asked_at_s=asked_at_s, status=status, pin_share=pin_share, sight=sight)
