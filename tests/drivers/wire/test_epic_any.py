"""Whatever arrives under the name of a PowerPlay answer: a reading or a driver error."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.wire import epic as wire
from drivers.wire.cgminer import Row
from drivers.wire.web_table import table_of

ANSWERS = Path(__file__).parents[1] / "answers" / "epic-s19xp"
SUMMARY = json.loads((ANSWERS / "summary.json").read_text("utf-8"))
CAPABILITIES = json.loads((ANSWERS / "capabilities.json").read_text("utf-8"))
KNOWN = wire.capabilities_of(Row(section="capabilities", values=CAPABILITIES))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_reading_or_a_driver_error(body: bytes) -> None:
    try:
        read_everything(table_of(body, "/summary"), KNOWN)
    except DriverError:
        return


def read_everything(summary: Row, told: wire.Capabilities) -> None:
    """Everything that the driver takes from a summary."""
    if not wire.is_power_play(summary):
        return
    boards = wire.boards_of(summary, told)
    hashrate_hs = wire.believed_hashrate_hs(boards, told.nameplate_hashrate_hs)
    assert 0 <= hashrate_hs < 1e16
    wire.activity_of(summary, boards, hashrate_hs)
    wire.power_of(summary, told, hashrate_hs, 3010.0)
    wire.profiles_of(summary, told, 3010.0)
    wire.pools_of(summary)
    wire.fan_speeds_of(summary)
    wire.uptime_of(summary)
    wire.faults_of(summary)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["true", "1e9", "Mining", "²", "9" * 40])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every way to a value of a document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    found = [path] if path else []
    for key, value in inner:
        found += places(value, (*path, key))
    return found


def changed(document: Any, path: tuple[Any, ...], value: object) -> Any:
    """A copy with one value replaced."""
    whole = json.loads(json.dumps(document))
    at = whole
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return whole


@given(st.sampled_from(places(SUMMARY)), VALUES)
def test_any_value_anywhere_in_a_summary_gives_a_reading_or_a_driver_error(
    place: tuple[Any, ...], value: object
) -> None:
    body = json.dumps(changed(SUMMARY, place, value)).encode("utf-8", "surrogatepass")
    try:
        read_everything(table_of(body, "/summary"), KNOWN)
    except DriverError:
        return


@given(st.sampled_from(places(CAPABILITIES)), VALUES)
def test_any_value_anywhere_in_the_capabilities_gives_a_machine_or_a_driver_error(
    place: tuple[Any, ...], value: object
) -> None:
    body = json.dumps(changed(CAPABILITIES, place, value)).encode("utf-8", "surrogatepass")
    try:
        told = wire.capabilities_of(table_of(body, "/capabilities"))
    except DriverError:
        return
    assert 1 <= told.board_count <= wire.BOARDS_MAX
    assert len(told.board_serials) <= wire.BOARDS_MAX


@given(st.dictionaries(st.sampled_from(["dhcp", "static", "x"]), VALUES))
def test_any_network_gives_a_mac_or_a_driver_error(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    try:
        assert isinstance(wire.mac_of(table_of(body, "/network")), str)
    except DriverError:
        return


@given(st.dictionaries(st.sampled_from(["result", "error"]), VALUES))
def test_any_verdict_is_a_yes_or_a_driver_error(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    try:
        wire.require_yes(table_of(body, "/miner"), "/miner")
    except DriverError:
        return
    assert document["result"] in (True, "true", "True", "Y", "y")
