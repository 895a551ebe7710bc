"""What Avalons say: recorded answers as a person reads them, and every branch of the decoders."""

import json
from pathlib import Path

import pytest

from drivers.errors import BadReplyError, RefusedError, UnsupportedError
from drivers.readings import Activity, PowerProvenance
from drivers.wire import avalon
from drivers.wire.avalon_reply import (
    accepted_write,
    clock_of,
    decode,
    encode_question,
    is_unknown_command,
)
from drivers.wire.avalon_report import Report, Version, is_report_of, report_of, version_of
from drivers.wire.cgminer import Answer

WORKING = "SYSTEMSTATU[Work: In Work, Hash Board: 3 ]"


def recorded(captures: Path, command: str) -> Answer:
    return decode((captures / "avalon-a" / f"{command}.json").read_bytes())


def told(text: str) -> Report:
    """A report of the A series as written here."""
    row = {"STATS": 0, "ID": "AVA100", "MM ID0": text}
    return report_of(decode(json.dumps({"STATUS": [], "STATS": [row]}).encode()))


def test_the_recorded_a1246_hashes_and_draws_what_stands_there(captures: Path) -> None:
    report = report_of(recorded(captures, "avalon_a_stats").accepted("stats"))
    hashrate_hs = avalon.hashrate_of(report)
    assert hashrate_hs == pytest.approx(81.07268e12)
    assert avalon.activity_of(report, hashrate_hs) is Activity.HASHING
    assert avalon.board_count_of(report) == 3
    assert avalon.power_of(report, hashrate_hs) == (3504.0, PowerProvenance.FIRMWARE_ESTIMATE)
    assert avalon.power_limit_of(report) == 3200.0
    assert avalon.fan_speeds_of(report) == (5344, 5392, 5349, 5309)
    assert avalon.uptime_of(report) == 24684
    assert avalon.faults_of(report) == ()
    assert report.text("DNA") == "02010000cbd2fd6d"
    boards = avalon.boards_of(report, hashrate_hs, Activity.HASHING)
    assert [board.temperature_c for board in boards] == [77.0, 77.0, 76.0]
    # Averages of 26.9, 26.0 and 26.7 TH/s, 79.66 in all, as shares of the present 81.07.
    assert boards[1].hashrate_hs == pytest.approx(26.02506e12 * 81.07268 / 79.65663, rel=1e-6)
    assert sum(board.hashrate_hs for board in boards) == pytest.approx(hashrate_hs)


def test_the_recorded_q_sleeps_though_its_averages_do_not(captures: Path) -> None:
    report = report_of(recorded(captures, "litestats").accepted("litestats"))
    assert report.number("GHSavg") == 44350.83
    assert avalon.hashrate_of(report) == 0.0
    assert avalon.activity_of(report, 0.0) is Activity.SLEEPING
    assert avalon.power_of(report, 0.0) == (0.0, PowerProvenance.FIRMWARE_ESTIMATE)
    assert avalon.power_limit_of(report) == 800.0
    assert avalon.fan_speeds_of(report) == (0, 0, 0, 0)
    assert avalon.uptime_of(report) == 37977
    (board,) = avalon.boards_of(report, 0.0, Activity.SLEEPING)
    assert (board.hashrate_hs, board.temperature_c) == (0.0, None)
    version = version_of(recorded(captures, "version"))
    assert avalon.profile_of(report, version) == "eco"


def test_the_recorded_version_names_a_q(captures: Path) -> None:
    version = version_of(recorded(captures, "version").accepted("version"))
    assert version == Version(
        product="Avalon Q",
        model="Q",
        mac="aa:bb:cc:dd:ee:ff",
        dna="01234567890123456789012345678901",
        firmware="25052801_14a19a2",
    )
    assert (version.is_avalon, version.name, version.bin_hashrate_hs) == (True, "Avalon Q", None)
    assert clock_of(recorded(captures, "version")) == 1753432244
    assert [profile.name for profile in avalon.profiles_of(version)] == ["eco", "standard", "super"]


def test_the_recorded_summary_and_pool_are_read(captures: Path) -> None:
    assert avalon.summary_hashrate_of(recorded(captures, "summary").accepted("summary")) == 0.0
    (pool,) = avalon.pools_of(recorded(captures, "pools").accepted("pools"))
    assert (pool.slot, pool.url) == (0, "stratum+tcp://pool.example.com:4444")
    assert (pool.user, pool.accepted, pool.rejected) == ("worker1", 890, 2)
    assert (pool.is_active, pool.is_alive) == (True, True)


@pytest.mark.parametrize("name", ["ascset_softoff", "ascset_softon", "ascset_workmode"])
def test_the_recorded_answers_to_writes_are_a_yes(captures: Path, name: str) -> None:
    accepted_write(recorded(captures, name), name.removeprefix("ascset_"))


def test_every_recording_of_the_family_is_read_by_a_test_above(captures: Path) -> None:
    names = {path.stem for path in (captures / "avalon-a").iterdir()}
    reads = {"avalon_a_stats", "litestats", "version", "summary", "pools"}
    assert names == reads | {"ascset_softoff", "ascset_softon", "ascset_workmode"}


def test_questions_are_json_without_a_line_feed() -> None:
    assert encode_question("version") == b'{"command":"version"}'
    asked = encode_question("ascset", "0,softoff,1:5")
    assert asked == b'{"command":"ascset","parameter":"0,softoff,1:5"}'


TEXT = (
    b"STATUS=S,When=986,Code=70,Msg=CGMiner stats,Description=cgminer 4.11.1|"
    b"STATS=0,ID=AVA100,MM ID0=Ver[1366-130-24] SYSTEMSTATU[Work: In Work, Hash Board: 3 ] "
    b"DNA[0201] GHSspd[130000.5],MM Count=1|STATS=1,ID=POOL0,Elapsed=9|\0"
)


def test_the_text_shape_is_the_same_report_with_its_commas() -> None:
    answer = decode(TEXT).accepted("stats")
    report = report_of(answer)
    assert clock_of(answer) == 986
    assert avalon.board_count_of(report) == 3
    assert avalon.hashrate_of(report) == pytest.approx(130.0005e12)
    assert len(answer.rows("STATS")) == 2


def test_text_names_its_sections_by_their_first_key() -> None:
    answer = decode(
        b"STATUS=S,When=1,Code=7,Msg=2 Pool(s),Description=x|POOL=0,URL=stratum+tcp://a,b:1,"
        b"User=w=1,Status=Alive,Stratum Active=true,Accepted=8,Rejected=0|POOL=1,URL=u,User=,"
        b"Status=Dead,Stratum Active=false,Accepted=0,Rejected=1|\0"
    )
    first, second = avalon.pools_of(answer)
    assert (first.url, first.user, first.is_active) == ("stratum+tcp://a,b:1", "w=1", True)
    assert (second.slot, second.is_alive, second.rejected) == (1, False, 1)
    named = decode(b"STATUS=S,When=1,Code=22,Msg=v|VERSION,PROD=AvalonMiner 1047,MODEL=1047|")
    version = version_of(named)
    assert (version.name, version.mac, version.dna, version.firmware) == (
        "Avalon A1047",
        "",
        "",
        "",
    )
    assert avalon.summary_hashrate_of(decode(b"STATUS=S,Code=1|SUMMARY,MHS 1m=5.5|")) == 5.5e6


@pytest.mark.parametrize(
    "reply",
    [
        TEXT[:-2],
        b"STATUS=S,When=9",
        b"STATUS=S,When=986,Code=70|STATS=0,MM ID0=Ver[1366",
        b"STATUS=S|x,",
        b"",
        b"\0",
        b"<html>",
        b'{"STATUS":[{"STATUS":"S"',
        b"STATUS=" + b"[" * (1 << 20) + b"|",
        b"STATUS=S" + b"|" * 1002,
    ],
)
def test_what_is_cut_off_or_no_answer_is_a_bad_reply(reply: bytes) -> None:
    with pytest.raises(BadReplyError):
        decode(reply)


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ("STATUS=S,Code=119,Msg=ASC 0 set OK", None, ""),
        ("STATUS=I,Code=118,Msg=ASC 0 set info: success softoff:5", None, ""),
        ("STATUS=I,Code=118,Msg=ASC 0 set info: LED[0]", RefusedError, "LED"),
        ("STATUS=E,Code=120,Msg=ASC 0 set failed: not now", RefusedError, "not now"),
        ("STATUS=E,Code=120", RefusedError, "no reason given"),
        ("STATUS=E,Code=120,Msg=failed: Unknown option: softoff", UnsupportedError, "not know"),
        ("STATUS=S,Code=22,Msg=CGMiner versions", BadReplyError, "not one to softoff"),
        ("STATUS=S,Code=many,Msg=x", BadReplyError, "not one to softoff"),
    ],
)
def test_a_write_is_accepted_only_where_the_machine_says_so(
    words: str, error: type[Exception] | None, match: str
) -> None:
    answer = decode(f"{words}|".encode())
    if error is None:
        accepted_write(answer, "softoff")
        return
    with pytest.raises(error, match=match):
        accepted_write(answer, "softoff")


def test_an_answer_without_a_verdict_is_no_yes() -> None:
    with pytest.raises(BadReplyError, match="no verdict"):
        accepted_write(decode(b'{"id":1}'), "softoff")
    assert not is_unknown_command(decode(b'{"id":1}'))
    assert is_unknown_command(decode(b"STATUS=E,Code=14,Msg=Invalid command|"))
    assert not is_unknown_command(decode(b"STATUS=E,Code=71,Msg=Missing parameter|"))


@pytest.mark.parametrize("when", ["When=-1,", "When=x,", ""])
def test_a_machine_without_a_clock_is_a_bad_reply(when: str) -> None:
    with pytest.raises(BadReplyError):
        clock_of(decode(f"STATUS=S,{when}Code=22|".encode()))


@pytest.mark.parametrize(
    ("words", "activity"),
    [
        (f"{WORKING} GHSspd[1.0]", Activity.HASHING),
        (f"{WORKING} GHSspd[0.0] ECHU[0 0 0]", Activity.RAMPING),
        (f"{WORKING} GHSspd[0.0] ECHU[0 513 0]", Activity.FAULT),
        ("SYSTEMSTATU[Work: In Init, Hash Board: 3]", Activity.RAMPING),
        ("SYSTEMSTATU[Work: In Fault, Hash Board: 0]", Activity.FAULT),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3] SoftOFF[5]", Activity.SLEEPING),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3] SoftOFF[0]", Activity.STOPPED),
        ("SYSTEMSTATU[Work: In Idle, Hash Board: 3]", Activity.STOPPED),
    ],
)
def test_activity_follows_what_the_machine_says_of_its_work(words: str, activity: Activity) -> None:
    report = told(words)
    assert avalon.activity_of(report, avalon.hashrate_of(report) or 0.0) is activity


@pytest.mark.parametrize("state", ["Work: In Mystery, Hash Board: 3", "Work: In Work", "", "x"])
def test_an_unknown_state_is_a_bad_reply(state: str) -> None:
    with pytest.raises(BadReplyError):
        avalon.activity_of(told(f"SYSTEMSTATU[{state}]"), 1.0)


def test_more_boards_than_a_machine_can_have_are_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="how many boards"):
        avalon.board_count_of(told("SYSTEMSTATU[Work: In Work, Hash Board: 17]"))


ESTIMATE, LIMIT = PowerProvenance.FIRMWARE_ESTIMATE, PowerProvenance.LIMIT_ONLY


@pytest.mark.parametrize(
    ("words", "hashrate_hs", "power"),
    [
        ("WALLPOWER[3731] PS[0 1209 1187 297 3526 1188 3731]", 1e12, (3731.0, ESTIMATE)),
        ("PS[0 1209 1187 297 3526 1188 3731] MPO[3515]", 1e12, (3731.0, ESTIMATE)),
        ("PS[0 1212 1315 174 2000 1320]", 1e12, (2160.0, ESTIMATE)),
        ("PS[0 1212 1315 174 2000 1320 3200]", 1e12, (2160.0, ESTIMATE)),
        ("PS[0 1197 0 0 0 1393 11]", 0.0, (0.0, ESTIMATE)),
        ("PS[0 0 27541 4 0 3756 133] MPO[133]", 6e12, (None, LIMIT)),
        ("PS[0 0 27541]", 0.0, (None, PowerProvenance.ABSENT)),
        ("MPO[800]", 0.0, (None, LIMIT)),
        ("MPO[0]", 0.0, (None, PowerProvenance.ABSENT)),
    ],
)
def test_watts_are_the_walls_then_the_supplys_and_never_the_set_point(
    words: str, hashrate_hs: float, power: tuple[float | None, PowerProvenance]
) -> None:
    assert avalon.power_of(told(words), hashrate_hs) == power


@pytest.mark.parametrize("words", ["WALLPOWER[-1]", "PS[0 0 0 0 -5]", "WALLPOWER[lots]"])
def test_negative_watts_and_words_are_bad_replies(words: str) -> None:
    with pytest.raises(BadReplyError):
        avalon.power_of(told(words), 0.0)


def test_watts_and_hashes_beyond_the_nameplate_are_not_believed() -> None:
    assert avalon.believed_power_w(4875.0, 3250.0) == 4875.0
    assert avalon.believed_power_w(1e9, None) == 1e9
    assert avalon.believed_power_w(None, 3250.0) is None
    with pytest.raises(BadReplyError, match="nameplate"):
        avalon.believed_power_w(4876.0, 3250.0)
    assert avalon.believed_hashrate_hs(195e12, 130e12) == 195e12
    assert avalon.believed_hashrate_hs(1e18, None) == 1e18
    with pytest.raises(BadReplyError, match="nameplate"):
        avalon.believed_hashrate_hs(196e12, 130e12)


def test_boards_share_what_is_hashed_and_a_missing_one_has_none() -> None:
    def rates(words: str, count: int) -> list[float]:
        report = told(f"SYSTEMSTATU[Work: In Work, Hash Board: {count}] {words}")
        return [one.hashrate_hs for one in avalon.boards_of(report, 90.0, Activity.RAMPING)]

    assert rates("MGHS[1 2 0]", 3) == [30.0, 60.0, 0.0]
    assert rates("MGHS[1 2]", 3) == [30.0, 60.0, 0.0]
    assert rates("MGHS[0 0 0]", 3) == [30.0, 30.0, 30.0]
    assert rates("", 2) == [45.0, 45.0]
    assert rates("", 0) == []
    with pytest.raises(BadReplyError, match="hashboard's hashrate is negative"):
        rates("MGHS[1 -2 5]", 3)


@pytest.mark.parametrize(
    ("words", "warmth"),
    [("TMax[77]", 77.0), ("TMax[0]", None), ("MTmax[-273]", None), ("MTmax[61] TMax[70]", 61.0)],
)
def test_the_temperature_of_a_single_board(words: str, warmth: float | None) -> None:
    report = told(f"SYSTEMSTATU[Work: In Work, Hash Board: 1] {words}")
    (board,) = avalon.boards_of(report, 1.0, Activity.RAMPING)
    assert (board.temperature_c, board.is_ramping) == (warmth, True)


def test_faults_have_their_key_and_number() -> None:
    report = told("ECHU[0 512 513] ECMM[1] CRC[3 0 0] PS[9 0 0 0 0] FanErr[2]")
    faults = {fault.code: fault.words for fault in avalon.faults_of(report)}
    assert list(faults) == ["ECHU 512", "ECHU 513", "CRC 3", "ECMM 1", "PS 9", "FanErr 2"]
    assert "one that kwota does not know" in faults["ECHU 512"]
    assert "hashboard 0 had 3 errors" in faults["CRC 3"]


def test_a_rate_and_a_limit_that_the_firmware_has_not_are_none() -> None:
    report = told(WORKING)
    assert avalon.hashrate_of(report) is None
    assert avalon.power_limit_of(report) is None
    assert avalon.uptime_of(report) is None
    assert avalon.fan_speeds_of(report) == ()
    with pytest.raises(BadReplyError, match="hashrate is negative"):
        avalon.summary_hashrate_of(decode(b"STATUS=S,Code=1|SUMMARY,MHS 5s=-1|"))
    with pytest.raises(BadReplyError, match="MHS 5s"):
        avalon.summary_hashrate_of(decode(b"STATUS=S,Code=1|SUMMARY,Elapsed=1|"))


Q = Version(product="Avalon Q", model="Q", mac="", dna="02", firmware="")
A = Version(product="AvalonMiner 1366-130", model="1366-130", mac="", dna="02", firmware="")


def test_work_modes_are_those_of_the_q_only() -> None:
    assert avalon.profiles_of(A) == ()
    assert avalon.profile_of(told("WORKMODE[1]"), A) is None
    assert avalon.profile_of(told(WORKING), Q) is None
    assert avalon.profile_of(told("WORKMODE[2]"), Q) == "super"
    with pytest.raises(BadReplyError, match="work mode"):
        avalon.profile_of(told("WORKMODE[7]"), Q)
    assert (avalon.mode_number("eco"), avalon.mode_number("turbo")) == (0, None)


@pytest.mark.parametrize(
    ("model", "name", "ths"),
    [
        ("1366-130", "Avalon A1366", 130.0),
        ("15-194", "Avalon A1566", 194.0),
        ("1566HA-190", "Avalon A1566", 190.0),
        ("1047", "Avalon A1047", None),
        ("Nano3s", "Avalon Nano3s", None),
    ],
)
def test_the_model_names_its_series_and_its_bin(model: str, name: str, ths: float | None) -> None:
    version = Version(product="Avalon", model=model, mac="", dna="", firmware="")
    assert version.name == name
    assert version.bin_hashrate_hs == (None if ths is None else ths * 1e12)


def test_a_report_belongs_to_a_version_by_model_and_dna() -> None:
    assert is_report_of(told("Ver[1366-130-24] DNA[02]"), A)
    assert not is_report_of(told("Ver[1366-130-24] DNA[03]"), A)
    assert not is_report_of(told("Ver[1366-130-24]"), A)
    assert not is_report_of(told("Ver[1466-150-24] DNA[02]"), A)
    nameless = Version(product="Avalon", model="", mac="", dna="02", firmware="")
    assert not is_report_of(told("Ver[-24] DNA[02]"), nameless)


def test_a_controller_with_several_machines_is_not_supported() -> None:
    for count, error in ((2, UnsupportedError), ("x", BadReplyError)):
        row = {"MM ID0": WORKING, "MM Count": count}
        with pytest.raises(error):
            report_of(decode(json.dumps({"STATS": [row]}).encode()))


@pytest.mark.parametrize("rows", [[], [{"ID": "POOL0"}], [{"MM ID0": "a"}, {"MM ID0": "b"}]])
def test_a_report_that_is_missing_or_twice_is_a_bad_reply(rows: list[dict[str, str]]) -> None:
    with pytest.raises(BadReplyError, match="no report"):
        report_of(decode(json.dumps({"STATS": rows}).encode()))


def test_a_value_told_twice_is_a_bad_reply_unless_it_is_the_same() -> None:
    assert told("PS[1] PS[1]").numbers("PS") == (1.0,)
    for text in ("PS[1] PS[2]", "Ver[1] PS[1 2"):
        with pytest.raises(BadReplyError, match="PS has no end or stands twice"):
            told(text)


def test_numbers_may_have_a_percent_sign_and_nothing_else() -> None:
    report = told("FanR[67%] Fan1[x] GHSspd[nan] ECHU[0 inf]")
    assert report.number("FanR") == 67.0
    for key in ("Fan1", "GHSspd", "Missing"):
        with pytest.raises(BadReplyError):
            report.number(key)
    with pytest.raises(BadReplyError):
        report.numbers("ECHU")


@pytest.mark.parametrize("mac", ["", "AABBCCDDEE", "xx:bb:cc:dd:ee:ff"])
def test_a_mac_that_is_none_is_left_empty(mac: str) -> None:
    row = {"PROD": "Avalon", "MODEL": "Q", "MAC": mac, "VERSION": "1"}
    version = version_of(decode(json.dumps({"VERSION": [row]}).encode()))
    assert (version.mac, version.firmware) == ("", "1")
