"""Whatever arrives under the name of a Braiins OS answer: a reading or a driver error."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.wire import braiins as wire
from drivers.wire import braiins_reply as envelope
from drivers.wire import braiins_target as target
from drivers.wire.cgminer import Row

GHS = {"gigahash_per_second": 141000.0}
WATT = {"watt": 3010}
PROFILE = {"target": WATT, "estimated_power_consumption": WATT, "measured_hashrate": GHS}
CODE = {"code": "B1", "reason": "hot", "hint": ""}
POOL = {
    "url": "u",
    "user": "w",
    "active": True,
    "alive": True,
    "stats": {"accepted_shares": 1, "rejected_shares": 0},
}

# One whole answer of each kind, and what the driver takes from it.
Reader = Callable[[Row], object]


def read_details(row: Row) -> object:
    details = wire.details_of(row)
    wire.activity_of(details, 2, ())
    return wire.pinned(details, mac=None, miner_id="b", address="10.1.1.13:80")


def read_boards(row: Row) -> object:
    boards = wire.with_ramps(wire.boards_of(row), 3, 1.0, 3010)
    assert len(boards) <= wire.BOARDS_MAX
    return wire.believed_hashrate_hs(boards, 141e12)


def read_power(row: Row) -> object:
    power_w, _ = wire.power_of(row)
    return wire.believe_power(power_w, 3010.0)


def read_ladder(row: Row) -> object:
    limits = target.range_of(row)
    return limits and target.profiles_of(limits, 3010, None, 141e12)


def read_tuner(row: Row) -> object:
    limits = target.PowerRange(least_w=900, default_w=3010, most_w=3730)
    wire.tuner_state_of(row)
    return target.profiles_of(limits, 3010, target.tuned_of(row), 141e12)


def read_settings(row: Row) -> object:
    settings = target.configuration_of(row)
    return target.setting_faults(settings, target.pause_s_of(settings, row))


KINDS: dict[str, tuple[Reader, dict[str, Any]]] = {
    "version": (wire.api_of, {"major": 1, "minor": 0, "patch": 0}),
    "details": (
        read_details,
        {
            "bos_version": {"current": "2025-08-06-0-3881c51d-25.07-plus"},
            "mac_address": "02:ee:da:a9:b6:4a",
            "miner_identity": {"miner_model": "Antminer S19 XP"},
            "psu_info": {"serial_number": "PS1"},
            "serial_number": "SN1",
            "status": 2,
            "sticker_hashrate": GHS,
            "system_uptime_s": 69725,
        },
    ),
    "network": (wire.mac_of, {"mac_address": "02:ee:da:a9:b6:4a"}),
    "stats": (read_power, {"power_stats": {"approximated_consumption": WATT}}),
    "boards": (
        read_boards,
        {
            "hashboards": [
                {
                    "id": "1",
                    "enabled": True,
                    "board_temp": {"degree_c": 55.5},
                    "serial_number": "S",
                    "stats": {"real_hashrate": {"last_5s": {"gigahash_per_second": 47000.0}}},
                }
            ]
        },
    ),
    "configuration": (
        read_settings,
        {
            "tuner": {"enabled": True, "tuner_mode": 1, "power_target": WATT},
            "dps": {"enabled": False},
            "hashboard_config": {"quick_ramping_time_down_s": 2},
        },
    ),
    "constraints": (
        read_ladder,
        {"tuner_constraints": {"power_target": {"min": WATT, "default": WATT, "max": WATT}}},
    ),
    "tuner": (
        read_tuner,
        {"mode_state": {"powertargetmodestate": {"profile": PROFILE}}, "overall_tuner_state": 2},
    ),
    "pools": (lambda row: wire.pools_of([row]), {"pools": [POOL]}),
    "cooling": (wire.fan_speeds_of, {"fans": [{"position": 0, "rpm": 5904}]}),
    "errors": (
        wire.faults_of,
        {"errors": [{"message": "m", "timestamp": "t", "error_codes": [CODE]}]},
    ),
    "licence": (wire.licence_faults, {"state": {"valid": {"type": 1}}}),
    "board answer": (wire.board_states_of, {"hashboards": [{"id": "1", "is_enabled": True}]}),
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["true", "1e9", "-5", "²", "9" * 40, 1e308, -0.0])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document."""
    found = [path] if path else []
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, inner in entries:
        found += places(inner, (*path, key))
    return found


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], to)
    return copy


PLACES = [(kind, path) for kind, (_, whole) in KINDS.items() for path in places(whole)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_whole_answer_is_read(kind: str) -> None:
    read, whole = KINDS[kind]
    row = envelope.table_of(json.dumps(whole).encode(), kind)
    read(row)


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_gives_a_reading_or_a_driver_error(
    place: tuple[str, tuple[Any, ...]], value: object
) -> None:
    kind, path = place
    read, whole = KINDS[kind]
    raw = json.dumps(changed(whole, path, value)).encode("utf-8", "surrogatepass")
    try:
        read(envelope.table_of(raw, kind))
    except DriverError:
        return


@given(st.binary(max_size=300), st.integers(100, 599))
def test_arbitrary_bytes_give_a_reading_or_a_driver_error(body: bytes, status: int) -> None:
    sentence = str(envelope.refusal_of(status, body, "the pause"))
    assert sentence.isprintable()
    assert len(sentence) < 500
    for read in (
        envelope.session_of,
        wire.is_yes_or_no,
        lambda raw: envelope.tables_of(raw, "pools"),
        *(lambda raw, r=read: r(envelope.table_of(raw, "x")) for read, _ in KINDS.values()),
    ):
        try:
            read(body)
        except DriverError:
            continue
