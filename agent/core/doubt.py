"""What must have flowed while a register was not believed, as the power register alone tells it.

A register that fell and then counts on passes its old value some time later; one that leapt is
caught up with by what flows. Either would be plausible again by itself, and energy that flowed
would be lost, or energy be found that never flowed. So a register that was held is believed again
only where its growth agrees with the power meanwhile. Where nobody saw the power for a while, it
is believed only where it cannot have gone on counting from where it was held.

After a fall or a leap even that is not enough: agreement leaves some slack, and what fell for good
may have been lifted since by a second fault. Then the books go on from the upper bound, not from
what the register shows (``agent.core.intake``).

Energies are Wh, powers W, times s.
"""

from dataclasses import dataclass

from agent.core.evolve import replace

SECONDS_PER_HOUR = 3600.0
STANDS_S = 3.0
MOST_MARGIN = 1.2  # what is counted too much by the register is on the safe side


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """The least and the most that flowed since the register last moved as it was believed.

    ``lately_wh`` is the most that flowed since the last reading, believed or not. ``stood_s`` is
    for how long the power has been the very same number; ``is_blind`` says that power went unseen
    for a while, or stood so long that its register must be taken for frozen too. ``has_strayed``
    says that the register was seen where it cannot have been: fallen, or further than the
    connection can carry.
    """

    least_wh: float = 0.0
    most_wh: float = 0.0
    lately_wh: float = 0.0
    stood_s: float = 0.0
    is_blind: bool = False
    has_strayed: bool = False


NO_DOUBT = Doubt()


def doubt_since(still_wh: float) -> Doubt:
    """The doubt at its beginning, after the register has stood for ``still_wh`` at least."""
    return Doubt(least_wh=still_wh, most_wh=still_wh * MOST_MARGIN)


def passed(
    doubt: Doubt,
    *,
    from_w: float,
    to_w: float,
    elapsed_s: float,
    stale_s: float,
    share: float,
    rated_w: float,
    is_standing_blind: bool = True,
) -> Doubt:
    """The doubt after a stretch between two readings.

    A power register shows the past: what falls or rises now may have done so ``stale_s`` ago.
    ``share`` is how far it may be from the growth of the energy register. A power that stands may
    be frozen; ``is_standing_blind`` false takes it at its word.
    """
    low_w, high_w = sorted((from_w, to_w))
    least_ws = low_w * (1 - share) * elapsed_s - max(from_w - to_w, 0.0) * stale_s
    most_ws = high_w * (1 + share) * elapsed_s + max(to_w - from_w, 0.0) * stale_s
    lately_wh = most_ws / SECONDS_PER_HOUR
    stood_s = doubt.stood_s + elapsed_s if from_w == to_w and is_standing_blind else 0.0
    is_blind = doubt.is_blind or stood_s > STANDS_S
    unseen_ws = rated_w * stood_s if stood_s > STANDS_S else most_ws
    return replace(
        doubt,
        least_wh=0.0 if is_blind else max(doubt.least_wh + least_ws / SECONDS_PER_HOUR, 0.0),
        most_wh=doubt.most_wh + max(most_ws, unseen_ws) / SECONDS_PER_HOUR,
        lately_wh=lately_wh,
        stood_s=0.0 if stood_s > STANDS_S else stood_s,
        is_blind=is_blind,
    )


def passed_unseen(doubt: Doubt, *, rated_w: float, elapsed_s: float) -> Doubt:
    """The doubt after a silence: nothing may have flowed, or all that the connection carries."""
    lately_wh = rated_w * elapsed_s / SECONDS_PER_HOUR
    most_wh = doubt.most_wh + lately_wh
    return replace(
        doubt, least_wh=0.0, most_wh=most_wh, lately_wh=lately_wh, stood_s=0.0, is_blind=True
    )


def objection(doubt: Doubt, *, grown_wh: int, counted_wh: int, slack_wh: float) -> str:
    """Why a register is not believed again; empty where it is.

    ``grown_wh`` is its growth since the last value that was believed, ``counted_wh`` that since the
    last value that was not.
    """
    if doubt.is_blind and 0 <= counted_wh <= doubt.lately_wh * MOST_MARGIN + slack_wh:
        return (
            "energy register goes on from where it was not believed, and its power went unseen for "
            "a while; held, see to the meter and say so: kwota meters accept"
        )
    least_wh = max(doubt.least_wh - slack_wh, 0.0)
    most_wh = doubt.most_wh * MOST_MARGIN + 2 * slack_wh
    if least_wh <= grown_wh <= most_wh:
        return ""
    return (
        f"energy register came back {grown_wh} Wh above the last value that was believed, where "
        f"{least_wh:.0f} to {most_wh:.0f} Wh have flowed; "
        "held, check the meter for an exchange or a reset"
    )
