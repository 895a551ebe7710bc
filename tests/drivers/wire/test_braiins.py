"""What Braiins OS' answers mean: a recorded S19 XP with 25.07, and what else may arrive."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, UnsupportedError, WrongDeviceError
from drivers.readings import Activity, BoardReading, PowerProvenance
from drivers.wire import braiins as wire
from drivers.wire.braiins_reply import table_of, tables_of
from drivers.wire.cgminer import Row


def recorded(captures: Path, name: str) -> Row:
    return table_of((captures / "braiins-25.07" / f"{name}.json").read_bytes(), name)


def row(**values: Any) -> Row:
    return table_of(json.dumps(values).encode(), "answer")


DETAILS: dict[str, Any] = {
    "bos_version": {"bos_plus": True, "current": "2025-08-06-0-3881c51d-25.07-plus"},
    "mac_address": "02:EE:DA:A9:B6:4A",
    "miner_identity": {"miner_model": "Antminer S19 XP "},
    "psu_info": {"serial_number": "PS1"},
    "serial_number": "SN1",
    "status": 2,
    "sticker_hashrate": {"gigahash_per_second": 141000.0},
    "system_uptime_s": 69725,
}


def details_of(**changes: Any) -> wire.DeviceDetails:
    return wire.details_of(row(**(DETAILS | changes)))


def test_the_recorded_machine_is_read_as_a_person_reads_it(captures: Path) -> None:
    details = wire.details_of(recorded(captures, "miner_details"))
    assert (details.model, details.firmware) == (
        "Antminer S19 XP",
        "2025-08-06-0-3881c51d-25.07-plus",
    )
    assert (details.release, details.status, details.may_hash) == ((25, 7), 2, True)
    assert (details.mac, details.serial) == ("02:ee:da:a9:b6:4a", "")
    assert (details.nameplate_hs, details.uptime_s) == (141e12, 69725)
    assert details.power_supply_serial is None
    assert wire.mac_of(recorded(captures, "network")) == details.mac
    assert wire.is_mac(details.mac)
    assert wire.api_of(recorded(captures, "version")) == "1.0.0"


def test_the_recorded_boards_hash_in_si_units(captures: Path) -> None:
    boards = wire.boards_of(recorded(captures, "miner_hw_hashboards"))
    assert [(board.board, board.is_enabled, board.is_ramping) for board in boards] == [
        (1, True, False),
        (2, True, False),
        (3, True, False),
    ]
    assert [board.hashrate_hs / 1e9 for board in boards] == pytest.approx(
        [50137.73, 47859.28, 50362.69], abs=0.01
    )
    assert [board.temperature_c for board in boards] == [55.5, 52.0, 54.0]
    assert [board.serial for board in boards] == [
        "NGSBYPDBCJBAG8562",
        "NGSBYPDBCJBAG8567",
        "NGSBYPDBCJBBA0309",
    ]
    assert wire.believed_hashrate_hs(boards, 141e12) == pytest.approx(148.36e12, rel=1e-4)


def test_the_recorded_watts_are_an_estimate(captures: Path) -> None:
    power_w, provenance = wire.power_of(recorded(captures, "miner_stats"))
    assert (power_w, provenance) == (3137.0, PowerProvenance.FIRMWARE_ESTIMATE)
    wire.believe_power(power_w, 3010.0, 3031)
    assert wire.tuner_state_of(recorded(captures, "performance_tuner_state")) == 2


def test_the_recorded_pools_have_users_and_counters(captures: Path) -> None:
    raw = (captures / "braiins-25.07" / "pools.json").read_bytes()
    pools = wire.pools_of(tables_of(raw, "pools"))
    assert [(pool.slot, pool.url, pool.user) for pool in pools] == [
        (0, "stratum+tcp://example.pool.com:3333", "asic_rs.test"),
        (1, "stratum+tcp://example.pool2.com:3333", "asic_rs.test"),
    ]
    assert [(pool.is_active, pool.is_alive) for pool in pools] == [(True, True), (False, True)]
    assert [(pool.accepted, pool.rejected) for pool in pools] == [(10460, 18), (4, 0)]


def test_the_recorded_fans_and_errors(captures: Path) -> None:
    assert wire.fan_speeds_of(recorded(captures, "cooling_state")) == (5904, 5874, 5874, 5904)
    faults = wire.faults_of(recorded(captures, "miner_errors"))
    assert [fault.code for fault in faults] == ["error", "error"]
    assert "mine.ocean.xyz" in faults[0].words
    assert faults[1].words.endswith("its clock: 2026-04-08T08:03:18.155033Z.")


def test_what_the_vendor_writes_as_null_is_absent() -> None:
    bare = details_of(
        bos_version=None,
        miner_identity=None,
        psu_info=None,
        serial_number=None,
        sticker_hashrate=None,
    )
    assert (bare.firmware, bare.release, bare.model, bare.serial) == ("", None, "", "")
    assert (bare.nameplate_hs, bare.power_supply_serial) == (None, None)
    assert details_of(sticker_hashrate={"gigahash_per_second": 0}).nameplate_hs is None
    assert details_of().power_supply_serial == "PS1"
    assert wire.mac_of(row(mac_address=None)) == ""
    assert not wire.is_mac("")


@pytest.mark.parametrize(
    ("firmware", "release"),
    [
        ("2025-08-06-0-3881c51d-25.07-plus", (25, 7)),
        ("2025-06-25-0-45f356ea-25.05.1-plus", (25, 5)),
        ("2026-08-25-0-9d2f6c10-26.08.1", (26, 8)),
        ("2022-09-13-0-11012d53-22.08-plus-hydro", (22, 8)),
        ("20250915.16.Rel2", None),
        ("25.07", None),
        ("", None),
    ],
)
def test_a_release_is_read_out_of_the_full_version(
    firmware: str, release: tuple[int, int] | None
) -> None:
    assert details_of(bos_version={"current": firmware}).release == release


def pinned(details: wire.DeviceDetails, mac: str | None = None) -> wire.DeviceDetails:
    return wire.pinned(details, mac=mac, miner_id="b", address="10.1.1.13:80")


def test_only_the_machine_meant_passes() -> None:
    details = details_of()
    assert pinned(details) is details
    assert pinned(details, "02:ee:da:a9:b6:4a") is details
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:01, but 02:ee"):
        pinned(details, "02:00:00:00:00:01")
    with pytest.raises(WrongDeviceError, match="a machine without one"):
        pinned(details_of(mac_address=""), "02:00:00:00:00:01")
    with pytest.raises(WrongDeviceError, match="does not name a version"):
        pinned(details_of(bos_version=None))
    with pytest.raises(UnsupportedError, match=r"25\.05\.1-plus: upgrade"):
        pinned(details_of(bos_version={"current": "2025-06-25-0-45f356ea-25.05.1-plus"}))


def board_row(**changes: Any) -> dict[str, Any]:
    rate = {"last_5s": {"gigahash_per_second": 1000.0}}
    return {"id": "6", "enabled": True, "stats": {"real_hashrate": rate}} | changes


def test_boards_are_in_order_of_their_numbers_and_may_lack_what_is_null() -> None:
    quiet = board_row(id="6", enabled=False, stats=None, board_temp=None, serial_number=None)
    boards = wire.boards_of(row(hashboards=[board_row(id="7"), quiet]))
    assert [(board.board, board.is_enabled) for board in boards] == [(6, False), (7, True)]
    assert [board.hashrate_hs for board in boards] == [0.0, 1e12]
    assert [(board.temperature_c, board.serial) for board in boards] == [(None, None)] * 2
    fresh = wire.boards_of(row(hashboards=[board_row(stats={"real_hashrate": {"last_5s": None}})]))
    assert fresh[0].hashrate_hs == 0.0


@pytest.mark.parametrize(
    "rows",
    [
        [board_row(), board_row()],
        [board_row(id="-1")],
        [board_row(id="A")],
        [board_row(id=None)],
        [board_row(enabled="perhaps")],
        [board_row(stats=[])],
        [board_row(stats={"real_hashrate": {"last_5s": {"gigahash_per_second": -1}}})],
        [board_row(stats={"real_hashrate": {"last_5s": {"gigahash_per_second": "1"}}})],
        [board_row(id=str(number)) for number in range(17)],
        [5],
        None,
    ],
)
def test_boards_that_cannot_be_are_a_bad_reply(rows: Any) -> None:
    with pytest.raises(BadReplyError):
        wire.boards_of(row(hashboards=rows))


def test_another_unit_is_not_believed() -> None:
    boards = wire.boards_of(row(hashboards=[board_row()]))
    assert wire.believed_hashrate_hs(boards, None) == 1e12
    with pytest.raises(BadReplyError, match="another unit"):
        wire.believed_hashrate_hs(boards, 1e9)
    with pytest.raises(BadReplyError, match="another unit"):
        wire.believe_power(4600.0, 3010.0, None)
    wire.believe_power(4600.0, 3010.0, 4000)
    wire.believe_power(4600.0, None)
    wire.believe_power(None, 3010.0)


def test_watts_may_be_absent_and_never_negative() -> None:
    absent = (None, PowerProvenance.ABSENT)
    assert wire.power_of(row(power_stats=None)) == absent
    assert wire.power_of(row(power_stats={"approximated_consumption": None})) == absent
    with pytest.raises(BadReplyError, match="negative"):
        wire.power_of(row(power_stats={"approximated_consumption": {"watt": -5}}))


def boards(*hashrates_hs: float | None) -> tuple[BoardReading, ...]:
    """Boards with these hashrates; None for one that is switched off."""
    return tuple(
        BoardReading(
            board=number,
            is_enabled=hashrate_hs is not None,
            is_ramping=False,
            hashrate_hs=hashrate_hs or 0.0,
            temperature_c=None,
            serial=None,
        )
        for number, hashrate_hs in enumerate(hashrates_hs)
    )


RAMPS: list[tuple[int, float | None, int | None, bool]] = [
    (2, 800.0, 3000, False),
    (3, 800.0, 3000, True),
    (3, 1790.0, 3000, True),
    (3, 1810.0, 3000, False),
    (3, None, 3000, False),
    (3, 800.0, None, False),
    (6, 3000.0, 3000, True),
]


@pytest.mark.parametrize(("state", "power_w", "target_w", "is_ramping"), RAMPS)
def test_tuning_is_a_ramp_only_while_the_watts_of_its_boards_are_to_come(
    state: int, power_w: float | None, target_w: int | None, is_ramping: bool
) -> None:
    marked = wire.with_ramps(boards(1e12, None, 1e12), state, power_w, target_w)
    assert [board.is_ramping for board in marked] == [is_ramping, False, is_ramping]


@given(
    hashrates_hs=st.lists(st.sampled_from([None, 0.0, 1e12]), max_size=4),
    power_w=st.one_of(st.none(), st.floats(0.0, 4000.0)),
    target_w=st.one_of(st.none(), st.integers(1, 4000)),
    status=st.sampled_from([2, 5, 9]),
    state=st.sampled_from([1, 2, 3, 4, 5, 9]),
)
def test_where_the_watts_are_there_and_all_boards_hash_no_tuner_changes_what_is_read(
    hashrates_hs: list[float | None],
    power_w: float | None,
    target_w: int | None,
    status: int,
    state: int,
) -> None:
    found = boards(*hashrates_hs)
    details = details_of(status=status)
    if not wire.is_risen(found, power_w, target_w):
        return
    marked = wire.with_ramps(found, state, power_w, target_w)
    assert marked == found
    told = wire.activity_of(details, state, marked)
    assert told is wire.activity_of(details, None, found) is Activity.HASHING


RISEN: list[tuple[tuple[float | None, ...], float | None, int | None, bool]] = [
    ((1e12, 1e12), 2700.0, 3000, True),
    ((1e12, 1e12), 2699.0, 3000, False),
    ((1e12, None), 1350.0, 3000, True),
    ((1e12, None), 1349.0, 3000, False),
    ((1e12, 0.0), 3000.0, 3000, False),
    ((None, None), 3000.0, 3000, False),
    ((), 3000.0, 3000, False),
    ((1e12,), None, 3000, False),
    ((1e12,), 3000.0, None, False),
]


@pytest.mark.parametrize(("hashrates_hs", "power_w", "target_w", "is_risen"), RISEN)
def test_a_machine_has_risen_with_the_watts_of_its_target_on_the_boards_that_are_on(
    hashrates_hs: tuple[float | None, ...],
    power_w: float | None,
    target_w: int | None,
    is_risen: bool,
) -> None:
    assert wire.is_risen(boards(*hashrates_hs), power_w, target_w) is is_risen


def test_a_machine_without_boards_has_no_ramp() -> None:
    assert wire.with_ramps((), 3, 100.0, 3000) == ()


ACTIVITIES: list[tuple[int, int | None, tuple[float | None, ...], Activity]] = [
    (2, 2, (1e12, 1e12), Activity.HASHING),
    (5, 2, (1e12, None), Activity.HASHING),
    (9, 2, (1e12,), Activity.HASHING),
    (2, 6, (1e12,), Activity.RAMPING),
    (2, 2, (0.0, 0.0), Activity.RAMPING),
    (2, 4, (0.0,), Activity.FAULT),
    (2, 4, (1e12,), Activity.HASHING),
    (2, 2, (None, None), Activity.STOPPED),
    (2, 2, (), Activity.STOPPED),
    (1, None, (0.0,), Activity.STOPPED),
    (3, None, (0.0,), Activity.SLEEPING),
    (4, None, (0.0,), Activity.FAULT),
]


@pytest.mark.parametrize(("status", "state", "hashrates_hs", "activity"), ACTIVITIES)
def test_the_activity_is_the_strongest_sign(
    status: int, state: int | None, hashrates_hs: tuple[float | None, ...], activity: Activity
) -> None:
    found = boards(*hashrates_hs)
    if state is not None:
        found = wire.with_ramps(found, state, None, None)
    assert wire.activity_of(details_of(status=status), state, found) is activity


@pytest.mark.parametrize(("status", "may_hash"), [(1, False), (2, True), (3, False), (4, False)])
def test_a_machine_may_hash_unless_it_is_held(status: int, may_hash: bool) -> None:
    assert details_of(status=status).may_hash is may_hash


def test_pools_of_every_group_are_counted_through_and_may_have_no_counters() -> None:
    pool = {"url": "u", "user": "w", "active": False, "alive": False, "stats": None}
    groups = tables_of(json.dumps([{"pools": [pool]}, {"pools": [pool, pool]}]).encode(), "pools")
    pools = wire.pools_of(groups)
    assert [pool.slot for pool in pools] == [0, 1, 2]
    assert [(pool.accepted, pool.rejected) for pool in pools] == [(None, None)] * 3


def test_fans_without_a_speed_are_left_out_and_the_rest_is_in_order() -> None:
    fans = [{"position": 2, "rpm": 30}, {"position": 0, "rpm": None}, {"position": 1, "rpm": 20}]
    assert wire.fan_speeds_of(row(fans=fans)) == (20, 30)


def test_errors_have_the_vendors_codes_and_the_latest_of_each_kind_stays() -> None:
    codes = [{"code": "B1", "reason": "hot"}, {"code": "B2", "reason": "dead"}]
    errors = [
        {"message": "first", "timestamp": "t1", "error_codes": codes},
        {"message": "second", "timestamp": "t2", "error_codes": []},
        {"message": "first", "timestamp": "t3", "error_codes": codes},
        *({"message": f"m{n}", "timestamp": None, "error_codes": []} for n in range(18)),
    ]
    faults = wire.faults_of(row(errors=errors))
    assert len(faults) == 20
    assert (faults[0].code, faults[1].code) == ("error", "B1, B2")
    assert faults[1].words == "The machine wrote: first (hot; dead); its clock: t3."


@pytest.mark.parametrize(
    ("state", "codes"),
    [
        (None, []),
        ({"valid": {"type": 1}}, []),
        ({"none": {"time_to_restricted": 1}}, ["license-none"]),
        ({"limited": {}}, ["license-limited"]),
        ({"expired": {"type": 1}}, ["license-expired"]),
    ],
)
def test_a_licence_that_is_not_valid_is_a_fault(state: Any, codes: list[str]) -> None:
    assert [fault.code for fault in wire.licence_faults(row(state=state))] == codes


def test_an_unknown_licence_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="licence"):
        wire.licence_faults(row(state={"trial": {}}))


def test_answers_to_writes() -> None:
    answer = row(hashboards=[{"id": "1", "is_enabled": False}, {"id": "3", "is_enabled": True}])
    assert wire.board_states_of(answer) == {1: False, 3: True}
    assert wire.is_yes_or_no(b"true")
    assert wire.is_yes_or_no(b"false\n")
    assert not wire.is_yes_or_no(b"1")
    with pytest.raises(BadReplyError):
        wire.is_yes_or_no(b"")
