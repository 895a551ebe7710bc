"""What the governor is shown is what the records hold: both ways give the same snapshot."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.actuator import Actuation
from agent.core.decisions import Setpoint, Stage
from agent.core.snapshot import MeterView, MinerView, PendingCommand, Snapshot
from agent.exact import ExactError
from agent.orders import actuation_record
from agent.records import RECORD_MAX_BYTES, NewRecord, prepare
from agent.sight import NEWS_AFTER_S, Sight
from agent.siteclock import SiteClock
from drivers.readings import (
    Activity,
    BoardReading,
    MeterReading,
    MinerIdentity,
    MinerReading,
    PowerProvenance,
    Profile,
    Quality,
)

START_MS = 1_800_000_000_000


def identity(n: int) -> MinerIdentity:
    return MinerIdentity(
        family="luxos",
        model="Antminer S21",
        mac=f"02:00:00:00:00:{n:02x}",
        serial=f"SN{n}",
        firmware="2025.1",
        board_count=3,
        nameplate_hashrate_hs=200.5e12,
        signs=("version", "config"),
    )


PROFILES = tuple(
    Profile(name=f"{n} TH", step=n - 5, power_w=2000.0 + n / 3, hashrate_hs=n * 1e12, is_tuned=True)
    for n in range(8)
)


def boards(on: int, *, is_ramping: bool = False) -> tuple[BoardReading, ...]:
    return tuple(
        BoardReading(
            board=n,
            is_enabled=n < on,
            is_ramping=is_ramping,
            hashrate_hs=66e12,
            temperature_c=61.2,
            serial="board",
        )
        for n in range(3)
    )


def miner_reading(at_s: float, power_w: float | None, on: int = 3) -> MinerReading:
    return MinerReading(
        miner_id="m",
        requested_at_s=at_s - 0.137,
        replied_at_s=at_s,
        taken_at_ms=START_MS,
        activity=Activity.HASHING if on else Activity.STOPPED,
        hashrate_hs=198.4e12,
        power_w=power_w,
        power_provenance=PowerProvenance.FIRMWARE_ESTIMATE,
        profile="3 TH",
        boards=boards(on),
    )


def site(now_s: float, *miners: MinerView, meter: MeterView | None = None) -> Snapshot:
    empty = MeterView(meter_id="site", reading=None, missed_polls=0, fault=None)
    return Snapshot(
        now_s=now_s,
        now_ms=START_MS + round(now_s * 1000),
        is_clock_trusted=True,
        meters=(meter or empty,),
        miners=miners,
    )


def miner(name: str = "m", **changes: object) -> MinerView:
    view = MinerView(
        miner_id=name,
        family="luxos",
        identity=None,
        profiles=(),
        reading=None,
        pending=None,
        fault=None,
        can_switch_boards=True,
        can_sleep=True,
        can_select_profile=True,
    )
    return replace(view, **changes)


class Both:
    """The daemon's way and the reader's way of the same ticks."""

    def __init__(self, first: Snapshot) -> None:
        self.here, self.there = Sight.opened(first), Sight.opened(first)
        self.sections: list[set[str]] = []

    def tick(self, raw: Snapshot) -> Snapshot:
        news = self.here.news(raw)
        self.sections = [set(part) for part in news.parts]
        for record in news.readings:
            data = orjson.loads(_stored(record))
            for sight in (self.here, self.there):
                sight.take_reading(record.source, data, record.taken_at_ms)
        for part in news.parts:
            stored = _stored(NewRecord(kind="tick", source="agent", data=part))
            assert len(stored) < RECORD_MAX_BYTES - 1000
            self.here.take_part(part, raw.now_ms)
            self.there.take_part(orjson.loads(stored), raw.now_ms)
        seen = [
            sight.snapshot(mono_ms=news.parts[-1]["mono_ms"], now_ms=raw.now_ms, **TRUSTED)
            for sight in (self.here, self.there)
        ]
        assert seen[0] == seen[1]
        return seen[0]


TRUSTED = {"is_clock_trusted": True}


def _stored(record: NewRecord) -> bytes:
    return prepare(record, SiteClock().stamp()).data


steps = st.lists(
    st.tuples(
        st.floats(0.2, 3.0),
        st.one_of(st.none(), st.floats(0.0, 4000.0)),
        st.integers(0, 3),
        st.sampled_from([None, "no answer", "x" * 400]),
        st.booleans(),
    ),
    max_size=30,
)


@given(steps=steps)
def test_reader_and_daemon_see_the_same_and_it_is_near_the_truth(steps: list) -> None:
    now_s = 100.0
    both = Both(site(now_s, miner()))
    view = miner()
    for pause_s, power_w, on, fault, is_read in steps:
        now_s += pause_s
        if is_read:
            reading = miner_reading(now_s - 0.05, power_w, on)
            view = replace(view, reading=reading, identity=identity(1), profiles=PROFILES)
        view = replace(view, fault=fault)
        seen = both.tick(site(now_s, view)).miners[0]
        assert (seen.fault is None) == (fault is None)
        if view.reading is None:
            assert seen.reading is None
            continue
        assert seen.identity == view.identity
        assert seen.profiles == view.profiles
        assert [b.is_enabled for b in seen.reading.boards] == [n < on for n in range(3)] or (
            not is_read
        )
        assert seen.reading.replied_at_s <= now_s + 0.001
        assert view.reading.replied_at_s - seen.reading.replied_at_s < NEWS_AFTER_S
        if view.reading.power_w is not None and seen.reading.power_w is not None:
            gap_w = abs(view.reading.power_w - seen.reading.power_w)
            assert gap_w <= max(20.5, 0.021 * seen.reading.power_w)


def test_an_answer_that_says_nothing_new_costs_no_byte_for_a_while() -> None:
    both = Both(site(100.0, miner()))
    told = []
    for n in range(40):
        reading = miner_reading(100.0 + n, 3300.0 + n % 2)
        both.tick(site(100.1 + n, miner(reading=reading)))
        told.append("rows" in both.sections[-1])
    assert told[0]
    assert [at for at, is_told in enumerate(told) if is_told][1] in (15, 16)
    assert sum(told) == 3


def test_with_a_command_under_way_every_answer_counts() -> None:
    at = Setpoint(is_awake=True, profile=None, boards_on=frozenset({0}))
    pending = PendingCommand(setpoint=at, sent_at_s=100.0, stage=Stage.SENT, detail="")
    both = Both(site(100.0, miner()))
    for n in range(5):
        view = miner(reading=miner_reading(100.0 + n, 3300.0), pending=pending)
        both.tick(site(100.1 + n, view))
        assert "rows" in both.sections[-1]


def test_a_meters_reading_is_moved_apart_to_whole_milliseconds() -> None:
    reading = MeterReading(
        meter_id="site",
        requested_at_s=100.0004,
        replied_at_s=100.0301,
        taken_at_ms=START_MS,
        power_w=150_123.4567,
        energy_import_wh=123_456,
        voltage_v=230.1,
        frequency_hz=None,
        quality=Quality.SUSPECT,
    )
    meter = MeterView(meter_id="site", reading=reading, missed_polls=2, fault="slow")
    seen = Both(site(100.0)).tick(site(100.5, meter=meter)).meters[0]
    assert (seen.missed_polls, seen.fault) == (2, "slow")
    assert seen.reading.requested_at_s == 100.0
    assert seen.reading.replied_at_s == 100.031
    assert seen.reading.power_w == 150_123.457
    assert seen.reading.quality is Quality.SUSPECT
    assert seen.reading.frequency_hz is None


def test_machines_with_the_same_profiles_write_them_once() -> None:
    both = Both(site(100.0, *(miner(f"m{n}") for n in range(50))))
    views = [miner(f"m{n}", identity=identity(n), profiles=PROFILES) for n in range(50)]
    news = both.here.news(site(101.0, *views))
    lists = [row[1]["profiles"] for part in news.parts for row in part["miners"]]
    assert [type(one) for one in lists] == [list, *([int] * 49)]


def test_thousands_of_machines_at_once_are_told_over_several_ticks() -> None:
    count = 3000
    both = Both(site(100.0, *(miner(f"m{n}") for n in range(count))))
    views = [
        miner(
            f"m{n}", identity=identity(n % 250), profiles=PROFILES, reading=miner_reading(100, 3300)
        )
        for n in range(count)
    ]
    known = []
    for second in range(12):
        seen = both.tick(site(101.0 + second, *views))
        known.append(sum(view.reading is not None for view in seen.miners))
        assert len(both.sections) <= 14
    assert known[0] < count
    assert known[-1] == count


def test_a_stage_comes_back_from_its_record() -> None:
    at = Setpoint(is_awake=True, profile="3 TH", boards_on=frozenset({0, 2}))
    sight = Sight.opened(site(100.0, miner()))
    actuation = Actuation(
        miner_id="m",
        at_ms=START_MS,
        sent_at_s=99.123,
        stage=Stage.APPLIED,
        setpoint=at,
        expected_w=2000.0,
        power_w=None,
        detail="",
        origin=replace(at, is_awake=False),
        after_s=0.5,
    )
    sight.take_stage("m", actuation_record(actuation).data)
    expected = PendingCommand(
        setpoint=at,
        sent_at_s=99.123,
        stage=Stage.APPLIED,
        detail="",
        origin=replace(at, is_awake=False),
    )
    assert sight.last().miners[0].pending == expected
    confirmed = replace(actuation, stage=Stage.CONFIRMED)
    sight.take_stage("m", actuation_record(confirmed).data)
    assert sight.last().miners[0].pending is None
    with pytest.raises(ExactError, match="does not know"):
        sight.take_stage("other", actuation_record(actuation).data)


@pytest.mark.parametrize(
    "part",
    [
        {"mono_ms": 1, "rows": {"place": [0]}},
        {"mono_ms": 1, "miners": [[7, {}]]},
        {"mono_ms": 1, "miners": [[0, {"colour": 1}]]},
        {"mono_ms": 1, "states": [[0, {}]]},
        {
            "mono_ms": 1,
            "rows": {
                "place": [0],
                "age_ds": [0],
                "exchange_ds": [0],
                "power_w": [0],
                "hashrate_ths": [0],
            },
        },
    ],
)
def test_a_part_that_nobody_wrote_is_refused(part: dict) -> None:
    with pytest.raises(ExactError):
        Sight.opened(site(100.0, miner())).take_part(part, START_MS)
