"""What can go wrong with a device, named by what the caller does next.

``reply`` holds the bytes that caused the error, for the debug log; the message is one sentence
that a technician can act on and carries no bytes.
"""


class DriverError(Exception):
    """Base of all device errors. ``reply`` is what the device sent, empty where it sent nothing."""

    def __init__(self, sentence: str, *, reply: bytes = b"") -> None:
        super().__init__(sentence)
        self.reply = reply


class UnreachableError(DriverError):
    """No answer in time, or no connection: retry later, the device may be off."""


class BadReplyError(DriverError):
    """An answer we cannot parse or believe: do not trust it, keep the bytes."""


class RefusedError(DriverError):
    """The device understood and said no: retrying the same will not help by itself."""


class BusyError(RefusedError):
    """The device serves somebody else's session now: retry in a while."""


class UnknownOutcomeError(DriverError):
    """A write left and no answer came: read back before doing anything else."""


class WrongDeviceError(DriverError):
    """Something answers, but not the device of the configuration: never write to it."""


class UnsupportedError(DriverError):
    """This device cannot do this at all: plan without it."""
