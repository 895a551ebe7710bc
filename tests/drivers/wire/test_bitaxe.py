"""Answers with the keys of ESP-Miner's and its fork's sources, and what is read in them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, DriverError
from drivers.readings import Activity
from drivers.wire import bitaxe as wire
from drivers.wire.cgminer import Row
from drivers.wire.web_table import table_of

ANSWERS = Path(__file__).parents[1] / "answers"


def sample(folder: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ANSWERS / folder / f"{name}.json").read_text("utf-8"))
    return document


INFO, ASIC = sample("bitaxe-gamma", "info"), sample("bitaxe-gamma", "asic")
NERD_INFO, NERD_ASIC = sample("nerdqaxe", "info"), sample("nerdqaxe", "asic")
GONE = object()


def row(document: dict[str, Any], **changes: Any) -> Row:
    whole = {**document, **changes}
    whole = {key: value for key, value in whole.items() if value is not GONE}
    return table_of(json.dumps(whole).encode(), "/api/system/info")


def chips(document: dict[str, Any] = ASIC, **changes: Any) -> wire.Chips:
    return wire.chips_of(row(document, **changes))


def test_a_gamma_reads_as_a_person_reads_it() -> None:
    info, gamma = row(INFO), chips()
    assert wire.is_esp_miner(info)
    assert wire.mac_of(info) == "62:f7:5e:b7:10:46"
    assert (gamma.model, gamma.chip, gamma.chip_count) == ("Bitaxe Gamma", "BM1370", 1)
    nameplate_hs = wire.nameplate_of(info, gamma)
    assert nameplate_hs == pytest.approx(1.071e12)
    hashrate_hs = wire.hashrate_of(info, nameplate_hs)
    assert hashrate_hs == pytest.approx(1.1024e12)
    assert wire.power_of(info) == 17.62
    assert wire.max_power_of(info) == 40.0
    assert wire.activity_of(info, hashrate_hs) is Activity.HASHING
    board = wire.board_of(info, hashrate_hs)
    assert (board.board, board.temperature_c, board.is_ramping) == (0, 58.5, False)
    assert wire.profile_of(info, gamma) == "525MHz"
    assert wire.can_pause(info)
    assert not wire.is_asleep(info)
    assert wire.fan_speeds_of(info) == (4805,)
    assert wire.uptime_of(info) == 86400
    assert wire.faults_of(info) == ()
    pools = wire.pools_of(info, hashrate_hs)
    assert [(pool.url, pool.user, pool.accepted, pool.rejected) for pool in pools] == [
        ("pool.example:3333", "farm.b", 1204, 7)
    ]


def test_a_nerdqaxe_reads_as_a_person_reads_it() -> None:
    info, nerd = row(NERD_INFO), chips(NERD_ASIC)
    assert wire.is_esp_miner(info)
    assert (nerd.model, nerd.chip_count, nerd.eco) == ("NerdQAxe++", 4, (495, 1060))
    nameplate_hs = wire.nameplate_of(info, nerd)
    assert nameplate_hs == pytest.approx(4.896e12)
    assert wire.hashrate_of(info, nameplate_hs) == pytest.approx(4.8712e12)
    assert not wire.can_pause(info)
    assert not wire.wants_one_time_password(info)
    assert wire.fan_speeds_of(info) == (2950, 2875)
    pools = wire.pools_of(info, 1.0)
    assert [(pool.url, pool.is_active) for pool in pools] == [
        ("pool.example:3333", True),
        ("other.example:4444", False),
    ]


def test_points_are_the_makers_frequencies_up_to_the_default_at_its_voltage() -> None:
    points = [(point.frequency_mhz, point.core_voltage_mv) for point in wire.points_of(chips())]
    assert points == [(400, 1150), (490, 1150), (525, 1150)]


def test_the_eco_point_counts_where_it_lies_below_the_defaults() -> None:
    points = [(p.frequency_mhz, p.core_voltage_mv) for p in wire.points_of(chips(NERD_ASIC))]
    assert points[:3] == [(495, 1060), (500, 1150), (515, 1150)]
    assert points[-1] == (600, 1150)
    for beyond in ({"ecoFrequency": 650}, {"ecoVoltage": 1200}):
        odd = wire.points_of(chips(NERD_ASIC, **beyond))
        assert [point.frequency_mhz for point in odd] == [500, 515, 525, 530, 590, 600]
        assert {point.core_voltage_mv for point in odd} == {1150}


OPTIONS = st.lists(st.integers(50, 2000), max_size=12)
PAIRS = st.none() | st.tuples(st.integers(50, 2000), st.integers(500, 2000))


@given(OPTIONS, st.integers(50, 2000), st.integers(500, 2000), PAIRS)
def test_no_point_ever_lies_above_the_defaults(
    options: list[int], default_mhz: int, default_mv: int, eco: tuple[int, int] | None
) -> None:
    board = wire.Chips(
        chip="BM1370",
        device="Gamma",
        chip_count=1,
        default_mhz=default_mhz,
        default_mv=default_mv,
        options_mhz=tuple(options),
        eco=eco,
    )
    points = wire.points_of(board)
    assert all(point.frequency_mhz <= default_mhz for point in points)
    assert all(point.core_voltage_mv <= default_mv for point in points)
    assert points[-1] == wire.Point(
        frequency_mhz=default_mhz, core_voltage_mv=points[-1].core_voltage_mv
    )
    profiles = wire.profiles_of(row(INFO), board, 20.0)
    watts = [profile.power_w for profile in profiles]
    assert watts == sorted(watts)
    assert watts[-1] <= 20.0
    assert profiles[-1].step == 0
    assert {point.name for point in points} == {profile.name for profile in profiles}
    assert all(wire.point_named(point.name, board) == point for point in points)


def test_profiles_need_somebody_who_says_what_the_default_draws() -> None:
    assert wire.profiles_of(row(INFO), chips(), None) == ()
    assert wire.profiles_of(row(INFO, smallCoreCount=GONE), chips(), 19.0) == ()
    assert wire.point_named("550MHz", chips()) is None


def test_settings_that_are_no_point_are_no_profile() -> None:
    for changes in ({"frequency": 550}, {"coreVoltage": 1200}, {"frequency": 524.5}):
        assert wire.profile_of(row(INFO, **changes), chips()) is None


def test_both_settings_go_together_as_whole_numbers() -> None:
    point = wire.points_of(chips())[0]
    assert json.loads(wire.encode_point(point)) == {"frequency": 400, "coreVoltage": 1150}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"miningPaused": True}, Activity.SLEEPING),
        ({"shutdown": 1}, Activity.SLEEPING),
        ({"hashRate": 0}, Activity.RAMPING),
        ({"hashRate": 0, "overheat_mode": 1}, Activity.FAULT),
        ({"overheat_mode": 1}, Activity.HASHING),
    ],
)
def test_what_it_is_doing(changes: dict[str, Any], expected: Activity) -> None:
    info = row(INFO, **changes)
    assert wire.activity_of(info, wire.hashrate_of(info, None)) is expected


def test_faults_are_said_in_words() -> None:
    info = row(INFO, overheat_mode=1, power_fault="OVER_TEMP")
    assert [fault.code for fault in wire.faults_of(info)] == ["overheat_mode", "power_fault"]
    assert wire.faults_of(row(INFO, overheat_mode=GONE, power_fault=" ")) == ()


def test_numbers_in_another_unit_are_not_believed() -> None:
    with pytest.raises(BadReplyError, match="times its nameplate"):
        wire.hashrate_of(row(INFO, hashRate=1_102_400), 1.071e12)
    with pytest.raises(BadReplyError, match="of its board"):
        wire.power_of(row(INFO, power=17_620))
    assert wire.power_of(row(INFO, maxPower=GONE, power=90)) == 90.0


def test_what_a_firmware_does_not_say_is_left_out() -> None:
    info = row(INFO, macAddr=GONE, fanrpm=GONE, fan2rpm=GONE, uptimeSeconds=GONE, temp=-1)
    assert (wire.mac_of(info), wire.fan_speeds_of(info), wire.uptime_of(info)) == ("", (), None)
    assert wire.board_of(info, 1.0).temperature_c is None
    assert wire.board_of(row(INFO, temp=GONE), 1.0).temperature_c is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"ASICModel": "BM1370"},
        {"ASICModel": 1370, "version": "v2"},
        {"ASICModel": "A", "version": "v"},
    ],
)
def test_a_stranger_is_no_esp_miner(document: dict[str, Any]) -> None:
    assert not wire.is_esp_miner(row(document))


@pytest.mark.parametrize("value", ["1", 2, [], {}, -1])
def test_a_flag_that_is_none_is_a_bad_reply(value: object) -> None:
    with pytest.raises(BadReplyError, match="not yes or no"):
        wire.is_asleep(row(INFO, miningPaused=value))


@pytest.mark.parametrize(
    "changes",
    [
        {"asicCount": 0},
        {"asicCount": 65},
        {"defaultFrequency": 5000},
        {"defaultVoltage": 12},
        {"ecoFrequency": 495, "ecoVoltage": 0},
        {"frequencyOptions": None},
        {"frequencyOptions": ["a"]},
        {"frequencyOptions": [400] * 65},
        {"deviceModel": None},
    ],
)
def test_chips_that_cannot_be_are_a_bad_reply(changes: dict[str, Any]) -> None:
    with pytest.raises(BadReplyError):
        chips(**changes)


def read_everything(info: Row, board: wire.Chips) -> None:
    """Everything that the driver takes from an answer."""
    if not wire.is_esp_miner(info):
        return
    wire.mac_of(info)
    hashrate_hs = wire.hashrate_of(info, wire.nameplate_of(info, board))
    wire.activity_of(info, hashrate_hs)
    wire.board_of(info, hashrate_hs)
    wire.power_of(info)
    wire.profile_of(info, board)
    wire.profiles_of(info, board, wire.max_power_of(info))
    wire.pools_of(info, hashrate_hs)
    wire.fan_speeds_of(info)
    wire.uptime_of(info)
    wire.faults_of(info)
    wire.can_pause(info)
    wire.is_shut_down(info)
    wire.wants_one_time_password(info)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["true", "1e9", "BM1370", "²", "9" * 40])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
KEYS = sorted({*INFO, *NERD_INFO, "power_fault"})


@given(st.sampled_from([INFO, NERD_INFO]), st.sampled_from(KEYS), VALUES)
def test_any_value_anywhere_gives_a_reading_or_a_driver_error(
    document: dict[str, Any], key: str, value: object
) -> None:
    body = json.dumps({**document, key: value}).encode("utf-8", "surrogatepass")
    try:
        read_everything(table_of(body, "/api/system/info"), chips(NERD_ASIC))
    except DriverError:
        return


@given(st.sampled_from(sorted(NERD_ASIC)), VALUES)
def test_any_value_anywhere_gives_chips_or_a_driver_error(key: str, value: object) -> None:
    body = json.dumps({**NERD_ASIC, key: value}).encode("utf-8", "surrogatepass")
    try:
        board = wire.chips_of(table_of(body, "/api/system/asic"))
    except DriverError:
        return
    assert all(point.frequency_mhz <= board.default_mhz for point in wire.points_of(board))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_reading_or_a_driver_error(body: bytes) -> None:
    try:
        read_everything(table_of(body, "/api/system/info"), chips())
    except DriverError:
        return
