"""What a unit's exception means for whoever asked (Modbus Application Protocol V1.1b3, 7)."""

from drivers.errors import BadReplyError, BusyError, DriverError, RefusedError, UnreachableError

_GATEWAY_CODES = frozenset({0x0A, 0x0B})
_BUSY_CODES = frozenset({0x05, 0x06})
_EXCEPTION_WORDS = {
    1: "it does not know this function",
    2: "it has no such register",
    3: "it does not accept this count",
    4: "it failed while answering",
}


class RegisterRefusedError(RefusedError):
    """The unit answered with an exception: it is alive, but does not serve these registers."""

    def __init__(self, sentence: str, *, code: int) -> None:
        super().__init__(sentence, reply=bytes((code,)))
        self.code = code

    @property
    def is_absence(self) -> bool:
        """Whether the unit says that there is no such function, register or block."""
        return self.code in {1, 2, 3}


def refusal(code: int, *, unit: int, way: str, subject: str) -> DriverError:
    """The error for an exception code. ``subject`` is what was asked for, as ``registers 0x…``."""
    where = f"unit {unit} of {way}"
    if code in _GATEWAY_CODES:
        return UnreachableError(
            f"The gateway {way} does not reach unit {unit}: "
            "check the bus behind it and the unit's address."
        )
    if code in _BUSY_CODES:
        return BusyError(f"The {where} is busy: try again later.")
    if code not in _EXCEPTION_WORDS:
        return BadReplyError(f"The {where} refused {subject} with an unknown code {code}.")
    return RegisterRefusedError(
        f"The {where} refused {subject}: {_EXCEPTION_WORDS[code]} (code {code}); "
        "check that the meter's profile fits the meter.",
        code=code,
    )
