"""The envelope of Braiins OS' REST API: requests, bodies, refusals, secrets."""

import json
import re

import pytest

from drivers.errors import BadReplyError, BusyError, DriverError, RefusedError, UnsupportedError
from drivers.wire import braiins_reply as envelope
from drivers.wire.cgminer import Row


def test_requests_are_the_vendors() -> None:
    assert json.loads(envelope.encode_login("p w")) == {"username": "root", "password": "p w"}
    assert json.loads(envelope.encode_power_target(2400)) == {"watt": 2400}
    off = {"enable": False, "hashboard_ids": ["3"]}
    assert json.loads(envelope.encode_board(3, is_on=False)) == off


def test_a_login_gives_a_token_that_no_repr_shows() -> None:
    session = envelope.session_of(b'{"token":"q3J7zfEUKXQNk2Ll","timeout_s":3600}')
    assert (session.token, session.timeout_s) == ("q3J7zfEUKXQNk2Ll", 3600)
    assert "q3J7" not in repr(session)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"timeout_s":3600}',
        b'{"token":"","timeout_s":3600}',
        b'{"token":"a\\r\\nX: y","timeout_s":3600}',
        b'{"token":"secret","timeout_s":0}',
        b'{"token":"secret"}',
        b'{"token":5,"timeout_s":3600}',
    ],
)
def test_a_login_without_a_usable_token_is_a_bad_reply_without_its_bytes(body: bytes) -> None:
    with pytest.raises(BadReplyError, match="no usable token") as caught:
        envelope.session_of(body)
    assert caught.value.reply == b""
    assert caught.value.__cause__ is None


def test_parts_are_tables_null_or_a_bad_reply() -> None:
    row = Row(section="answer", values={"a": {"b": {"c": 5}}, "n": None, "l": [1], "t": " x "})
    assert envelope.part_of(row) is row
    assert envelope.part_of(row, "n", "b") is None
    assert envelope.part_of(row, "missing") is None
    assert envelope.number_of(row, "a", "b", "c") == 5.0
    assert envelope.number_of(row, "a", "b", "d") is None
    assert envelope.number_of(row, "n", "c") is None
    assert envelope.text_of(row, "t") == "x"
    assert envelope.text_of(row, "n") == ""
    with pytest.raises(BadReplyError, match="not a table"):
        envelope.part_of(row, "l")
    with pytest.raises(BadReplyError, match="not a list of tables"):
        envelope.list_of(row, "l")
    with pytest.raises(BadReplyError, match="not a list of tables"):
        envelope.list_of(row, "a")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"<html>", b"[" * 10_000])
def test_what_is_no_json_is_a_bad_reply(body: bytes) -> None:
    for read in (envelope.table_of, envelope.tables_of, envelope.document_of):
        with pytest.raises(BadReplyError, match="cut off or is not JSON"):
            read(body, "stats")


def test_a_table_is_no_list_and_a_list_no_table() -> None:
    with pytest.raises(BadReplyError, match="not a table"):
        envelope.table_of(b"[]", "stats")
    with pytest.raises(BadReplyError, match="not a list"):
        envelope.tables_of(b"{}", "pools")
    assert envelope.tables_of(b"[{}]", "pools")[0].values == {}


STATUSES: list[tuple[int, bytes, type[DriverError], str]] = [
    (302, b"", BadReplyError, "an error of its own"),
    (400, b"bad  value\n", RefusedError, r"the pause \(HTTP 400: bad value\)\."),
    (401, b"", RefusedError, "check the password file"),
    (403, b"", RefusedError, "check the password file"),
    (404, b"", UnsupportedError, "firmware cannot do"),
    (405, b"<html>", UnsupportedError, r"\(HTTP 405\)\."),
    (409, b"", RefusedError, "look at its status"),
    (412, b"BOSminer is not running.", RefusedError, r"412: BOSminer is not running\); a limit"),
    (418, b"\x00\x01", RefusedError, r"\(HTTP 418\)\."),
    (429, b"", BusyError, "again in a minute"),
    (500, b"panic", BadReplyError, "HTTP 500: panic"),
    (501, b"", UnsupportedError, "HTTP 501"),
    (503, b"", BusyError, "again in a minute"),
]


@pytest.mark.parametrize(("status", "body", "expected", "words"), STATUSES)
def test_a_status_is_one_sentence_with_the_way_out(
    status: int, body: bytes, expected: type[DriverError], words: str
) -> None:
    error = envelope.refusal_of(status, body, "the pause")
    assert type(error) is expected
    sentence = str(error)
    assert re.search(words, sentence)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert error.reply == body


def test_long_words_are_cut() -> None:
    error = envelope.refusal_of(400, b"x" * 5000, "the pause")
    assert len(str(error)) < 300


def test_absent_means_that_the_firmware_does_not_have_it() -> None:
    assert [status for status in (200, 401, 404, 405, 412, 501) if envelope.is_absent(status)] == [
        404,
        405,
        501,
    ]
