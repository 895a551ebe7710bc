"""Readings of one meter, and what the fusion of them knows. How it is made: agent.core.meterfusion.

Energies are Wh, powers W, times monotonic seconds.
"""

from dataclasses import dataclass

from agent.core.doubt import NO_DOUBT, Doubt
from agent.core.envelope import Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTraits:
    """What the profile and the commissioning say of a meter.

    ``power_error_share`` bounds the difference between the power register and the growth of the
    energy register; ``rated_power_w`` is the most that can flow through the meter point.
    ``may_export``: the site generates, and power may flow out of it.
    """

    refresh_s: float
    step_wh: int
    power_error_share: float
    rated_power_w: float
    modulus_wh: int | None = None
    may_export: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One accepted reading. Where the register ``has_moved``, the meter lives.

    It was latched at ``latched_s`` at the earliest: a register that has moved was latched after the
    request of the reading before. ``ceiling_wh`` bounds the energy at that instant.
    ``is_after_gap`` says that nothing proves what was read between it and the sample before.
    """

    requested_at_s: float
    replied_at_s: float
    latched_s: float
    register_wh: int
    power_w: float
    ceiling_wh: float
    has_moved: bool
    is_after_gap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one sample says: not above ``ceiling_wh`` at ``latched_s``, not below ``bottom_wh`` at
    ``shown_s``; and the envelope's integrals at these two instants."""

    latched_s: float
    ceiling_wh: float
    ceiling_high_wh: float
    ceiling_low_wh: float
    shown_s: float
    bottom_wh: float
    bottom_high_wh: float
    bottom_low_wh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """What is known of one meter.

    ``samples`` tell where the register was: those in which it had moved, and what was
    read since it last did, for as long as that may still be one refresh. ``recent`` are the latest
    accepted readings whatever they tell. ``upper_wh`` bounds the energy at the earliest latching of
    ``samples[0]``, ``lower_wh`` that at its request; ``earlier`` are the samples before it that may
    still show the power of that time. ``still_wh`` is the least that flowed since the register last
    moved, ``tail_wh`` the most that flowed since the earliest latching of the sample in which it
    did, at ``tail_w`` lately. ``suspect`` says why the latest reading was
    not believed; empty while all is well. ``last_seen_w`` is the power of the latest
    reading, believed or not. ``held`` is the latest reading that was not believed, ``doubt`` what
    flowed by power until then.
    """

    traits: MeterTraits
    samples: tuple[Sample, ...] = ()
    recent: tuple[Sample, ...] = ()
    earlier: tuple[Sample, ...] = ()
    envelope: Envelope | None = None
    claims: tuple[Claim, ...] = ()
    upper_wh: float = 0.0
    lower_wh: float = 0.0
    still_wh: float = 0.0
    tail_wh: float = 0.0
    tail_w: float = float("inf")
    tail_until_s: float = 0.0
    suspect: str = ""
    suspect_count: int = 0
    last_seen_s: float = 0.0
    last_seen_w: float = 0.0
    held: Sample | None = None
    doubt: Doubt = NO_DOUBT

    @property
    def latest(self) -> Sample:
        """The last accepted reading. There has to be one."""
        return self.recent[-1]

    @property
    def proven(self) -> Sample:
        """The last reading in which the register had moved."""
        return next(sample for sample in reversed(self.samples) if sample.has_moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The register's true value at an instant lies in here."""

    lower_wh: float
    upper_wh: float

    @property
    def middle_wh(self) -> float:
        """The best single estimate."""
        return (self.lower_wh + self.upper_wh) / 2
