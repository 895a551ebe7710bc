"""The pages of stock Antminers as values, their form, and whatever may come in their place."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, DriverError, RefusedError
from drivers.wire import antminer as wire
from drivers.wire import antminer_web as pages
from drivers.wire.antminer_stats import stats_of
from drivers.wire.cgminer import decode_answer

POOLS = [{"url": "stratum+tcp://a:1", "user": "u", "pass": "pool-secret"}]
CONF: dict[str, Any] = {
    "pools": POOLS,
    "api-listen": True,
    "bitmain-fan-ctrl": False,
    "bitmain-fan-pwm": "100",
    "bitmain-freq-level": "90",
    "bitmain-work-mode": "0",
}


def config(**changes: Any) -> pages.MinerConfig:
    document = {key: value for key, value in (CONF | changes).items() if value is not None}
    return pages.config_of(json.dumps(document).encode())


def test_the_form_is_the_configuration_with_another_mode() -> None:
    form = json.loads(pages.encode_form(config(), 1, is_text=False))
    assert form == {
        "bitmain-fan-ctrl": False,
        "bitmain-fan-pwm": "100",
        "freq-level": "90",
        "miner-mode": 1,
        "pools": POOLS,
    }
    assert json.loads(pages.encode_form(config(), 1, is_text=True))["miner-mode"] == "1"


def test_keys_differ_by_firmware_and_may_be_missing() -> None:
    other = {"bitmain-work-mode": None, "miner-mode": 3}
    assert config(**other).mode == 3
    assert config(**{"bitmain-work-mode": ""}).mode is None
    bare = config(**{"bitmain-freq-level": None, "bitmain-fan-ctrl": None})
    assert json.loads(pages.encode_form(bare, 0, is_text=False)) == {
        "bitmain-fan-pwm": "100",
        "freq-level": "100",
        "miner-mode": 0,
        "pools": POOLS,
    }


def test_a_configuration_without_a_list_of_pools_is_not_written_back() -> None:
    with pytest.raises(RefusedError, match="could erase them"):
        pages.encode_form(config(pools=None), 1, is_text=False)
    assert json.loads(pages.encode_form(config(pools=[]), 1, is_text=False))["pools"] == []


@pytest.mark.parametrize(
    "changes", [{"bitmain-work-mode": "soon"}, {"pools": POOLS * 17}, {"pools": [1, *POOLS]}]
)
def test_an_unreadable_configuration_shows_no_secret(changes: dict[str, Any]) -> None:
    with pytest.raises(BadReplyError) as caught:
        config(**changes)
    error = caught.value
    assert "pool-secret" not in f"{error!r} {error.reply!r}"
    assert error.__cause__ is None
    assert "pool-secret" not in repr(config())


def test_pools_of_a_sleeper_are_those_that_are_set() -> None:
    (pool,) = pages.resting_pools_of(config())
    assert (pool.url, pool.user, pool.is_active, pool.accepted) == (
        "stratum+tcp://a:1",
        "u",
        False,
        None,
    )
    assert pages.resting_pools_of(config(pools=None)) == ()


def test_the_answer_to_a_form_is_yes_or_no() -> None:
    pages.require_done(b'{"stats":"success","code":"M000","msg":"OK!"}')
    with pytest.raises(RefusedError, match=r"Invalid pool! \(code M001\)"):
        pages.require_done(b'{"stats":"error","code":"M001","msg":"Invalid pool!"}')
    with pytest.raises(RefusedError, match="no reason given"):
        pages.require_done(b'{"code":"M009"}')
    for body in (b"", b"{}", b"<html>", b'{"code":0}'):
        with pytest.raises(BadReplyError):
            pages.require_done(body)


def test_the_light_says_by_its_code_what_it_does() -> None:
    assert pages.encode_blink(is_on=True) == b'{"blink":true}'
    pages.require_blink(b'{"stats":"success","code":"B000"}', is_on=True)
    pages.require_blink(b'{"stats":"success","code":"B100"}', is_on=False)
    for body, is_on in ((b'{"code":"B100"}', True), (b'{"code":"B000"}', False)):
        with pytest.raises(RefusedError, match="did not do with its light"):
            pages.require_blink(body, is_on=is_on)
    with pytest.raises(BadReplyError):
        pages.require_blink(b"<html>", is_on=True)


def test_system_info_may_tell_little() -> None:
    info = pages.info_of(b"{}")
    assert (info.type_name, info.mac, info.serial, info.firmware) == ("", "", "", "")
    assert not info.has_mac
    told = b'{"macaddr":" 02:6B:77:00:00:01 ","serinum":" ","serial_no":"S1"}'
    assert (pages.info_of(told).mac, pages.info_of(told).serial) == ("02:6b:77:00:00:01", "S1")


def test_the_realm_is_the_vendors_by_its_beginning() -> None:
    assert pages.is_antminer_realm('Digest realm="antMiner Configuration", nonce="x"')
    assert not pages.is_antminer_realm('Basic realm="Router"')
    assert not pages.is_antminer_realm("")


def read_stats(body: bytes) -> None:
    stats = stats_of(wire.accepted(decode_answer(body), "stats"))
    hashrate_hs = wire.believed_hashrate_hs(stats, 110e12)
    assert 0.0 <= hashrate_hs <= 165e12
    wire.activity_of(is_asleep=None, hashrate_hs=hashrate_hs, stats=stats, dark_s=0.0)
    assert len(wire.boards_of(stats, 3, is_ramping=False)) <= 16


def read_api(body: bytes) -> None:
    answer = wire.accepted(decode_answer(body), "any")
    wire.pools_of(answer)
    wire.faults_of(answer)
    wire.type_of(answer)
    wire.compiled_of(answer)


def read_config(body: bytes) -> None:
    found = pages.config_of(body)
    pages.resting_pools_of(found)
    pages.encode_form(found, 1, is_text=False)


DECODERS: list[Callable[[bytes], object]] = [
    read_stats,
    read_api,
    read_config,
    pages.info_of,
    pages.require_done,
    wire.service_faults,
    wire.service_power_w,
]


@pytest.mark.parametrize("decode", DECODERS)
@given(body=st.binary(max_size=300))
def test_arbitrary_bytes_give_a_value_or_a_driver_error(
    decode: Callable[[bytes], object], body: bytes
) -> None:
    try:
        decode(body)
    except DriverError:
        return


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1", "-5", "²", "9" * 40, "45-46", "--", "3250 W", "1e9"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)
ROWS: dict[str, Any] = {
    "STATS": {
        "Type": "Antminer S19 Pro",
        "Elapsed": 1,
        "fan_num": 1,
        "fan1": 1,
        "rate_unit": "GH",
        "chain_rate1": "1.0",
        "chain_acn1": 1,
        "temp_pcb1": "1-2",
        "chain_power": "1 W",
        "total_rateideal": 1,
        "fan": [1],
        "chain": [{"index": 0, "rate_real": 1, "asic_num": 1, "temp_pcb": [1], "sn": "x"}],
    },
    "POOLS": {
        "POOL": 0,
        "URL": "u",
        "User": "v",
        "Stratum Active": True,
        "Status": "Alive",
        "Accepted": 1,
        "Rejected": 0,
    },
    "SUMMARY": {"status": [{"type": "rate", "status": "e", "code": 1, "msg": "m"}]},
    "VERSION": {"Type": "Antminer S19 Pro", "CompileTime": "t"},
}
PLACES = [(section, key) for section, row in ROWS.items() for key in [*row, None]]


@given(place=st.sampled_from(PLACES), value=VALUES, is_newer=st.booleans())
def test_any_value_anywhere_gives_a_reading_or_a_driver_error(
    place: tuple[str, str | None], value: object, is_newer: bool
) -> None:
    section, key = place
    rows = {name: dict(row) for name, row in ROWS.items()}
    if not is_newer:
        del rows["STATS"]["chain"]
    document: dict[str, Any] = {"STATUS": [{"STATUS": "S"}]}
    document |= {name: [row] for name, row in rows.items()}
    if key is None:
        document[section] = value
    else:
        rows[section][key] = value
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    for decode in (read_stats, read_api):
        try:
            decode(body)
        except DriverError:
            continue


@given(key=st.sampled_from(["macaddr", "minertype", "serinum", "code", "msg", *CONF]), value=VALUES)
def test_any_value_on_a_page_gives_a_value_or_a_driver_error(key: str, value: object) -> None:
    body = json.dumps(CONF | {"code": "M000", key: value}).encode("utf-8", "surrogatepass")
    for decode in (read_config, pages.info_of, pages.require_done):
        try:
            decode(body)
        except DriverError:
            continue


def test_an_answer_of_a_megabyte_is_decoded_or_refused_in_time() -> None:
    chain = ",".join(['{"index":0,"rate_real":1}'] * 40_000)
    body = f'{{"STATUS":[{{"STATUS":"S"}}],"STATS":[{{"chain":[{chain}]}}]}}'.encode()
    with pytest.raises(DriverError):
        read_stats(body)
