"""What ``/summary`` of a VNish machine says."""

import json
from typing import Any

import pytest

from drivers.errors import BadReplyError
from drivers.readings import Activity, PowerProvenance
from drivers.wire import vnish as wire
from drivers.wire.cgminer import Row
from drivers.wire.vnish_device import Factory, Info, Model, Preset

# As an owner published it for a stopped S19 Pro with 1.3.3, cut off there.
STOPPED = json.loads("""{
  "miner_status": {"miner_state": "stopped", "throttled": 100, "miner_state_time": 646},
  "miner_type": "Antminer S19 Pro (Vnish 1.3.3)", "hr_stock": 111859, "average_hashrate": 0,
  "instant_hashrate": 0, "hr_realtime": 0, "hr_nominal": 0, "hr_average": 0,
  "pcb_temp": {"min": 13, "max": 14}, "chip_temp": {"min": 28, "max": 29}
}""")
# As an owner published it for an S19 with 1.2.6 that cannot start.
FAILED = json.loads("""{
  "miner_status": {"miner_state": "failure", "miner_state_time": 1,
                   "description": "Failed to parse miner configuration", "failure_code": 1002},
  "miner_type": "Antminer S19 (Vnish 1.2.6)", "hr_stock": 0.0, "hr_realtime": 0.0,
  "hr_nominal": 0.0, "hr_average": 0.0, "power_consumption": 0, "power_usage": 0,
  "power_efficiency": 0.0,
  "pools": [{"id": 0, "url": "DevFee", "pool_type": "DevFee", "user": "DevFee",
             "status": "working", "accepted": 0, "rejected": 0, "stale": 0}],
  "cooling": {"fan_num": 0, "fans": [], "settings": {"mode": {"name": "auto"}}, "fan_duty": 0},
  "chains": []
}""")
INFO = Info(
    model="Antminer S19",
    firmware_name="Vnish",
    firmware="1.3.4",
    version=(1, 3),
    mac="02:00:00:00:00:01",
    serial="",
    unit_hs=1e9,
    uptime_s=1,
)
MODEL = Model(name="Antminer S19", board_count=3)
FACTORY = Factory(board_serials={0: "A"}, power_supply_serial=None)


def chain(board: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": board,
        "hashrate_rt": 36000.5,
        "pcb_temp": {"min": 50, "max": 61},
        "chip_temp": {"min": 60, "max": 75},
        "status": {"state": "mining"},
    } | changes


def miner(state: str = "mining", **changes: Any) -> Row:
    values = {
        "miner_status": {"miner_state": state, "miner_state_time": 5, "throttled": 80},
        "hr_stock": 110000,
        "hr_realtime": 108001.5,
        "power_consumption": 2737,
        "chains": [chain(1), chain(2), chain(3)],
        "cooling": {"fans": [{"id": 0, "rpm": 2730, "status": "ok"}]},
    }
    return Row(section="miner", values=values | changes)


def preset(**changes: Any) -> Preset:
    values: dict[str, Any] = {"name": "3250", "power_w": 3250.0, "hashrate_hs": 110e12}
    return Preset(**values, is_tuned=True, **{"is_changing": False, **changes})


def test_a_stopped_machine_as_its_owner_saw_it() -> None:
    row = Row(section="miner", values=STOPPED)
    assert wire.activity_of(row, 0.0) is Activity.SLEEPING
    assert wire.throttle_of(row) == 100
    assert wire.nameplate_of(row, INFO) == 111859e9


def test_a_failed_machine_as_its_owner_saw_it() -> None:
    row = Row(section="miner", values=FAILED)
    boards = wire.boards_of(row, INFO, MODEL, FACTORY)
    assert [(board.hashrate_hs, board.temperature_c) for board in boards] == [(0.0, None)] * 3
    assert wire.believed_hashrate_hs(row, INFO, boards, None) == 0.0
    assert wire.activity_of(row, 0.0) is Activity.FAULT
    assert wire.power_of(row, 0.0, 3250.0) == (0.0, PowerProvenance.FIRMWARE_ESTIMATE)
    assert wire.nameplate_of(row, INFO) is None
    assert wire.throttle_of(row) is None
    assert wire.profile_of(row, Activity.FAULT) == "100%"
    assert wire.pools_of(row) == ()
    assert wire.fan_speeds_of(row) == ()
    (fault,) = wire.faults_of(row, None, is_restart_due=False)
    assert (fault.code, fault.words) == (
        "1002",
        "Mining has failed (Failed to parse miner configuration).",
    )


def test_a_failure_without_a_code_is_named_so() -> None:
    row = miner("failure", miner_status={"miner_state": "failure"})
    (fault,) = wire.faults_of(row, None, is_restart_due=False)
    assert (fault.code, fault.words) == ("failure", "Mining has failed.")


def test_a_mining_program_that_is_not_up_is_said() -> None:
    with pytest.raises(BadReplyError, match="may be starting"):
        wire.miner_of(Row(section="summary", values={"miner": None}))
    assert wire.miner_of(Row(section="summary", values={"miner": {"a": 1}})).has("a")


@pytest.mark.parametrize(
    ("state", "hashrate_hs", "activity"),
    [
        ("mining", 1e14, Activity.HASHING),
        ("mining", 0.0, Activity.STOPPED),
        ("initializing", 0.0, Activity.RAMPING),
        ("starting", 0.0, Activity.RAMPING),
        ("restarting", 0.0, Activity.RAMPING),
        ("auto-tuning", 1e14, Activity.RAMPING),
        ("shutting-down", 1e14, Activity.SLEEPING),
        ("stopped", 0.0, Activity.SLEEPING),
        ("failure", 0.0, Activity.FAULT),
    ],
)
def test_every_state_of_the_firmware_has_a_meaning(
    state: str, hashrate_hs: float, activity: Activity
) -> None:
    assert wire.activity_of(miner(state), hashrate_hs) is activity


def test_a_state_that_is_new_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="'dancing'"):
        wire.activity_of(miner("dancing"), 0.0)


def test_boards_are_counted_from_one_and_one_that_is_not_listed_hashes_nothing() -> None:
    row = miner(chains=[chain(3), chain(1, status={"state": "initializing"})])
    boards = wire.boards_of(row, INFO, MODEL, FACTORY)
    assert [board.hashrate_hs for board in boards] == [36000.5e9, 0.0, 36000.5e9]
    assert [board.is_ramping for board in boards] == [True, False, False]
    assert [board.serial for board in boards] == ["A", None, None]
    assert all(board.is_enabled for board in boards)


def test_while_the_machine_rises_every_board_does() -> None:
    boards = wire.boards_of(miner("starting"), INFO, MODEL, FACTORY)
    assert all(board.is_ramping for board in boards)


@pytest.mark.parametrize("ids", [(0, 1, 2), (1, 2, 4), (1, 1, 2), (1, 2, 3, 4)])
def test_boards_that_the_machine_cannot_have_are_a_bad_reply(ids: tuple[int, ...]) -> None:
    with pytest.raises(BadReplyError, match="has 3 boards and tells of"):
        wire.boards_of(miner(chains=[chain(one) for one in ids]), INFO, MODEL, FACTORY)


@pytest.mark.parametrize(
    ("changes", "temperature_c"),
    [
        ({}, 61.0),
        ({"pcb_temp": {"min": 0, "max": 0}}, 75.0),
        ({"pcb_temp": None}, 75.0),
        ({"pcb_temp": None, "chip_temp": {"min": 0, "max": 0}}, None),
    ],
)
def test_a_board_is_as_warm_as_its_warmest_spot(
    changes: dict[str, Any], temperature_c: float | None
) -> None:
    boards = wire.boards_of(miner(chains=[chain(1, **changes)]), INFO, MODEL, FACTORY)
    assert boards[0].temperature_c == temperature_c


def test_a_hashrate_beyond_the_nameplate_is_not_believed() -> None:
    boards = wire.boards_of(miner(), INFO, MODEL, FACTORY)
    assert wire.believed_hashrate_hs(miner(), INFO, boards, 110e12) == 108001.5e9
    assert wire.believed_hashrate_hs(miner(), INFO, boards, None) == 108001.5e9
    with pytest.raises(BadReplyError, match="another unit"):
        wire.believed_hashrate_hs(miner(hr_realtime=1e7), INFO, boards, 110e12)
    high = wire.boards_of(miner(chains=[chain(1, hashrate_rt=1e6)]), INFO, MODEL, FACTORY)
    with pytest.raises(BadReplyError, match=r"1000 TH/s, more than 1\.5 times"):
        wire.believed_hashrate_hs(miner(), INFO, high, 110e12)


@pytest.mark.parametrize(
    ("psu", "provenance"),
    [
        ({"psu_power_metering": True}, PowerProvenance.METERED_PSU),
        ({"psu_power_metering": False}, PowerProvenance.FIRMWARE_ESTIMATE),
        ({"psu_power_metering": None}, PowerProvenance.FIRMWARE_ESTIMATE),
        ({}, PowerProvenance.FIRMWARE_ESTIMATE),
        (None, PowerProvenance.FIRMWARE_ESTIMATE),
    ],
)
def test_watts_are_metered_only_where_the_firmware_says_so(
    psu: dict[str, Any] | None, provenance: PowerProvenance
) -> None:
    assert wire.power_of(miner(psu=psu), 1e14, 3250.0) == (2737.0, provenance)


def test_watts_that_are_none_or_too_many() -> None:
    nothing = miner(power_consumption=0)
    assert wire.power_of(nothing, 1e14, 3250.0) == (None, PowerProvenance.ABSENT)
    assert wire.power_of(nothing, 0.0, None)[0] == 0.0
    assert wire.power_of(miner(power_consumption=99_000), 1e14, None)[0] == 99_000.0
    with pytest.raises(BadReplyError, match=r"4876 W, more than 1\.5 times the 3250 W"):
        wire.power_of(miner(power_consumption=4876), 1e14, 3250.0)
    for watts in (-1, 1e300):
        with pytest.raises(BadReplyError, match="power_consumption is"):
            wire.power_of(miner(power_consumption=watts), 1e14, None)


def test_a_throttled_machine_shows_its_percent_and_a_sleeper_the_whole() -> None:
    assert wire.profile_of(miner(), Activity.HASHING) == "80%"
    assert wire.profile_of(miner("stopped"), Activity.SLEEPING) == "100%"


@pytest.mark.parametrize("percent", [0, -5, 101, 20.5, "much"])
def test_a_percent_that_cannot_be_is_a_bad_reply(percent: object) -> None:
    status = {"miner_state": "mining", "throttled": percent}
    with pytest.raises(BadReplyError):
        wire.throttle_of(miner(miner_status=status))


def test_pools_are_the_owners_and_tell_their_shares() -> None:
    rows = [
        {"id": 0, "url": "a:1", "user": "u", "status": "active", "accepted": 7, "rejected": 1},
        {"id": 1, "url": "b:1", "user": "v", "status": "offline", "accepted": 0, "rejected": 0},
        {"id": 2, "url": "c:1", "user": "w", "status": "rejecting", "accepted": 0, "rejected": 9},
    ]
    rows[1]["pool_type"] = "UserPool"
    fees = [rows[0] | {"id": number, "pool_type": kind} for number, kind in enumerate(FEES, 3)]
    pools = wire.pools_of(miner(pools=[*rows, *fees]))
    assert [(pool.slot, pool.user, pool.accepted, pool.rejected) for pool in pools] == [
        (0, "u", 7, 1),
        (1, "v", 0, 0),
        (2, "w", 0, 9),
    ]
    assert [(pool.is_active, pool.is_alive) for pool in pools] == [
        (True, True),
        (False, False),
        (False, True),
    ]


FEES = ("DevFee", "Refund")


def test_faults_are_named_with_the_firmwares_own_numbers() -> None:
    row = miner(
        chains=[
            chain(1, status={"state": "failure", "description": "chip#3 lost"}),
            chain(2, status={"state": "disconnected"}),
            chain(3, status={"state": "disabled"}),
        ],
        cooling={"fans": [{"id": 0, "rpm": 0, "status": "lost"}, {"id": 1, "rpm": 9}]},
    )
    faults = wire.faults_of(row, preset(is_changing=True), is_restart_due=True)
    words = {fault.code: fault.words for fault in faults}
    assert words["chain-1"] == "Hashboard 1 has failed (chip#3 lost)."
    assert words["chain-2"] == "Hashboard 2 is not connected."
    assert words["fan-0"] == "Fan 0 has stopped."
    boards = {"chain-1", "chain-2", "chain-3"}
    assert set(words) == boards | {"fan-0", "restart-required", "preset-switcher"}
    assert wire.faults_of(miner(), preset(), is_restart_due=False) == ()
