"""Whatever arrives under the name of an API v2 answer: a value or a driver error, and soon."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.wire import whatsminer_v2 as wire
from drivers.wire import whatsminer_who as who
from drivers.wire.cgminer import Answer
from drivers.wire.whatsminer_standing import sight_of

SUMMARY = {
    "Power": 3300,
    "Power Limit": 3500,
    "MHS av": 1.18e8,
    "HS RT": 1.18e8,
    "Factory GHS": 118000,
    "Hash Stable": True,
    "Btminer Fast Boot": "enable",
    "Fan Speed In": 5000,
    "Uptime": 5,
    "Elapsed": 4,
    "Error Code Count": 1,
    "Error Code 0": 110,
    "MAC": "C4:08:28:00:A4:19",
}
BOARD = {"Slot": 0, "HS RT": 39e6, "Temperature": 70, "Upfreq Complete": 1, "PCB SN": "x"}
POOL = {
    "POOL": 1,
    "URL": "u",
    "User": "w",
    "Status": "Alive",
    "Stratum Active": True,
    "Accepted": 1,
    "Rejected": 0,
}
MESSAGE = {
    "api_ver": "2.0.5",
    "fw_ver": "20230714.15.Rel",
    "miner_type": "",
    "mac": "C4:08:28:00:A4:19",
    "minersn": "s",
    "powersn": "p",
    "mineroff": "false",
    "power_pct": "100",
    "pin": "3300",
    "error_code": [{"110": "x"}],
}
WHOLE: dict[str, Any] = {
    "STATUS": [{"STATUS": "S", "Code": 131, "Msg": ""}],
    "SUMMARY": [SUMMARY],
    "DEVS": [BOARD],
    "POOLS": [POOL],
    "DEVDETAILS": [{"Model": "M50_VH30"}],
    "Msg": MESSAGE,
}


def tried(read: Any, *arguments: Any, **named: Any) -> Any:
    """What it gives; None for a driver error. Anything else fails the test."""
    try:
        return read(*arguments, **named)
    except DriverError:
        return None


def read_everything(answer: Answer) -> None:
    """Everything that the driver takes from an answer, one after the other."""
    for read in (who.version_of, who.owner_of, who.type_of, wire.pools_of, wire.faults_of):
        tried(read, answer)
    wire.is_flat(answer)
    status = tried(wire.status_of, answer) or wire.Status(is_off=False, percent=None)
    boards = tried(wire.boards_of, answer, is_off=status.is_off, count=3) or ()
    supply, summary = tried(wire.supply_of, answer), tried(answer.row, "SUMMARY")
    if summary is None:
        return
    tried(who.owner_in, summary)
    for read in (
        wire.power_limit_of,
        wire.fan_speeds_of,
        wire.uptime_of,
        wire.elapsed_of,
        wire.faults_in,
    ):
        tried(read, summary)
    badge = tried(who.badge_of, summary, answer) or ()
    sight_of(summary, answer, badge, seen_at_s=1.0)  # raises nothing
    tried(wire.power_of, summary, supply, 3276.0)
    tried(wire.profiles_at, summary, status, 3276.0, tried(wire.nameplate_of, summary))
    hashrate_hs = tried(wire.require_believable, boards, summary, 118e12) or 0.0
    assert 0.0 <= hashrate_hs <= 1.5 * 118e12
    tried(wire.activity_of, summary, status, boards, hashrate_hs)


def test_the_whole_document_is_read() -> None:
    answer = wire.decode_read(json.dumps(WHOLE).encode())
    assert who.version_of(answer).is_api_v2
    assert wire.status_of(answer).percent == 100
    assert len(wire.boards_of(answer, is_off=False)) == 1
    read_everything(answer)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_value_or_a_driver_error(reply: bytes) -> None:
    answer = tried(wire.decode_read, reply)
    if answer is not None:
        read_everything(answer)


@given(
    st.lists(st.sampled_from([b'"error_code"', b":", b"[", b'"1"', b"]", b"{", b" "]), max_size=40)
)
def test_broken_lists_of_faults_give_a_value_or_a_driver_error(pieces: list[bytes]) -> None:
    answer = tried(wire.decode_read, b'{"STATUS":"S","Msg":{' + b"".join(pieces) + b"}}")
    if answer is not None:
        read_everything(answer)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["true", "1e9", "-5", "²", "9" * 40, "0", "enable"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
PLACES = [
    (name, key)
    for name, part in WHOLE.items()
    for key in ("", *(part[0] if isinstance(part, list) else part))
]


@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_gives_a_value_or_a_driver_error(
    place: tuple[str, str], value: object
) -> None:
    name, key = place
    part = WHOLE[name]
    if not key:
        changed: Any = value
    elif isinstance(part, list):
        changed = [part[0] | {key: value}]
    else:
        changed = part | {key: value}
    raw = json.dumps(WHOLE | {name: changed}).encode("utf-8", "surrogatepass")
    answer = tried(wire.decode_read, raw)
    if answer is not None:
        read_everything(answer)
