"""Which readings of a register cannot be true: it fell, leapt or stands while power flows.

Nor is one believed that comes back from there to a value which the power meanwhile does not
explain.
"""

from agent.core.doubt import Doubt, doubt_since, objection, passed, passed_unseen
from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.evolve import replace
from agent.core.samples import Fusion, MeterTraits, Sample

SILENCE_S = 3.0


def still_wh_at(fusion: Fusion, sample: Sample) -> float:
    """The least that flowed while the register stood, the present sample included.

    A power that turns out lower may have been so since the latching before: what was counted at
    the higher one is taken back for that long.
    """
    if sample.has_moved:
        return 0.0
    elapsed_s = sample.requested_at_s - fusion.last_seen_s
    if elapsed_s > SILENCE_S:
        return fusion.still_wh
    least_w = min(sample.power_w, fusion.last_seen_w) * (1 - fusion.traits.power_error_share)
    fallen_w = max(fusion.last_seen_w - sample.power_w, 0.0)
    counted_ws = least_w * elapsed_s - fallen_w * (fusion.traits.refresh_s + 0.5)
    return max(fusion.still_wh + counted_ws / SECONDS_PER_HOUR, 0.0)


def implausible(fusion: Fusion, sample: Sample, still_wh: float) -> str:
    """Why a value cannot be true by itself; empty where it can."""
    traits, last = fusion.traits, fusion.latest
    if sample.register_wh < last.register_wh:
        return (
            f"energy register fell from {last.register_wh} Wh to {sample.register_wh} Wh; "
            "held, check the meter for an exchange or a reset"
        )
    grown_wh = sample.register_wh - last.register_wh
    if grown_wh > _most_wh(traits, last, sample):
        return (
            f"energy register jumped by {grown_wh} Wh in {_span_s(traits, last, sample):.1f} s, "
            "more than the connection can carry; check wiring and CT ratio"
        )
    stale_wh = sample.power_w * (traits.refresh_s + 0.5) / SECONDS_PER_HOUR
    if still_wh > traits.step_wh * 1.1 + stale_wh + 0.5:
        return (
            f"energy register stands at {sample.register_wh} Wh while "
            f"{sample.power_w:.0f} W flow; the meter is frozen, power-cycle or replace it"
        )
    return ""


def _most_wh(traits: MeterTraits, last: Sample, sample: Sample) -> float:
    """The most by which a register can have grown between two samples."""
    span_s = _span_s(traits, last, sample)
    return traits.rated_power_w * span_s * 1.2 / SECONDS_PER_HOUR + traits.step_wh


def _span_s(traits: MeterTraits, last: Sample, sample: Sample) -> float:
    """The longest time that can lie between the latchings of two samples."""
    return sample.replied_at_s - last.requested_at_s + traits.refresh_s


def unexplained(fusion: Fusion, sample: Sample) -> str:
    """Why a register that was held is not believed although its value could be true by itself."""
    if fusion.held is None:
        return ""
    return objection(
        doubt_at(fusion, sample),
        grown_wh=sample.register_wh - fusion.latest.register_wh,
        counted_wh=sample.register_wh - fusion.held.register_wh,
        slack_wh=slack_wh(fusion.traits, max(sample.power_w, fusion.last_seen_w)),
    )


def slack_wh(traits: MeterTraits, highest_w: float) -> float:
    """How far a register may be from what has flowed: by its digits, and by its age."""
    stale_wh = highest_w * (traits.refresh_s + 0.5) / SECONDS_PER_HOUR
    return traits.step_wh * 1.1 + stale_wh + 0.5


def doubt_at(fusion: Fusion, sample: Sample) -> Doubt:
    """What flowed, by power, since the register was last believed."""
    doubt = fusion.doubt if fusion.suspect else doubt_since(fusion.still_wh)
    elapsed_s = sample.requested_at_s - fusion.last_seen_s
    traits = fusion.traits
    if fusion.recent and not doubt.has_strayed:
        grown_wh = sample.register_wh - fusion.latest.register_wh
        has_strayed = not 0 <= grown_wh <= _most_wh(traits, fusion.latest, sample)
        doubt = replace(doubt, has_strayed=has_strayed)
    if elapsed_s > SILENCE_S:
        return passed_unseen(doubt, rated_w=traits.rated_power_w, elapsed_s=elapsed_s)
    return passed(
        doubt,
        from_w=fusion.last_seen_w,
        to_w=sample.power_w,
        elapsed_s=elapsed_s,
        stale_s=traits.refresh_s + 0.5,
        share=traits.power_error_share,
        rated_w=traits.rated_power_w,
    )
