"""What is wrong now, each with code, severity, words and remedy."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.decisions import Decision, Mode, Stage
from agent.core.governor import Outcome
from agent.core.site import FIRST_READS_S

METER_REMEDY = (
    "check the meter, its bus and its supply; the site is kept by its upper bound; "
    "a register that is held goes on by `kwota meters accept` or `kwota meters exchange`"
)
RESUMED_FOR_MS = 86_400_000  # so that whoever comes in the morning knows of the night
DISCREPANCY_REMEDIES = {
    "UNSEEN_LOAD": "look for what is fed by this meter and is neither a machine in the file nor "
    "the known base load; if that has grown for good, nothing need be done",
    "METER_LOW": "check the current transformers (turned, bridged, one phase dead) and whether a "
    "machine is fed past the meter",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is wrong now, with one meter point, or with the agent where none is named."""

    code: str
    severity: str
    source: str
    words: str
    remedy: str
    meter_point: str | None = None

    @property
    def key(self) -> "Key":
        """Which alarm it is: two points may both have the same trouble."""
        return (self.meter_point, self.code, self.source)


Key = tuple[str | None, str, str]


def conditions(outcome: Outcome, *, meter_id: str, over_lately_wh: int) -> Iterator[Condition]:
    """What is wrong with a point at this tick. A machine throttled on purpose is not among it."""
    picture, decision = outcome.picture, outcome.decision
    if picture.meter_words and not _is_awaited(outcome, meter_id):
        yield Condition(
            code="METER",
            severity="critical",
            source=meter_id,
            words=picture.meter_words,
            remedy=METER_REMEDY,
        )
    resumed = outcome.state.resumed
    if resumed is not None and decision.at_ms - resumed.at_ms < RESUMED_FOR_MS:
        yield Condition(
            code="METER_RESUMED",
            severity="warning",
            source=meter_id,
            words=f"{resumed.reason}; the books went on from it, with {resumed.unknown_wh} Wh "
            "charged as unknown",
            remedy="find out what befell the meter; if it was exchanged, keep both register "
            "values for whoever asks about the unknown energy",
        )
    if outcome.state.comparison.words:
        yield Condition(
            code="METERS_DISAGREE",
            severity="warning",
            source=meter_id,
            words=outcome.state.comparison.words,
            remedy="compare both with the commercial meter; the purchase is kept by this one as "
            "before, and METER_LOW or UNSEEN_LOAD beside this say which of the two is wrong",
        )
    found = outcome.state.watch.found
    if found.code:
        yield Condition(
            code=found.code,
            severity="warning",
            source=meter_id,
            words=found.words,
            remedy=DISCREPANCY_REMEDIES[found.code],
        )
    if over_lately_wh > 0:
        yield Condition(
            code="OVER",
            severity="critical",
            source=meter_id,
            words=f"{over_lately_wh} Wh were drawn beyond all open purchases lately",
            remedy="see `kwota journal tail --kind ledger` for the interval and its reason",
        )
    yield from _decision_conditions(decision)
    yield from _miner_conditions(outcome)


def _is_awaited(outcome: Outcome, meter_id: str) -> bool:
    """Whether the meter has merely not been read yet, as at every start: no news for anybody."""
    state, snapshot = outcome.state, outcome.picture.snapshot
    meter = next(one for one in snapshot.meters if one.meter_id == meter_id)
    if state.fusion.samples or state.fusion.suspect or meter.fault:
        return False
    return state.started_at_s is not None and snapshot.now_s - state.started_at_s < FIRST_READS_S


def shared_conditions(*, is_clock_trusted: bool, journal_is_full: bool) -> Iterator[Condition]:
    """What is wrong with what all points share."""
    if not is_clock_trusted:
        yield Condition(
            code="CLOCK",
            severity="warning",
            source="agent",
            words="the wall clock stepped; windows go by the monotonic clock meanwhile",
            remedy="check the time service of this controller",
        )
    if journal_is_full:
        yield Condition(
            code="JOURNAL_FULL",
            severity="critical",
            source="agent",
            words="the journal is full: readings are dropped and nothing may rise",
            remedy="raise journal.max_bytes, or free space on its disk",
        )


def _decision_conditions(decision: Decision) -> Iterator[Condition]:
    if decision.mode is Mode.SHEDDING:
        yield Condition(
            code="SHEDDING",
            severity="warning",
            source=decision.because.source,
            words=decision.because.words,
            remedy="nothing to do; look for what drew more than planned",
        )
    if decision.mode is Mode.NO_PURCHASE:
        yield Condition(
            code="NO_PURCHASE",
            severity="warning",
            source="policy",
            words=decision.because.words,
            remedy="import the purchases of this hour: kwota transactions import FILE",
        )
    ahead = decision.preflight
    if ahead is not None and not ahead.can_comply:
        yield Condition(
            code="CANNOT_COMPLY",
            severity="critical",
            source="next window",
            words=ahead.words,
            remedy="bring the machines that obey nobody under control, or buy for them as well",
        )


def _miner_conditions(outcome: Outcome) -> Iterator[Condition]:
    for view in outcome.picture.snapshot.miners:
        if outcome.picture.machines[view.miner_id].is_dark:
            continue  # behind an open relay, which is an alarm of its own
        if view.fault is not None:
            yield Condition(
                code="MINER_UNREACHABLE",
                severity="warning",
                source=view.miner_id,
                words=view.fault,
                remedy="check its power, network and address; its draw is counted all the same",
            )
        elif view.pending is not None and view.pending.stage in (
            Stage.REFUSED,
            Stage.UNKNOWN,
            Stage.INEFFECTIVE,
        ):
            yield Condition(
                code="MINER_DISOBEYS",
                severity="warning",
                source=view.miner_id,
                words=view.pending.detail,
                remedy="it is told again and not counted on; restart it if it goes on",
            )
