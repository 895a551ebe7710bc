"""Modbus frames around a PDU, and which bytes are the reply to a request: bytes in, verdict out.

Modbus over Serial Line V1.02 (RTU frames, CRC) and Modbus Messaging on TCP/IP V1.0b (MBAP header).
A reply is taken only if unit, function, byte count and length are those of the request and, on RTU,
the checksum holds. What cannot become that reply any more is a BadReplyError at once. Values are
not looked at here.
"""

import struct
from dataclasses import dataclass

from drivers.errors import BadReplyError

# Fewer bytes than the shortest frame has: noise may be that long, another reply may not.
NOISE_BYTES_MAX = 4
_HEADER_BYTES = 7
_EXCEPTION_PDU_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request's PDU to one unit, and what its right reply looks like.

    The reply's PDU begins with ``opening`` (function, then byte count or what a write repeats) and
    has ``reply_bytes`` bytes.
    """

    unit: int
    pdu: bytes
    opening: bytes
    reply_bytes: int

    @property
    def function(self) -> int:
        """The function code that is asked for."""
        return self.pdu[0]


def crc16(data: bytes) -> bytes:
    """The checksum of an RTU frame, low byte first."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def rtu_request(question: Question) -> bytes:
    """The request as it goes over a serial line."""
    frame = bytes((question.unit,)) + question.pdu
    return frame + crc16(frame)


def tcp_request(question: Question, transaction: int) -> bytes:
    """The request behind an MBAP header. ``transaction`` is never 0: some gateways answer so."""
    header = struct.pack(">HHHB", transaction, 0, len(question.pdu) + 1, question.unit)
    return header + question.pdu


def rtu_reply(question: Question, received: bytes) -> bytes | None:
    """The reply's PDU, None while it may still come. Raises BadReplyError.

    In front and behind there may be a few bytes of noise, fewer than any frame has, and in front
    the request itself, as adapters with local echo hand it back.
    """
    request = rtu_request(question)
    is_echo_telling = question.opening != question.pdu  # a write's reply repeats the request
    if is_echo_telling and request.startswith(received[: len(request)]):
        received = received[len(request) :]
    for start in range(min(len(received), NOISE_BYTES_MAX + 1)):
        frame = _rtu_frame(question, received[start:])
        if frame is not None:
            if len(received) - start - len(frame) > NOISE_BYTES_MAX:
                raise BadReplyError("sent more than one reply", reply=received)
            return frame[1:-2]
        stranger = _whole_frame(received[start:])
        if stranger is not None:
            raise BadReplyError(_difference(question, stranger), reply=received)
    if len(received) > NOISE_BYTES_MAX + 3 + question.reply_bytes:
        raise BadReplyError("sent bytes that hold no reply", reply=received)
    return None


def tcp_reply(question: Question, transaction: int, received: bytes) -> bytes | None:
    """As ``rtu_reply``, behind an MBAP header. Transaction id 0 passes for any."""
    if len(received) < _HEADER_BYTES:
        return None
    said, protocol, length, unit = struct.unpack_from(">HHHB", received)
    if protocol != 0 or not 3 <= length <= 254:
        raise BadReplyError("answered with something that is not Modbus TCP", reply=received)
    if said not in {transaction, 0}:
        raise BadReplyError("answered another request", reply=received)
    if len(received) < 6 + length:
        return None
    pdu = received[_HEADER_BYTES : 6 + length]
    if unit != question.unit or not _is_reply(question, pdu):
        raise BadReplyError(_difference(question, bytes((unit,)) + pdu), reply=received)
    if len(received) > 6 + length:
        raise BadReplyError("sent more than one reply", reply=received)
    return pdu


def _is_reply(question: Question, pdu: bytes) -> bool:
    if pdu[0] == question.function | 0x80:
        return len(pdu) == _EXCEPTION_PDU_BYTES
    return len(pdu) == question.reply_bytes and pdu.startswith(question.opening)


def _rtu_frame(question: Question, data: bytes) -> bytes | None:
    """The frame at the beginning of ``data`` if it is whole, sound and the reply."""
    for pdu_bytes in (question.reply_bytes, _EXCEPTION_PDU_BYTES):
        frame = data[: 3 + pdu_bytes]
        if (
            len(frame) == 3 + pdu_bytes
            and frame[0] == question.unit
            and _is_reply(question, frame[1:-2])
            and crc16(frame[:-2]) == frame[-2:]
        ):
            return frame
    return None


def _whole_frame(data: bytes) -> bytes | None:
    """Unit and PDU of any sound reply at the beginning of ``data``."""
    if len(data) < 3 + _EXCEPTION_PDU_BYTES:
        return None
    function = data[1]
    # Reads tell how many bytes follow, writes repeat address and value.
    long = 3 + data[2] if function in {1, 2, 3, 4} else 6
    size = 3 if function & 0x80 else long
    frame = data[:size]
    is_sound = len(data) >= size + 2 and crc16(frame) == data[size : size + 2]
    return frame if is_sound else None


def _difference(question: Question, frame: bytes) -> str:
    """In what a frame differs from the reply, as the end of a sentence about the endpoint."""
    unit, function = frame[0], frame[1]
    if unit != question.unit:
        return f"answered as unit {unit} instead of unit {question.unit}"
    if function & 0x7F != question.function:
        return f"answered function {function} instead of {question.function}"
    got, wanted = len(frame) - 1, question.reply_bytes
    return f"answered {got} bytes instead of {wanted}, or repeated another request"


def _crc_row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(_crc_row(byte) for byte in range(256))
