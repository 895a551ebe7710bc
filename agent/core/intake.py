"""The newest reading of the site meter on its way into the books: believed, held, or wrapped.

What makes a reading unfit is asked here of everybody who may object: another meter's serial, what
commissioning found, a power that flows the wrong way, registers that contradict each other, and
last the fusion, by the register's own course.
"""

import math
from typing import NamedTuple

from agent.core import meterfusion as fusing
from agent.core.agreement import Agreement, against_the_flow, followed
from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.evolve import replace
from agent.core.ledger import Ledger
from agent.core.register import RegisterEvent, stranger_words, wrap_wh
from agent.core.samples import Fusion, Sample
from agent.core.snapshot import MeterView, Snapshot
from agent.core.waiting import utc_ms
from drivers.readings import MeterReading


class Intake(NamedTuple):
    """What is known after a reading, and what befell the register by it."""

    fusion: Fusion
    ledger: Ledger
    agreement: Agreement
    events: tuple[RegisterEvent, ...] = ()


def taken(known: Intake, meter: MeterView, snapshot: Snapshot) -> Intake:
    """The newest reading, in the ledger's coordinate; whether it is believed is the fusion's say.

    A wrap is believed only where the register beyond it is what power explains.
    """
    reading, before, ledger = meter.reading, known.fusion, known.ledger
    if reading is None or reading.requested_at_s <= before.last_seen_s:
        return Intake(before, ledger, known.agreement)
    if not math.isfinite(reading.power_w):
        return Intake(before, ledger, known.agreement)  # as good as no answer
    shown_wh = reading.energy_import_wh
    if objection := objected(known, meter, reading):
        fusion = fusing.hold(before, _shifted(reading, ledger.offset_wh), objection)
        wrapped_wh = owed_wh = 0
    else:
        fusion, wrapped_wh = _seen(before, reading, ledger.offset_wh)
        owed_wh = 0 if fusion.suspect else _lost_wh(before, fusion.latest)
        ledger = replace(
            ledger,
            offset_wh=ledger.offset_wh + wrapped_wh + owed_wh,
            owed_wh=ledger.owed_wh + owed_wh,
            serial=meter.serial or ledger.serial,
        )
        if owed_wh:
            fusion = fusing.believe(before, _shifted(reading, ledger.offset_wh))
    what = {"wrapped": "the register went through its end and on from zero"} if wrapped_wh else {}
    if bool(before.suspect) != bool(fusion.suspect):
        words = fusion.suspect or "the register is believed again"
        if owed_wh:
            words += f"; up to {owed_wh} Wh that it may lack are charged"
        what["held" if fusion.suspect else "released"] = words
    events = tuple(
        RegisterEvent(
            event=event,
            at_ms=utc_ms(snapshot, reading.requested_at_s),
            register_wh=shown_wh,
            offset_wh=ledger.offset_wh,
            reason=words,
            serial=ledger.serial,
            unknown_wh=owed_wh,
        )
        for event, words in what.items()
    )
    is_held = bool(before.suspect or fusion.suspect)
    agreement = followed(known.agreement, reading, before.traits, is_held=is_held)
    return Intake(fusion, ledger, agreement, events)


def objected(known: Intake, meter: MeterView, reading: MeterReading) -> str:
    """Why a reading is not believed whatever its register shows; empty where nobody objects."""
    return (
        stranger_words(known.ledger.serial, meter.serial)
        or meter.refusal
        or against_the_flow(reading, known.fusion.traits)
        or known.agreement.words
    )


def _seen(before: Fusion, reading: MeterReading, offset_wh: int) -> tuple[Fusion, int]:
    """What the fusion makes of a reading, and how far the register has wrapped by it."""
    if before.samples:
        last_wh = before.latest.register_wh - offset_wh
        wrapped_wh = wrap_wh(before.traits, before_wh=last_wh, shown_wh=reading.energy_import_wh)
        if wrapped_wh:
            fusion = fusing.observe(before, _shifted(reading, offset_wh + wrapped_wh))
            if not fusion.suspect:
                return fusion, wrapped_wh
    return fusing.observe(before, _shifted(reading, offset_wh)), 0


def _lost_wh(before: Fusion, sample: Sample) -> int:
    """The most that a register which strayed and came back may lack of what has flowed.

    Its growth agrees with the power, but only as well as power can tell, and where that went unseen
    not at all: it may have come back lower than it went. With so much on top it is as high as the
    bound, which went on meanwhile.
    """
    if not before.doubt.has_strayed:
        return 0
    upper_wh = fusing.interval_now(before).upper_wh
    since_s = max(sample.replied_at_s - before.tail_until_s, 0.0)
    tail_w = min(before.tail_w, before.traits.rated_power_w)
    since_wh = tail_w * since_s / SECONDS_PER_HOUR
    return max(math.ceil(upper_wh + since_wh - sample.ceiling_wh), 0)


def _shifted(reading: MeterReading, offset_wh: int) -> MeterReading:
    if not offset_wh:
        return reading
    return replace(reading, energy_import_wh=reading.energy_import_wh + offset_wh)
