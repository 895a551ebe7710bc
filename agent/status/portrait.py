"""From the core's state to what people and programs are shown: one image per tick."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.accreditation import Accreditation
from agent.core.decisions import Because, Decision, Mode
from agent.core.governor import Outcome
from agent.core.ledger import FOREVER_MS, ORDER, Account, Ledger
from agent.core.limits import Limit
from agent.core.snapshot import MeterView
from agent.core.statement import Statement
from agent.status.foresight import preflight_view, relay_rows
from agent.status.machines import advice_of, is_throttled, miner_row
from agent.status.view import (
    AlarmView,
    BecauseView,
    DecisionRow,
    DeliveryView,
    HistoryRow,
    LimitView,
    MeterRow,
    PointView,
    SiteView,
    StatementRow,
    StatusView,
    TransactionRow,
    WindowView,
)
from agent.testimony import lost_state
from drivers.readings import Activity, MeterIdentity, MinerDetails

DECISIONS_KEPT = 900
STATEMENTS_KEPT = 192
TRANSACTIONS_SHOWN = 200
ENDED_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What of a meter point does not change from tick to tick: names, addresses, start.

    ``moved`` does: it holds where machines answer that have left the configuration's address.
    """

    farm: str
    agent: str
    version: str
    zone: str
    started_at_ms: int
    meter_point: str
    meter_id: str
    rated_power_w: float
    meter_profiles: Mapping[str, str]
    addresses: Mapping[str, str]
    moved: Mapping[str, str] = field(default_factory=dict)
    racks: Mapping[str, str | None] = field(default_factory=dict)
    macs: Mapping[str, str] = field(default_factory=dict)
    is_shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the devices say of themselves beside their readings, by id, and which pools may be."""

    meters: Mapping[str, MeterIdentity | None]
    details: Mapping[str, MinerDetails | None]
    accreditation: Accreditation


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts since the start of the daemon."""

    board_switches: int
    mining_restarts: int


def decision_row(meter_point: str, decision: Decision, power_w: float | None) -> DecisionRow:
    """One line of the feed."""
    return DecisionRow(
        at_ms=decision.at_ms,
        mode=decision.mode.value,
        power_w=power_w,
        power_cap_w=decision.power_cap_w,
        planned_w=decision.planned_w,
        commands=len(decision.commands),
        because=because_view(decision.because),
        meter_point=meter_point,
    )


def because_view(because: Because) -> BecauseView:
    return BecauseView(
        limit=because.limit,
        source=because.source,
        words=because.words,
        numbers=dict(because.numbers),
    )


def portray(
    outcome: Outcome,
    frame: Frame,
    *,
    tally: Tally,
    limits: Sequence[Limit],
    facts: Facts,
    delivery: DeliveryView,
    alarms: Sequence[AlarmView],
    statements: Iterable[StatementRow],
    decisions: deque[DecisionRow],
    history: Iterable[HistoryRow] = (),
) -> SiteView:
    """The image of one tick."""
    views = outcome.picture.snapshot.miners
    advice = advice_of(outcome.decision) if frame.is_shadow else {}
    status = _status(outcome, frame, tally, limits=limits, delivery=delivery, alarms=alarms)
    return SiteView(
        status=status.model_copy(update={"meter_points": [_point(status, frame)]}),
        miners=[
            miner_row(
                outcome,
                view,
                facts.details[view.miner_id],
                address=frame.addresses[view.miner_id],
                moved_to=frame.moved.get(view.miner_id),
                rack=frame.racks.get(view.miner_id),
                pinned_mac=frame.macs.get(view.miner_id),
                meter_point=frame.meter_point,
                advised=advice.get(view.miner_id),
                accreditation=facts.accreditation,
            )
            for view in views
        ],
        meters=list(_meter_rows(outcome, frame, facts.meters)),
        transactions=list(_transaction_rows(outcome.state.ledger, outcome.decision.at_ms)),
        statements=list(statements),
        decisions=list(reversed(decisions)),
        history=list(history),
    )


def _status(
    outcome: Outcome,
    frame: Frame,
    tally: Tally,
    *,
    limits: Sequence[Limit],
    delivery: DeliveryView,
    alarms: Sequence[AlarmView],
) -> StatusView:
    state, picture, decision = outcome.state, outcome.picture, outcome.decision
    views = picture.snapshot.miners
    activities = [v.reading.activity if v.reading and not v.fault else None for v in views]
    has_cap = decision.mode is not Mode.FAILSAFE
    return StatusView(
        farm=frame.farm,
        agent=frame.agent,
        version=frame.version,
        zone=frame.zone,
        at_ms=decision.at_ms,
        started_at_ms=frame.started_at_ms,
        mode=decision.mode.value,
        because=because_view(decision.because),
        power_w=picture.measured_w,
        power_cap_w=decision.power_cap_w if has_cap else None,
        planned_w=decision.planned_w,
        base_load_w=state.base_load_w,
        hashrate_hs=sum(v.reading.hashrate_hs for v in views if v.reading and not v.fault),
        miners_total=len(views),
        miners_hashing=sum(a in (Activity.HASHING, Activity.RAMPING) for a in activities),
        miners_throttled=sum(is_throttled(m) for m in picture.machines.values()),
        miners_sleeping=sum(a is Activity.SLEEPING for a in activities),
        miners_faulty=sum(v.fault is not None for v in views),
        board_switches=tally.board_switches,
        mining_restarts=tally.mining_restarts,
        over_wh=state.ledger.over_wh,
        is_clock_trusted=picture.snapshot.is_clock_trusted,
        is_shadow=frame.is_shadow,
        window=window_view(outcome),
        preflight=preflight_view(decision.preflight),
        limits=list(_limits(outcome, frame.meter_point, limits)),
        relays=relay_rows(picture.snapshot.relays, state.relays, picture.snapshot.now_s),
        delivery=delivery,
        alarms=list(alarms),
    )


def _point(status: StatusView, frame: Frame) -> PointView:
    """What of a point's own status stands in the list of all points."""
    shared = PointView.model_fields.keys() & StatusView.model_fields.keys()
    return PointView(
        meter_point=frame.meter_point,
        meter_id=frame.meter_id,
        rated_power_w=frame.rated_power_w,
        **{name: getattr(status, name) for name in shared},
    )


def window_view(outcome: Outcome) -> WindowView | None:
    """What is open now, taken together; None without a purchase or before the books stand."""
    now_ms = outcome.decision.at_ms
    ledger, interval = outcome.state.ledger, outcome.picture.interval
    accounts = ledger.open_accounts(now_ms)
    if not accounts or interval is None or ledger.booked_wh is None:
        return None
    end_ms = min(a.transaction.deadline_ms for a in accounts)
    purchased_wh = sum(a.transaction.energy_wh for a in accounts)
    allocated_wh = sum(a.allocated_wh for a in accounts)
    start_error_wh = max(a.start_error_wh for a in accounts)
    upper_wh = allocated_wh + max(interval.upper_wh - ledger.booked_wh, 0.0) + start_error_wh
    return WindowView(
        start_ms=min(a.transaction.start_ms for a in accounts),
        end_ms=end_ms,
        time_left_s=max(end_ms - now_ms, 0) / 1000 if end_ms != FOREVER_MS else 0.0,
        purchased_wh=purchased_wh,
        used_wh=allocated_wh,
        used_upper_wh=int(upper_wh) + 1,
        left_wh=purchased_wh - allocated_wh,
        transactions=[a.transaction.transaction_id for a in accounts],
    )


def _limits(outcome: Outcome, meter_point: str, limits: Sequence[Limit]) -> Iterator[LimitView]:
    """The limits in kW, and before them whatever else rules: a purchase, none, or the meter."""
    decision, because = outcome.decision, outcome.decision.because
    rules = [limit.kind == because.limit and limit.name == because.source for limit in limits]
    if not any(rules):
        yield LimitView(
            id=because.source,
            kind=because.limit,
            source=because.source,
            power_w=None if decision.mode is Mode.FAILSAFE else decision.power_cap_w,
            from_ms=None,
            until_ms=None,
            safe_w=0.0,
            words=because.words,
            is_ruling=True,
            meter_point=meter_point,
        )
    for limit, is_ruling in zip(limits, rules, strict=True):
        has_begun = limit.from_ms is None or decision.at_ms >= limit.from_ms
        yield LimitView(
            id=limit.name,
            kind=limit.kind,
            source=limit.source,
            power_w=limit.power_at(decision.at_ms) if has_begun else limit.power_w,
            from_ms=limit.from_ms,
            until_ms=limit.expires_ms,
            safe_w=limit.safe_w,
            words=limit.words_at(decision.at_ms) if has_begun else limit.words,
            is_ruling=is_ruling,
            meter_point=meter_point,
        )


def _meter_rows(
    outcome: Outcome, frame: Frame, meters: Mapping[str, MeterIdentity | None]
) -> Iterator[MeterRow]:
    now_s = outcome.picture.snapshot.now_s
    for view in outcome.picture.snapshot.meters:
        reading, identity = view.reading, meters[view.meter_id]
        is_site = view.meter_id == frame.meter_id
        trouble = outcome.picture.meter_words if is_site else ""
        yield MeterRow(
            meter_id=view.meter_id,
            address=frame.addresses[view.meter_id],
            profile=frame.meter_profiles[view.meter_id],
            serial=None if identity is None else identity.serial,
            power_w=None if reading is None else reading.power_w,
            energy_import_wh=None if reading is None else reading.energy_import_wh,
            quality=quality_of(view, trouble),
            fault=view.fault or trouble or None,
            age_s=None if reading is None else now_s - reading.requested_at_s,
            meter_point=frame.meter_point if is_site else None,
        )


def quality_of(view: MeterView, trouble: str) -> str | None:
    """The letter of what a meter shows, None where it never did; ``trouble``: why it is unused."""
    if view.reading is None:
        return None
    if view.fault or trouble:
        return lost_state(view, is_held=not view.fault).value
    return view.reading.quality.value


def statement_row(meter_point: str, statement: Statement) -> StatementRow:
    """One quarter of an hour as it is shown."""
    return StatementRow(
        meter_point=meter_point,
        start_ms=statement.start_ms,
        end_ms=statement.end_ms,
        metered_wh=statement.metered_wh,
        unknown_wh=statement.unknown_wh,
        allocated_wh=statement.allocated_wh,
        over_wh=statement.over_wh,
        purchased_wh=statement.purchased_wh,
        unused_wh=statement.unused_wh,
        flags=list(statement.flags),
        order=ORDER,
    )


def _transaction_rows(ledger: Ledger, now_ms: int) -> Iterator[TransactionRow]:
    """The purchases around now: some that have ended, all the rest to the future."""
    ended = bisect_right(ledger.accounts, now_ms, key=lambda a: a.transaction.deadline_ms)
    first = max(min(ended - ENDED_SHOWN, len(ledger.accounts) - TRANSACTIONS_SHOWN), 0)
    for account in ledger.accounts[first : first + TRANSACTIONS_SHOWN]:
        transaction = account.transaction
        yield TransactionRow(
            transaction_id=transaction.transaction_id,
            meter_point=transaction.meter_point,
            start_ms=transaction.start_ms,
            end_ms=transaction.end_ms,
            energy_wh=transaction.energy_wh,
            allocated_wh=account.allocated_wh,
            unused_wh=account.unused_wh,
            price_kzt_per_kwh=transaction.price_kzt_per_kwh,
            source=transaction.source,
            status=_transaction_status(account, now_ms),
        )


def _transaction_status(account: Account, now_ms: int) -> str:
    if now_ms < account.transaction.start_ms:
        return "planned"
    if now_ms >= account.transaction.deadline_ms:
        return "closed"
    return "open" if account.unused_wh > 0 else "exhausted"
