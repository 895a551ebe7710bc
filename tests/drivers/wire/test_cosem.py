"""What a DLMS meter's bytes mean, and that nothing else than what was asked for means anything."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError
from drivers.wire.cosem import (
    APDU_BYTES_MAX,
    ScalerUnit,
    WrappedAnswers,
    clock_text,
    identity_text,
    scaler_unit,
    whole_number,
    wrapped,
)

CLOCK = "0907EA0301070E0005FF012C00"  # 2026-03-01, a Sunday, 14:00:05, 300 min, no status


def answers() -> WrappedAnswers:
    return WrappedAnswers(client=32, server=1, peer="m")


def answer(apdu: bytes) -> bytes:
    return wrapped(apdu, client=1, server=32)  # the same header, from the other side


def test_a_question_is_wrapped_as_the_standard_says() -> None:
    assert wrapped(b"\xc0\x01", client=32, server=1).hex() == "0001002000010002c001"


@given(apdu=st.binary(min_size=1, max_size=60), cut=st.integers(0, 70))
def test_an_answer_is_whole_with_its_last_byte_however_it_comes(apdu: bytes, cut: int) -> None:
    taken, whole = answers(), answer(apdu)
    for part in (whole[:cut], whole[cut:]):
        assert not taken.is_whole or not part
        if part:
            taken.feed(part)
    taken.end()
    assert taken.is_whole
    assert taken.rest == whole
    assert (taken.take(), taken.rest, taken.is_whole) == (apdu, b"", False)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\2", "does not answer as a DLMS meter"),
        (wrapped(b"\xc4", client=2, server=32), "does not answer as a DLMS meter"),
        (wrapped(b"\xc4", client=1, server=16), "does not answer as a DLMS meter"),
        (answer(b"\xc4") + b"x", "more than one answer"),
        (answer(b"x" * (APDU_BYTES_MAX + 1)), "announces more than"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not answer as a DLMS meter"),
    ],
)
def test_what_is_no_answer_to_this_client_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadReplyError, match=words):
        answers().feed(data)


def test_an_answer_of_nothing_is_never_whole() -> None:
    taken = answers()
    taken.feed(answer(b""))
    assert not taken.is_whole


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("0600000102", 258),
        ("05FFFFFFFF", -1),
        ("1500000000000001FF", 511),
        ("14FFFFFFFFFFFFFFFE", -2),
        ("11FF", 255),
        ("0FFF", -1),
        ("120100", 256),
        ("10FFFF", -1),
    ],
)
def test_a_whole_number_has_the_width_and_sign_of_its_tag(data: str, value: int) -> None:
    assert whole_number(bytes.fromhex(data)) == value


@pytest.mark.parametrize("data", ["", "00", "06", "06000001", "060000010200", "0942", "17000000FF"])
def test_what_is_no_whole_number_is_an_error(data: str) -> None:
    with pytest.raises(BadReplyError, match="no whole number"):
        whole_number(bytes.fromhex(data))


def test_scaler_and_unit_are_read_and_nothing_else_is() -> None:
    assert scaler_unit(bytes.fromhex("02020FFD161E")) == ScalerUnit(scaler=-3, unit=30)
    for data in ("", "02020FFD16", "02020FFD161E00", "02020FFD111E", "020211FD161E", "0600000001"):
        with pytest.raises(BadReplyError, match="no scaler and unit"):
            scaler_unit(bytes.fromhex(data))
    with pytest.raises(BadReplyError, match="scaler -10 cannot"):
        scaler_unit(bytes.fromhex("02020FF6161E"))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("09083130323033303430", "10203040"),
        ("0A03414243", "ABC"),
        ("09043132 0000", "12"),
        ("0903FF0102", "ff0102"),
        ("0903410742", "410742"),
        ("0600000102", "258"),
    ],
)
def test_an_identity_is_text_or_digits(data: str, text: str) -> None:
    assert identity_text(bytes.fromhex(data)) == text


@pytest.mark.parametrize("data", ["", "09", "0900", "09022020", "090231", "09818031", "0003313233"])
def test_what_is_no_identity_is_an_error(data: str) -> None:
    with pytest.raises(BadReplyError, match="identity"):
        identity_text(bytes.fromhex(data))


def test_a_clock_is_read_as_it_shows() -> None:
    assert clock_text(bytes.fromhex("090C" + CLOCK[2:])) == "2026-03-01 14:00:05"
    assert clock_text(bytes.fromhex("19" + CLOCK[2:])) == "2026-03-01 14:00:05"
    assert clock_text(bytes.fromhex("19" + CLOCK[2:14] + "00FF" + CLOCK[18:])).endswith(":00:00")


@pytest.mark.parametrize(
    "data",
    ["", "0900", "1907EA", "19" + "FF" * 12, "1907EA0D01070E0005FF012C00",
     "1907EA030107180005FF012C00", "1907EA0301070E3C05FF012C00", "1907EA0301070E003CFF012C00"],
)  # fmt: skip
def test_a_clock_that_shows_no_time_is_an_error(data: str) -> None:
    with pytest.raises(BadReplyError, match="clock shows no time"):
        clock_text(bytes.fromhex(data))


@given(data=st.binary(max_size=20))
def test_any_bytes_are_a_value_or_the_one_error(data: bytes) -> None:
    for reading in (whole_number, scaler_unit, identity_text, clock_text, answers().feed):
        with contextlib.suppress(BadReplyError):
            reading(data)
