"""Whether a feed is really gone: what the meter and the machines say of a contactor.

A coil that reads back as off proves that the board listened. That the contactor dropped is proven
by the meter, which shows that the watts behind it went, and is disproven by any machine behind it
that still answers. Where too little flowed for the meter to tell, or nobody saw it go, silence of
all its machines has to do. Pure: readings and times in, a verdict out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.core.snapshot import MeterView, MinerView

SETTLE_S = 2.0  # after the coil: contactor, meter's own refresh
SILENT_S = 10.0  # nobody behind it answered for so long
PROOF_S = 15.0  # later than this is not at all
SHOWN_SHARE = 0.5  # of what they drew has to go
VISIBLE_W, VISIBLE_SHARE = 200.0, 0.02  # less than this the meter does not tell


class Proof(StrEnum):
    """What is known of a feed whose coil is off."""

    AWAITED = "awaited"
    PROVEN = "proven"
    DOUBTED = "doubted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was drawn just before: at the meter, behind the relay, and by all other machines."""

    meter_w: float
    behind_w: float
    beside_w: float

    @property
    def is_visible(self) -> bool:
        """Whether the meter can show that what is behind the relay has gone."""
        return self.behind_w >= max(VISIBLE_W, VISIBLE_SHARE * self.meter_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A coil that is off: since when, and what was drawn before, if anybody looked."""

    off_at_s: float
    baseline: Baseline | None


def drawn_w(miners: Iterable[MinerView]) -> float:
    """What machines said last that they draw."""
    readings = (one.reading for one in miners)
    return sum(one.power_w for one in readings if one is not None and one.power_w is not None)


def baseline_of(
    meter: MeterView | None, behind: Sequence[MinerView], beside: Sequence[MinerView]
) -> Baseline | None:
    """What is drawn now; None where the meter does not tell."""
    if meter is None or meter.reading is None or meter.fault is not None:
        return None
    return Baseline(
        meter_w=meter.reading.power_w, behind_w=drawn_w(behind), beside_w=drawn_w(beside)
    )


def proven(
    gone: Gone,
    meter: MeterView | None,
    behind: Sequence[MinerView],
    beside: Sequence[MinerView],
    now_s: float,
    *,
    is_proven: bool = False,
) -> tuple[Proof, str]:
    """The verdict, and for a doubt its words. What was proven stays so until a machine answers."""
    settled_s = gone.off_at_s + SETTLE_S
    for one in behind:
        if one.reading is not None and one.reading.requested_at_s > settled_s:
            return Proof.DOUBTED, f"its coil is off and {one.miner_id} behind it still answers"
    if is_proven:
        return Proof.PROVEN, ""
    baseline = gone.baseline
    if baseline is None or not baseline.is_visible:
        is_silent = now_s - gone.off_at_s >= SILENT_S
        return (Proof.PROVEN if is_silent else Proof.AWAITED), ""
    reading = None if meter is None else meter.reading
    if reading is not None and reading.requested_at_s > settled_s:
        others_w = baseline.beside_w - drawn_w(beside)
        went_w = baseline.meter_w - reading.power_w - others_w
        if went_w >= SHOWN_SHARE * baseline.behind_w:
            return Proof.PROVEN, ""
    if now_s - gone.off_at_s < PROOF_S:
        return Proof.AWAITED, ""
    words = f"its coil is off and the meter does not show that {baseline.behind_w:.0f} W have gone"
    return Proof.DOUBTED, words
