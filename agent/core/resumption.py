"""A register that is held and counts on: when the books may go on from it without a person.

A register that fell or leapt for good is held, and what it shows is not believed; the site then
counts by its upper bound, and rests. Nothing of that gets better by waiting. But what the meter
counts *from now on* can be judged as ever: where its growth agrees with its power, reading by
reading, for long enough to be no chance, and where the power is no less than what the site draws by
its machines' settings and its learned base load, the meter measures as it did before. Then the
books go on by the rule of ``agent.core.rebase.accept``: all that can have flowed meanwhile is
charged, as unknown, and an event says so. The bound never rested on the register while it was held,
so that it is true whatever the register did; and what is counted after is the growth of a register
that agrees with its power, as in any other hour.

What speaks against the meter as such is for a person: another serial, what commissioning found, a
power that flows the wrong way, registers that contradict each other. So is a register that stands.

Energies are Wh, powers W, times monotonic seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.doubt import MOST_MARGIN, NO_DOUBT, Doubt, passed
from agent.core.evolve import replace
from agent.core.fleet import Machine
from agent.core.samples import Fusion, Sample
from agent.core.suspicion import SILENCE_S, slack_wh

AGREED_S = 20.0
AGREED_SLACKS = 3.0  # what has flowed is that many times what may be hidden of it
LEAST_SHARE = 0.85  # of what the site draws by its machines' settings: more than cards are off


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """The held reading ``since`` which the register has counted on up to ``last``, and what has
    flowed between by power."""

    since: Sample
    last: Sample
    flowed: Doubt = NO_DOUBT


def followed(known: Resumption | None, fusion: Fusion) -> Resumption | None:
    """After a reading; None: the register is believed, or nothing was read yet."""
    held, traits = fusion.held, fusion.traits
    if held is None:
        return None
    if known is not None and held is known.last:
        return known
    elapsed_s = 0.0 if known is None else held.requested_at_s - known.last.requested_at_s
    if known is None or elapsed_s > SILENCE_S:
        return Resumption(since=held, last=held)
    flowed = passed(
        known.flowed,
        from_w=known.last.power_w,
        to_w=held.power_w,
        elapsed_s=elapsed_s,
        stale_s=traits.refresh_s + 0.5,
        share=traits.power_error_share,
        rated_w=traits.rated_power_w,
    )
    grown_wh = held.register_wh - known.since.register_wh
    hidden_wh = slack_wh(traits, max(held.power_w, known.last.power_w))
    most_wh = flowed.most_wh * MOST_MARGIN + 2 * hidden_wh
    if flowed.is_blind or not flowed.least_wh - hidden_wh <= grown_wh <= most_wh:
        return Resumption(since=held, last=held)
    return replace(known, last=held, flowed=flowed)


def is_due(
    known: Resumption | None, fusion: Fusion, machines: Iterable[Machine], base_load_w: float
) -> bool:
    """Whether the register has counted on for long enough, and no less than the site draws."""
    if known is None:
        return False
    is_long = known.last.requested_at_s - known.since.requested_at_s >= AGREED_S
    hidden_wh = slack_wh(fusion.traits, max(known.last.power_w, known.since.power_w))
    if not is_long or known.flowed.least_wh < AGREED_SLACKS * hidden_wh:
        return False
    drawn_w = sum(m.at_w for m in machines if not m.is_in_transit) + base_load_w
    return fusion.last_seen_w >= LEAST_SHARE * drawn_w
