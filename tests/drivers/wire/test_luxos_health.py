"""Events, power supply and power target of LuxOS, and arbitrary answers in their place."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, DriverError
from drivers.readings import MinerFault
from drivers.wire import luxos, luxos_health
from drivers.wire.cgminer import Answer, decode_answer


def told(**sections: object) -> Answer:
    return decode_answer(json.dumps(sections).encode())


def recorded(captures: Path, command: str) -> Answer:
    return decode_answer((captures / "luxos-s19kpro" / f"{command}.json").read_bytes())


def test_the_recorded_events_are_two_faults_with_the_vendors_codes(captures: Path) -> None:
    events = recorded(captures, "events").accepted("events")
    first, second = luxos_health.faults_of(events, None)
    assert first.code == "NOPIC_PROTECTION"
    assert first.words.startswith("The machine: it has stopped, because a hashboard")
    assert second == MinerFault(
        code="REBOOT_NOT_HASHING", words="Hashboard 0: it did not hash and was restarted."
    )


def test_every_recording_of_the_machine_is_one_that_the_driver_reads(captures: Path) -> None:
    names = {path.stem for path in (captures / "luxos-s19kpro").iterdir()}
    read = {"config", "devs", "fans", "pools", "power", "profiles", "summary", "version", "events"}
    assert names - read == {"temps"}  # the boards' hottest sensor stands in devs as well
    hottest = [
        max(row.number(key) for key in ("TopLeft", "TopRight", "BottomLeft", "BottomRight"))
        for row in recorded(captures, "temps").accepted("temps").rows("TEMPS")
    ]
    boards = luxos.boards_of(recorded(captures, "devs"))
    assert [board.temperature_c for board in boards] == hottest


def test_what_somebody_asked_for_is_no_fault() -> None:
    codes = ["SLEEP", "IDLE", "SHUTDOWN_USER", "REBOOT_USER", "REBOOT_SYSINIT"]
    assert luxos_health.faults_of(told(EVENTS=[{"Code": code} for code in codes]), None) == ()


def test_an_unknown_event_has_the_machines_own_words() -> None:
    rows = [{"Code": "NEW_ONE", "Description": "Something new.", "Target": "BOARD", "ID": 2}]
    (fault,) = luxos_health.faults_of(told(EVENTS=rows), None)
    assert fault.words == "Hashboard 2 has an event that kwota does not know (Something new)."
    (bare,) = luxos_health.faults_of(told(EVENTS=[{"Code": "BARE", "Target": "BOARD"}]), None)
    assert bare.words == "The machine has an event that kwota does not know (BARE)."


@pytest.mark.parametrize("row", [{"Code": " "}, {"Code": 7}, {}])
def test_an_event_without_a_code_is_a_bad_reply(row: dict[str, object]) -> None:
    with pytest.raises(BadReplyError):
        luxos_health.faults_of(told(EVENTS=[row]), None)


def test_flags_of_the_supply_are_faults_where_they_are_true() -> None:
    flags = {"FanFault": "false", "InputPowerWarning": "TRUE", "Output": "true", "OtFault": True}
    faults = luxos_health.faults_of(None, told(PSUFLAGS=[flags]))
    assert [fault.code for fault in faults] == ["InputPowerWarning", "OtFault"]
    assert faults[0].words == "The power supply reports InputPowerWarning."
    assert luxos_health.faults_of(None, told(PSUBYPASS=[{}])) == ()


def test_a_power_target_is_the_limit_and_none_outside_of_power_targeting() -> None:
    targeting = {"Enabled": False, "PowerLimit": 3500, "PowerMin": 2800, "PowerTarget": 3320}
    assert luxos_health.power_limit_of(told(ATM=[targeting])) == 3320.0
    assert luxos_health.power_limit_of(told(ATM=[{"Enabled": True}])) is None
    assert luxos_health.power_limit_of(told(ATM=[{"PowerTarget": 0}])) is None
    assert luxos_health.power_limit_of(told(ATM=[])) is None
    assert luxos_health.power_limit_of(None) is None
    with pytest.raises(BadReplyError, match="negative"):
        luxos_health.power_limit_of(told(ATM=[{"PowerTarget": -1}]))


@pytest.mark.parametrize(
    ("identity", "serial"),
    [
        ({"Model": "APW17", "SerialNumber": " PS1 "}, "PS1"),
        ({"MfrSerial": "PS1"}, "PS1"),
        ({"Serial": "N/A"}, None),
        ({"Serial": ""}, None),
        ({"Serial": 5}, None),
        ({"Serial": "A", "SerialNumber": "B"}, None),
        ({"Model": "APW17"}, None),
    ],
)
def test_the_serial_of_the_supply_is_the_only_one_that_is_told(
    identity: dict[str, object], serial: str | None
) -> None:
    assert luxos_health.supply_serial_of(told(PSUINFORMATION=[identity])) == serial
    assert luxos_health.supply_serial_of(None) is None


KEYS = [
    *("Code", "Target", "ID", "Description", "PowerTarget", "SerialNumber", "FanFault", "Watts"),
    *("PSU", "Model", "MACAddr", "ASC Count", "Profile", "CurtailMode", "IsPowerSupplyOn", "OS"),
    *("MHS 5s", "Enabled", "Status", "Temperature", "POOL", "URL", "User", "Stratum Active"),
    *("Accepted", "Rejected", "RPM", "Elapsed", "Profile Name", "Step", "Hashrate", "IsTuned"),
    *("SessionID", "LUXminer", "NameplateTHS", "IsUserShutdown", "IsRamping", "IsAtmEnabled"),
]
SECTIONS = [
    *("EVENTS", "ATM", "PSUINFORMATION", "PSUFLAGS", "CONFIG", "DEVS", "POWER", "POOLS", "FANS"),
    *("SUMMARY", "PROFILES", "SESSION", "VERSION", "STATUS"),
]
VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    st.sampled_from(["Y", "N", "true", "Sleep", "None", "LuxOS", "Alive", "-3"]),
)
ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=12)
READS: list[Callable[[Answer], object]] = [
    lambda answer: luxos_health.faults_of(answer, answer),
    *(luxos_health.power_limit_of, luxos_health.supply_serial_of),
    *(luxos.config_of, luxos.is_luxos, luxos.luxminer_version_of, luxos.boards_of),
    *(luxos.dead_boards_of, luxos.power_of, luxos.profiles_of, luxos.pools_of),
    *(luxos.fan_speeds_of, luxos.uptime_of, luxos.session_id_of),
    lambda answer: luxos.activity_of(luxos.config_of(answer), luxos.boards_of(answer), answer),
]


def read_everything(body: bytes) -> None:
    try:
        answer = decode_answer(body)
    except DriverError:
        return
    for read in READS:
        with suppress(DriverError):
            read(answer)


@given(st.dictionaries(st.sampled_from(SECTIONS), st.lists(ROWS, max_size=3), max_size=6))
def test_arbitrary_tables_give_values_or_a_driver_error(document: dict[str, object]) -> None:
    read_everything(json.dumps(document).encode())


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_values_or_a_driver_error(body: bytes) -> None:
    read_everything(body)
