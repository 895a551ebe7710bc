"""Where the energy register really is, between two of its ticks: an interval that holds the truth.

A sample is a register value ``R`` and a power ``P`` that the meter latched somewhere between one
refresh before the request and the reply. Truncation hides up to one step. So, for a sample
requested at q and answered at r:

    energy(q - refresh) <  R + step          (latched at the earliest, digits hidden)
    energy(r)           >= R                 (latched at the latest, no digit hidden)

Power carries these two facts to any other instant T. With U and L the highest and the lowest power
that the neighbouring samples allow:

    energy(T) <= R + step + integral of U from q - refresh to T
    energy(T) >= R        + integral of L from r to T
    and backwards in time with U and L exchanged and the sign turned.

Every sample gives such a pair; the tightest of all rule. Samples at varying phases of the refresh
therefore narrow the interval to a fraction of ``step + P * refresh``. The last dozen samples are
kept, the bounds of older ones are folded into one pair at the oldest. After the last sample nothing
is measured: there the upper side grows with the power bound that the caller states.

Energies are Wh (float), powers W, times monotonic seconds. Source of the idea: fusion of a coarse
register with power by clamping, with the register as the only authority.
"""

from dataclasses import dataclass, replace

from agent.core.envelope import SECONDS_PER_HOUR, Envelope, envelope
from drivers.readings import MeterReading

REMEMBERED_SAMPLES = 12
SILENCE_S = 3.0
UNPROVEN_S = 1.5  # so much longer than a refresh may a register stand before a freeze is possible


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTraits:
    """What the profile and the commissioning say of a meter.

    ``power_error_share`` bounds the difference between the power register and the growth of the
    energy register; ``rated_power_w`` is the most that can flow through the meter point.
    """

    refresh_s: float
    step_wh: int
    power_error_share: float
    rated_power_w: float
    modulus_wh: int | None = None


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
    not believed; empty while all is well. ``last_seen_w`` and ``last_seen_wh`` are of the latest
    reading, believed or not. ``fallen_wh`` is how far the register has fallen: what it shows since
    hides as much, until it jumps back or a person says what happened.
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
    last_seen_wh: int = 0
    fallen_wh: int = 0

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


def resumed(traits: MeterTraits, *, register_wh: int, at_s: float) -> Fusion:
    """Fusion that starts at a register value known from before a restart.

    Between that value and the first reading nothing is known, so the upper bound grows by what the
    site can draw; a first reading below it is a fault of the meter and is not believed.
    """
    known = Sample(
        requested_at_s=at_s,
        replied_at_s=at_s,
        latched_s=at_s - traits.refresh_s - UNPROVEN_S,
        register_wh=register_wh,
        power_w=0.0,
        ceiling_wh=float(register_wh + traits.step_wh),
        has_moved=True,
    )
    return _started(Fusion(traits=traits, last_seen_s=at_s), known)


def observe(fusion: Fusion, reading: MeterReading) -> Fusion:
    """Take in one reading: as a sample where it can be true, as a suspicion where it cannot.

    A suspect reading is held apart, never re-based on. A register that stands still while power
    flows, one that falls and one that jumps further than the connection can carry are suspect.
    A reading that was seen before is ignored.
    """
    if reading.requested_at_s <= fusion.last_seen_s:
        return fusion
    sample = _sample(fusion, reading)
    seen = replace(
        fusion,
        last_seen_s=sample.requested_at_s,
        last_seen_w=sample.power_w,
        last_seen_wh=sample.register_wh,
    )
    if not fusion.samples:
        return _started(seen, sample)
    still_wh = _still_wh(fusion, sample)
    reason = _implausible(fusion, sample, still_wh)
    if reason:
        return replace(
            seen,
            still_wh=still_wh,
            suspect=reason,
            suspect_count=fusion.suspect_count + 1,
            fallen_wh=max(fusion.fallen_wh, fusion.latest.register_wh - sample.register_wh),
        )
    return _accept(replace(seen, still_wh=still_wh), sample)


def advance(fusion: Fusion, *, now_s: float, power_upper_w: float) -> Fusion:
    """Let time pass: since the last call at most ``power_upper_w`` has flowed.

    What is longer ago than a few ticks was not watched: then it was at most what the call before
    said, and before the first call, as after a restart, what the connection can carry.
    """
    if not fusion.samples or now_s <= fusion.tail_until_s:
        return fusion
    flowed_w = power_upper_w
    if now_s - fusion.tail_until_s > SILENCE_S:
        flowed_w = max(power_upper_w, min(fusion.tail_w, fusion.traits.rated_power_w))
    grown_wh = flowed_w * (now_s - fusion.tail_until_s) / SECONDS_PER_HOUR
    return replace(
        fusion, tail_wh=fusion.tail_wh + grown_wh, tail_w=power_upper_w, tail_until_s=now_s
    )


def add(fusion: Fusion, flowed_wh: float) -> Fusion:
    """Note energy that may have flowed beside what ``advance`` was told."""
    return replace(fusion, tail_wh=fusion.tail_wh + flowed_wh) if flowed_wh else fusion


def recent_power_w(fusion: Fusion) -> float:
    """The highest power that the site may have had since the last sample's earliest latching.

    A power that fell since may still have stood then: the sample latched surely before and all
    after it count.
    """
    return max(sample.power_w for sample in fusion.recent)


def interval_now(fusion: Fusion) -> Interval:
    """Bounds at the instant up to which ``advance`` was called."""
    latched = interval_at(fusion, fusion.proven.latched_s)
    lower_wh = max(latched.lower_wh, float(fusion.latest.register_wh))
    return Interval(lower_wh=lower_wh, upper_wh=max(latched.upper_wh + fusion.tail_wh, lower_wh))


def interval_at(fusion: Fusion, at_s: float) -> Interval:
    """Bounds at an instant within the remembered samples, with hindsight from those after it.

    Further back than the oldest sample the bounds are still true, merely wide. Beyond the earliest
    latching of the last proven one the lower bound stays where it was: power may have fallen since.
    """
    power, claims = fusion.envelope, fusion.claims
    assert power is not None
    high_wh, low_wh = power.integrals(at_s)
    upper_wh = min(
        [
            c.ceiling_wh + (high_wh - c.ceiling_high_wh if at_s >= c.latched_s
                            else low_wh - c.ceiling_low_wh)
            for c in claims
        ]
    )  # fmt: skip
    known_s = min(at_s, fusion.proven.latched_s)
    if known_s < at_s:
        high_wh, low_wh = power.integrals(known_s)
    lower_wh = max(
        [
            c.bottom_wh + (low_wh - c.bottom_low_wh if known_s >= c.shown_s
                           else high_wh - c.bottom_high_wh)
            for c in claims
        ]
    )  # fmt: skip
    return Interval(lower_wh=lower_wh, upper_wh=max(upper_wh, lower_wh))


def _sample(fusion: Fusion, reading: MeterReading) -> Sample:
    latched_s = reading.requested_at_s - fusion.traits.refresh_s
    has_moved = True
    if fusion.recent:
        latched_s = fusion.latest.requested_at_s
        has_moved = reading.energy_import_wh != fusion.latest.register_wh
    return Sample(
        requested_at_s=reading.requested_at_s,
        replied_at_s=reading.replied_at_s,
        latched_s=latched_s,
        register_wh=reading.energy_import_wh,
        power_w=max(reading.power_w, 0.0),
        ceiling_wh=float(reading.energy_import_wh + fusion.traits.step_wh),
        has_moved=has_moved,
    )


def _started(fusion: Fusion, sample: Sample) -> Fusion:
    """The first sample there is."""
    latency_s = sample.replied_at_s - sample.requested_at_s
    risen_wh = fusion.traits.rated_power_w * latency_s / SECONDS_PER_HOUR
    first = replace(
        fusion, upper_wh=sample.ceiling_wh, lower_wh=float(sample.register_wh) - risen_wh
    )
    return _noted(_moved(_longer(first, sample), sample), sample)


def _accept(fusion: Fusion, sample: Sample) -> Fusion:
    """Take a believed reading in.

    A register that stands tells nothing by itself, as a frozen one looks the same. Once it moves
    within about a refresh, all that was read meanwhile is proven. After a longer stand only the
    present value counts, and the bound that has grown since it moved before.
    """
    stood_s = sample.requested_at_s - fusion.proven.requested_at_s
    if stood_s <= fusion.traits.refresh_s + UNPROVEN_S:
        fusion = _longer(_fold(fusion), sample)
    elif sample.has_moved:
        unseen_s = max(sample.latched_s - fusion.tail_until_s, 0.0)
        unseen_wh = fusion.tail_w * unseen_s / SECONDS_PER_HOUR if unseen_s else 0.0
        ceiling_wh = min(interval_now(fusion).upper_wh + unseen_wh, sample.ceiling_wh)
        row = fusion.samples[: fusion.samples.index(fusion.proven) + 1]
        late = replace(sample, ceiling_wh=ceiling_wh, is_after_gap=True)
        fusion = _longer(_fold(replace(fusion, samples=row)), late)
    return _noted(_moved(fusion, sample) if sample.has_moved else fusion, sample)


def _longer(fusion: Fusion, sample: Sample) -> Fusion:
    samples = (*fusion.samples, sample)
    envelope = _envelope(fusion.traits, fusion.earlier, samples)
    first = samples[0]
    claims = [
        _claim(envelope, first.latched_s, fusion.upper_wh, first.requested_at_s, fusion.lower_wh)
    ]
    claims += [
        _claim(envelope, one.latched_s, one.ceiling_wh, one.replied_at_s, float(one.register_wh))
        for one in samples
        if one.has_moved
    ]
    return replace(fusion, samples=samples, envelope=envelope, claims=tuple(claims))


def _claim(
    envelope: Envelope, latched_s: float, ceiling_wh: float, shown_s: float, bottom_wh: float
) -> Claim:
    ceiling_high_wh, ceiling_low_wh = envelope.integrals(latched_s)
    bottom_high_wh, bottom_low_wh = envelope.integrals(shown_s)
    return Claim(
        latched_s=latched_s,
        ceiling_wh=ceiling_wh,
        ceiling_high_wh=ceiling_high_wh,
        ceiling_low_wh=ceiling_low_wh,
        shown_s=shown_s,
        bottom_wh=bottom_wh,
        bottom_high_wh=bottom_high_wh,
        bottom_low_wh=bottom_low_wh,
    )


def _moved(fusion: Fusion, sample: Sample) -> Fusion:
    """What flows is counted anew from the earliest instant that the sample can show."""
    return replace(fusion, tail_wh=0.0, tail_until_s=sample.latched_s)


def _noted(fusion: Fusion, sample: Sample) -> Fusion:
    """Remember the reading for the power that the site may have had since its latching."""
    since_s = sample.requested_at_s - fusion.traits.refresh_s
    recent = (*fusion.recent, sample)
    while len(recent) > 1 and recent[1].replied_at_s <= since_s:
        recent = recent[1:]
    return replace(fusion, recent=recent, suspect="", suspect_count=0, fallen_wh=0)


def _fold(fusion: Fusion) -> Fusion:
    """Make room for one sample: carry the bounds of the oldest over to its successor."""
    if len(fusion.samples) < REMEMBERED_SAMPLES:
        return fusion
    successor = fusion.samples[1]
    latched = interval_at(fusion, successor.latched_s)
    requested = interval_at(fusion, successor.requested_at_s)
    earlier = (*fusion.earlier, fusion.samples[0])
    while (
        len(earlier) > 1
        and earlier[1].replied_at_s <= successor.requested_at_s - fusion.traits.refresh_s
    ):
        earlier = earlier[1:]
    return replace(
        fusion,
        samples=fusion.samples[1:],
        earlier=earlier,
        upper_wh=latched.upper_wh,
        lower_wh=requested.lower_wh,
    )


def _still_wh(fusion: Fusion, sample: Sample) -> float:
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


def _implausible(fusion: Fusion, sample: Sample, still_wh: float) -> str:
    traits, last = fusion.traits, fusion.latest
    risen_wh = sample.register_wh - fusion.last_seen_wh
    is_fallen = fusion.fallen_wh > 0 and risen_wh < fusion.fallen_wh
    if sample.register_wh < last.register_wh or is_fallen:
        fallen_wh = max(fusion.fallen_wh, last.register_wh - sample.register_wh)
        return (
            f"energy register fell by {fallen_wh} Wh from {last.register_wh} Wh; "
            "held, check the meter for an exchange or a reset"
        )
    elapsed_s = sample.replied_at_s - last.requested_at_s + traits.refresh_s
    most_wh = traits.rated_power_w * elapsed_s * 1.2 / SECONDS_PER_HOUR + traits.step_wh
    if sample.register_wh - last.register_wh > most_wh:
        return (
            f"energy register jumped by {sample.register_wh - last.register_wh} Wh in "
            f"{elapsed_s:.1f} s, more than the connection can carry; check wiring and CT ratio"
        )
    stale_wh = sample.power_w * (traits.refresh_s + 0.5) / SECONDS_PER_HOUR
    if still_wh > traits.step_wh * 1.1 + stale_wh + 0.5:
        return (
            f"energy register stands at {sample.register_wh} Wh while "
            f"{sample.power_w:.0f} W flow; the meter is frozen, power-cycle or replace it"
        )
    return ""


def _envelope(
    traits: MeterTraits, earlier: tuple[Sample, ...], samples: tuple[Sample, ...]
) -> Envelope:
    """Highest and lowest power in the stretches that start at each sample.

    The power register is as stale as the energy register, so a stretch takes the extreme of its
    two ends and of one more neighbour on each side, and of all further ones up to the first that
    was surely latched after it. In a silence nothing is known: rated power above, zero below.
    """
    edges_s = [sample.requested_at_s for sample in samples]
    powers_w = [sample.power_w for sample in samples]
    upper_w, lower_w = [], []
    for index, edge_s in enumerate(edges_s):
        following = samples[min(index + 1, len(edges_s) - 1)]
        end_s = following.requested_at_s
        if end_s - edge_s > SILENCE_S or (following.is_after_gap and end_s > edge_s):
            upper_w.append(traits.rated_power_w)
            lower_w.append(0.0)
            continue
        stop = index + 3
        while stop <= len(edges_s) and edges_s[stop - 1] < end_s + traits.refresh_s:
            stop += 1
        near_w = powers_w[max(index - 1, 0) : stop]
        if index == 0:
            near_w += [sample.power_w for sample in earlier]
        upper_w.append(max(near_w) * (1 + traits.power_error_share))
        lower_w.append(min(near_w) * (1 - traits.power_error_share))
    return envelope(edges_s, upper_w, lower_w)
