"""What stock Antminers answer, as recorded and as other shapes are documented, in our units."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, RefusedError, UnsupportedError
from drivers.readings import Activity
from drivers.wire import antminer as wire
from drivers.wire import antminer_modes as modes
from drivers.wire import antminer_web as pages
from drivers.wire.antminer_look import Look
from drivers.wire.antminer_stats import NO_STATS, Stats, stats_of, type_name
from drivers.wire.cgminer import Answer, decode_answer

NEWER = {
    "STATUS": {"STATUS": "S", "Msg": "stats", "when": 1, "api_version": "1.0.0"},
    "INFO": {"CompileTime": "Thu Oct  9 2025", "miner_version": "m", "type": "Antminer S21"},
    "STATS": [
        {
            "elapsed": 100,
            "rate_ideal": 200_000.0,
            "rate_unit": "GH/s",
            "fan_num": 2,
            "fan": [5000, "5100"],
            "miner-mode": 0,
            "watt": 3400,
            "chain": [
                {
                    "index": 1,
                    "rate_real": "66000.5",
                    "asic_num": 108,
                    "sn": " B1 ",
                    "temp_pcb": [50, 61, 0, 52],
                },
                {"index": 0, "rate_real": 0, "asic_num": 0, "sn": "", "temp_pcb": [0, 0, 0, 0]},
            ],
        }
    ],
}


def answer(document: Any) -> Answer:
    return decode_answer(json.dumps(document).encode())


def newer(**changes: Any) -> Answer:
    """The newer shape with some keys of its row replaced; None takes a key away."""
    row = {**NEWER["STATS"][0], **changes}  # type: ignore[dict-item,index] # a row of JSON
    row = {key: value for key, value in row.items() if value is not None}
    return answer({**NEWER, "STATS": [row]})


def older(**row: Any) -> Answer:
    header = {"BMMiner": "1.0.0", "Type": "Antminer S19j Pro (104)"}
    return answer({"STATUS": [{"STATUS": "S"}], "STATS": [header, row]})


def recorded(captures: Path, name: str) -> bytes:
    return (captures / "antminer-2020" / f"{name}.json").read_bytes()


def test_recorded_statistics_read_as_a_person_reads_them(captures: Path) -> None:
    found = wire.accepted(decode_answer(recorded(captures, "stats")), "stats")
    stats = stats_of(found)
    assert (stats.type_name, stats.elapsed_s) == ("Antminer S19 Pro", 50_474)
    assert stats.ideal_hs == 110e12
    assert (stats.power_w, stats.mode) == (None, None)
    assert stats.fan_speeds_rpm == (6000, 5880, 5040, 5040)
    rates = [chain.hashrate_hs for chain in stats.chains]
    assert rates == pytest.approx([37.6033e12, 35.53622e12, 37.42738e12, 0.0])
    assert [chain.chips for chain in stats.chains] == [114, 114, 114, 0]
    assert [chain.temperature_c for chain in stats.chains] == [73.0, 66.0, 64.0, None]
    boards = wire.boards_of(stats, 3, is_ramping=False)
    assert [board.board for board in boards] == [0, 1, 2]
    assert all(board.is_enabled and not board.is_ramping for board in boards)
    assert wire.believed_hashrate_hs(stats, 110e12) == pytest.approx(110.5669e12)


def test_the_other_recorded_answers_read_as_a_person_reads_them(captures: Path) -> None:
    version = decode_answer(recorded(captures, "version"))
    assert wire.type_of(version) == "Antminer S19 Pro"
    assert wire.compiled_of(version) == "Tue Dec  6 16:12:30 CST 2022"
    pools = wire.pools_of(decode_answer(recorded(captures, "pools")))
    assert [pool.slot for pool in pools] == [0, 1, 2]
    assert [pool.is_active for pool in pools] == [True, False, False]
    assert (pools[0].accepted, pools[0].rejected) == (4057, 11)
    assert pools[0].url == "stratum+tcp://btc.global.luxor.tech:700"
    assert pools[0].user == "satokierepair.H04YK"
    assert wire.faults_of(decode_answer(recorded(captures, "summary"))) == ()
    info = pages.info_of(recorded(captures, "system_info"))
    assert (info.type_name, info.serial) == ("Antminer S21", "THQING0BDJAB024NF")
    assert info.firmware == "FR-1.12(251009-S21)"
    # The recording was made anonymous: what stands there is no MAC and does not pass for one.
    assert (info.mac, info.has_mac) == ("02:55:97:22:3m:72", False)


def test_the_newer_shape_reads_the_same() -> None:
    stats = stats_of(wire.accepted(answer(NEWER), "stats"))
    assert (stats.type_name, stats.elapsed_s, stats.mode) == ("Antminer S21", 100, 0)
    assert (stats.ideal_hs, stats.power_w) == (200e12, 3400.0)
    assert stats.fan_speeds_rpm == (5000, 5100)
    boards = wire.boards_of(stats, 3, is_ramping=True)
    assert [board.hashrate_hs for board in boards] == [0.0, 66.0005e12, 0.0]
    assert [board.serial for board in boards] == [None, "B1", None]
    assert [board.temperature_c for board in boards] == [None, 61.0, None]
    assert [board.board for board in wire.boards_of(stats, None, is_ramping=False)] == [1]


def test_a_sleeper_has_no_statistics() -> None:
    assert stats_of(answer({"STATUS": [{"STATUS": "S"}], "STATS": []})) == NO_STATS
    asleep = stats_of(answer({**NEWER, "STATS": []}))
    assert (asleep.type_name, asleep.chains) == ("Antminer S21", ())


def test_an_older_row_may_lack_what_it_does_not_know() -> None:
    stats = stats_of(older(chain_rate2="1.5", temp_pcb2="-"))
    assert stats.type_name == "Antminer S19j Pro"
    assert [(one.slot, one.chips, one.temperature_c) for one in stats.chains] == [(1, 0, None)]
    assert (stats.fan_speeds_rpm, stats.elapsed_s, stats.ideal_hs) == ((), None, None)


@pytest.mark.parametrize(
    ("told", "watts"),
    [
        ({"chain_power": "3250 W"}, 3250.0),
        ({"chain_power": "3250.5W"}, 3250.5),
        ({"chain_power": "", "power": 3100}, 3100.0),
        ({"Power": "2900"}, 2900.0),
        ({"chain_power": ""}, None),
        ({}, None),
    ],
)
def test_watts_stand_under_several_names(told: dict[str, Any], watts: float | None) -> None:
    assert stats_of(older(chain_rate1="1", **told)).power_w == watts


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (newer(rate_unit="PH/s"), "a unit of its own"),
        (newer(chain="x"), "is no list"),
        (newer(chain=[{}] * 17), "is no list"),
        (newer(chain=[1]), "index"),
        (newer(chain=[{"index": 16, "rate_real": 1}]), "in slot 16"),
        (newer(chain=[{"index": 0, "rate_real": 1}] * 2), "twice"),
        (newer(chain=[{"index": 0, "rate_real": -1}]), "negative"),
        (newer(chain=[{"index": 0, "rate_real": "1e5"}]), "not a number"),
        (newer(chain=[{"index": 0, "rate_real": 1, "temp_pcb": ["hot"]}]), "not a number"),
        (newer(rate_ideal=-1), "negative"),
        (newer(watt="many"), "not a number"),
        (newer(fan=None, fan_num=17), "17 fans"),
        (older(chain_rate0="1"), "in slot -1"),
        (answer({**NEWER, "STATS": NEWER["STATS"] * 2}), "twice"),
    ],
)
def test_statistics_that_cannot_be_are_refused(wrong: Answer, words: str) -> None:
    with pytest.raises(BadReplyError, match=words):
        stats_of(wrong)


def test_a_rate_or_watts_beyond_the_nameplate_are_another_unit() -> None:
    stats = stats_of(newer(rate_unit="TH/s"))
    with pytest.raises(BadReplyError, match="another unit"):
        wire.believed_hashrate_hs(stats, 200e12)
    assert wire.believed_hashrate_hs(stats, None) == pytest.approx(66000.5e12)
    with pytest.raises(BadReplyError, match="another unit"):
        wire.believed_power_w(34_000.0, 3500.0)
    assert wire.believed_power_w(34_000.0, None) == 34_000.0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"Type": "Antminer S19j Pro+ (128T)"}, "Antminer S19j Pro+"),
        ({"Type": "Antminer S19j Pro", "Miner": "Vnish 1.2.6"}, ""),
        ({"Type": "Antminer S19 (Hiveon)"}, ""),
        ({"Type": "Antminer S19", "LUXminer": "2025.4"}, ""),
        ({"Type": "Whatsminer M30S"}, ""),
        ({"BMMiner": "1.0.0"}, ""),
    ],
)
def test_only_the_vendors_own_firmware_is_recognised(row: dict[str, str], expected: str) -> None:
    assert wire.type_of(answer({"VERSION": [row]})) == expected
    assert wire.compiled_of(answer({"VERSION": [row]})) == ""
    assert type_name("Antminer") == ""


def test_a_refusal_is_one_in_either_shape() -> None:
    with pytest.raises(RefusedError, match="refused stats: no"):
        wire.accepted(answer({"STATUS": {"STATUS": "E", "Msg": "no"}}), "stats")
    with pytest.raises(RefusedError, match="no reason given"):
        wire.accepted(answer({"STATUS": {"STATUS": 1}}), "stats")
    with pytest.raises(RefusedError, match="Invalid command"):
        wire.accepted(answer({"STATUS": [{"STATUS": "E", "Msg": "Invalid command"}]}), "stats")


def test_questions_carry_the_flag_at_the_top() -> None:
    assert json.loads(wire.encode_question("stats", is_new_api=True)) == {
        "command": "stats",
        "new_api": True,
    }
    assert wire.encode_question("stats") == b'{"command":"stats"}\n'


def test_checks_that_are_neither_good_nor_open_are_faults() -> None:
    checks = [
        {"type": "rate", "status": "s", "code": 0, "msg": ""},
        {"type": "fans", "status": "", "code": 0, "msg": ""},
        {"type": "temp", "status": "e", "code": 2, "msg": "too hot"},
        {"type": "moon", "status": "w"},
        {"type": "rate", "status": "w", "code": 1},
    ]
    faults = wire.faults_of(answer({"SUMMARY": [{"status": checks}]}))
    assert [(fault.code, fault.words) for fault in faults] == [
        ("temp:2", "A temperature is too high (too hot)."),
        ("moon:", "A fault that kwota does not know."),
        ("rate:1", "The hashrate is too low."),
    ]
    assert [fault.is_of_rate for fault in faults] == [False, False, True]
    with pytest.raises(BadReplyError, match="status"):
        wire.faults_of(answer({"SUMMARY": [{"status": [1]}]}))


@pytest.mark.parametrize(
    ("body", "watts"),
    [
        (b"miner power:3250", 3250.0),
        (b" miner power: 3250.5 W\n", 3250.5),
        (b"error 6060 cmd", None),
        (b"miner power:", None),
        (b"", None),
    ],
)
def test_the_service_tells_watts_or_has_no_such_page(body: bytes, watts: float | None) -> None:
    assert wire.service_power_w(body) == watts


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error_message":"None"}', None),
        (b'{"error_message":""}', None),
        (b'{"error_message":7}', None),
        (b"error 6060 cmd", None),
        (b"[]", None),
        (b'{"error_message":"P:2"}', ("P:2", "A temperature is too high or the cooling")),
        (b'{"error_message":"J0:8"}', ("J0:8", "A hashboard is missing")),
        (b'{"error_message":"R:1"}', ("R:1", "The hashrate is too low")),
        (b'{"error_message":"Q:9"}', ("Q:9", "A fault that kwota does not know")),
    ],
)
def test_the_services_warning_is_a_fault(body: bytes, code: tuple[str, str] | None) -> None:
    faults = wire.service_faults(body)
    assert [fault.code for fault in faults] == ([] if code is None else [code[0]])
    assert code is None or faults[0].words.startswith(code[1])
    assert [fault.is_of_rate for fault in faults] == [fault.code == "R:1" for fault in faults]


def stats_with(**values: Any) -> Stats:
    return stats_of(newer(**values))


@pytest.mark.parametrize(
    ("is_asleep", "hashrate_hs", "values", "dark_s", "expected"),
    [
        (False, 200e12, {}, 0, Activity.HASHING),
        (False, 100e12, {"elapsed": 30}, 0, Activity.RAMPING),
        (False, 100e12, {"elapsed": 3000}, 0, Activity.HASHING),
        (False, 100e12, {"elapsed": None}, 0, Activity.HASHING),
        (False, 100e12, {"rate_ideal": None}, 0, Activity.HASHING),
        (True, 100e12, {"elapsed": 30}, 0, Activity.HASHING),
        (True, 0.0, {}, 0, Activity.SLEEPING),
        (False, 0.0, {}, 10.0, Activity.RAMPING),
        (False, 0.0, {}, 700.0, Activity.FAULT),
        (None, 0.0, {}, 10.0, Activity.RAMPING),
        (None, 0.0, {"chain": []}, 0, Activity.STOPPED),
    ],
)
def test_what_hashes_is_awake_whatever_its_configuration_says(
    is_asleep: bool | None,
    hashrate_hs: float,
    values: dict[str, Any],
    dark_s: float,
    expected: Activity,
) -> None:
    stats = stats_with(**values)
    found = wire.activity_of(
        is_asleep=is_asleep, hashrate_hs=hashrate_hs, stats=stats, dark_s=dark_s
    )
    assert found is expected


def test_a_nameplate_that_a_machine_tells_is_believed_within_reason() -> None:
    assert wire.likely_nameplate_hs(104e12, 96e12) == 96e12
    assert wire.likely_nameplate_hs(104e12, 96e9) == 104e12
    assert wire.likely_nameplate_hs(104e12, None) == 104e12
    assert wire.likely_nameplate_hs(None, 96e12) == 96e12
    assert wire.likely_nameplate_hs(None, None) is None


def test_an_unknown_model_is_counted_with_the_worst_it_can_draw() -> None:
    assert wire.rated_power_w(3068.0, 104e12) == 3068.0
    assert wire.rated_power_w(None, None) is None
    assert wire.rated_power_w(None, 100e12) == 4500.0


def test_modes_are_profiles_where_the_model_has_them() -> None:
    assert wire.profiles_of(None, 1e12, 3) == wire.profiles_of(3000.0, None, 3) == ()
    assert [one.name for one in wire.profiles_of(3000.0, 1e14, None)] == ["normal"]
    low, normal = wire.profiles_of(3000.0, 1e14, 3)
    assert (normal.power_w, normal.hashrate_hs, normal.step) == (3000.0, 1e14, 0)
    assert (low.name, low.step, low.is_tuned) == ("low", -1, True)
    assert low.power_w / low.hashrate_hs > normal.power_w / normal.hashrate_hs  # assumed the worse


@pytest.mark.parametrize(
    ("mode", "low_mode", "name"),
    [
        (None, 3, None),
        (0, 3, "normal"),
        (1, 3, "normal"),
        (5, 3, "normal"),
        (3, 3, "low"),
        (2, 3, "mode 2"),
        (3, None, "mode 3"),
    ],
)
def test_a_mode_has_a_name(mode: int | None, low_mode: int | None, name: str | None) -> None:
    assert modes.profile_of(mode, low_mode) == name


def test_an_order_means_one_mode() -> None:
    def mode_of(at_mode: int | None = 0, low_mode: int | None = 3, **order: Any) -> int:
        return modes.mode_of(modes.Order(**order), at_mode=at_mode, low_mode=low_mode)

    assert mode_of(is_awake=False) == 1
    assert mode_of(is_awake=True) == mode_of(profile="normal") == 0
    assert mode_of(profile="low") == mode_of(at_mode=1, is_awake=True, profile="low") == 3
    with pytest.raises(RefusedError, match="asleep"):
        mode_of(at_mode=5, profile="low")
    for name, low_mode in (("low", None), ("mode 2", 3), ("60%", 3)):
        with pytest.raises(UnsupportedError, match="not the name"):
            mode_of(low_mode=low_mode, profile=name)


def test_what_worked_is_kept_and_what_was_ignored_is_told_otherwise_the_next_time() -> None:
    def after_16_min(*, at_mode: int, is_text: bool) -> bool:
        told = modes.Told(mode=1, at_s=0.0, is_text=is_text)
        return modes.due(told, 1, at_mode=at_mode, now_s=960.0).is_text

    assert after_16_min(at_mode=1, is_text=True) is True
    assert after_16_min(at_mode=1, is_text=False) is False
    assert after_16_min(at_mode=0, is_text=True) is False
    assert after_16_min(at_mode=0, is_text=False) is True
    asleep = modes.Told(mode=1, at_s=0.0, is_text=True)
    assert modes.due(asleep, 0, at_mode=1, now_s=960.0).is_text


MODES = st.sampled_from([0, 1, 2, 3, 5])


@given(st.lists(st.tuples(MODES, st.floats(0.0, 2000.0), st.none() | MODES), max_size=30))
def test_in_any_15_minutes_a_rise_comes_after_nothing_else(
    tries: list[tuple[int, float, int | None]],
) -> None:
    """Whatever is asked and whatever the machine does: a write that is let through and does not
    lower the power is 15 minutes from the one before, or tells once more what was not taken."""
    told: modes.Told | None = None
    now_s = 0.0
    for mode, pause_s, at_mode in tries:
        now_s += pause_s
        try:
            after = modes.due(told, mode, at_mode=at_mode, now_s=now_s)
        except RefusedError:
            assert told is not None
            assert now_s - told.at_s < modes.WRITES_APART_S
            continue
        assert (after.mode, after.at_s) == (mode, now_s)
        if told is not None and now_s - told.at_s < modes.WRITES_APART_S:
            is_lower = (mode in {1, 5} and told.mode not in {1, 5}) or (
                mode in {2, 3} and told.mode == 0
            )
            is_again = after.is_second and not told.is_second and mode == told.mode != at_mode
            assert is_lower or is_again
        told = after


def test_a_look_prefers_what_the_configuration_says() -> None:
    config = pages.config_of(b'{"bitmain-work-mode":"1","pools":[]}')
    stats = stats_of(answer(NEWER))
    look = Look(stats=stats, info=None, config=config, is_running=True, requested_at_s=0.0)
    assert (look.mode, look.is_asleep, look.is_hashing) == (1, True, True)
    bare = Look(stats=NO_STATS, info=None, config=None, is_running=True, requested_at_s=0.0)
    assert (bare.mode, bare.is_asleep, bare.is_hashing) == (None, None, False)
