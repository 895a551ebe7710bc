"""Who is at the other end of a connection: whoever was recognised on it, for as long as it lasts.

A TCP connection leads to one machine. One that is exchanged, restarted or moved to another address
breaks it, and what answers there afterwards does so on another connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from drivers.errors import WrongDeviceError

Who = TypeVar("Who")


class Recognition(Generic[Who]):
    """The machine that was recognised last, and the number of the connection it was on."""

    def __init__(self) -> None:
        self._seen: tuple[int, Who] | None = None

    def on(self, connection: int) -> Who | None:
        """Who was recognised on this connection; None where nobody was."""
        if self._seen is None or self._seen[0] != connection:
            return None
        return self._seen[1]

    def keep(self, who: Who, connection: int) -> None:
        """This machine has just been recognised on this connection."""
        self._seen = (connection, who)

    def forget(self) -> None:
        """Whoever answers has to be recognised anew."""
        self._seen = None

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Whatever fails inside ends the recognition."""
        try:
            yield
        except BaseException:
            self.forget()
            raise


def require_mac(told: str, *, pinned: str | None, miner_id: str, address: str) -> None:
    """Raises WrongDeviceError for any MAC but the pinned one; without a pin each is right."""
    if pinned is not None and told != pinned:
        raise WrongDeviceError(
            f"Machine {miner_id} should have the MAC {pinned}, but "
            f"{told[:40] or 'a machine without one'} answers at {address}: "
            "check the address, or pin the new MAC if the machine was exchanged."
        )
