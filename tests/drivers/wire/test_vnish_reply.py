"""The envelope of VNish: bodies, refusals, logins."""

import json

import pytest

from drivers.errors import BadReplyError, BusyError, DriverError, RefusedError, UnsupportedError
from drivers.wire import vnish_reply as envelope
from drivers.wire.cgminer import Row

PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


def row(**values: object) -> Row:
    return Row(section="part", values=values)


def test_a_table_is_read_by_its_keys() -> None:
    table = envelope.decode_table(b'{"a": {"b": [{"c": 1}], "d": null}}', "info")
    inner = envelope.table_in(table, "a")
    assert [one.whole("c") for one in envelope.tables_in(inner, "b")] == [1]
    assert envelope.tables_in(inner, "d") == ()
    assert envelope.tables_in(inner, "e") == ()


@pytest.mark.parametrize("body", [b"", b"{", PAGE, b"[]", b"1", b"\x00\xff\x00", b'{"a": NaN}'])
def test_what_is_no_table_is_a_bad_reply_that_keeps_the_bytes(body: bytes) -> None:
    with pytest.raises(BadReplyError, match="answer to info") as caught:
        envelope.decode_table(body, "info")
    assert caught.value.reply == body


@pytest.mark.parametrize("value", [None, 1, "x", []])
def test_a_part_that_is_no_table_is_a_bad_reply(value: object) -> None:
    with pytest.raises(BadReplyError, match="no table 'a'"):
        envelope.table_in(row(a=value), "a")


@pytest.mark.parametrize("value", [1, "x", {}, [1], [{}, None]])
def test_a_list_of_something_else_is_a_bad_reply(value: object) -> None:
    with pytest.raises(BadReplyError, match="list 'a'"):
        envelope.tables_in(row(a=value), "a")


REFUSALS: list[tuple[int, bytes, type[DriverError], str]] = [
    (401, b"", RefusedError, "name a password_file"),
    (403, b'{"unlock_timeout": 3}', RefusedError, "name a password_file"),
    (429, b"", BusyError, "asked too often"),
    (404, b"", UnsupportedError, "does not know it"),
    (405, b'{"err": "no"}', UnsupportedError, "does not know it"),
    (500, b'{"err": " CGMiner err "}', RefusedError, r"refused it: CGMiner err \(HTTP 500\)"),
    (400, b'{"err": ""}', RefusedError, "no reason given"),
    (400, b'{"err": 7}', RefusedError, "no reason given"),
    (502, PAGE, BadReplyError, "HTTP 502 and no reason"),
    (500, b"[]", BadReplyError, "HTTP 500 and no reason"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), REFUSALS)
def test_a_refusal_says_what_to_do_next(
    status: int, body: bytes, kind: type[DriverError], words: str
) -> None:
    error = envelope.refusal(status, body, "it")
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


def test_a_long_reason_is_cut() -> None:
    error = envelope.refusal(500, json.dumps({"err": "x" * 5000}).encode(), "it")
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("status", "body", "is_verdict"),
    [
        (200, b"", True),
        (200, b" \r\n", True),
        (200, b"{}", True),
        (204, b"", True),
        (200, b"null", True),
        (200, PAGE, False),
        (200, b'{"half', False),
        (302, b"", False),
        (401, b"", True),
        (404, PAGE, True),
        (500, b'{"err":"no"}', True),
        (502, PAGE, False),
        (500, b"", False),
    ],
)
def test_only_the_machine_itself_decides_about_a_write(
    status: int, body: bytes, is_verdict: bool
) -> None:
    assert envelope.is_verdict(status, body) is is_verdict


def test_a_login_is_a_password_for_a_token() -> None:
    assert json.loads(envelope.encode_unlock('a"b')) == {"pw": 'a"b'}
    assert envelope.token_of(b'{"token": "OwpWakIH-_7"}') == "OwpWakIH-_7"
    assert json.loads(envelope.encode_throttle(45)) == {"percent": 45}


@pytest.mark.parametrize(
    "token",
    [None, 1, "", "a\r\nX-Other: b", "a b", "t\u00f6ken", "x" * 5000, ["a"]],
)
def test_a_token_that_would_not_fit_into_a_header_is_a_bad_reply(token: object) -> None:
    with pytest.raises(BadReplyError, match="no token") as caught:
        envelope.token_of(json.dumps({"token": token}).encode())
    assert caught.value.reply == b""


@pytest.mark.parametrize("body", [b"", b"[]", PAGE])
def test_a_login_that_is_answered_with_something_else_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReplyError, match="no token"):
        envelope.token_of(body)
