"""The table of questions and signs, against recordings of real machines and arbitrary bytes."""

import gzip
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.discovery import fingerprints
from drivers.discovery.fingerprints import Question, Speaks, questions, questions_of
from drivers.miners.registry import FAMILIES

# Reads that every firmware takes without harm. One more is a decision, not an edit.
HARMLESS = {
    '{"cmd":"get.device.info"}',
    '{"command":"version"}',
    '{"cmd":"get_version"}',
    "/capabilities",
    "/",
    "/api/system/info",
    "/api/v1/info",
    "/api/v1/version/",
}


def asked(name: str) -> Question:
    return next(one for one in questions() if one.name == name)


def framed(document: bytes) -> bytes:
    return len(document).to_bytes(4, "little") + document


def page(body: str, status: str = "200 OK", header: str = "Server: x") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}\r\n\r\n{body}".encode()


def test_every_family_is_found_by_a_row_and_every_row_is_of_a_family() -> None:
    assert {sign.family for question in questions() for sign in question.signs} == set(FAMILIES)


def test_only_harmless_reads_are_asked_and_every_question_can_be_answered() -> None:
    assert {one.ask for one in questions()} == HARMLESS
    for one in questions():
        assert one.signs, one.name
        request = one.request("10.1.1.11")
        if one.speaks is Speaks.WEB:
            assert request.startswith(b"GET " + one.ask.encode() + b" HTTP/1.1\r\n")
            assert b"\r\nHost: 10.1.1.11\r\n" in request
            assert request.endswith(b"\r\n\r\n")
        elif one.speaks is Speaks.FRAMES:
            assert request == framed(one.ask.encode())
        else:
            assert request == one.ask.encode() + b"\n"


@pytest.mark.parametrize(
    ("question", "recording", "family"),
    [
        ("version", "luxos-s19kpro/version.json", "luxos"),
        ("version", "avalon-a/version.json", "avalon"),
        ("version", "antminer-2020/version.json", "antminer"),
        ("get-version", "whatsminer-v1/get_version.json", "whatsminer-v2"),
        ("version", "whatsminer-v1/get_version.json", "whatsminer-v2"),
        ("info-v3", "whatsminer-v3-m50/get.device.info.json", "whatsminer-v3"),
        ("braiins-version", "braiins-25.07/version.json", "braiins"),
    ],
)
def test_a_recorded_machine_is_taken_for_its_own_family_first(
    captures: Path, question: str, recording: str, family: str
) -> None:
    reply = (captures / recording).read_bytes()
    assert asked(question).candidates(reply)[0] == family


@pytest.mark.parametrize(
    ("reply", "family"),
    [
        (
            page("", "401 Unauthorized", 'WWW-Authenticate: Digest realm="antMiner Conf"'),
            "antminer",
        ),
        (page("<title>Braiins OS+</title>"), "braiins"),
        (page("<title>AnthillOS</title>"), "vnish"),
        (page("<title>Luxor Firmware</title>"), "luxos"),
        (page("<title>Miner Web Dashboard</title>"), "epic"),
        (page("<title>AxeOS</title>"), "bitaxe"),
        (page("<title>NerdQAxe++</title>"), "bitaxe"),
        (page("<title>Avalon Device</title>"), "avalon"),
    ],
)
def test_a_page_names_its_family(reply: bytes, family: str) -> None:
    assert asked("page").candidates(reply) == (family,)


@pytest.mark.parametrize(
    "reply",
    [
        page("<title>Router</title>", "401 Unauthorized", 'WWW-Authenticate: Basic realm="r"'),
        page("", "307 Temporary Redirect", "Location: https://10.1.1.1/login"),
        page('{"error":"not found"}', "404 Not Found"),
        b"",
        b"SSH-2.0-OpenSSH_9.2",
    ],
)
def test_what_is_no_machine_is_taken_for_none(reply: bytes) -> None:
    assert [one.name for one in questions() if one.candidates(reply)] == []


def test_other_firmware_on_a_makers_machine_goes_before_the_makers_own() -> None:
    reply = b'{"VERSION":[{"Type":"Antminer S19k Pro","LUXminer":"2025.4.8"}]}'
    assert asked("version").candidates(reply) == ("luxos", "antminer")
    reply = b'{"STATUS":[{"Description":"BOSer boser-buildroot"}],"Type":"Antminer S19"}'
    assert asked("version").candidates(reply) == ("braiins", "antminer")


def test_a_packed_page_is_unpacked_and_a_broken_one_is_no_sign() -> None:
    packed = gzip.compress(b"<title>AxeOS</title>" + b" " * 1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    assert asked("page").candidates(head + packed) == ("bitaxe",)
    assert asked("page").candidates(head + packed[:2] + b"\xff" * 20) == ()
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(fingerprints.words_of(head + bomb)) < 300_000


def test_an_answer_is_whole_where_its_kind_says_so() -> None:
    text, frames, web = asked("version"), asked("info-v3"), asked("page")
    assert text.is_whole(b'{"a":[1]}\n')
    assert text.is_whole(b"STATUS=S|\0")
    assert not text.is_whole(b'{"a":[{}')
    assert not text.is_whole(b'{"a":{}')
    whole = framed(b'{"code":0}')
    assert frames.is_whole(whole)
    assert frames.is_whole(b"\0\0\0\0" + whole), "a heartbeat announces nothing"
    assert not any(frames.is_whole(whole[:size]) for size in range(len(whole)))
    assert not frames.is_whole(b"\0" * 64)
    assert web.is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert not web.is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")
    assert not web.is_whole(b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts")
    assert not web.is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")


@given(reply=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_an_answer_that_can_be_judged_and_shown(reply: bytes) -> None:
    for one in questions():
        assert isinstance(one.is_whole(reply), bool)
        assert set(one.candidates(reply)) <= set(FAMILIES)
    line = fingerprints.summary_of(reply)
    assert line.isprintable()
    assert len(line) <= 161


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question": "none"}, "names no question"),
        ({"text": []}, "no text or no source"),
        ({"text": [""]}, "no text or no source"),
        ({"source": ""}, "no text or no source"),
    ],
)
def test_a_faulty_row_is_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    table = tomllib.loads(fingerprints._TABLE.read_text("utf-8"))
    table["signs"][0] |= changes
    with pytest.raises(ValueError, match=words):
        questions_of(table)


def test_a_long_answer_is_shown_short() -> None:
    reply = json.dumps({"a": "b" * 5000}).encode()
    assert fingerprints.summary_of(reply).endswith("…")
