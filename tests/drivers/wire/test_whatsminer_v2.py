"""What Whatsminer's API v2 says, against a recorded machine and made-up ones of other firmware."""

import json
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import BadReplyError, RefusedError
from drivers.readings import Activity, PowerProvenance
from drivers.wire import whatsminer_v2 as wire
from drivers.wire import whatsminer_who as who
from drivers.wire.cgminer import Answer, Row


def recorded(captures: Path, command: str) -> Answer:
    raw = (captures / "whatsminer-v1" / f"{command}.json").read_bytes()
    return wire.decode_read(raw).accepted(command)


def flat(message: Any, *, code: int = 131) -> Answer:
    document = {"STATUS": "S", "When": 1, "Code": code, "Msg": message, "Description": ""}
    return wire.decode_read(json.dumps(document).encode())


def listed(section: str, *rows: Any) -> Answer:
    document = {"STATUS": [{"STATUS": "S", "Msg": section}], section: list(rows), "id": 1}
    return wire.decode_read(json.dumps(document).encode())


def row(**values: Any) -> Row:
    named = {key.replace("_", " "): value for key, value in values.items()}
    return Row(section="SUMMARY", values={"Power": 3300, "MHS av": 1.18e8} | named)


def board(slot: int, **values: Any) -> dict[str, Any]:
    named = {key.replace("_", " "): value for key, value in values.items()}
    return {"Slot": slot, "HS RT": 39e6, "Temperature": 70.0, "Upfreq Complete": 1} | named


STATUS = wire.Status(is_off=False, percent=100)
OFF = wire.Status(is_off=True, percent=None)


# The recorded machine: API v1.4.0, three boards.


def test_the_recorded_machine_says_who_it_is(captures: Path) -> None:
    version = who.version_of(recorded(captures, "get_version"))
    assert (version.api, version.firmware) == ("1.4.0", "20210322.22.REL")
    assert (version.is_api_v1, version.is_api_v2, version.is_api_v3) == (True, False, False)
    owner = who.owner_in(recorded(captures, "summary").row("SUMMARY"))
    assert (owner.mac, owner.serial, owner.has_mac) == ("c4:08:28:00:a4:19", "", True)
    assert len(who.signs_of(version, owner, "")) == 1


def test_the_recorded_boards_have_their_hashrates_in_terahashes(captures: Path) -> None:
    boards = wire.boards_of(recorded(captures, "devs"), is_off=False)
    assert [one.board for one in boards] == [0, 1, 2]
    assert [one.hashrate_hs for one in boards] == pytest.approx(
        [22103789.84e6, 22719799.79e6, 22554737.92e6]
    )
    assert [one.temperature_c for one in boards] == [70.0, 69.5, 71.5]
    assert boards[0].serial == "H5M14S69129A17K10095"
    assert not any(one.is_ramping for one in boards)


def test_the_recorded_summary_is_a_hashing_machine(captures: Path) -> None:
    summary = recorded(captures, "summary").row("SUMMARY")
    status = wire.status_of(recorded(captures, "status"))
    boards = wire.boards_of(recorded(captures, "devs"), is_off=False)
    assert status == wire.Status(is_off=False, percent=None)
    assert wire.nameplate_of(summary) == 68796e9
    hashrate_hs = wire.require_believable(boards, summary, 68796e9)
    assert hashrate_hs == pytest.approx(67378327.55e6)
    assert wire.activity_of(summary, status, boards, hashrate_hs) is Activity.HASHING
    assert wire.power_limit_of(summary) == 3500.0
    assert wire.fan_speeds_of(summary) == (6450, 6480)
    assert wire.uptime_of(summary) == 10792
    assert wire.faults_told(None, summary) == ()
    assert not wire.is_fast_boot(summary)
    assert not wire.is_flat(recorded(captures, "summary"))


def test_the_recorded_power_is_the_firmwares_figure(captures: Path) -> None:
    supply = wire.supply_of(recorded(captures, "get_psu"))
    summary = recorded(captures, "summary").row("SUMMARY")
    estimate = (3417.0, PowerProvenance.FIRMWARE_ESTIMATE)
    assert wire.power_of(summary, supply, None) == estimate


def test_the_recorded_faults_have_the_vendors_codes(captures: Path) -> None:
    summary = recorded(captures, "summary_with_errors").row("SUMMARY")
    found = wire.faults_told(None, summary)
    assert [fault.code for fault in found] == ["110", "600"]
    assert found[0].words == "A fan has failed."


def test_the_recorded_pools_are_all_there(captures: Path) -> None:
    pools = wire.pools_of(recorded(captures, "pools"))
    assert [(pool.slot, pool.is_active, pool.is_alive) for pool in pools] == [
        (1, True, True),
        (2, False, True),
        (3, False, True),
    ]
    assert (pools[0].url, pools[0].user) == ("stratum+tcp://btc.example.pool:3333", "asic-rs.test")
    assert (pools[0].accepted, pools[0].rejected) == (2338, 0)


# What it does.


@pytest.mark.parametrize(
    ("message", "is_off", "percent"),
    [
        ({"mineroff": "false", "power_pct": "80"}, False, 80),
        ({"mineroff": "true", "power_pct": 100}, True, 100),
        ({"mineroff": False, "power_pct": "0"}, False, 100),
        ({"mineroff": "false", "power_pct": ""}, False, None),
        ({"btmineroff": "true"}, True, None),
    ],
)
def test_status_tells_sleep_and_percent(
    message: dict[str, Any], is_off: bool, percent: int | None
) -> None:
    assert wire.status_of(flat(message)) == wire.Status(is_off=is_off, percent=percent)


@pytest.mark.parametrize(
    "message",
    [{}, {"mineroff": "maybe"}, {"mineroff": []}, {"mineroff": "false", "power_pct": "250"}, "ok"],
)
def test_a_status_that_says_neither_is_a_bad_reply(message: object) -> None:
    with pytest.raises(BadReplyError):
        wire.status_of(flat(message))


def test_a_stopped_machine_keeps_its_boards() -> None:
    boards = wire.boards_of(listed("DEVS", board(1)), is_off=True, count=3)
    assert [one.board for one in boards] == [0, 1, 2]
    assert [one.hashrate_hs for one in boards] == [0.0, 0.0, 0.0]
    assert len(wire.boards_of(None, is_off=True, count=3)) == 3
    assert wire.boards_of(None, is_off=True) == ()


def test_a_running_machine_has_the_boards_that_it_lists() -> None:
    devs = listed("DEVS", board(2, Upfreq_Complete=0), {"ASC": 0, "MHS av": 5e6}, {"ID": 1} | RATE)
    boards = wire.boards_of(devs, is_off=False, count=4)
    assert [(one.board, one.hashrate_hs, one.is_ramping) for one in boards] == [
        (0, 5e12, False),
        (1, 7e12, False),
        (2, 39e12, True),
    ]
    assert boards[0].temperature_c is None
    assert boards[0].serial is None


def test_the_mean_of_one_minute_goes_before_that_of_five() -> None:
    devs = listed("DEVS", board(0) | RATE)
    assert wire.boards_of(devs, is_off=False)[0].hashrate_hs == 7e12


RATE = {"MHS 1m": "7000000.0", "MHS av": 1}


@pytest.mark.parametrize(
    "rows",
    [
        [board(0), board(0)],
        [board(16)],
        [board(-1)],
        [board(0, HS_RT=-1.0)],
        [{"Slot": 0}],
        [{"HS RT": 5.0}],
    ],
)
def test_boards_that_cannot_be_are_a_bad_reply(rows: list[Any]) -> None:
    with pytest.raises(BadReplyError):
        wire.boards_of(listed("DEVS", *rows), is_off=False)


def test_a_hashrate_in_another_unit_is_not_believed() -> None:
    boards = wire.boards_of(listed("DEVS", board(0), board(1), board(2)), is_off=False)
    assert wire.require_believable(boards, row(), 118e12) == pytest.approx(117e12)
    assert wire.require_believable(boards, row(), None) == pytest.approx(117e12)
    with pytest.raises(BadReplyError, match="another unit"):
        wire.require_believable(boards, row(), 60e12)
    in_terahashes = wire.boards_of(listed("DEVS", board(0, HS_RT=170.62)), is_off=False)
    with pytest.raises(BadReplyError, match="boards next to nothing"):
        wire.require_believable(in_terahashes, row(), 118e12)
    still = wire.boards_of(listed("DEVS", board(0, HS_RT=0)), is_off=False)
    assert wire.require_believable(still, row(), 118e12) == 0.0


ACTIVITIES: list[tuple[Row | None, wire.Status, int, float, Activity]] = [
    (row(), OFF, 1, 1.0, Activity.SLEEPING),
    (None, OFF, 1, 0.0, Activity.SLEEPING),
    (row(), STATUS, 0, 1.0, Activity.RAMPING),
    (row(Hash_Stable=False), STATUS, 1, 0.0, Activity.RAMPING),
    (row(Hash_Stable="false"), STATUS, 1, 1.0, Activity.HASHING),
    (row(Hash_Stable="true"), STATUS, 1, 0.0, Activity.STOPPED),
    (row(), STATUS, 1, 0.0, Activity.STOPPED),
    (row(Error_Code_Count=1, Error_Code_0=541), STATUS, 1, 0.0, Activity.FAULT),
]


@pytest.mark.parametrize(("summary", "status", "tuned", "hashrate_hs", "expected"), ACTIVITIES)
def test_the_strongest_sign_says_what_it_does(
    summary: Row | None, status: wire.Status, tuned: int, hashrate_hs: float, expected: Activity
) -> None:
    boards = wire.boards_of(listed("DEVS", board(0, Upfreq_Complete=tuned)), is_off=False)
    assert wire.activity_of(summary, status, boards, hashrate_hs) is expected


POWERS: list[tuple[float | None, Any, float | None, float | None, PowerProvenance]] = [
    (3300, {"pin": "3351"}, 3276.0, 3351.0, PowerProvenance.METERED_PSU),
    (3300, {"pin": 3351}, None, 3351.0, PowerProvenance.METERED_PSU),
    (3300, {"pin": "33510"}, 3276.0, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (3300, {"pin": "33510"}, None, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (3300, {"pin": "13"}, 3276.0, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (3300, {"pin": "0"}, 3276.0, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (3300, {"pin": ""}, 3276.0, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (3300, {}, 3276.0, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (3300, None, 3276.0, 3300.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (0, {"pin": "25"}, 3276.0, 25.0, PowerProvenance.METERED_PSU),
    (0, {"pin": "8000"}, None, 0.0, PowerProvenance.FIRMWARE_ESTIMATE),
    (0, {"pin": "3300"}, 3276.0, 3300.0, PowerProvenance.METERED_PSU),
    (None, {"pin": "25"}, None, 25.0, PowerProvenance.METERED_PSU),
    (None, {}, None, None, PowerProvenance.ABSENT),
    (None, None, 3276.0, None, PowerProvenance.ABSENT),
]


@pytest.mark.parametrize(("told_w", "psu", "nameplate_w", "expected_w", "provenance"), POWERS)
def test_the_power_supply_is_believed_where_it_can_be_watts(
    told_w: float | None,
    psu: Any,
    nameplate_w: float | None,
    expected_w: float | None,
    provenance: PowerProvenance,
) -> None:
    summary = None if told_w is None else row(Power=told_w)
    supply = None if psu is None else wire.supply_of(flat(psu))
    assert wire.power_of(summary, supply, nameplate_w) == (expected_w, provenance)


def test_power_of_another_unit_is_not_believed() -> None:
    with pytest.raises(BadReplyError, match="33000 W, more than"):
        wire.power_of(row(Power=33_000), None, 3276.0)
    with pytest.raises(BadReplyError, match="negative"):
        wire.power_of(row(Power=-1), None, None)


def test_percents_need_fast_boot_and_an_answer_that_tells_them() -> None:
    fast = row(Btminer_Fast_Boot="enable", Power_Limit=3000)
    offered = wire.profiles_at(fast, STATUS, 3276.0, 118e12)
    assert (offered[0].name, offered[-1].name, offered[-1].power_w) == ("60%", "100%", 3000.0)
    slow = row(Btminer_Fast_Boot="disable", Power_Limit=0)
    silent = wire.Status(is_off=False, percent=None)
    for summary, status in ((slow, STATUS), (row(), STATUS), (fast, silent), (None, OFF)):
        names = [one.name for one in wire.profiles_at(summary, status, 3276.0, 118e12)]
        assert names == ["100%"]
    assert wire.profiles_at(None, OFF, None, 118e12) == ()
    assert wire.profiles_at(fast, STATUS, 3276.0, None) == ()


def test_pools_have_their_shares() -> None:
    told = {"URL": "stratum+tcp://a.example:1", "User": "w", "Status": "Dead", "Accepted": 5}
    answer = listed("POOLS", told | {"POOL": 1, "Rejected": 2, "Stratum Active": "true"})
    (pool,) = wire.pools_of(answer)
    assert (pool.slot, pool.accepted, pool.rejected) == (1, 5, 2)
    assert (pool.is_active, pool.is_alive, pool.user) == (True, False, "w")


def test_what_a_firmware_leaves_out_is_none() -> None:
    assert wire.nameplate_of(row()) is None
    assert wire.nameplate_of(row(Factory_GHS=0)) is None
    assert wire.power_limit_of(row(Power_Limit=0)) is None
    assert wire.uptime_of(row()) is None
    assert wire.uptime_of(row(Elapsed=5.6)) == 6
    assert wire.fan_speeds_of(row()) == ()
    assert wire.faults_told(None, None) == ()


# Its faults, and how its JSON is broken.


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], []),
        ([{"329": "2022-01-17 11:28:11"}, {"2010": "x"}], ["329", "2010"]),
        (["110", 600, "x", "123456789"], ["110", "600"]),
        ([{"reason": "Slot1 not found", "541": "x"}], ["541"]),
    ],
)
def test_faults_are_listed_by_code(codes: list[Any], expected: list[str]) -> None:
    found = wire.faults_told(flat({"error_code": codes}), None)
    assert [fault.code for fault in found] == expected


@pytest.mark.parametrize("codes", [None, "110", {"110": "x"}, ["1"] * 257])
def test_faults_that_are_no_list_are_a_bad_reply(codes: object) -> None:
    with pytest.raises(BadReplyError, match="list of faults"):
        wire.faults_of(flat({"error_code": codes}))


ODD = b'{"STATUS":"S","Code":131,"Msg":{"error_code":["110":"2022-01-17","600":"2022"]}}'
LINES = b'{"STATUS":"S","Code":131,\r\n"Msg":{"api_ver":"2.0.5","fw_ver":"20230714.\n15.Rel",}}\0'


def test_a_list_of_faults_written_like_a_table_is_read() -> None:
    assert [fault.code for fault in wire.faults_of(wire.decode_read(ODD))] == ["110", "600"]


def test_line_feeds_inside_of_texts_are_left_out() -> None:
    assert who.version_of(wire.decode_read(LINES)).firmware == "20230714.15.Rel"


def test_many_unfinished_lists_take_no_time() -> None:
    with pytest.raises(BadReplyError):
        wire.decode_read(b'{"error_code":["1":' * 40_000)


def test_a_machine_without_its_mining_program_says_so() -> None:
    line = b"Socket connect failed: Connection refused\n"
    with pytest.raises(BadReplyError, match="its mining program is not") as caught:
        wire.decode_read(line)
    assert wire.is_without_miner(caught.value.reply)
    assert not wire.is_without_miner(b"")


def test_firmware_with_api_v3_is_known_by_its_flat_summary() -> None:
    assert wire.is_flat(flat({"MHS av": 692030656, "Power": 9763.26}))
    assert not wire.is_flat(flat("Summary"))
    assert not wire.is_flat(listed("SUMMARY", {}))


def test_a_refusal_is_one() -> None:
    refused = wire.decode_read(b'{"STATUS":"E","When":1,"Code":14,"Msg":"invalid cmd"}')
    with pytest.raises(RefusedError, match="invalid cmd"):
        refused.accepted("edevs")


def test_a_joined_answer_has_each_of_its_parts_or_is_none() -> None:
    part = {"STATUS": [{"STATUS": "S", "Msg": "x"}]}
    whole = {"summary": [part | {"SUMMARY": [{}]}], "edevs": [part | {"DEVS": []}], "id": 1}
    summary, devs = wire.joined_of(wire.decode_read(json.dumps(whole).encode()), "summary+edevs")
    assert (len(summary.rows("SUMMARY")), devs.rows("DEVS")) == (1, ())
    with pytest.raises(RefusedError, match=r"summary\+edevs"):
        wire.joined_of(_refused(), "summary+edevs")
    with pytest.raises(BadReplyError, match="no STATUS"):
        wire.joined_of(wire.decode_read(b'{"summary":[]}'), "summary+edevs")
    with pytest.raises(BadReplyError, match="leaves something out"):
        wire.joined_of(flat("ok"), "summary+edevs")
    refused = whole | {"edevs": [{"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "no"}]}]}
    with pytest.raises(RefusedError, match="edevs"):
        wire.joined_of(wire.decode_read(json.dumps(refused).encode()), "summary+edevs")


def _refused() -> Answer:
    return wire.decode_read(b'{"STATUS":"E","When":1,"Code":14,"Msg":"invalid cmd"}')


@pytest.mark.parametrize(("message", "has_one"), [({"pin": "3300"}, True), ({"pin": ""}, False)])
def test_a_supply_with_a_wattmeter_tells_its_input(message: dict[str, str], has_one: bool) -> None:
    assert wire.has_wattmeter(wire.supply_of(flat(message))) is has_one
