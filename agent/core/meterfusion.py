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

from agent.core.doubt import NO_DOUBT, Doubt
from agent.core.envelope import SECONDS_PER_HOUR, Envelope, envelope
from agent.core.evolve import replace
from agent.core.samples import Claim, Fusion, Interval, MeterTraits, Sample
from agent.core.suspicion import SILENCE_S, doubt_at, implausible, still_wh_at, unexplained
from drivers.readings import MeterReading

REMEMBERED_SAMPLES = 12
UNPROVEN_S = 1.5  # so much longer than a refresh may a register stand before a freeze is possible


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


def held_over(
    fusion: Fusion, *, reason: str, least_wh: int, register_wh: int, has_strayed: bool
) -> Fusion:
    """A register that was held before a restart, at that value, is held after it."""
    held = replace(fusion.latest, register_wh=register_wh)
    doubt = Doubt(least_wh=least_wh, is_blind=True, has_strayed=has_strayed)
    return replace(fusion, suspect=reason, suspect_count=1, held=held, doubt=doubt)


def started(traits: MeterTraits, sample: Sample) -> Fusion:
    """Fusion that starts anew at one reading, which is believed."""
    fusion = Fusion(traits=traits, last_seen_s=sample.requested_at_s, last_seen_w=sample.power_w)
    ceiling_wh = float(sample.register_wh + traits.step_wh)
    return _started(fusion, replace(sample, has_moved=True, ceiling_wh=ceiling_wh))


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
    if reading.energy_step_wh > fusion.traits.step_wh:
        traits = replace(fusion.traits, step_wh=reading.energy_step_wh)
        fusion = replace(fusion, traits=traits)
    sample = _sample(fusion, reading)
    if not fusion.samples:
        return _started(fusion, sample)
    still_wh = still_wh_at(fusion, sample)
    reason = implausible(fusion, sample, still_wh) or unexplained(fusion, sample)
    if reason:
        return replace(hold(fusion, reading, reason), still_wh=still_wh)
    return _accept(fusion, sample, still_wh)


def believe(fusion: Fusion, reading: MeterReading) -> Fusion:
    """Take in one reading that was found true, without asking again."""
    sample = _sample(fusion, reading)
    return _accept(fusion, sample, still_wh_at(fusion, sample))


def hold(fusion: Fusion, reading: MeterReading, reason: str) -> Fusion:
    """Take in one reading that is not believed, for that reason."""
    sample = _sample(fusion, reading)
    return replace(
        fusion,
        last_seen_s=sample.requested_at_s,
        last_seen_w=sample.power_w,
        suspect=reason,
        suspect_count=fusion.suspect_count + 1,
        held=sample,
        doubt=doubt_at(fusion, sample),
    )


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
    return _noted(_longer(first, sample), sample, fusion.still_wh)


def _accept(fusion: Fusion, sample: Sample, still_wh: float) -> Fusion:
    """Take a believed reading in.

    A register that stands tells nothing by itself, as a frozen one looks the same. Once it moves
    within about a refresh, all that was read meanwhile is proven. After a longer stand only the
    present value counts, and the bound that has grown since it moved before.
    """
    stood_s = sample.requested_at_s - fusion.proven.requested_at_s
    if stood_s <= fusion.traits.refresh_s + UNPROVEN_S:
        fusion = _longer(fusion, sample)
    elif sample.has_moved:
        before = fusion
        unseen_s = max(sample.latched_s - fusion.tail_until_s, 0.0)
        unseen_wh = fusion.tail_w * unseen_s / SECONDS_PER_HOUR if unseen_s else 0.0
        ceiling_wh = min(interval_now(fusion).upper_wh + unseen_wh, sample.ceiling_wh)
        row = fusion.samples[: fusion.samples.index(fusion.proven) + 1]
        late = replace(sample, ceiling_wh=ceiling_wh, is_after_gap=True)
        fusion = _longer(replace(fusion, samples=row), late)
        return _watched(before, _noted(fusion, sample, still_wh), sample)
    return _noted(fusion, sample, still_wh)


def _watched(before: Fusion, after: Fusion, sample: Sample) -> Fusion:
    """Keep what was counted since the sample may have been latched, if that was long ago.

    Between may be readings that nobody believed, and more power than there is now: what ticks have
    counted of it is known, and so is where the register was at most at the last of them.
    """
    if before.tail_until_s - sample.latched_s <= SILENCE_S:
        return after
    most_wh = interval_now(before).upper_wh - interval_at(after, after.proven.latched_s).upper_wh
    tail_wh = min(before.tail_wh, max(most_wh, 0.0))
    return replace(after, tail_wh=tail_wh, tail_until_s=before.tail_until_s)


def _longer(fusion: Fusion, sample: Sample) -> Fusion:
    """One more sample that tells where the register was, and what all of them say together."""
    kept, earlier, upper_wh, lower_wh = _room_for_one(fusion)
    samples = (*kept, sample)
    envelope = _envelope(fusion.traits, earlier, samples)
    first = samples[0]
    claims = [_claim(envelope, first.latched_s, upper_wh, first.requested_at_s, lower_wh)]
    claims += [
        _claim(envelope, one.latched_s, one.ceiling_wh, one.replied_at_s, float(one.register_wh))
        for one in samples
        if one.has_moved
    ]
    return replace(
        fusion,
        samples=samples,
        earlier=earlier,
        envelope=envelope,
        claims=tuple(claims),
        upper_wh=upper_wh,
        lower_wh=lower_wh,
    )


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


def _noted(fusion: Fusion, sample: Sample, still_wh: float) -> Fusion:
    """Remember the reading for the power that the site may have had since its latching.

    Where the register has moved, what flows is counted anew from the earliest instant that the
    sample can show.
    """
    since_s = sample.requested_at_s - fusion.traits.refresh_s
    recent = (*fusion.recent, sample)
    while len(recent) > 1 and recent[1].replied_at_s <= since_s:
        recent = recent[1:]
    return replace(
        fusion,
        recent=recent,
        still_wh=still_wh,
        tail_wh=0.0 if sample.has_moved else fusion.tail_wh,
        tail_until_s=sample.latched_s if sample.has_moved else fusion.tail_until_s,
        suspect="",
        suspect_count=0,
        last_seen_s=sample.requested_at_s,
        last_seen_w=sample.power_w,
        held=None,
        doubt=NO_DOUBT,
    )


def _room_for_one(
    fusion: Fusion,
) -> tuple[tuple[Sample, ...], tuple[Sample, ...], float, float]:
    """The samples that stay and those before them, with the bounds at the oldest that stays: of
    one that goes they are carried over to its successor."""
    samples, earlier = fusion.samples, fusion.earlier
    if len(samples) < REMEMBERED_SAMPLES:
        return samples, earlier, fusion.upper_wh, fusion.lower_wh
    successor = samples[1]
    upper_wh = interval_at(fusion, successor.latched_s).upper_wh
    lower_wh = interval_at(fusion, successor.requested_at_s).lower_wh
    earlier = (*earlier, samples[0])
    known_s = successor.requested_at_s - fusion.traits.refresh_s
    while len(earlier) > 1 and earlier[1].replied_at_s <= known_s:
        earlier = earlier[1:]
    return samples[1:], earlier, upper_wh, lower_wh


def _envelope(
    traits: MeterTraits, earlier: tuple[Sample, ...], samples: tuple[Sample, ...]
) -> Envelope:
    """Highest and lowest power in the stretches that start at each sample.

    The power register is as stale as the energy register, so a stretch takes the extreme of its
    two ends and of one more neighbour on each side, and of all further ones up to the first that
    was surely latched after it. In a silence nothing is known: rated power above, zero below. That
    holds too where the first sample ended one and those before it are forgotten, and just before a
    silence: what came right after the last latching shows in no neighbour.
    """
    edges_s = [sample.requested_at_s for sample in samples]
    powers_w = [sample.power_w for sample in samples]
    most, least = 1 + traits.power_error_share, 1 - traits.power_error_share
    upper_w, lower_w = [], []
    for index, edge_s in enumerate(edges_s):
        end_s = edges_s[index + 1] if index + 1 < len(edges_s) else edge_s
        if _is_silent(samples, index) or _is_silent(samples, index + 1):
            upper_w.append(traits.rated_power_w)
            lower_w.append(0.0)
            continue
        stop, stale_s = index + 3, end_s + traits.refresh_s
        while stop <= len(edges_s) and edges_s[stop - 1] < stale_s:
            stop += 1
        if index:
            near_w = powers_w[index - 1 : stop]
        else:
            near_w = powers_w[:stop] + [sample.power_w for sample in earlier]
        upper_w.append(max(near_w) * most)
        lower_w.append(min(near_w) * least)
    first = samples[0]
    if first.is_after_gap or first.requested_at_s - first.latched_s > SILENCE_S:
        return envelope(
            [first.latched_s, *edges_s], [traits.rated_power_w, *upper_w], [0.0, *lower_w]
        )
    return envelope(edges_s, upper_w, lower_w)


def _is_silent(samples: tuple[Sample, ...], index: int) -> bool:
    """Whether nothing is known of what lies between a sample and the next one, if there is one."""
    if index + 1 >= len(samples):
        return False
    after = samples[index + 1]
    return after.is_after_gap or after.requested_at_s - samples[index].requested_at_s > SILENCE_S
