"""What a device's clock shows: registers to a moment, in whatever zone the clock was set to.

``datetime4``: four registers with the year since 2000 (7 bits), month and day, hour and minute, and
the milliseconds of the minute; weekday and flags between them are not looked at (Schneider
DOCA0005EN-04, page 53, DATETIME). ``bytes6``: three registers with a byte each for the year since
2000, month, day, hour, minute and second (ABB 2CMC48001M0201 revision C, page 122). ``unix``: the
seconds since 1970 of UTC in two registers.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from drivers.errors import BadReplyError
from drivers.wire.registers import RegisterType, WordOrder, decode_registers

_UNSET = "The clock shows no time: it may not be set."
_CENTURY = 2000
_UNIX_BEGIN = datetime(1970, 1, 1)  # noqa: DTZ001 - shown times have no zone of their own


class NoTimeError(BadReplyError):
    """Registers of a clock that show no time: it has to be set, and nothing else is wrong."""


class MomentFormat(StrEnum):
    """How date and time are laid out in registers."""

    DATETIME4 = "datetime4"
    BYTES6 = "bytes6"
    UNIX = "unix"

    @property
    def register_count(self) -> int:
        """How many registers one moment takes."""
        return {MomentFormat.DATETIME4: 4, MomentFormat.BYTES6: 3, MomentFormat.UNIX: 2}[self]

    @property
    def is_utc(self) -> bool:
        """Whether it is of UTC by its definition; the others are of whatever they were set to."""
        return self is MomentFormat.UNIX


def decode_moment(
    registers: Sequence[int], layout: MomentFormat, order: WordOrder = WordOrder.BIG
) -> datetime:
    """The moment that is shown, without a zone. ``order`` is that of a ``unix`` number's registers.

    Raises NoTimeError for registers that show none, as those of a clock that was never set.
    """
    if len(registers) != layout.register_count:
        raise BadReplyError(
            f"The meter sent {len(registers)} registers for a clock of {layout.register_count}."
        )
    if layout is MomentFormat.UNIX:
        try:
            seconds = decode_registers(registers, RegisterType.UINT32, order)
        except BadReplyError as error:
            raise NoTimeError(_UNSET, reply=error.reply) from error
        if seconds == 0:
            raise NoTimeError(_UNSET)
        return _UNIX_BEGIN + timedelta(seconds=seconds)
    parts = _datetime4(registers) if layout is MomentFormat.DATETIME4 else _bytes6(registers)
    try:
        return datetime(*parts)  # noqa: DTZ001 - as it shows, in the zone that it was set to
    except ValueError as error:
        reply = b"".join(word.to_bytes(2, "big") for word in registers)
        raise NoTimeError(_UNSET, reply=reply) from error


def _datetime4(registers: Sequence[int]) -> tuple[int, int, int, int, int, int, int]:
    year, day, time, milliseconds = registers
    second, rest_ms = divmod(milliseconds, 1000)
    # What does not fit the paper's layout is a value that is none, not a date to be guessed at.
    month = day >> 8 & 0x0F if year <= 0x7F else 0
    return (
        _CENTURY + (year & 0x7F),
        month,
        day & 0x1F,
        time >> 8 & 0x1F,
        time & 0x3F,
        second,
        rest_ms * 1000,
    )


def _bytes6(registers: Sequence[int]) -> tuple[int, int, int, int, int, int, int]:
    year, month, day, hour, minute, second = (
        byte for word in registers for byte in word.to_bytes(2, "big")
    )
    return _CENTURY + year, month, day, hour, minute, second, 0
