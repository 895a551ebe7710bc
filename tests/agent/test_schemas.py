"""Each kind of record has a schema, and what the agent writes is as its schema says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.actuator import Actuation
from agent.announcer import preflight_record
from agent.calibrationlog import Testimony as Told
from agent.calibrationlog import calibration_record
from agent.clockwatch import clock_record
from agent.core.calibration import Calibration, CommercialReading, Pair, Verdict
from agent.core.cards import CARDS
from agent.core.decisions import (
    Because,
    Command,
    Decision,
    Mode,
    Preflight,
    RelayOrder,
    Setpoint,
    Stage,
)
from agent.core.discrepancy import Discrepancy
from agent.core.ledger import Admission, Transaction
from agent.core.limitbook import ToldLimit
from agent.core.limits import Limit
from agent.core.meterclock import MeterClock, showed_nothing
from agent.core.register import RegisterEvent
from agent.core.statement import Statement
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.learnedlog import learned_record
from agent.limitlog import (
    limit_cleared_record,
    limit_reached_record,
    limit_record,
    limit_refusal_record,
)
from agent.orders import actuation_record, decision_records
from agent.records import KINDS, NewRecord
from agent.siteclock import ClockEvent, SiteClock
from agent.store import JournalSettings
from agent.testimony import (
    alarm_record,
    config_record,
    gap_record,
    purchase_record,
    reading_record,
    refusal_record,
    register_record,
    statement_record,
)
from drivers.readings import MeterReading, TimeQuality

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
AT_MS = 1_795_000_000_000
BECAUSE = Because(limit="energy", source="tx-1", words="enough", numbers={"left_wh": 7})
ASLEEP = Setpoint(is_awake=False, profile=None, boards_on=frozenset())
AWAKE = Setpoint(is_awake=True, profile="eco", boards_on=frozenset({0, 2}))


def told(until_ms: int | None) -> ToldLimit:
    limit = Limit(
        kind="manual",
        source="person",
        limit_id="o-7",
        power_w=1000.4,
        safe_w=0.0,
        from_ms=AT_MS,
        expires_ms=until_ms,
        words="1 kW",
    )
    return ToldLimit(limit=limit, told_by="cli", reason="test", received_at_ms=AT_MS)


def decided(card) -> Iterator[NewRecord]:
    decision = Decision(
        at_ms=AT_MS,
        mode=Mode.FOLLOWING,
        power_cap_w=1e6,
        planned_w=9e5,
        because=BECAUSE,
        commands=(
            Command(
                miner_id="r1",
                setpoint=AWAKE,
                expected_w=3000.0,
                is_urgent=True,
                because=BECAUSE,
                card=card,
            ),
        ),
        relays=(RelayOrder(relay_id="k1", is_open=True, because=BECAUSE),),
    )
    yield from decision_records(decision, meter_point="mp-1")
    yield from decision_records(decision, meter_point="mp-1", is_shadow=True)


def about_meters() -> Iterator[NewRecord]:
    reading = MeterReading(
        meter_id="site",
        requested_at_s=1.0,
        replied_at_s=1.1,
        taken_at_ms=AT_MS,
        power_w=-5.0,
        energy_import_wh=1,
        voltage_v=None,
        frequency_hz=50.0,
    )
    yield reading_record(reading)
    for state in ("T", "G"):
        yield gap_record("site", meter_point="mp-1", state=state, reason="silent", since_ms=AT_MS)
    for event in ("held", "released", "wrapped", "accepted", "resumed", "exchanged"):
        befell = RegisterEvent(
            event=event, at_ms=AT_MS, register_wh=1, offset_wh=-1, reason="so", serial="4711"
        )
        yield register_record("mp-1", "site", befell)


def about_purchases() -> Iterator[NewRecord]:
    for end_ms in (AT_MS + 900_000, None):
        bought = Transaction(
            transaction_id="tx-1",
            meter_point="mp-1",
            start_ms=AT_MS,
            end_ms=end_ms,
            energy_wh=10_000,
            price_kzt_per_kwh="24.5",
            source="single_purchaser",
            received_at_ms=AT_MS,
        )
        yield purchase_record(bought)
        yield limit_record("mp-1", told(end_ms))
    no = Admission(transaction_id="tx-1", result="refused", reason="over the cap")
    yield refusal_record("mp-1", no)
    yield statement_record(
        "mp-1",
        Statement(
            start_ms=AT_MS,
            end_ms=AT_MS + 900_000,
            metered_wh=1,
            unknown_wh=0,
            allocated_wh=1,
            over_wh=0,
            purchased_wh=0,
            unused_wh=0,
            flags=("split", "recovered"),
        ),
    )
    yield limit_refusal_record("mp-1", told(None), "in the past")
    yield limit_cleared_record("mp-1", "o-7", told_by="cli", cleared_at_ms=AT_MS)
    yield limit_reached_record("mp-1", "o-7", 999.6)


def about_the_meter_s_truth() -> Iterator[NewRecord]:
    read = CommercialReading(
        start_ms=AT_MS, end_ms=AT_MS + 900_000, energy_wh=50_000, rounding_wh=500
    )
    for verdict in Verdict:
        found = Calibration(
            from_ms=read.start_ms,
            to_ms=read.end_ms,
            commercial_wh=read.energy_wh,
            metered_wh=49_990,
            unknown_wh=0,
            factor_ppm=1_000_200,
            uncertainty_ppm=900,
            class_ppm=5_000,
            verdict=verdict,
        )
        told_by = Told(
            meter_id="site",
            meter_point="mp-1",
            serial="4711",
            told_by="cli",
            reason="monthly",
            read_from="" if verdict is Verdict.WITHIN else "dlms://10.1.0.20:4059 serial 815",
        )
        yield calibration_record(
            found, [Pair(reading=read, metered_wh=49_990, unknown_wh=0)], told_by
        )
    yield learned_record("mp-1", "site", Discrepancy(mean_x=1.5, unseen=(0.1, -1e-7)))


def about_the_rest() -> Iterator[NewRecord]:
    yield alarm_record("METER", "site", meter_point="mp-1", is_raised=True, words="silent")
    yield alarm_record("CLOCK", "agent", meter_point=None, is_raised=False, words="stepped")
    yield config_record(digest="0f" * 32, policy_from="2026-01-01", version="0.1.0")
    for what in ("step", "return", "adopt"):
        event = ClockEvent(what=what, old_ms=AT_MS, new_ms=1)
        yield NewRecord(kind="clock", source="agent", data=event.data)
    yield clock_record("site", showed_nothing(AT_MS))
    yield clock_record(
        "site",
        MeterClock(
            quality=TimeQuality.RELATIVE, at_ms=AT_MS, shows_ms=AT_MS + 90_000, deviation_ms=90_000
        ),
    )
    for stage, power_w in zip(Stage, (None, *[10.0] * 6), strict=True):
        done = Actuation(
            miner_id="r1",
            at_ms=AT_MS,
            stage=stage,
            sent_at_s=5.0,
            after_s=0.5,
            setpoint=ASLEEP,
            expected_w=30.0,
            power_w=power_w,
            detail="",
            origin=None if power_w is None else AWAKE,
        )
        yield actuation_record(done)
    yield preflight_record(
        "mp-1",
        Preflight(
            start_ms=AT_MS,
            transaction_ids=("tx-1",),
            purchased_wh=10_000,
            controllable_share=0.97,
            stop_s=4.5,
            stop_wh=80.0,
            least_wh=20.0,
            losable_share=0.1,
            can_comply=True,
            words="it can be kept",
        ),
    )


def test_every_kind_has_a_schema_and_every_schema_a_kind(schemas) -> None:
    assert schemas.kinds == KINDS
    named = schemas.by_name["record.json"]["properties"]["k"]["enum"]
    assert set(named) == KINDS
    for kind in KINDS:
        assert schemas.by_name[f"{kind}.json"]["properties"]["k"] == {"const": kind}


async def test_what_the_agent_writes_is_as_the_schema_of_its_kind_says(
    schemas, tmp_path: Path
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append([*about_meters(), *about_purchases(), *about_the_rest()])
        await journal.append([*decided(next(iter(CARDS.values()))), *about_the_meter_s_truth()])
        lines = await journal.read(0, 1_000_000)
    for line in lines:
        assert schemas.faults(json.loads(line)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("q", "X"),
        ("b", 0),
        ("i", "1"),
        ("extra", 1),
        ("d", {"event": "raised", "code": "METER", "meter_point": 5, "words": ""}),
        ("d", {"event": "raised", "code": "METER", "meter_point": None}),
        ("d", {"event": "raised", "code": "METER", "meter_point": None, "words": "", "more": 1}),
    ],
)
async def test_what_is_not_so_is_told_apart(schemas, tmp_path: Path, field: str, value) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append(
            [alarm_record("METER", "site", meter_point="mp-1", is_raised=True, words="silent")]
        )
        record = json.loads((await journal.tail(1))[0])
    assert schemas.faults(record) == []
    assert schemas.faults({**record, field: value}) != []
