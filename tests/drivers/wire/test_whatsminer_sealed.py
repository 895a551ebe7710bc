"""Tokens and sealed writes of Whatsminer's API v2, against vectors computed with other programs."""

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError, BusyError, DriverError, RefusedError, UnsupportedError
from drivers.wire.cgminer import Answer, decode_answer
from drivers.wire.whatsminer_sealed import (
    TOKEN_LIFE_S,
    Token,
    decode_written,
    encode_write,
    is_token_refused,
    require_accepted,
    token_of,
)
from simulator.whatsminer_v2_wire import seal

GIVEN = {"time": "5626", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"}
KEY = "199e0a202039bb7b558db7a54697dca29cb278055b7e659a127fb844d5a2fbf6"
POWER_ON = (
    "ztIn8gXGbnM4QY3NTovpapmN9lmZbn718Sv0yvT4EP+KXFGGd1/8W8Rd+M61MiIB0V87+aoYwDTcX6Shlyooyw=="
)
POWER_ON_PKCS7 = (
    "ztIn8gXGbnM4QY3NTovpapmN9lmZbn718Sv0yvT4EP+KXFGGd1/8W8Rd+M61MiIBDGW7aPvi+tgsKjxXTaZkjw=="
)


def answer(message: Any, *, letter: str = "S", code: int = 134) -> Answer:
    document = {"STATUS": letter, "When": 1, "Code": code, "Msg": message, "Description": ""}
    return decode_answer(json.dumps(document).encode())


def token(**changes: Any) -> Token:
    return token_of(answer(GIVEN | changes), "admin")


TOKEN = token()


def test_a_token_is_made_of_the_password_as_the_manual_says() -> None:
    made = token()
    assert made.sign == "w.BNbkCV6n1aNWgiBWLzT/"
    assert made.key.hex() == KEY
    assert made.life_s == TOKEN_LIFE_S


def test_of_a_long_time_only_the_last_four_characters_count() -> None:
    assert token(time="17000005626").sign == token().sign


@pytest.mark.parametrize(
    ("timeout", "life_s"),
    [("0", math.inf), ("600", 600.0), (600, 600.0), ("soon", 1800.0), (True, 1800.0), ("", 1800.0)],
)
def test_a_token_lives_as_long_as_the_machine_says(timeout: object, life_s: float) -> None:
    assert token(timeout=timeout).life_s == life_s


def test_a_token_shows_no_secret() -> None:
    assert "w.BNbkCV6n1aNWgiBWLzT" not in repr(token())
    assert "key" not in repr(token())


@pytest.mark.parametrize(
    "message",
    [
        "over max connect",
        {},
        GIVEN | {"salt": 5},
        GIVEN | {"salt": "$1$"},
        GIVEN | {"newsalt": None},
        GIVEN | {"newsalt": ""},
        GIVEN | {"time": 5626},
        GIVEN | {"time": ""},
        GIVEN | {"time": "9" * 65},
    ],
)
def test_what_is_no_token_is_a_bad_reply(message: object) -> None:
    with pytest.raises(BadReplyError, match="no token"):
        token_of(answer(message), "admin")


def test_a_write_is_sealed_like_the_vector() -> None:
    request = json.loads(encode_write(token(), "power_on", {}))
    assert request == {"enc": 1, "data": POWER_ON}


@pytest.mark.parametrize("sealed", [POWER_ON, POWER_ON_PKCS7])
def test_a_sealed_answer_is_opened_with_either_padding(sealed: str) -> None:
    opened = decode_written(json.dumps({"enc": sealed}).encode() + b"\0", token())
    assert opened.fields.text("cmd") == "power_on"


@pytest.mark.parametrize("length", range(16))
@pytest.mark.parametrize("is_pkcs7", [True, False])
def test_a_padding_of_any_length_is_taken_off(length: int, is_pkcs7: bool) -> None:
    told = {"STATUS": "S", "Code": 131, "Msg": "x" * length}
    reply = json.dumps(seal(told, "RxmaDUO33TS7O26yeMHZ81", is_pkcs7=is_pkcs7)).encode()
    assert decode_written(reply, TOKEN).fields.text("Msg") == "x" * length


def test_an_answer_in_clear_is_taken_as_it_is() -> None:
    document = {"STATUS": "E", "When": 1, "Code": 45, "Msg": "no", "Description": ""}
    opened = decode_written(json.dumps(document).encode(), token())
    assert opened.status is not None
    assert opened.status.code == 45


OTHER = token(salt="AAAAAAAA")


@pytest.mark.parametrize(
    "sealed",
    ["", "A", "AAAA", base64.b64encode(bytes(32)).decode(), "é", 5, POWER_ON[:-4]],
)
def test_a_sealed_answer_that_cannot_be_opened_is_a_bad_reply(sealed: object) -> None:
    with pytest.raises(BadReplyError, match="cannot be opened"):
        decode_written(json.dumps({"enc": sealed}).encode(), token())


def test_the_wrong_password_opens_nothing_and_is_named_as_the_cause() -> None:
    with pytest.raises(BadReplyError, match="check the password file"):
        decode_written(json.dumps({"enc": POWER_ON}).encode(), OTHER)


REFUSALS: list[tuple[int, str, type[DriverError], str]] = [
    (14, "invalid cmd", UnsupportedError, "does not have power_off"),
    (23, "json cmd err", RefusedError, "password file"),
    (45, "can't access write cmd", RefusedError, "Miner API Switch"),
    (99, "can't access write cmd", RefusedError, "Miner API Switch"),
    (132, "API command deprecated", UnsupportedError, "whatsminer-v3"),
    (132, "btminer is busy", BusyError, "try again"),
    (132, "percent out of range", RefusedError, "refused power_off: percent out of range"),
    (135, "check token err", RefusedError, "password file"),
    (136, "over max connect", BusyError, "tokens"),
    (137, "", RefusedError, "no reason given"),
]


@pytest.mark.parametrize(("code", "words", "kind", "hint"), REFUSALS)
def test_each_refusal_says_what_to_do(
    code: int, words: str, kind: type[DriverError], hint: str
) -> None:
    refused = answer(words, letter="E", code=code)
    with pytest.raises(kind, match=hint) as caught:
        require_accepted(refused, "power_off")
    assert type(caught.value) is kind
    assert str(caught.value).endswith(".")
    assert is_token_refused(refused) is (code == 135)


@pytest.mark.parametrize(("letter", "code"), [("S", 132), ("E", 131), ("S", 0)])
def test_only_s_with_131_is_a_yes(letter: str, code: int) -> None:
    require_accepted(answer("API command OK", code=131), "power_on")
    with pytest.raises(RefusedError):
        require_accepted(answer("API command OK", letter=letter, code=code), "power_on")


def test_an_answer_without_a_verdict_is_neither_yes_nor_no() -> None:
    silent = decode_answer(b'{"id":1}')
    assert not is_token_refused(silent)
    with pytest.raises(BadReplyError, match="yes or no"):
        require_accepted(silent, "power_on")


def test_get_token_itself_is_accepted_with_its_own_code() -> None:
    require_accepted(answer(GIVEN, code=133), "get_token")
    require_accepted(answer(GIVEN, code=131), "get_token")
    with pytest.raises(RefusedError):
        require_accepted(answer("err", letter="E", code=134), "get_token")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_an_answer_or_a_driver_error(reply: bytes) -> None:
    try:
        require_accepted(decode_written(reply, TOKEN), "power_on")
    except DriverError:
        return


@given(st.binary(max_size=96))
def test_arbitrary_sealed_bytes_give_an_answer_or_a_driver_error(sealed: bytes) -> None:
    reply = json.dumps({"enc": base64.b64encode(sealed).decode()}).encode()
    try:
        require_accepted(decode_written(reply, TOKEN), "power_on")
    except DriverError:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(["time", "salt", "newsalt", "timeout"]), JSON)
def test_any_value_in_a_token_gives_a_token_or_a_driver_error(key: str, value: object) -> None:
    document = {"STATUS": "S", "Code": 131, "Msg": GIVEN | {key: value}}
    raw = json.dumps(document).encode("utf-8", "surrogatepass")
    try:
        made = token_of(decode_answer(raw), "admin")
    except DriverError:
        return
    assert made.life_s > 0
