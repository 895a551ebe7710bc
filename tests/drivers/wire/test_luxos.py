import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError
from drivers.readings import Activity, BoardReading, PowerProvenance
from drivers.wire import luxos
from drivers.wire.cgminer import Answer, Status, decode_answer

ANSWERS = Path(__file__).parents[1] / "answers" / "luxos-s21"


def answer(command: str, section: str = "", **changes: object) -> Answer:
    """A written answer, with keys of its first row changed; None takes a key away."""
    document = json.loads((ANSWERS / f"{command}.json").read_bytes())
    for key, value in changes.items():
        row = document[section][0]
        row[key.replace("_", " ")] = value
    return decode_answer(json.dumps(document).encode())


def recorded(captures: Path, command: str) -> Answer:
    return decode_answer((captures / "luxos-s19kpro" / f"{command}.json").read_bytes())


def test_recorded_config_says_who_the_machine_is(captures: Path) -> None:
    config = luxos.config_of(recorded(captures, "config"))
    assert config == luxos.LuxosConfig(
        model="Antminer S19k Pro",
        mac="62:f7:5e:b7:10:46",
        serial="JYZZB0UBDJABF06RB",
        board_count=3,
        nameplate_hashrate_hs=pytest.approx(121.8e12),
        profile="290MHz",
        is_asleep=False,
        is_power_supply_on=True,
        is_atm_enabled=True,
    )
    assert luxos.is_luxos(recorded(captures, "config"))


def test_recorded_boards_are_in_the_order_of_their_numbers(captures: Path) -> None:
    boards = luxos.boards_of(recorded(captures, "devs"))
    assert [board.board for board in boards] == [0, 1, 2]
    assert [board.serial for board in boards] == [
        "JYZZYRSBDJEBI06Z5",
        "JYZZYRSBDJEBI06ZM",
        "JYZZYRSBDJEBI06ZR",
    ]
    assert boards[2].hashrate_hs == pytest.approx(20.751652263361264e12)
    assert all(board.is_enabled and not board.is_ramping for board in boards)
    assert boards[0].temperature_c == 47.0


def test_recorded_boards_sum_to_the_recorded_summary(captures: Path) -> None:
    boards = luxos.boards_of(recorded(captures, "devs"))
    summary_ghs = recorded(captures, "summary").row("SUMMARY").number("GHS 5s")
    total_hs = luxos.believed_hashrate_hs(boards, 121.8e12)
    assert total_hs == pytest.approx(summary_ghs * 1e9, rel=1e-6)


def test_recorded_power_is_an_estimate_without_a_metering_psu(captures: Path) -> None:
    assert luxos.power_of(recorded(captures, "power")) == (
        1051.0,
        PowerProvenance.FIRMWARE_ESTIMATE,
    )


def test_recorded_version_pools_fans_profiles_uptime(captures: Path) -> None:
    assert luxos.luxminer_version_of(recorded(captures, "version")) == "2025.4.8.220305-57b389c7"
    pools = luxos.pools_of(recorded(captures, "pools"))
    assert [(pool.slot, pool.is_active, pool.accepted) for pool in pools] == [
        (0, True, 724),
        (1, False, 0),
        (2, True, 759),
        (3, False, 0),
    ]
    assert pools[2].rejected == 1
    assert pools[3].user == "asic-rs.user2"
    assert luxos.fan_speeds_of(recorded(captures, "fans")) == (1920, 1920, 2340, 2340)
    assert luxos.uptime_of(recorded(captures, "summary")) == 3453
    profiles = luxos.profiles_of(recorded(captures, "profiles"))
    assert len(profiles) == 25
    assert (profiles[0].name, profiles[0].step, profiles[0].power_w) == ("190MHz", -16, 784.0)
    assert [profile.name for profile in profiles if profile.is_tuned] == ["290MHz"]
    default = next(profile for profile in profiles if profile.step == 0)
    assert (default.name, default.hashrate_hs) == ("default", pytest.approx(121.8e12))


def test_recorded_events_and_temperatures_are_whole_answers(captures: Path) -> None:
    events = recorded(captures, "events").accepted("events").rows("EVENTS")
    assert [row.text("Code") for row in events] == ["NOPIC_PROTECTION", "REBOOT_NOT_HASHING"]
    temps = recorded(captures, "temps").accepted("temps").rows("TEMPS")
    assert [row.number("BottomRight") for row in temps] == [34.0, 33.0, 34.0]


def test_a_metering_psu_makes_its_watts_measured() -> None:
    assert luxos.power_of(answer("power")) == (3487.0, PowerProvenance.METERED_PSU)


@pytest.mark.parametrize("mode", ["Sleep", "sleep"])
def test_curtailed_means_asleep(mode: str) -> None:
    assert luxos.config_of(answer("config", "CONFIG", CurtailMode=mode)).is_asleep


def test_an_unknown_curtail_mode_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="curtail mode"):
        luxos.config_of(answer("config", "CONFIG", CurtailMode="Nap"))


def test_a_config_may_leave_out_what_older_firmware_does_not_have() -> None:
    config = luxos.config_of(
        answer(
            "config",
            "CONFIG",
            NameplateTHS=None,
            MACAddr=None,
            SerialNumber=None,
            IsAtmEnabled=None,
        )
    )
    assert (config.nameplate_hashrate_hs, config.mac, config.serial) == (None, "", "")
    assert not config.is_atm_enabled


def test_only_a_config_that_names_luxos_is_one() -> None:
    assert not luxos.is_luxos(answer("config", "CONFIG", OS=None))
    assert not luxos.is_luxos(answer("config", "CONFIG", OS="Linux"))


def test_a_version_without_luxminer_names_no_luxminer() -> None:
    assert luxos.luxminer_version_of(answer("version", "VERSION", LUXminer=None)) is None


def test_a_board_with_bare_keys_is_read() -> None:
    board = luxos.boards_of(
        answer(
            "devs",
            "DEVS",
            IsUserShutdown=None,
            IsRamping=None,
            SerialNumber=None,
            Temperature=None,
            Status=None,
        )
    )[1]
    assert board == BoardReading(
        board=1,
        is_enabled=True,
        is_ramping=False,
        hashrate_hs=pytest.approx(66.0000005e12),
        temperature_c=None,
        serial=None,
    )


def test_a_board_listed_twice_is_a_bad_reply() -> None:
    with pytest.raises(BadReplyError, match="twice"):
        luxos.boards_of(answer("devs", "DEVS", ID=2))


def test_negative_watts_and_hashes_are_bad_replies() -> None:
    with pytest.raises(BadReplyError, match="power is negative"):
        luxos.power_of(answer("power", "POWER", Watts=-1))
    rows = copy.deepcopy(json.loads((ANSWERS / "devs.json").read_bytes()))
    rows["DEVS"][0]["MHS 5s"] = -5.0
    with pytest.raises(BadReplyError, match="hashrate is negative"):
        luxos.boards_of(decode_answer(json.dumps(rows).encode()))


def test_dead_boards_are_named() -> None:
    assert luxos.dead_boards_of(answer("devs", "DEVS", Status="Dead")) == {1}
    assert luxos.dead_boards_of(answer("devs", "DEVS", Status=None)) == frozenset()


def boards(*hashrates_hs: float) -> tuple[BoardReading, ...]:
    return tuple(
        BoardReading(
            board=number,
            is_enabled=True,
            is_ramping=False,
            hashrate_hs=rate,
            temperature_c=None,
            serial=None,
        )
        for number, rate in enumerate(hashrates_hs)
    )


@given(st.lists(st.floats(0, 1e15), max_size=4), st.none() | st.floats(1e12, 1e15))
def test_a_believed_hashrate_is_the_sum_and_within_the_nameplate(
    rates: list[float], nameplate_hs: float | None
) -> None:
    try:
        total_hs = luxos.believed_hashrate_hs(boards(*rates), nameplate_hs)
    except BadReplyError:
        assert nameplate_hs is not None
        assert sum(rates) > 1.5 * nameplate_hs
        return
    assert total_hs == sum(rates)
    assert nameplate_hs is None or total_hs <= 1.5 * nameplate_hs


CONFIG = luxos.config_of(answer("config"))


def config_with(**changes: Any) -> luxos.LuxosConfig:
    fields = {name: getattr(CONFIG, name) for name in luxos.LuxosConfig.__slots__}
    return luxos.LuxosConfig(**(fields | changes))


def board(*, enabled: bool = True, ramping: bool = False, rate_hs: float = 1e12) -> BoardReading:
    return BoardReading(
        board=0,
        is_enabled=enabled,
        is_ramping=ramping,
        hashrate_hs=rate_hs,
        temperature_c=None,
        serial=None,
    )


ALIVE, DEAD = [
    decode_answer(json.dumps({"DEVS": [{"ID": 0, "Status": status}]}).encode())
    for status in ("Alive", "Dead")
]


@pytest.mark.parametrize(
    ("changes", "rows", "devs", "activity"),
    [
        ({"is_asleep": True}, [board()], ALIVE, Activity.SLEEPING),
        ({"is_power_supply_on": False}, [board()], ALIVE, Activity.STOPPED),
        ({}, [], ALIVE, Activity.STOPPED),
        ({}, [board(enabled=False)], ALIVE, Activity.STOPPED),
        ({}, [board(ramping=True), board()], ALIVE, Activity.RAMPING),
        ({}, [board(enabled=False, ramping=True), board()], ALIVE, Activity.HASHING),
        ({}, [board()], DEAD, Activity.HASHING),
        ({}, [board(rate_hs=0.0)], ALIVE, Activity.STOPPED),
        ({}, [board(rate_hs=0.0)], DEAD, Activity.FAULT),
    ],
)
def test_activity_follows_the_strongest_sign(
    changes: dict[str, Any],
    rows: list[BoardReading],
    devs: Answer,
    activity: Activity,
) -> None:
    assert luxos.activity_of(config_with(**changes), rows, devs) is activity


def test_a_session_id_is_taken_as_it_is() -> None:
    assert luxos.session_id_of(answer("logon")) == "k7Qd2m"


@pytest.mark.parametrize("session_id", ["", "a,b"])
def test_a_session_without_a_usable_id_is_a_bad_reply(session_id: str) -> None:
    with pytest.raises(BadReplyError, match="usable id"):
        luxos.session_id_of(answer("logon", "SESSION", SessionID=session_id))


@pytest.mark.parametrize(
    ("status", "is_lost"),
    [
        (Status(letter="E", code=14, message="Invalid session id"), True),
        (Status(letter="E", code=402, message="Another session is active"), False),
        (Status(letter="S", code=317, message="Session terminated"), False),
        (Status(letter="E", code=14, message="Invalid board"), False),
    ],
)
def test_a_lost_session_is_told_from_other_refusals(status: Status, is_lost: bool) -> None:
    assert luxos.is_session_lost(status) is is_lost


def test_written_answers_give_pools_fans_uptime_and_session() -> None:
    (pool, *_) = luxos.pools_of(answer("pools"))
    assert pool.slot == 0
    assert pool.url.startswith("stratum+tcp://")
    speeds = luxos.fan_speeds_of(answer("fans"))
    assert speeds
    assert all(rpm > 0 for rpm in speeds)
    assert luxos.uptime_of(answer("summary")) > 0
    assert luxos.session_id_of(answer("logon"))


def test_written_answers_give_profiles_from_weak_to_strong_and_estimated_watts() -> None:
    profiles = luxos.profiles_of(answer("profiles"))
    assert [profile.step for profile in profiles] == sorted(profile.step for profile in profiles)
    default = next(profile for profile in profiles if profile.name == "default")
    assert (default.step, default.power_w, default.is_tuned) == (0, 3500.0, True)
    assert default.hashrate_hs == pytest.approx(200e12)
    estimated = luxos.power_of(answer("power", "POWER", PSU=False))
    assert estimated == (3487.0, PowerProvenance.FIRMWARE_ESTIMATE)
