"""What API v3 answers mean: a recorded M50, a made-up M60S, and anything else that may arrive."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import BadReplyError
from drivers.readings import Activity, PowerProvenance
from drivers.wire import whatsminer_v3 as wire
from drivers.wire.whatsminer_info import DeviceInfo, fault_of, has_mac
from drivers.wire.whatsminer_info import info_of as decoded
from drivers.wire.whatsminer_reply import Reply, decode_reply

ANSWERS = Path(__file__).parents[1] / "answers" / "whatsminer-v3-m60s"
INFO = json.loads((ANSWERS / "get.device.info.json").read_text("utf-8"))
STATUS = json.loads((ANSWERS / "get.miner.status.json").read_text("utf-8"))


def reply_of(command: str, message: Any, **changes: Any) -> Reply:
    document = {"code": 0, "when": 1_761_111_204, "msg": message, "desc": command} | changes
    return decode_reply(json.dumps(document).encode(), command)


def info_of(**changes: Any) -> DeviceInfo:
    """The made-up machine; each change goes into the table of its name."""
    message = INFO | {
        name: INFO[name] | part if isinstance(part, dict) else part
        for name, part in changes.items()
    }
    return decoded(reply_of("get.device.info", message))


def everything_of(info: DeviceInfo) -> list[object]:
    names = [name for name, kind in vars(DeviceInfo).items() if isinstance(kind, property)]
    return [getattr(info, name) for name in (*names, "mac", "board_count")]


def status_of(*parts: str, **summary: Any) -> wire.MinerStatus:
    message = {name: STATUS[name] for name in parts or STATUS}
    message["summary"] = {
        key: value for key, value in (STATUS["summary"] | summary).items() if value is not None
    }
    return wire.status_of(reply_of("get.miner.status", message))


def test_the_recorded_m50_is_read_as_a_person_reads_it(captures: Path) -> None:
    raw = (captures / "whatsminer-v3-m50" / "get.device.info.json").read_bytes()
    info = decoded(decode_reply(raw, "get.device.info").accepted("get.device.info"))
    assert (info.model, info.type_name, info.api) == ("WhatsMiner M50", "M50_VH84", "3.0.2")
    assert (info.firmware, info.platform) == ("20250915.16.Rel2", "H616")
    assert (info.board_count, info.clock_s, info.faults) == (3, 1_761_111_204, ())
    assert info.input_power_w == 3573.0
    assert info.is_working
    assert not info.is_fast_boot
    assert info.is_api_v3
    assert not has_mac(info)  # the recording hides it: one sign less, never written to


def test_the_recorded_settings_have_no_random_delay(captures: Path) -> None:
    raw = (captures / "whatsminer-v3-m50" / "get.system.setting.json").read_bytes()
    assert wire.start_delay_of(decode_reply(raw, "get.system.setting")) == 0.0


def test_identity_power_and_clock_come_from_the_device_info() -> None:
    info = info_of()
    assert (info.mac, info.serial, info.salt) == ("02:6b:77:01:00:07", "SN7", "BQ5hoXV9")
    assert info.board_serials == ("HB0", "HB1", "")
    assert info.model == "WhatsMiner M60S"
    assert (info.power_supply_serial, info.input_power_w) == ("PS7", 3420.0)
    assert (info.is_working, info.is_fast_boot, info.is_api_v3) == (True, True, True)
    assert has_mac(info)
    assert not info_of(system={"api": "2.2.2"}).is_api_v3
    assert not info_of(miner={"type": "Antminer"}).is_api_v3
    assert info_of(power={"sn": "", "pin": ""}).input_power_w is None
    assert info_of(power={"sn": ""}).power_supply_serial is None
    assert not info_of(miner={"fast-boot": ""}).is_fast_boot


@pytest.mark.parametrize(
    "changes",
    [
        {"miner": {"board-num": "0"}},
        {"miner": {"board-num": "99"}},
        {"miner": {"working": "perhaps"}},
        {"miner": {"working": 1.0}},
        {"miner": {"type": 5}},
        {"power": {"pin": -1}},
        {"power": {"pin": "many"}},
        {"network": []},
        {"salt": None},
        {"error-code": [5]},
        {"error-code": "none"},
    ],
)
def test_what_a_machine_cannot_be_is_a_bad_reply(changes: dict[str, Any]) -> None:
    with pytest.raises(BadReplyError):
        everything_of(info_of(**changes))


def test_an_answer_without_a_clock_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="clock"):
        everything_of(decoded(reply_of("get.device.info", INFO, when=True)))


def test_boards_are_in_order_of_their_slots_and_in_si_units() -> None:
    boards = wire.boards_of(status_of(), info_of())
    assert [board.board for board in boards] == [0, 1, 2]
    assert [board.hashrate_hs for board in boards] == pytest.approx([61.5e12, 62.5e12, 60e12])
    assert [board.temperature_c for board in boards] == [60.5, 61.0, 79.5]
    assert [board.serial for board in boards] == ["HB0", "HB1", None]
    assert all(board.is_enabled and not board.is_ramping for board in boards)
    assert wire.believed_hashrate_hs(boards, 186e12) == pytest.approx(184e12)
    assert wire.believed_hashrate_hs(boards, None) == pytest.approx(184e12)


def test_a_stopped_machine_still_has_all_its_boards() -> None:
    """The list may be empty in sleep: boards that vanish would look switched off."""
    info = info_of(miner={"working": "false"})
    boards = wire.boards_of(status_of("summary", **{"board-temperature": None}), info)
    assert [(b.board, b.is_enabled, b.hashrate_hs) for b in boards] == [
        (0, True, 0.0),
        (1, True, 0.0),
        (2, True, 0.0),
    ]
    assert [board.temperature_c for board in boards] == [None] * 3


def test_a_board_that_the_machine_does_not_have_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="no board 2"):
        wire.boards_of(status_of(), info_of(miner={"board-num": 2}))


def test_a_hashrate_in_another_unit_is_not_believed() -> None:
    status = status_of()
    with pytest.raises(BadReplyError, match="another unit"):
        wire.believed_hashrate_hs(wire.boards_of(status, info_of()), 0.186e12)


def test_the_nameplate_is_the_factorys_where_the_machine_says_it() -> None:
    assert wire.nameplate_of(status_of()) == pytest.approx(186e12)
    assert wire.nameplate_of(status_of(**{"factory-hash": None})) is None
    assert wire.nameplate_of(status_of(**{"factory-hash": 0})) is None


def test_watts_say_where_they_come_from() -> None:
    metered = (3420.0, PowerProvenance.METERED_PSU)
    told = (3400.0, PowerProvenance.FIRMWARE_ESTIMATE)
    assert wire.power_of(status_of(), info_of()) == metered
    assert wire.power_of(status_of(), info_of(power={"pin": "3420"})) == metered
    assert wire.power_of(status_of(), info_of(power={"pin": ""})) == told
    assert wire.power_of(status_of(), info_of(power={"pin": 0})) == told
    idle = wire.power_of(status_of(**{"power-realtime": 0}), info_of(power={"pin": 0}))
    assert idle == (0.0, PowerProvenance.METERED_PSU)


def test_the_limit_is_absent_while_it_says_nothing() -> None:
    assert wire.power_limit_of(status_of()) == 3600.0
    assert wire.power_limit_of(status_of(**{"power-limit": 0})) is None
    assert wire.power_limit_of(status_of(**{"power-limit": None})) is None
    assert wire.rated_power_w(3600.0, 3441.0) == 3441.0
    assert wire.rated_power_w(3000.0, 3441.0) == 3000.0
    assert wire.rated_power_w(None, None) is None


ACTIVITIES: list[tuple[dict[str, Any], dict[str, Any], float, Activity]] = [
    ({}, {}, 1.0, Activity.HASHING),
    ({}, {"up-freq-finish": None}, 1.0, Activity.HASHING),
    ({}, {"up-freq-finish": 0}, 1.0, Activity.RAMPING),
    ({"miner": {"working": "false"}}, {}, 1.0, Activity.SLEEPING),
    ({}, {}, 0.0, Activity.STOPPED),
    ({"error-code": [{"541": "2026"}]}, {}, 0.0, Activity.FAULT),
    ({"error-code": [{"541": "2026"}]}, {}, 1.0, Activity.HASHING),
]


@pytest.mark.parametrize(("info", "summary", "hashrate_hs", "activity"), ACTIVITIES)
def test_the_activity_is_the_strongest_sign(
    info: dict[str, Any], summary: dict[str, Any], hashrate_hs: float, activity: Activity
) -> None:
    assert wire.activity_of(status_of(**summary), info_of(**info), hashrate_hs) is activity


def test_a_ramping_machine_has_ramping_boards() -> None:
    boards = wire.boards_of(status_of(**{"up-freq-finish": "0"}), info_of())
    assert all(board.is_ramping for board in boards)


@pytest.mark.parametrize(("percent", "name"), [(0, "100%"), ("100", "100%"), (80, "80%")])
def test_the_percent_in_force_is_the_profile(percent: object, name: str) -> None:
    setting = reply_of("get.miner.setting", {"power-percent": percent})
    assert wire.profile_of(setting, info_of()) == name
    assert wire.profile_of(setting, info_of(miner={"working": "false"})) == "100%"


def test_a_percent_that_no_machine_has_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="300 %"):
        wire.profile_of(reply_of("get.miner.setting", {"power-percent": 300}), info_of())


def test_profiles_are_percents_of_the_rated_power_and_lose_some_efficiency() -> None:
    profiles = wire.profiles_of(3441.0, 186e12, is_fast_boot=True)
    assert [(p.name, p.step) for p in profiles][:2] == [("60%", -8), ("65%", -7)]
    assert (profiles[-1].name, profiles[-1].step) == ("100%", 0)
    assert profiles[0].power_w == pytest.approx(0.6 * 3441.0)
    assert profiles[-1].hashrate_hs == 186e12
    joules = [p.power_w / p.hashrate_hs for p in profiles]
    assert joules == sorted(joules, reverse=True)
    assert all(p.is_tuned for p in profiles)


def test_without_fast_boot_only_the_whole_is_offered() -> None:
    (whole,) = wire.profiles_of(3441.0, 186e12, is_fast_boot=False)
    assert whole.name == "100%"
    assert wire.percent_of("80%", is_fast_boot=True) == 80
    assert wire.percent_of("80%", is_fast_boot=False) is None
    assert wire.percent_of("100%", is_fast_boot=False) == 100
    assert wire.percent_of("+1", is_fast_boot=True) is None


def test_pools_have_their_user_and_no_counters() -> None:
    (pool,) = wire.pools_of(status_of())
    assert (pool.slot, pool.url, pool.user) == (0, "stratum+tcp://pool.example:3333", "farm.7")
    assert (pool.is_active, pool.is_alive) == (True, True)
    assert (pool.accepted, pool.rejected) == (None, None)
    assert wire.pools_of(status_of("summary")) == ()


def test_fans_and_uptime_may_be_absent() -> None:
    assert wire.fan_speeds_of(status_of()) == (4980, 5010)
    assert wire.fan_speeds_of(status_of(**{"fan-speed-in": None, "fan-speed-out": None})) == ()
    assert wire.uptime_of(status_of()) == 600
    assert wire.uptime_of(status_of(elapsed=None)) is None


def test_the_longest_random_delay_counts() -> None:
    delays = {"time-randomized": {"start": 5, "stop": "120"}}
    assert wire.start_delay_of(reply_of("get.system.setting", delays)) == 120.0
    assert wire.start_delay_of(reply_of("get.system.setting", {"time-randomized": {}})) == 0.0
    assert wire.start_delay_of(reply_of("get.system.setting", {})) == 0.0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("110", "A fan has failed"),
        ("2010", "The pool cannot be reached or refuses the worker"),
        ("2310", "The hashrate is too low"),
        ("203", "The power supply has failed"),
        ("351", "A temperature"),
        ("541", "A hashboard has failed"),
        ("5011", "Cooling water or the supply voltage"),
        ("5110", "The frequency of the chips"),
        ("99", "A fault that kwota does not know"),
    ],
)
def test_a_fault_has_our_words_and_the_machines_reason(code: str, words: str) -> None:
    assert fault_of(code).words.startswith(words)
    assert fault_of(code, "Slot1").words.endswith(" (Slot1).")
    assert fault_of(code).is_of_rate is (code == "2310")


def test_faults_come_in_the_shapes_of_several_firmwares() -> None:
    rows = [{"541": "2026-01-01", "reason": "Slot0 bad"}, {"code": 110}, {"reason": "?"}]
    faults = info_of(**{"error-code": rows}).faults
    assert [(fault.code, fault.words) for fault in faults] == [
        ("541", "A hashboard has failed (Slot0 bad)."),
        ("110", "A fan has failed."),
    ]


def test_counters_go_to_the_pool_of_the_same_url_and_user() -> None:
    pools = wire.pools_of(status_of())
    first = replace(pools[0], slot=1, accepted=5, rejected=2)
    bare = replace(first, url=first.url.rpartition("://")[2] + "/")
    for older in (first, bare):
        counted = wire.counted(pools, [older, replace(first, user="another", accepted=9)])
        assert (counted[0].accepted, counted[0].rejected, counted[0].slot) == (5, 2, pools[0].slot)
        assert [pool.accepted for pool in counted[1:]] == [None] * (len(pools) - 1)
