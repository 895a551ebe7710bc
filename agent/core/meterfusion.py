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

import math
from dataclasses import dataclass, replace

from agent.core.doubt import NO_DOUBT, Doubt, doubt_since, objection, passed, passed_unseen
from agent.core.envelope import SECONDS_PER_HOUR, Envelope, envelope
from drivers.readings import MeterReading

REMEMBERED_SAMPLES = 12
SILENCE_S = 3.0


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
    """One accepted reading. ``hidden_wh`` is what its register may have missed, besides a step."""

    requested_at_s: float
    replied_at_s: float
    register_wh: int
    power_w: float
    hidden_wh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """What is known of one meter.

    ``upper_wh`` bounds the energy at the earliest latching of ``samples[0]``, ``lower_wh`` that at
    its request; ``earlier`` are the samples before it that may still show the power of that time.
    ``still_wh`` is the least that flowed since the register last moved, ``tail_wh`` the most that
    flowed since the last sample's earliest latching. ``suspect`` says why the latest reading was
    not believed; empty while all is well. ``last_seen_w`` is the power of the latest reading,
    believed or not. ``held`` is the latest reading that was not believed, ``doubt`` what flowed by
    power until then.
    """

    traits: MeterTraits
    samples: tuple[Sample, ...] = ()
    earlier: tuple[Sample, ...] = ()
    envelope: Envelope | None = None
    upper_wh: float = 0.0
    lower_wh: float = 0.0
    still_wh: float = 0.0
    tail_wh: float = 0.0
    tail_until_s: float = 0.0
    suspect: str = ""
    suspect_count: int = 0
    last_seen_s: float = 0.0
    last_seen_w: float = 0.0
    held: Sample | None = None
    doubt: Doubt = NO_DOUBT


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
    known = Sample(requested_at_s=at_s, replied_at_s=at_s, register_wh=register_wh, power_w=0.0)
    return _accept(_start(Fusion(traits=traits, last_seen_s=at_s), known), known)


def held_over(fusion: Fusion, *, reason: str, least_wh: int, register_wh: int) -> Fusion:
    """A register that was held before a restart, at that value, is held after it."""
    held = replace(fusion.samples[-1], register_wh=register_wh)
    doubt = Doubt(least_wh=least_wh, is_blind=True)
    return replace(fusion, suspect=reason, suspect_count=1, held=held, doubt=doubt)


def started(traits: MeterTraits, sample: Sample) -> Fusion:
    """Fusion that starts anew at one reading, which is believed."""
    fusion = Fusion(traits=traits, last_seen_s=sample.requested_at_s, last_seen_w=sample.power_w)
    return _accept(_start(fusion, sample), sample)


def observe(fusion: Fusion, reading: MeterReading) -> Fusion:
    """Take in one reading: as a sample where it can be true, as a suspicion where it cannot.

    A suspect reading is held apart, never re-based on. A register that stands still while power
    flows, one that falls and one that jumps further than the connection can carry are suspect; so
    is one that comes back from there to a value that the power since then does not explain.
    A reading that was seen before is ignored.
    """
    if reading.requested_at_s <= fusion.last_seen_s:
        return fusion
    if not math.isfinite(reading.power_w):
        return fusion  # as good as no answer
    sample = _sample(reading)
    seen = replace(fusion, last_seen_s=sample.requested_at_s, last_seen_w=sample.power_w)
    if not fusion.samples:
        return _accept(_start(seen, sample), sample)
    still_wh = _still_wh(fusion, sample)
    reason = _implausible(fusion, sample, still_wh) or _unexplained(fusion, sample)
    if reason:
        return replace(hold(fusion, reading, reason), still_wh=still_wh)
    known = _fold(seen) if fusion.held is None else _released(seen, sample)
    return _accept(replace(known, still_wh=still_wh), sample)


def hold(fusion: Fusion, reading: MeterReading, reason: str) -> Fusion:
    """Take in one reading that is not believed, for that reason."""
    sample = _sample(reading)
    return replace(
        fusion,
        last_seen_s=sample.requested_at_s,
        last_seen_w=sample.power_w,
        suspect=reason,
        suspect_count=fusion.suspect_count + 1,
        held=sample,
        doubt=_doubt(fusion, sample),
    )


def _sample(reading: MeterReading) -> Sample:
    return Sample(
        requested_at_s=reading.requested_at_s,
        replied_at_s=reading.replied_at_s,
        register_wh=reading.energy_import_wh,
        power_w=max(reading.power_w, 0.0),
    )


def _doubt(fusion: Fusion, sample: Sample) -> Doubt:
    """What flowed, by power, since the register was last believed."""
    doubt = fusion.doubt if fusion.suspect else doubt_since(fusion.still_wh)
    elapsed_s = sample.requested_at_s - fusion.last_seen_s
    traits = fusion.traits
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


def _unexplained(fusion: Fusion, sample: Sample) -> str:
    """Why a register that was held is not believed although its value could be true by itself."""
    if fusion.held is None:
        return ""
    traits = fusion.traits
    highest_w = max(sample.power_w, fusion.last_seen_w)
    stale_wh = highest_w * (traits.refresh_s + 0.5) / SECONDS_PER_HOUR
    grown_wh = sample.register_wh - fusion.samples[-1].register_wh
    slack_wh = traits.step_wh * 1.1 + stale_wh + 0.5
    return objection(
        _doubt(fusion, sample),
        grown_wh=grown_wh,
        counted_wh=sample.register_wh - fusion.held.register_wh,
        slack_wh=slack_wh,
    )


def advance(fusion: Fusion, *, now_s: float, power_upper_w: float) -> Fusion:
    """Let time pass: since the last sample at most ``power_upper_w`` has flowed."""
    if not fusion.samples or now_s <= fusion.tail_until_s:
        return fusion
    grown_wh = power_upper_w * (now_s - fusion.tail_until_s) / SECONDS_PER_HOUR
    return replace(fusion, tail_wh=fusion.tail_wh + grown_wh, tail_until_s=now_s)


def recent_power_w(fusion: Fusion) -> float:
    """The highest power that the site may have had since the last sample's earliest latching.

    A power that fell since may still have stood then: the sample latched surely before and all
    after it count.
    """
    since_s = fusion.samples[-1].requested_at_s - fusion.traits.refresh_s
    highest_w = fusion.samples[-1].power_w
    for sample in reversed(fusion.samples[:-1]):
        highest_w = max(highest_w, sample.power_w)
        if sample.replied_at_s <= since_s:
            break
    return highest_w


def interval_now(fusion: Fusion) -> Interval:
    """Bounds at the instant up to which ``advance`` was called."""
    last = fusion.samples[-1]
    latched = interval_at(fusion, last.requested_at_s - fusion.traits.refresh_s)
    lower_wh = max(latched.lower_wh, float(last.register_wh))
    return Interval(lower_wh=lower_wh, upper_wh=max(latched.upper_wh + fusion.tail_wh, lower_wh))


def interval_at(fusion: Fusion, at_s: float) -> Interval:
    """Bounds at an instant within the remembered samples, with hindsight from those after it.

    Further back than the oldest sample the bounds are still true, merely wide. Beyond the last
    sample's earliest latching the lower bound stays where it was: power may have fallen since.
    """
    refresh_s, step_wh = fusion.traits.refresh_s, fusion.traits.step_wh
    power = fusion.envelope
    assert power is not None
    oldest, last = fusion.samples[0], fusion.samples[-1]
    known_s = min(at_s, last.requested_at_s - refresh_s)
    lower_wh = power.lowered(fusion.lower_wh, oldest.requested_at_s, known_s)
    upper_wh = power.raised(fusion.upper_wh, oldest.requested_at_s - refresh_s, at_s)
    for sample in fusion.samples:
        bottom_wh, latched_s = sample.register_wh, sample.requested_at_s - refresh_s
        lower_wh = max(lower_wh, power.lowered(bottom_wh, sample.replied_at_s, known_s))
        top_wh = bottom_wh + step_wh + sample.hidden_wh
        upper_wh = min(upper_wh, power.raised(top_wh, latched_s, at_s))
    return Interval(lower_wh=lower_wh, upper_wh=max(upper_wh, lower_wh))


def _start(fusion: Fusion, sample: Sample) -> Fusion:
    return replace(
        fusion,
        upper_wh=float(sample.register_wh + fusion.traits.step_wh),
        lower_wh=float(sample.register_wh)
        - fusion.traits.rated_power_w
        * (sample.replied_at_s - sample.requested_at_s)
        / SECONDS_PER_HOUR,
    )


def _accept(fusion: Fusion, sample: Sample) -> Fusion:
    samples = (*fusion.samples, sample)
    return replace(
        fusion,
        samples=samples,
        envelope=_envelope(fusion.traits, fusion.earlier, samples),
        tail_wh=0.0,
        tail_until_s=sample.requested_at_s - fusion.traits.refresh_s,
        suspect="",
        suspect_count=0,
        held=None,
        doubt=NO_DOUBT,
    )


def _released(fusion: Fusion, sample: Sample) -> Fusion:
    """Make a new start with a register that is believed again.

    It may have stood still for a while before that was seen: the samples of that time say truly
    that no less had flowed, not that no more had. No more than it shows now.
    """
    last = fusion.samples[-1]
    hidden_wh = max(sample.register_wh - last.register_wh, 0)
    bare = replace(fusion, samples=(replace(last, hidden_wh=hidden_wh),), earlier=())
    upper_wh = float(last.register_wh + hidden_wh + fusion.traits.step_wh)
    return replace(_start(bare, last), upper_wh=upper_wh)


def _fold(fusion: Fusion) -> Fusion:
    """Make room for one sample: carry the bounds of the oldest over to its successor."""
    if len(fusion.samples) < REMEMBERED_SAMPLES:
        return fusion
    successor = fusion.samples[1]
    latched_s = successor.requested_at_s - fusion.traits.refresh_s
    latched = interval_at(fusion, latched_s)
    requested = interval_at(fusion, successor.requested_at_s)
    earlier = (*fusion.earlier, fusion.samples[0])
    while len(earlier) > 1 and earlier[1].replied_at_s <= latched_s:
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
    last = fusion.samples[-1]
    if sample.register_wh != last.register_wh:
        return 0.0
    elapsed_s = sample.requested_at_s - fusion.last_seen_s
    if elapsed_s > SILENCE_S:
        return fusion.still_wh
    least_w = min(sample.power_w, fusion.last_seen_w) * (1 - fusion.traits.power_error_share)
    fallen_w = max(fusion.last_seen_w - sample.power_w, 0.0)
    counted_ws = least_w * elapsed_s - fallen_w * (fusion.traits.refresh_s + 0.5)
    return max(fusion.still_wh + counted_ws / SECONDS_PER_HOUR, 0.0)


def _implausible(fusion: Fusion, sample: Sample, still_wh: float) -> str:
    traits, last = fusion.traits, fusion.samples[-1]
    if sample.register_wh < last.register_wh:
        return (
            f"energy register fell from {last.register_wh} Wh to {sample.register_wh} Wh; "
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
        end_s = edges_s[min(index + 1, len(edges_s) - 1)]
        if end_s - edge_s > SILENCE_S:
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
