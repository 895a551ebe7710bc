"""What a meter counts against the commercial (ASKUE) meter, which is the one that is paid by.

The factor is commercial over metered energy of the same hours, with an uncertainty within which it
lies. It informs and alarms; no statement, purchase or set point is ever multiplied by it.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import ceil, sqrt

from agent.core.ledger import QUARTER_MS
from agent.core.statement import Statement

CLOCK_S = 5.0  # the clock of an accounting system against ours
COVERAGE = 2.0  # standard deviations of the mean that count as its uncertainty
PPM = 1_000_000
_MS_PER_HOUR = 3_600_000.0
_S_PER_HOUR = 3600.0


class Verdict(StrEnum):
    """Where the factor lies: surely within the meter's class, surely outside, or neither."""

    WITHIN = "within"
    OUTSIDE = "outside"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommercialReading:
    """Energy that the commercial meter counted in a stretch of time (UTC ms).

    ``rounding_wh`` is by how much it may be off because it was written down with few digits.
    """

    start_ms: int
    end_ms: int
    energy_wh: int
    rounding_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A commercial reading, and what the statements of the same time say."""

    reading: CommercialReading
    metered_wh: int
    unknown_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What the own meter may be off by: its class, its register's step, and its staleness."""

    error_share: float
    step_wh: int
    refresh_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What came of a comparison. Shares are parts per million; 1 000 000 is no difference."""

    from_ms: int
    to_ms: int
    commercial_wh: int
    metered_wh: int
    unknown_wh: int
    factor_ppm: int
    uncertainty_ppm: int
    class_ppm: int
    verdict: Verdict


def paired(
    readings: Sequence[CommercialReading], statements: Sequence[Statement]
) -> tuple[tuple[Pair, ...], Mapping[int, str]]:
    """Each reading with the statements of its time; by its place, why one could not be compared."""
    ordered = sorted(statements, key=_start)
    starts = [one.start_ms for one in ordered]
    pairs: list[Pair] = []
    taken: list[tuple[int, int]] = []
    reasons: dict[int, str] = {}
    for place, reading in enumerate(readings):
        first, last = bisect_left(starts, reading.start_ms), bisect_left(starts, reading.end_ms)
        within = [one for one in ordered[first:last] if one.end_ms <= reading.end_ms]
        reason = _reason(reading, taken, sum(one.end_ms - one.start_ms for one in within))
        if reason:
            reasons[place] = reason
            continue
        insort(taken, (reading.start_ms, reading.end_ms))
        pair = Pair(
            reading=reading,
            metered_wh=sum(one.metered_wh for one in within),
            unknown_wh=sum(one.unknown_wh for one in within),
        )
        pairs.append(pair)
    return tuple(pairs), reasons


def _start(statement: Statement) -> int:
    return statement.start_ms


def _reason(reading: CommercialReading, taken: Sequence[tuple[int, int]], stated_ms: int) -> str:
    """``taken`` are the stretches before it, in order of time and apart from each other."""
    if reading.start_ms >= reading.end_ms:
        return "it ends before it begins: correct its times"
    if reading.start_ms % QUARTER_MS or reading.end_ms % QUARTER_MS:
        return "it does not begin and end on a quarter of an hour, as statements do"
    after = bisect_left(taken, (reading.end_ms, 0))
    if after and taken[after - 1][1] > reading.start_ms:
        return "it overlaps an earlier one: give each hour once"
    if stated_ms != reading.end_ms - reading.start_ms:
        return (
            "the signed statements do not cover it whole: the agent did not run, or it is not over"
        )
    return ""


def calibrated(pairs: Sequence[Pair], meter: Yardstick) -> Calibration | None:
    """The factor over all pairs; None where nothing flowed by which it could be told."""
    ordered = sorted(pairs, key=lambda pair: pair.reading.start_ms)
    commercial_wh = sum(pair.reading.energy_wh for pair in ordered)
    metered_wh = sum(pair.metered_wh for pair in ordered)
    unknown_wh = sum(pair.unknown_wh for pair in ordered)
    # What is unknown is an upper bound: half of it, give or take the other half.
    counted_wh = metered_wh + unknown_wh / 2
    if counted_wh <= 0:
        return None
    factor = commercial_wh / counted_wh
    off_wh = factor * unknown_wh / 2 + sum(pair.reading.rounding_wh for pair in ordered)
    off_wh += _edges_wh(ordered, meter) + COVERAGE * _scatter_wh(ordered, factor)
    off = off_wh / counted_wh
    apart = abs(factor - 1)
    verdict = Verdict.UNCLEAR
    if apart - off > meter.error_share:
        verdict = Verdict.OUTSIDE
    elif apart + off <= meter.error_share:
        verdict = Verdict.WITHIN
    return Calibration(
        from_ms=ordered[0].reading.start_ms,
        to_ms=ordered[-1].reading.end_ms,
        commercial_wh=commercial_wh,
        metered_wh=metered_wh,
        unknown_wh=unknown_wh,
        factor_ppm=round(factor * PPM),
        uncertainty_ppm=ceil(off * PPM),
        class_ppm=round(meter.error_share * PPM),
        verdict=verdict,
    )


def _edges_wh(ordered: Sequence[Pair], meter: Yardstick) -> float:
    """What may be on the wrong side of the edges; where one hour joins the next, it cancels out."""
    edges = 2 + 2 * sum(
        before.reading.end_ms != after.reading.start_ms for before, after in pairwise(ordered)
    )
    power_w = max(
        (pair.metered_wh + pair.unknown_wh)
        * _MS_PER_HOUR
        / (pair.reading.end_ms - pair.reading.start_ms)
        for pair in ordered
    )
    return edges * (meter.step_wh + power_w * (meter.refresh_s + CLOCK_S) / _S_PER_HOUR)


def _scatter_wh(ordered: Sequence[Pair], factor: float) -> float:
    """The standard deviation of the sum, from how the hours scatter; none of a single one."""
    count = len(ordered)
    if count < 2:
        return 0.0
    squares = sum(
        (pair.reading.energy_wh - factor * (pair.metered_wh + pair.unknown_wh / 2)) ** 2
        for pair in ordered
    )
    return sqrt(count * squares / (count - 1))
