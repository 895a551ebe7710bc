"""What a DLMS meter answers, as bytes: the TCP wrapper, and the few kinds of data that are read.

IEC 62056-4-7 (wrapper: version, source and destination wPort, length, each of 16 bits) and IEC
62056-6-2 / Blue Book 4.1.5 (tags of data). Strict: what is not exactly of the kind that was asked
for, with nothing behind it, is a BadReplyError. Nothing here knows a socket or an association.
"""

from dataclasses import dataclass

from drivers.errors import BadReplyError

HEADER_BYTES = 8
APDU_BYTES_MAX = 4096  # a register's answer has some twenty; nobody may make us gather more
WATT_HOURS = 30  # Blue Book, table of units
_VERSION = 1
_SCALER_MAX = 9

# Tag to size in bytes and whether it has a sign.
_WHOLE = {
    5: (4, True),
    6: (4, False),
    15: (1, True),
    16: (2, True),
    17: (1, False),
    18: (2, False),
    20: (8, True),
    21: (8, False),
}
_STRINGS = frozenset({9, 10, 12})
_OCTETS, _DATE_TIME = 9, 25
_SCALER_UNIT = bytes([2, 2, 15])  # a structure of two, the first an integer
_ENUM = 22
_UNSET = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerUnit:
    """A value counts ``10**scaler`` of the unit with that code of the standard."""

    scaler: int
    unit: int


def wrapped(apdu: bytes, *, client: int, server: int) -> bytes:
    """An APDU as the client sends it over TCP."""
    words = (_VERSION, client, server, len(apdu))
    return b"".join(word.to_bytes(2, "big") for word in words) + apdu


class WrappedAnswers:
    """Takes what comes over TCP; an answer is whole with the last byte that its header names.

    The receiver of a ``drivers.link.line.Line``.
    """

    __slots__ = ("_gathered", "_head", "_peer")

    def __init__(self, *, client: int, server: int, peer: str) -> None:
        words = (_VERSION, server, client)
        self._head = b"".join(word.to_bytes(2, "big") for word in words)
        self._peer = peer
        self._gathered = b""

    @property
    def is_whole(self) -> bool:
        """Whether header and APDU are there."""
        return len(self._gathered) == self._wanted

    @property
    def rest(self) -> bytes:
        """What has come so far."""
        return self._gathered

    def feed(self, data: bytes) -> None:
        """More has come. Raises BadReplyError where it is not the answer to one question."""
        self._gathered += data
        head = self._gathered[: len(self._head)]
        if head != self._head[: len(head)]:
            raise self._bad("does not answer as a DLMS meter of that client and server")
        if self._wanted > HEADER_BYTES + APDU_BYTES_MAX:
            raise self._bad(f"announces more than {APDU_BYTES_MAX} bytes for one answer")
        if len(self._gathered) > self._wanted:
            raise self._bad("sent more than one answer to one question")

    def take(self) -> bytes:
        """The APDU."""
        apdu, self._gathered = self._gathered[HEADER_BYTES:], b""
        return apdu

    def end(self) -> None:
        """A close makes nothing whole."""

    @property
    def _wanted(self) -> int:
        """The bytes of the whole answer, as far as is known."""
        if len(self._gathered) < HEADER_BYTES:
            return HEADER_BYTES + 1
        return HEADER_BYTES + max(int.from_bytes(self._gathered[6:HEADER_BYTES], "big"), 1)

    def _bad(self, words: str) -> BadReplyError:
        sentence = f"{self._peer} {words}: check client=, server= and the port."
        return BadReplyError(sentence, reply=self._gathered[:200])


def whole_number(data: bytes) -> int:
    """A whole number of any width. Raises BadReplyError."""
    size, is_signed = _WHOLE.get(data[0], (0, False)) if data else (0, False)
    if not size or len(data) != 1 + size:
        raise BadReplyError("The meter's value is no whole number.", reply=data[:200])
    return int.from_bytes(data[1:], "big", signed=is_signed)


def scaler_unit(data: bytes) -> ScalerUnit:
    """The third attribute of a register. Raises BadReplyError."""
    if len(data) != 6 or data[:3] != _SCALER_UNIT or data[4] != _ENUM:
        raise BadReplyError("The meter's register has no scaler and unit.", reply=data[:200])
    scaler = int.from_bytes(data[3:4], "big", signed=True)
    if abs(scaler) > _SCALER_MAX:
        raise BadReplyError(f"The meter's scaler {scaler} cannot be right.", reply=data)
    return ScalerUnit(scaler=scaler, unit=data[5])


def identity_text(data: bytes) -> str:
    """An identity as people write it; bytes that are no text as hexadecimal digits.

    Raises BadReplyError for what is none, or empty.
    """
    if data and data[0] in _WHOLE:
        return str(whole_number(data))
    octets = _octets(data, "The meter's identity is no text.")
    text = octets.decode("latin-1").strip("\0 ")
    if not text:
        raise BadReplyError("The meter's identity is empty.", reply=data[:200])
    return text if text.isascii() and text.isprintable() else octets.hex()


def clock_text(data: bytes) -> str:
    """The clock as it shows, ``2026-03-01 14:00:05``; its offset, which makers count both ways, is
    left out.

    Raises BadReplyError, also for a clock that was not set.
    """
    words = "The meter's clock shows no time: it may not be set."
    time = data[1:] if data[:1] == bytes([_DATE_TIME]) else _octets(data, words)
    if len(time) != 12:
        raise BadReplyError(words, reply=data[:200])
    year, (month, day) = int.from_bytes(time[:2], "big"), time[2:4]
    hour, minute, second = time[5:8]
    is_set = 1 <= month <= 12 and 1 <= day <= 31 and year != 0xFFFF
    if not is_set or hour > 23 or minute > 59 or (second > 59 and second != _UNSET):
        raise BadReplyError(words, reply=data[:200])
    shown = 0 if second == _UNSET else second
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{shown:02}"


def _octets(data: bytes, words: str) -> bytes:
    """A string's bytes; none is as long as 128, from where on lengths are written otherwise."""
    if len(data) < 2 or data[0] not in _STRINGS or data[1] >= 128 or len(data) != 2 + data[1]:
        raise BadReplyError(words, reply=data[:200])
    return data[2:]
