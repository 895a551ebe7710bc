"""Whatever arrives under the name of a VNish answer: a value or a driver error."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.wire import vnish as wire
from drivers.wire import vnish_device as device
from drivers.wire import vnish_reply as envelope

INFO = {
    "miner": "Antminer S21",
    "fw_name": "Vnish",
    "fw_version": "1.3.4",
    "hr_measure": "GH/s",
    "serial": "S",
    "system": {"uptime": "1 days, 0:01", "network_status": {"mac": "02:00:00:00:00:01"}},
}
MODEL = {"full_name": "Antminer S21", "chain": {"num_chains": 3}}
FACTORY = {"psu_serial": "P", "chains": [{"id": 1, "serial": "A"}]}
PERF = {
    "current_preset": {"name": "3500", "pretty": "3500 watt ~ 200 TH", "status": "tuned"},
    "preset_switcher": {"enabled": False},
}
SUMMARY = {
    "miner": {
        "miner_status": {
            "miner_state": "failure",
            "throttled": 100,
            "failure_code": 1,
            "description": "d",
        },
        "hr_stock": 200000,
        "hr_realtime": 199000.5,
        "power_consumption": 3490,
        "psu": {"psu_power_metering": True},
        "chains": [
            {
                "id": 1,
                "hashrate_rt": 66000.0,
                "pcb_temp": {"max": 60},
                "chip_temp": {"max": 70},
                "status": {"state": "failure", "description": "d"},
            }
        ],
        "pools": [
            {
                "id": 0,
                "url": "u",
                "user": "u",
                "status": "active",
                "pool_type": "UserPool",
                "accepted": 1,
                "rejected": 0,
            }
        ],
        "cooling": {"fans": [{"id": 0, "rpm": 5400, "status": "lost"}]},
    }
}


def read_summary(body: bytes) -> None:
    """Everything that the driver takes from a summary."""
    info = device.info_of(envelope.decode_table(json.dumps(INFO).encode(), "info"))
    model = device.model_of(envelope.decode_table(json.dumps(MODEL).encode(), "model"))
    factory = device.Factory(board_serials={}, power_supply_serial=None)
    miner = wire.miner_of(envelope.decode_table(body, "summary"))
    boards = wire.boards_of(miner, info, model, factory)
    hashrate_hs = wire.believed_hashrate_hs(miner, info, boards, wire.nameplate_of(miner, info))
    wire.power_of(miner, hashrate_hs, 3500.0)
    wire.profile_of(miner, wire.activity_of(miner, hashrate_hs))
    wire.pools_of(miner)
    wire.fan_speeds_of(miner)
    wire.faults_of(miner, None, is_restart_due=False)


def read_preset(body: bytes) -> None:
    device.preset_of(envelope.decode_table(body, "perf-summary"))


DECODERS: list[tuple[Callable[[bytes], object], dict[str, Any]]] = [
    (lambda body: device.info_of(envelope.decode_table(body, "info")), INFO),
    (lambda body: device.model_of(envelope.decode_table(body, "model")), MODEL),
    (lambda body: device.factory_of(envelope.decode_table(body, "factory")), FACTORY),
    (read_preset, PERF),
    (read_summary, SUMMARY),
    (envelope.token_of, {"token": "t"}),
]


def whole(decode: Callable[[bytes], object], body: bytes) -> None:
    """A value or a driver error, nothing else."""
    try:
        decode(body)
    except DriverError:
        return


@pytest.mark.parametrize(("decode", "document"), DECODERS)
def test_the_documents_that_are_changed_below_are_whole(
    decode: Callable[[bytes], object], document: dict[str, Any]
) -> None:
    decode(json.dumps(document).encode())


@given(st.binary(max_size=300), st.integers(100, 599), st.sampled_from(DECODERS))
def test_arbitrary_bytes_give_a_value_or_a_driver_error(
    body: bytes, status: int, one: tuple[Callable[[bytes], object], dict[str, Any]]
) -> None:
    whole(one[0], body)
    envelope.is_verdict(status, body)
    assert isinstance(envelope.refusal(status, body, "it"), DriverError)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1 days, ", "9" * 40, "1e9", "-5", "²", "mining", "~ 1 TH", "a\r\nb"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a document."""
    if isinstance(document, dict):
        inner = [place for key in document for place in places(document[key], (*path, key))]
    elif isinstance(document, list):
        inner = [p for key in range(len(document)) for p in places(document[key], (*path, key))]
    else:
        inner = []
    return [path, *inner] if path else inner


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with one value replaced."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


CASES = [(decode, doc, place) for decode, doc in DECODERS for place in places(doc)]


@given(st.sampled_from(CASES), VALUES)
def test_one_strange_value_gives_a_value_or_a_driver_error(
    case: tuple[Callable[[bytes], object], dict[str, Any], tuple[str | int, ...]], value: Any
) -> None:
    decode, document, place = case
    whole(decode, json.dumps(changed(document, place, value)).encode("utf-8", "surrogatepass"))


@given(st.text())
def test_any_uptime_is_seconds_or_a_driver_error(words: str) -> None:
    try:
        seconds = device.uptime_of(words)
    except DriverError:
        return
    assert seconds is None or seconds >= 0
