"""Whatever arrives under the name of an API v3 answer: a reading or a driver error."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.wire import whatsminer_v3 as wire
from drivers.wire.whatsminer_info import BOARDS_MAX, DeviceInfo, info_of
from drivers.wire.whatsminer_reply import Reply, decode_reply

ANSWERS = Path(__file__).parents[1] / "answers" / "whatsminer-v3-m60s"
INFO = json.loads((ANSWERS / "get.device.info.json").read_text("utf-8"))
STATUS = json.loads((ANSWERS / "get.miner.status.json").read_text("utf-8"))


def read_everything(reply: Reply) -> None:
    """Everything that the driver takes from an answer; one thing refused hides no other."""
    document = {"code": 0, "when": 1, "msg": INFO}
    info = info_of(decode_reply(json.dumps(document).encode(), "get.device.info"))
    with suppress(DriverError):
        wire.profile_of(reply, info)
    with suppress(DriverError):
        wire.start_delay_of(reply)
    status = wire.status_of(reply)
    with suppress(DriverError):
        boards = wire.boards_of(status, info)
        wire.activity_of(status, info, wire.believed_hashrate_hs(boards, 186e12))
    with suppress(DriverError):
        wire.power_of(status, info)
    for part_of in (
        wire.nameplate_of,
        wire.power_limit_of,
        wire.pools_of,
        wire.fan_speeds_of,
        wire.uptime_of,
        wire.chip_temperatures_of,
    ):
        with suppress(DriverError):
            part_of(status)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_reading_or_a_driver_error(reply: bytes) -> None:
    try:
        read_everything(decode_reply(reply, "get.miner.status").accepted("get.miner.status"))
    except DriverError:
        return


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["true", "1e9", "-5", "²", "9" * 40])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def changed(document: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy with one value of one table replaced."""
    head, rest = path[0], path[1:]
    if not rest:
        return document | {head: value}
    inner = document[head]
    if isinstance(inner, list):
        return document | {head: [changed(inner[0], rest, value), *inner[1:]]}
    return document | {head: changed(inner, rest, value)}


PLACES = [
    [name, *rest]
    for name, part in (STATUS | {"time-randomized": {"start": 0}}).items()
    for rest in [[], *([key] for key in (part[0] if isinstance(part, list) else part))]
]


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_in_a_status_gives_a_reading_or_a_driver_error(
    place: list[str], value: object
) -> None:
    whole = STATUS | {"time-randomized": {"start": 0}, "power-percent": 0}
    document = {"code": 0, "when": 1, "msg": changed(whole, place, value)}
    raw = json.dumps(document).encode("utf-8", "surrogatepass")
    try:
        read_everything(decode_reply(raw, "get.miner.status"))
    except DriverError:
        return


PROPERTIES = [name for name, kind in vars(DeviceInfo).items() if isinstance(kind, property)]
INFO_PLACES = [
    [name, *rest]
    for name, part in INFO.items()
    for rest in [[], *([key] for key in (part if isinstance(part, dict) else {}))]
]


@given(st.sampled_from(INFO_PLACES), VALUES)
def test_any_value_anywhere_in_a_device_info_gives_a_machine_or_a_driver_error(
    place: list[str], value: object
) -> None:
    document = {"code": 0, "when": 1, "msg": changed(INFO, place, value)}
    raw = json.dumps(document).encode("utf-8", "surrogatepass")
    try:
        info = info_of(decode_reply(raw, "get.device.info"))
        told = [getattr(info, name) for name in PROPERTIES]
    except DriverError:
        return
    assert 1 <= info.board_count <= BOARDS_MAX
    assert len(info.board_serials) == info.board_count
    assert len(told) > 10
