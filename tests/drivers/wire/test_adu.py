"""Which bytes are the reply to a request: only the one reply, whatever else is on the line."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadReplyError
from drivers.wire.adu import (
    NOISE_BYTES_MAX,
    Question,
    crc16,
    rtu_reply,
    rtu_request,
    tcp_reply,
    tcp_request,
)

QUESTION = Question(unit=1, pdu=b"\x04\x00\x34\x00\x02", opening=b"\x04\x04", reply_bytes=6)
REPLY = b"\x04\x04\x12\x34\x56\x78"
COIL = Question(unit=7, pdu=b"\x05\x00\x01\xff\x00", opening=b"\x05\x00\x01\xff\x00", reply_bytes=5)


def rtu(unit: int, pdu: bytes) -> bytes:
    body = bytes((unit,)) + pdu
    return body + crc16(body)


def tcp(unit: int, pdu: bytes, tid: int = 77) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


def test_the_checksum_is_that_of_the_standards_example() -> None:
    # Modbus over Serial Line V1.02, appendix B, and the reads that every vendor prints.
    assert crc16(b"\x02\x07") == b"\x41\x12"
    assert crc16(b"\x01\x03\x00\x00\x00\x0a") == b"\xc5\xcd"


def test_requests_are_framed() -> None:
    assert rtu_request(QUESTION) == rtu(1, QUESTION.pdu)
    assert tcp_request(QUESTION, 0x1234) == bytes.fromhex("12340000000601040034 0002")


@pytest.mark.parametrize("cut", range(len(rtu(1, REPLY))))
def test_part_of_a_reply_is_none_yet(cut: int) -> None:
    assert rtu_reply(QUESTION, rtu(1, REPLY)[:cut]) is None
    assert tcp_reply(QUESTION, 77, tcp(1, REPLY)[:cut]) is None


@given(front=st.binary(max_size=NOISE_BYTES_MAX), behind=st.binary(max_size=NOISE_BYTES_MAX))
def test_noise_shorter_than_a_frame_hides_no_reply(front: bytes, behind: bytes) -> None:
    assert rtu_reply(QUESTION, front + rtu(1, REPLY) + behind) == REPLY


@given(cut=st.integers(0, 8))
def test_the_request_itself_may_come_back_in_front_of_the_reply(cut: int) -> None:
    request = rtu_request(QUESTION)
    assert rtu_reply(QUESTION, request[:cut]) is None
    assert rtu_reply(QUESTION, request + rtu(1, REPLY)) == REPLY


def test_a_write_is_answered_by_what_repeats_it_and_nothing_else() -> None:
    assert rtu_reply(COIL, rtu(7, COIL.pdu)) == COIL.pdu
    assert tcp_reply(COIL, 77, tcp(7, COIL.pdu)) == COIL.pdu
    for other in (b"\x05\x00\x02\xff\x00", b"\x05\x00\x01\x00\x00", b"\x06\x00\x01\xff\x00"):
        with pytest.raises(BadReplyError):
            rtu_reply(COIL, rtu(7, other))
        with pytest.raises(BadReplyError):
            tcp_reply(COIL, 77, tcp(7, other))


def test_a_refusal_is_a_reply_of_the_same_function() -> None:
    assert rtu_reply(QUESTION, rtu(1, b"\x84\x02")) == b"\x84\x02"
    assert tcp_reply(QUESTION, 77, tcp(1, b"\x84\x02")) == b"\x84\x02"


STRANGERS = [
    (2, REPLY, "unit 2 instead of unit 1"),
    (1, b"\x03\x04\x12\x34\x56\x78", "function 3 instead of 4"),
    (1, b"\x04\x02\x12\x34", "4 bytes instead of 6"),
    (1, b"\x04\x06\x12\x34\x56\x78\x9a\xbc", "8 bytes instead of 6"),
    (1, b"\x83\x02", "function 131 instead of 4"),
    (2, b"\x84\x0b", "unit 2 instead of unit 1"),
]


@pytest.mark.parametrize(("unit", "pdu", "words"), STRANGERS)
def test_a_sound_frame_that_is_not_the_reply_is_said_to_be_what_it_is(
    unit: int, pdu: bytes, words: str
) -> None:
    for front in (b"", b"\0", b"\xff\0\xff\0"):
        with pytest.raises(BadReplyError, match=words):
            rtu_reply(QUESTION, front + rtu(unit, pdu))
    with pytest.raises(BadReplyError, match=words):
        tcp_reply(QUESTION, 77, tcp(unit, pdu))


@pytest.mark.parametrize(("unit", "pdu"), [row[:2] for row in STRANGERS])
def test_a_reply_behind_a_strangers_frame_is_not_taken(unit: int, pdu: bytes) -> None:
    with pytest.raises(BadReplyError):
        rtu_reply(QUESTION, rtu(unit, pdu) + rtu(1, REPLY))


def test_two_replies_are_one_too_many() -> None:
    with pytest.raises(BadReplyError, match="more than one"):
        rtu_reply(QUESTION, 2 * rtu(1, REPLY))
    with pytest.raises(BadReplyError, match="more than one"):
        tcp_reply(QUESTION, 77, 2 * tcp(1, REPLY))


@given(at=st.integers(0, 8), flip=st.integers(1, 255))
def test_a_reply_with_a_wrong_byte_is_never_taken(at: int, flip: int) -> None:
    spoilt = bytearray(rtu(1, REPLY))
    spoilt[at] ^= flip
    with contextlib.suppress(BadReplyError):
        assert rtu_reply(QUESTION, bytes(spoilt)) is None
    with pytest.raises(BadReplyError):
        rtu_reply(QUESTION, bytes(spoilt) + b"\0" * 5)


def test_another_transaction_is_another_request_and_none_is_any() -> None:
    with pytest.raises(BadReplyError, match="another request"):
        tcp_reply(QUESTION, 78, tcp(1, REPLY))
    assert tcp_reply(QUESTION, 78, tcp(1, REPLY, tid=0)) == REPLY


@pytest.mark.parametrize("head", [b"\0\x4d\0\1\0\3\1", b"\0\x4d\0\0\0\2\1", b"HTTP/1.1"])
def test_what_has_no_header_of_modbus_is_refused_at_once(head: bytes) -> None:
    with pytest.raises(BadReplyError, match="not Modbus TCP"):
        tcp_reply(QUESTION, 77, head)
