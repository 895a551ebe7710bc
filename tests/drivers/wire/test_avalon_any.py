"""Arbitrary bytes in place of an Avalon's answer: a value or a driver's error, in linear time."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.wire import avalon
from drivers.wire.avalon_reply import accepted_write, clock_of, decode, is_unknown_command
from drivers.wire.avalon_report import Report, is_report_of, report_of, version_of
from drivers.wire.cgminer import Answer

KEYS = [
    *("Ver", "DNA", "SYSTEMSTATU", "Elapsed", "TMax", "MTmax", "Fan1", "PS", "WALLPOWER"),
    *("GHSspd", "MGHS", "SoftOFF", "ECHU", "ECMM", "CRC", "FanErr", "MPO", "WORKMODE"),
]
STATES = st.sampled_from(["Work", "Idle", "Init", "Fault", "Mystery"])
WORDS = st.one_of(
    st.text(max_size=30),
    st.lists(st.one_of(st.integers(), st.floats()), max_size=7).map(
        lambda numbers: " ".join(str(number) for number in numbers)
    ),
    st.builds("Work: In {}, Hash Board: {}".format, STATES, st.integers(-1, 400)),
)
REPORTS = st.dictionaries(st.sampled_from(KEYS), WORDS, max_size=18)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
ROWS = st.dictionaries(
    st.sampled_from(
        [
            *("PROD", "MODEL", "MAC", "DNA", "VERSION", "LVERSION", "MM ID0", "MM Count", "POOL"),
            *("URL", "User", "Status", "Stratum Active", "Accepted", "Rejected", "MHS 5s", "When"),
            *("STATUS", "Code", "Msg"),
        ]
    ),
    VALUES,
    max_size=8,
)
SECTIONS = st.sampled_from(["STATUS", "VERSION", "STATS", "SUMMARY", "POOLS", "x"])


def or_driver_error(read: Callable[[], object]) -> object:
    try:
        return read()
    except DriverError:
        return None


def read_everything(answer: Answer) -> None:
    reads: list[Callable[[], object]] = [
        lambda: version_of(answer),
        lambda: version_of(answer).name,
        lambda: avalon.profiles_of(version_of(answer)),
        lambda: read_report(report_of(answer)),
        lambda: is_report_of(report_of(answer), version_of(answer)),
        lambda: avalon.profile_of(report_of(answer), version_of(answer)),
        lambda: avalon.summary_hashrate_of(answer),
        lambda: avalon.pools_of(answer),
        lambda: clock_of(answer),
        lambda: is_unknown_command(answer),
        lambda: accepted_write(answer, "softoff"),
    ]
    for read in reads:
        or_driver_error(read)


def read_report(report: Report) -> None:
    reads: list[Callable[[], object]] = [
        lambda: avalon.hashrate_of(report),
        lambda: avalon.activity_of(report, 1.0),
        lambda: avalon.boards_of(report, 1e12, avalon.activity_of(report, 0.0)),
        lambda: avalon.power_of(report, 0.0),
        lambda: avalon.power_limit_of(report),
        lambda: avalon.fan_speeds_of(report),
        lambda: avalon.uptime_of(report),
        lambda: avalon.faults_of(report),
    ]
    for read in reads:
        or_driver_error(read)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_an_answer_or_a_driver_error(reply: bytes) -> None:
    for start in (b"", b"STATUS=", b"{"):
        answer = or_driver_error(lambda start=start: decode(start + reply))  # type: ignore[misc] # bound
        if isinstance(answer, Answer):
            read_everything(answer)


@given(st.text(alphabet="STAU=,|[]{}\"'0 \0VERION", max_size=200))
def test_texts_of_the_apis_own_signs_give_an_answer_or_a_driver_error(text: str) -> None:
    answer = or_driver_error(lambda: decode(b"STATUS=" + text.encode()))
    if isinstance(answer, Answer):
        read_everything(answer)


@given(REPORTS)
def test_arbitrary_values_in_a_report_give_values_or_a_driver_error(words: dict[str, str]) -> None:
    text = " ".join(f"{key}[{value}]" for key, value in words.items())
    for key in ("MM ID0", "MM ID0:Summary"):
        document = {"STATS": [{key: text}]}
        answer = or_driver_error(lambda d=document: decode(json.dumps(d).encode()))  # type: ignore[misc] # bound
        if isinstance(answer, Answer):
            read_everything(answer)


@given(st.dictionaries(SECTIONS, st.one_of(VALUES, st.lists(st.one_of(ROWS, VALUES), max_size=3))))
def test_arbitrary_tables_give_values_or_a_driver_error(document: dict[str, object]) -> None:
    answer = or_driver_error(lambda: decode(json.dumps(document).encode()))
    if isinstance(answer, Answer):
        read_everything(answer)


@pytest.mark.parametrize("piece", [b"[", b"A[", b"a=", b",", b"|", b"STATS=0,", b"A[0] ", b"A"])
def test_a_megabyte_of_anything_is_decoded_in_linear_time(piece: bytes) -> None:
    started_s = time.process_time()
    body = b"STATUS=S," + piece * ((1 << 20) // len(piece) - 16) + b"|"
    answer = or_driver_error(lambda: decode(body))
    if isinstance(answer, Answer):
        read_everything(answer)
    text = (piece * ((1 << 20) // len(piece) - 64)).decode()
    wrapped = or_driver_error(lambda: decode(json.dumps({"STATS": [{"MM ID0": text}]}).encode()))
    if isinstance(wrapped, Answer):
        read_everything(wrapped)
    assert time.process_time() - started_s < 8.0
