"""What the machines drew by their own word in each quarter of an hour, beside the meter's account.

Summed up every few seconds, which is as fine as machines are asked. A quarter is compared where it
was watched whole and almost every watt had somebody to answer for it.

Energies are Wh, powers W; quarters are those of UTC, as in the statements.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.core.discrepancy import HOURS, Discrepancy, Quarter, weighed
from agent.core.evolve import replace
from agent.core.fleet import READING_STALE_S, Judged
from agent.core.ledger import QUARTER_MS
from agent.core.statement import Statement
from drivers.readings import PowerProvenance

SAMPLE_S = 5.0
WATCHED_SHARE = 0.98
ANSWERED_SHARE = 0.98
HOUR_MS = 3_600_000
MS_PER_HOUR = float(HOUR_MS)
# How far all machines together may be off to one side, by where their watts come from.
TOLERANCE_SHARES = {
    PowerProvenance.METERED_PSU: 0.04,
    PowerProvenance.FIRMWARE_ESTIMATE: 0.12,
    PowerProvenance.LIMIT_ONLY: 0.25,
    PowerProvenance.ABSENT: 0.25,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """One quarter's sum. ``doubtful_wh`` is the machines' that did not answer, ``error_wh`` how
    far the rest may be off."""

    start_ms: int
    machines_wh: float = 0.0
    error_wh: float = 0.0
    doubtful_wh: float = 0.0
    watched_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The sum under way, those that wait for their statement, and what came of all before."""

    at_ms: int | None = None
    current: Sum | None = None
    ended: tuple[Sum, ...] = ()
    found: Discrepancy = field(default_factory=Discrepancy)


def is_due(watch: Watch, now_ms: int) -> bool:
    """Whether it is time to look at the machines again; at a quarter's edge it always is."""
    if watch.at_ms is None or not 0 <= now_ms - watch.at_ms < SAMPLE_S * 1000:
        return True
    return now_ms // QUARTER_MS != watch.at_ms // QUARTER_MS


def summed(watch: Watch, machines: Iterable[Judged], now_s: float, now_ms: int) -> Watch:
    """Add what the machines have drawn since the last look, to the quarter or quarters it was in.

    A pause is not guessed over: its quarter was not watched whole.
    """
    before_ms = watch.at_ms
    watch = replace(watch, at_ms=now_ms)
    if before_ms is None or not 0 < now_ms - before_ms <= 3 * SAMPLE_S * 1000:
        return replace(watch, current=None)
    edge_ms = now_ms - now_ms % QUARTER_MS
    current = watch.current or Sum(start_ms=before_ms - before_ms % QUARTER_MS)
    rates = _rates(machines, now_s)
    if before_ms >= edge_ms:
        return replace(watch, current=_longer(current, rates, now_ms - before_ms))
    ended = (*watch.ended, _longer(current, rates, edge_ms - before_ms))[-2:]
    current = _longer(Sum(start_ms=edge_ms), rates, now_ms - edge_ms)
    return replace(watch, current=current, ended=ended)


def _rates(machines: Iterable[Judged], now_s: float) -> tuple[float, float, float]:
    """What the machines draw now, how far that may be off, and what nobody answers for."""
    power_w = error_w = doubtful_w = 0.0
    for one in machines:
        reading = one.view.reading
        if one.is_dark or reading is None:
            continue  # without a feed, or never heard: the base load, as far as anybody knows
        if now_s - reading.replied_at_s >= READING_STALE_S:
            doubtful_w += one.machine.upper_w
            continue
        drawn_w = one.machine.at_w if reading.power_w is None else reading.power_w
        power_w += drawn_w
        error_w += drawn_w * TOLERANCE_SHARES[reading.power_provenance]
    return power_w, error_w, doubtful_w


def _longer(one: Sum, rates: tuple[float, float, float], for_ms: int) -> Sum:
    hours = for_ms / MS_PER_HOUR
    return replace(
        one,
        machines_wh=one.machines_wh + rates[0] * hours,
        error_wh=one.error_wh + rates[1] * hours,
        doubtful_wh=one.doubtful_wh + rates[2] * hours,
        watched_ms=one.watched_ms + for_ms,
    )


def compared(
    watch: Watch,
    statements: Sequence[Statement],
    *,
    meter_share: float,
    step_wh: int,
    base_max_w: float,
) -> Watch:
    """Lay the statements that were closed beside the machines' sums of the same quarters."""
    for statement in statements:
        sums = [one for one in watch.ended if one.start_ms == statement.start_ms]
        if not sums or not _is_fit(sums[0], statement):
            continue
        (one,) = sums
        quarter = Quarter(
            metered_wh=float(statement.metered_wh),
            machines_wh=one.machines_wh,
            tolerance_share=one.error_wh / one.machines_wh,
            meter_share=meter_share,
            step_wh=float(step_wh),
            base_max_wh=base_max_w * QUARTER_MS / MS_PER_HOUR,
            hour=one.start_ms // HOUR_MS % HOURS,
        )
        watch = replace(watch, found=weighed(watch.found, quarter))
    return watch


def _is_fit(one: Sum, statement: Statement) -> bool:
    is_whole = statement.end_ms - statement.start_ms == QUARTER_MS
    is_measured = set(statement.flags) <= {"split"} and not statement.unknown_wh
    is_watched = one.watched_ms >= WATCHED_SHARE * QUARTER_MS
    is_answered = one.doubtful_wh <= (1 - ANSWERED_SHARE) * one.machines_wh
    return is_whole and is_measured and is_watched and is_answered and one.machines_wh > 0.0
