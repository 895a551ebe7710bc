"""Whether the meter still counts what the machines draw: evidence gathered quarter by quarter.

A quarter's metered energy is explained as ``gain × machines + base + hour``; all are learned, the
last for each hour of the day. What stays unexplained is summed up to both sides, once for what is
large and soon and once for what is small and stays, until it cannot be chance: energy that no
machine accounts for is a load nobody knows of, energy that is missing is a bypass, a turned current
transformer or a dead phase. Beside that stands a bound that needs no learning: what classes and
provenance allow at the very most. docs/discrepancy.md has the argument and what it finds how soon.

Energies are Wh in one quarter of an hour.
"""

import math
from dataclasses import dataclass

from agent.core.evolve import replace

LEARNING = 288  # quarters before the evidence counts: three days
FIRST = 96  # of these, before what stays unexplained is measured
HOURS = 24
HOUR_MEMORY = 60.0  # quarters of one hour: a fortnight
MEMORY = 2000.0  # quarters, some three weeks: slower than anything that is to be found
FAST_SLACK, FAST_ALARM = 0.5, 16.0  # deviations: taken off in each quarter, and in sum
SLOW_SLACK, SLOW_ALARM = 0.12, 50.0
HALF, MOST = 0.5, 1.5  # of an alarm: where it ends, and the most that is kept
BLOCK = 24  # quarters whose sum is measured
FEW = 7.0  # blocks, at which what they say is trusted by half
OUTLIER = 4.0  # one quarter weighs no more than this
NOISE_SHARE = 0.002  # no quarter is known better than that
GROSS = 2  # quarters in a row beyond every tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarter:
    """One whole quarter as both sides saw it.

    ``tolerance_share`` is how far the machines' own watts may be off, all to one side;
    ``meter_share`` the same of the meter, ``step_wh`` of its register. ``base_max_wh`` is the most
    that may flow beside the machines, ``hour`` that of the day, UTC.
    """

    metered_wh: float
    machines_wh: float
    tolerance_share: float
    meter_share: float
    step_wh: float
    base_max_wh: float
    hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """What is learned and what speaks against it. Means are weighted, newer quarters more.

    ``variance`` is that of what stays unexplained, ``long_run`` that of its sums over ``BLOCK``
    quarters by quarter: more, where quarters resemble their neighbours. ``blocks`` such sums are
    known, ``block_wh`` is the one under way. ``unseen`` and ``missing`` are the evidence as a part
    of what makes an alarm, each the fast and the slow one; ``gross`` counts quarters in a row
    beyond every tolerance, below zero for missing. ``code`` and ``words`` are the alarm that
    stands; empty while there is none.
    """

    count: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    mean_yy: float = 0.0
    mean_xy: float = 0.0
    variance: float = 0.0
    long_run: float = 0.0
    blocks: int = 0
    block_wh: tuple[float, ...] = ()
    hours_wh: tuple[float, ...] = (0.0,) * HOURS
    unseen: tuple[float, float] = (0.0, 0.0)
    missing: tuple[float, float] = (0.0, 0.0)
    gross: int = 0
    code: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Metered energy as ``gain × machines + base_wh``; ``doubt_share`` is the gain's deviation."""

    gain: float
    base_wh: float
    doubt_share: float


def weighed(known: Discrepancy, quarter: Quarter) -> Discrepancy:
    """What is known after one more whole quarter."""
    gross = _gross(known.gross, quarter)
    if known.count < LEARNING:
        after = known if gross else _learned(known, quarter)
        return _told(replace(after, gross=gross), quarter, 0.0)
    model = model_of(known, quarter.tolerance_share)
    residual_wh = _residual_wh(known, model, quarter)
    far_wh = (quarter.machines_wh - known.mean_y) * model.doubt_share
    noise_wh = math.hypot(_noise_wh(known, quarter), far_wh)
    z = max(-OUTLIER, min(residual_wh / noise_wh, OUTLIER))
    after = replace(
        known,
        unseen=_summed(known.unseen, z),
        missing=_summed(known.missing, -z),
        gross=gross,
    )
    if not gross and max(*after.unseen, *after.missing) < HALF and abs(z) < OUTLIER:
        after = _learned(after, quarter)
    return _told(after, quarter, residual_wh)


def _summed(known: tuple[float, float], z: float) -> tuple[float, float]:
    """Evidence to one side. It is bounded: what has ended is seen to have ended."""
    fast = known[0] + (z - FAST_SLACK) / FAST_ALARM
    slow = known[1] + (z - SLOW_SLACK) / SLOW_ALARM
    return min(max(fast, 0.0), MOST), min(max(slow, 0.0), MOST)


def model_of(known: Discrepancy, tolerance_share: float) -> Model:
    """What has been learned. Machines that never change tell no gain: then it is one.

    A line through the quarters, with the gain drawn to one as strongly as what is known of the
    machines' watts beforehand says.
    """
    weight = min(float(known.count), MEMORY)
    spread = max(known.mean_yy - known.mean_y**2, 0.0)
    joint = known.mean_xy - known.mean_x * known.mean_y
    variance = max(known.variance, (NOISE_SHARE * known.mean_x) ** 2, 1.0)
    pull = variance / tolerance_share**2
    gain = (joint * weight + pull) / (spread * weight + pull)
    return Model(
        gain=gain,
        base_wh=known.mean_x - gain * known.mean_y,
        doubt_share=math.sqrt(variance / (spread * weight + pull)),
    )


def _learned(known: Discrepancy, quarter: Quarter) -> Discrepancy:
    count = known.count + 1
    share = 1.0 / min(float(count), MEMORY)
    x, y = quarter.metered_wh, quarter.machines_wh
    model = model_of(known, quarter.tolerance_share) if known.count else None
    residual_wh = 0.0 if model is None else _residual_wh(known, model, quarter)
    of_hour = 1.0 / min(1.0 + count / HOURS, HOUR_MEMORY)
    hours_wh = list(known.hours_wh)
    hours_wh[quarter.hour] += of_hour * residual_wh
    # The first day's errors are those of not knowing.
    measured = 1.0 / min(max(float(count - FIRST), 1.0), MEMORY)
    known = _with_block(known, residual_wh) if count > FIRST else known
    return replace(
        known,
        count=count,
        mean_x=known.mean_x + share * (x - known.mean_x),
        mean_y=known.mean_y + share * (y - known.mean_y),
        mean_yy=known.mean_yy + share * (y * y - known.mean_yy),
        mean_xy=known.mean_xy + share * (x * y - known.mean_xy),
        variance=known.variance + measured * (residual_wh**2 - known.variance),
        hours_wh=tuple(hours_wh),
    )


def _with_block(known: Discrepancy, residual_wh: float) -> Discrepancy:
    block_wh = (*known.block_wh, residual_wh)
    if len(block_wh) < BLOCK:
        return replace(known, block_wh=block_wh)
    blocks = known.blocks + 1
    by_quarter = sum(block_wh) ** 2 / BLOCK
    long_run = known.long_run + (by_quarter - known.long_run) / min(blocks, MEMORY / BLOCK)
    return replace(known, block_wh=(), blocks=blocks, long_run=long_run)


def _residual_wh(known: Discrepancy, model: Model, quarter: Quarter) -> float:
    explained_wh = model.gain * quarter.machines_wh + model.base_wh + known.hours_wh[quarter.hour]
    return quarter.metered_wh - explained_wh


def _noise_wh(known: Discrepancy, quarter: Quarter) -> float:
    """The deviation that counts for sums, the larger the fewer of them it was measured on."""
    measured = max(known.variance, known.long_run) * (1 + FEW / max(known.blocks, 1))
    least_wh = max(NOISE_SHARE * known.mean_x, quarter.step_wh, 1.0)
    return max(math.sqrt(measured), least_wh)


def _gross(before: int, quarter: Quarter) -> int:
    """Quarters in a row that no tolerance explains, whatever has been learned."""
    low, high = 1 - quarter.tolerance_share, 1 + quarter.tolerance_share
    most_wh = (quarter.metered_wh + quarter.step_wh) * (1 + quarter.meter_share)
    least_wh = (quarter.metered_wh - quarter.step_wh) * (1 - quarter.meter_share)
    if most_wh < quarter.machines_wh * low:
        return min(before, 0) - 1
    if least_wh > quarter.machines_wh * high + quarter.base_max_wh:
        return max(before, 0) + 1
    return 0


def _told(known: Discrepancy, quarter: Quarter, residual_wh: float) -> Discrepancy:
    """The alarm that follows; one that stands ends where the evidence has gone to half."""
    x, y = quarter.metered_wh, quarter.machines_wh
    sums = f"the meter counted {x / 1000:.1f} kWh in a quarter, the machines {y / 1000:.1f} kWh"
    if known.gross >= GROSS:
        words = f"{sums}: more than they and the base load can draw"
        return replace(known, code="UNSEEN_LOAD", words=words)
    if known.gross <= -GROSS:
        return replace(known, code="METER_LOW", words=f"{sums}: less than they must draw")
    share = 100 * abs(residual_wh) / max(x, 1.0)
    if max(known.unseen) >= 1.0:
        words = f"{sums}: {share:.1f} % more than has been learned, and so for long"
        return replace(known, code="UNSEEN_LOAD", words=words)
    if max(known.missing) >= 1.0:
        words = f"{sums}: {share:.1f} % less than has been learned, and so for long"
        return replace(known, code="METER_LOW", words=words)
    if known.code and not known.gross and max(*known.unseen, *known.missing) < HALF:
        return replace(known, code="", words="")
    return known
