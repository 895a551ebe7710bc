"""A second meter at the same place: whether the two count the same.

Compared over stretches of a quarter of an hour, by the growth of both registers. What classes,
steps and staleness allow is no disagreement; two stretches in a row beyond it are. The purchase is
kept by the site meter whatever comes of it: that the two differ says that one is wrong, not which.

Energies are Wh, times monotonic seconds.
"""

from dataclasses import dataclass

from agent.core.evolve import replace
from drivers.readings import MeterReading

STRETCH_S = 900.0
DISAGREEMENTS = 2
APART_S = 3.0  # two readings further apart than this are not of one instant
MARGIN_S = 0.5
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The second meter and what may lie between the two: classes together, steps, staleness."""

    meter_id: str
    error_share: float
    step_wh: int
    refresh_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A stretch under way since two readings, and what came of those before.

    ``disagreed`` counts stretches in a row: above zero the reference grew more. ``ratio`` is the
    reference's growth over the site meter's in the last whole stretch, None before one.
    """

    since_s: float | None = None
    site_wh: int = 0
    reference_wh: int = 0
    power_w: float = 0.0
    disagreed: int = 0
    ratio: float | None = None
    words: str = ""


def compared(
    known: Comparison, site: MeterReading, other: MeterReading, reference: Reference
) -> Comparison:
    """The comparison after the newest readings of both."""
    lag_s = abs(site.requested_at_s - other.requested_at_s)
    if lag_s > APART_S:
        return known
    at_s = min(site.requested_at_s, other.requested_at_s)
    power_w = max(site.power_w, other.power_w, 0.0)
    begun = replace(
        known,
        since_s=at_s,
        site_wh=site.energy_import_wh,
        reference_wh=other.energy_import_wh,
        power_w=power_w,
    )
    site_wh = site.energy_import_wh - known.site_wh
    other_wh = other.energy_import_wh - known.reference_wh
    since_s = known.since_s
    if since_s is None or site_wh < 0 or other_wh < 0:
        return begun
    known = replace(known, power_w=max(known.power_w, power_w))
    if at_s - since_s < STRETCH_S:
        return known
    # Either end of the stretch may be off by what flowed between the two latchings.
    stale_s = reference.refresh_s + APART_S + MARGIN_S
    slack_wh = 2 * (reference.step_wh + known.power_w * stale_s / SECONDS_PER_HOUR)
    apart_wh = other_wh - site_wh
    side = 0
    if abs(apart_wh) > reference.error_share * max(site_wh, other_wh) + slack_wh:
        side = 1 if apart_wh > 0 else -1
    disagreed = (known.disagreed + side if known.disagreed * side >= 0 else side) if side else 0
    words = ""
    if abs(disagreed) >= DISAGREEMENTS:
        words = (
            f"in the last quarter of an hour it counted {site_wh} Wh and the reference "
            f"{reference.meter_id} {other_wh} Wh, more apart than both classes allow"
        )
    ratio = other_wh / site_wh if site_wh else None
    return replace(begun, disagreed=disagreed, ratio=ratio, words=words)
