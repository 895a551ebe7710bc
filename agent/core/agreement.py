"""Whether a meter's energy register and its power register tell of the same flow.

A meter whose one register is scaled otherwise than the other (a transformer ratio that reaches only
one of them, kWh taken for MWh, a tenth) counts on quietly, and each value by itself could be true.
Nobody can say which of the two is right, so neither is relied on.

Judged by stretches, each long enough that steps and staleness are a small part of it. Within one
the growth of the register is compared with the least and the most that the power allows. Two
stretches in a row that disagree to the same side are a lie; a single one is not, as a leap or a
stand that ended is another matter (``agent.core.suspicion``). One that agrees takes it back.

Energies are Wh, powers W, times monotonic seconds.
"""

from dataclasses import dataclass

from agent.core.doubt import NO_DOUBT, Doubt, passed
from agent.core.evolve import replace
from agent.core.samples import MeterTraits
from drivers.readings import MeterReading

SECONDS_PER_HOUR = 3600.0
SILENCE_S = 3.0
STRETCH = 20.0  # so many times what steps and staleness can hide
TOLERANCE = 0.2  # of power against energy; no class allows a tenth of it
DISAGREEMENTS = 2
EXPORT_SHARE = 0.002  # of the rating: below that it is the meter's own zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A stretch under way. ``flow`` is what the power allows since ``since_wh`` was read.

    ``disagreed`` counts the stretches in a row that disagreed: above zero the register grew too
    far, below zero too little. ``words`` say so once it is a lie.
    """

    since_wh: int = 0
    last_s: float | None = None
    last_w: float = 0.0
    slack_wh: float = 0.0
    flow: Doubt = NO_DOUBT
    disagreed: int = 0
    words: str = ""


def followed(
    agreement: Agreement, reading: MeterReading, traits: MeterTraits, *, is_held: bool
) -> Agreement:
    """The agreement after one more reading, by the meter's own register.

    ``is_held``: the register is not believed already. What it does until it is says nothing of its
    scale, unless that itself is why it is held.
    """
    last_s, shown_wh = agreement.last_s, reading.energy_import_wh
    if last_s is not None and reading.requested_at_s <= last_s:
        return agreement
    begun = _begun(agreement, reading)
    is_other_matter = is_held and not agreement.words
    if is_other_matter or last_s is None or reading.requested_at_s - last_s > SILENCE_S:
        return begun
    grown_wh = shown_wh - agreement.since_wh
    if grown_wh < 0:
        return begun
    flow = passed(
        agreement.flow,
        from_w=agreement.last_w,
        to_w=begun.last_w,
        elapsed_s=reading.requested_at_s - last_s,
        stale_s=traits.refresh_s + 0.5,
        share=traits.power_error_share,
        rated_w=traits.rated_power_w,
        is_standing_blind=False,
    )
    highest_w = max(agreement.last_w, begun.last_w)
    step_wh = max(traits.step_wh, reading.energy_step_wh)
    hidden_wh = step_wh * 1.1 + highest_w * (traits.refresh_s + 0.5) / SECONDS_PER_HOUR + 0.5
    agreement = replace(
        agreement,
        last_s=reading.requested_at_s,
        last_w=begun.last_w,
        slack_wh=max(agreement.slack_wh, hidden_wh),
        flow=flow,
    )
    if max(flow.most_wh, float(grown_wh)) < STRETCH * agreement.slack_wh:
        return agreement
    return _judged(agreement, begun, grown_wh)


def against_the_flow(reading: MeterReading, traits: MeterTraits) -> str:
    """Why a power that flows out is not believed; empty where it may, or does not."""
    if traits.may_export or reading.power_w >= -EXPORT_SHARE * traits.rated_power_w:
        return ""
    return (
        f"the power is {reading.power_w:.0f} W: by the meter the site feeds the grid; turn the "
        "current transformers round, or write may_export = true at the meter if it generates"
    )


def _begun(agreement: Agreement, reading: MeterReading) -> Agreement:
    return replace(
        agreement,
        since_wh=reading.energy_import_wh,
        last_s=reading.requested_at_s,
        last_w=max(reading.power_w, 0.0),
        slack_wh=0.0,
        flow=NO_DOUBT,
    )


def _judged(agreement: Agreement, begun: Agreement, grown_wh: int) -> Agreement:
    """What a whole stretch says, and the next one begun."""
    flow, slack_wh = agreement.flow, 2 * agreement.slack_wh
    side = 0
    if grown_wh < flow.least_wh * (1 - TOLERANCE) - slack_wh:
        side = -1
    elif grown_wh > flow.most_wh * (1 + TOLERANCE) + slack_wh:
        side = 1
    disagreed = agreement.disagreed + side if side * agreement.disagreed >= 0 else side
    disagreed = disagreed if side else 0
    words = agreement.words if side else ""
    if abs(disagreed) >= DISAGREEMENTS:
        more = "more" if side > 0 else "less"
        words = (
            f"energy register grew by {grown_wh} Wh where the power says {flow.least_wh:.0f} to "
            f"{flow.most_wh:.0f} Wh, much {more}; check ratios, units and the meter's profile"
        )
    return replace(begun, disagreed=disagreed, words=words)
