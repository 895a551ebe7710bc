"""Answers as ePIC's OpenAPI description has them, and what is read in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import BadReplyError, BusyError, DriverError, RefusedError
from drivers.readings import Activity, PowerProvenance
from drivers.wire import epic as wire
from drivers.wire.cgminer import Row
from drivers.wire.web_table import table_of

ANSWERS = Path(__file__).parents[1] / "answers" / "epic-s19xp"
SUMMARY = json.loads((ANSWERS / "summary.json").read_text("utf-8"))
CAPABILITIES = json.loads((ANSWERS / "capabilities.json").read_text("utf-8"))
NETWORK = json.loads((ANSWERS / "network.json").read_text("utf-8"))
GONE = object()


def row(document: dict[str, Any], **changes: Any) -> Row:
    """A table with entries replaced; ``section__key`` reaches one level down."""
    whole = json.loads(json.dumps(document))
    for name, value in changes.items():
        path = name.replace("_", " ").split("  ")
        at = whole
        for key in path[:-1]:
            at = at[key]
        if value is GONE:
            at.pop(path[-1], None)
        else:
            at[path[-1]] = value
    return table_of(json.dumps(whole).encode(), "/summary")


def known(**changes: Any) -> wire.Capabilities:
    return wire.capabilities_of(row(CAPABILITIES, **changes))


def activity(summary: Row) -> Activity:
    boards = wire.boards_of(summary, known())
    return wire.activity_of(summary, boards, wire.believed_hashrate_hs(boards, None))


def test_a_machine_with_one_board_off_reads_as_a_person_reads_it() -> None:
    summary, told = row(SUMMARY), known()
    assert wire.is_power_play(summary)
    assert wire.software_of(summary) == "PowerPlay-BM v1.30.0"
    assert (told.model, told.serial, told.board_count) == ("ANTMINER S19 XP", "SN307", 3)
    assert told.nameplate_hashrate_hs == 140e12
    assert told.power_supply_serial == "PS9"
    boards = wire.boards_of(summary, told)
    assert [board.board for board in boards] == [0, 1, 2]
    assert [board.is_enabled for board in boards] == [False, True, True]
    assert [board.hashrate_hs for board in boards] == [0.0, 46.7000005e12, 46.5000005e12]
    assert [board.temperature_c for board in boards] == [None, 61.0, None]
    assert [board.serial for board in boards] == ["HB0", "HB1", None]
    hashrate_hs = wire.believed_hashrate_hs(boards, told.nameplate_hashrate_hs)
    assert hashrate_hs == pytest.approx(93.200001e12)
    assert wire.activity_of(summary, boards, hashrate_hs) is Activity.HASHING
    power = wire.power_of(summary, told, hashrate_hs, 3010.0)
    assert power == (2166.6, PowerProvenance.METERED_PSU)
    assert wire.fan_speeds_of(summary) == (4200, 4230, 4180)
    assert wire.uptime_of(summary) == 23170
    assert wire.faults_of(summary) == ()
    pools = wire.pools_of(summary)
    assert [(pool.url, pool.user, pool.is_active) for pool in pools] == [
        ("stratum+tcp://a.example:3333", "farm.r307", False),
        ("stratum+tcp://b.example:3333", "farm.r307", True),
    ]
    assert [(pool.accepted, pool.rejected) for pool in pools] == [(None, None), (412, 3)]
    assert wire.mac_of(row(NETWORK)) == "62:f7:5e:b7:10:46"


@pytest.mark.parametrize(
    ("network", "mac"),
    [
        (
            {"static": {"address": "10.1.1.7", "mac_address": "62:f7:5e:b7:10:46"}},
            "62:f7:5e:b7:10:46",
        ),
        ({"dhcp": {"address": "10.1.1.7"}}, ""),
        ({"dhcp": None}, ""),
    ],
)
def test_the_mac_stands_under_either_kind_of_address_or_nowhere(
    network: dict[str, Any], mac: str
) -> None:
    assert wire.mac_of(row(network)) == mac


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"Status": 1},
        {"Status": {}},
        {"Status": {"Operating State": "Mining"}},
        {"Software": "x"},
    ],
)
def test_a_stranger_is_no_power_play(document: dict[str, Any]) -> None:
    assert not wire.is_power_play(row(document))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("Mining", Activity.HASHING),
        ("Idling", Activity.SLEEPING),
        ("Stopping", Activity.STOPPED),
        ("Initializing", Activity.RAMPING),
        ("AdjustingClockVoltage", Activity.RAMPING),
        ("UpdatingFirmware", Activity.RAMPING),
    ],
)
def test_each_state_is_an_activity(state: str, expected: Activity) -> None:
    summary = row(SUMMARY, Status__Operating_State=state)
    assert activity(summary) is expected
    is_ramping = [board.is_ramping for board in wire.boards_of(summary, known())]
    assert is_ramping == [False, *[expected is Activity.RAMPING] * 2]


def test_an_unknown_state_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="'Dreaming'"):
        activity(row(SUMMARY, Status__Operating_State="Dreaming"))


def test_mining_without_hashes_is_ramping_or_broken_or_without_boards() -> None:
    assert activity(row(SUMMARY, HBs=[])) is Activity.RAMPING
    broken = row(SUMMARY, HBs=[], Status__Last_Error="NoSolutions")
    assert activity(broken) is Activity.FAULT
    off = [{"Index": n, "Enabled": False, "Detected": True} for n in range(3)]
    for state in ("Mining", "Idling"):
        without = row(SUMMARY, HBs=[], HBStatus=off, Status__Operating_State=state)
        assert activity(without) is Activity.STOPPED


def test_serials_stand_at_boards_only_where_each_has_one() -> None:
    listed = known(Board_Serial_Numbers=["HB1", "HB2"])
    assert listed.board_serials == ("HB1", "HB2")
    assert [board.serial for board in wire.boards_of(row(SUMMARY), listed)] == [None] * 3


@pytest.mark.parametrize(
    "boards",
    [
        {"HBs": [{"Index": 7, "Hashrate": [1.0]}]},
        {"HBStatus": [{"Index": -1, "Enabled": True, "Detected": True}], "HBs": []},
        {"HBStatus": [{"Index": n, "Enabled": True, "Detected": True} for n in range(99)]},
        {"HBs": [{"Index": 1, "Hashrate": []}]},
        {"HBs": [{"Index": 1, "Hashrate": 5.0}]},
        {"HBs": [{"Index": 1, "Hashrate": [-5.0]}]},
        {"HBs": None},
        {"HBStatus": GONE},
    ],
)
def test_boards_that_cannot_be_are_a_bad_reply(boards: dict[str, Any]) -> None:
    with pytest.raises(BadReplyError):
        wire.boards_of(row(SUMMARY, **boards), known())


def test_a_hashrate_in_another_unit_is_not_believed() -> None:
    boards = wire.boards_of(row(SUMMARY), known())
    with pytest.raises(BadReplyError, match="times its nameplate"):
        wire.believed_hashrate_hs(boards, 60e12)
    assert wire.believed_hashrate_hs(boards, None) > 0


def test_watts_are_measured_or_estimated_or_absent_or_not_believed() -> None:
    summary = row(SUMMARY)
    estimate = known(Psu_Info__True_Power=False)
    assert wire.power_of(summary, estimate, 1.0, None)[1] is PowerProvenance.FIRMWARE_ESTIMATE
    for silent in (known(Psu_Info__True_Power=GONE), known(Psu_Info=None)):
        assert wire.power_of(summary, silent, 1.0, None)[1] is PowerProvenance.METERED_PSU
    dark = row(SUMMARY, Power_Supply_Stats__Input_Power=0.0)
    assert wire.power_of(dark, known(), 1.0, None) == (None, PowerProvenance.ABSENT)
    assert wire.power_of(dark, known(), 0.0, None) == (0.0, PowerProvenance.METERED_PSU)
    with pytest.raises(BadReplyError, match="times its nameplate"):
        wire.power_of(summary, known(), 1.0, 1400.0)


TUNED = {"PowerTune": {"Target": 2500, "Unit": "W", "Optimized": True}}
HASHES = {"ChipTune": {"Target": 120, "Unit": "TH", "Optimized": True}}


@pytest.mark.parametrize(
    ("changes", "watts"),
    [
        ({}, 3000.0),
        ({"PerpetualTune": {"Running": True, "Algorithm": TUNED}}, 2500.0),
        ({"PerpetualTune": {"Running": False, "Algorithm": TUNED}}, 3000.0),
        ({"PerpetualTune": {"Running": True, "Algorithm": HASHES}}, 3000.0),
        ({"PresetInfo": {}}, None),
        ({"PresetInfo": {"Target Power": 0}}, None),
    ],
)
def test_the_watts_it_keeps_to_are_the_tuners_or_the_presets(
    changes: dict[str, Any], watts: float | None
) -> None:
    assert wire.power_target_of(row(SUMMARY, **changes)) == watts


def test_its_one_point_draws_its_target_or_its_nameplate_or_is_not_offered() -> None:
    point = wire.profiles_of(row(SUMMARY), known(), 3010.0)[0]
    assert (point.name, point.step, point.power_w, point.hashrate_hs) == (
        "preset",
        0,
        3000.0,
        140e12,
    )
    bare = row(SUMMARY, PresetInfo={})
    assert wire.profiles_of(bare, known(), 3010.0)[0].power_w == 3010.0
    assert wire.profiles_of(bare, known(), None) == ()
    assert known(Default_Hashrate=0).nameplate_hashrate_hs is None
    assert wire.profiles_of(bare, known(Default_Hashrate=0), 3010.0) == ()


def test_without_a_pool_none_is_active() -> None:
    lost = row(SUMMARY, Stratum__IsPoolConnected=False, Stratum__Config_Id=GONE)
    pools = wire.pools_of(lost)
    assert [(pool.is_active, pool.accepted) for pool in pools] == [(False, 412), (False, None)]


@pytest.mark.parametrize("count", [0, -1, 99])
def test_a_number_of_boards_that_cannot_be_is_a_bad_reply(count: int) -> None:
    with pytest.raises(BadReplyError, match="boards"):
        known(Max_HBs=count)


@pytest.mark.parametrize("serials", [None, "HB0", ["x"] * 99])
def test_board_serials_that_are_no_list_are_a_bad_reply(serials: object) -> None:
    with pytest.raises(BadReplyError, match="serials"):
        known(Board_Serial_Numbers=serials)


def test_the_serial_is_the_machines_or_its_control_boards_or_none() -> None:
    assert known(Miner_Serial_Number=None).serial == "CPU9"
    assert known(Miner_Serial_Number=None, Control_Board_Version=None).serial == ""
    assert known(Psu_Info__PSU_Serial=None).power_supply_serial is None


def codes(summary: Row) -> dict[str, str]:
    return {fault.code: fault.words for fault in wire.faults_of(summary)}


def test_faults_have_the_vendors_name_our_words_and_the_detail() -> None:
    summary = row(
        SUMMARY,
        Status__Last_Error={"Chainbreak": [1]},
        Last_License_Error={"LicenseError": "expired"},
        Last_Devfee_Error="Zork",
    )
    assert codes(summary) == {
        "Chainbreak": "The chain of chips of a hashboard is broken ([1]).",
        "LicenseError": "The firmware's licence is not accepted (expired).",
        "Zork": "A fault that kwota does not know.",
    }
    assert "error" in codes(row(SUMMARY, Status__Last_Error={}))


def test_what_moves_its_power_without_us_is_said() -> None:
    moving = row(
        SUMMARY,
        IdleOnConnectionLost=True,
        Scheduler={"Enable": True},
        Enable_Boards_On_Idle=True,
    )
    assert set(codes(moving)) == {"IdleOnConnectionLost", "Scheduler", "Enable Boards On Idle"}
    silent = row(SUMMARY, IdleOnConnectionLost=GONE, Scheduler=GONE, Enable_Boards_On_Idle=GONE)
    assert codes(silent) == {}


@pytest.mark.parametrize(
    ("tune", "is_said"),
    [
        ({"Running": True, "Algorithm": {"ChipTune": {"Optimized": False}}}, True),
        ({"Running": True, "Algorithm": {"ChipTune": {"Optimized": True}}}, False),
        ({"Running": True, "Algorithm": {"ChipTune": {}}}, False),
        ({"Running": True, "Algorithm": {"ChipTune": None}}, False),
        ({"Running": False, "Algorithm": {"ChipTune": {"Optimized": False}}}, False),
    ],
)
def test_a_tuner_that_has_not_finished_is_said(tune: dict[str, Any], is_said: bool) -> None:
    assert ("PerpetualTune" in codes(row(SUMMARY, PerpetualTune=tune))) is is_said


def test_a_board_that_is_on_and_not_found_is_said() -> None:
    status = [{"Index": 0, "Enabled": True, "Detected": False}]
    assert set(codes(row(SUMMARY, HBStatus=status, HBs=[]))) == {"HBStatus 0"}


def test_a_write_carries_its_parameter_and_the_password() -> None:
    body = json.loads(wire.encode_write([{"Index": 0, "Data": False}], "pw"))
    assert body == {"param": [{"Index": 0, "Data": False}], "password": "pw"}


REFUSALS: list[tuple[Any, type[DriverError], str]] = [
    ("BadPassword", RefusedError, "password file"),
    ({"LastCmdStillPending": "Tune"}, BusyError, "LastCmdStillPending: Tune"),
    ("SystemUpdateInProgress", BusyError, "busy"),
    ("MissingParam", RefusedError, "MissingParam"),
    (None, RefusedError, "no reason given"),
]


@pytest.mark.parametrize(("error", "kind", "word"), REFUSALS)
def test_a_no_is_told_apart_by_what_to_do_next(
    error: Any, kind: type[DriverError], word: str
) -> None:
    with pytest.raises(kind, match=word) as caught:
        wire.require_yes(row({"result": False, "error": error}), "/miner")
    assert type(caught.value) is kind


def test_a_yes_is_a_yes_and_anything_else_is_a_bad_reply() -> None:
    wire.require_yes(row({"result": True, "error": None}), "/miner")
    with pytest.raises(BadReplyError):
        wire.require_yes(row({"error": None}), "/miner")
