"""What a machine listens on: doors, and whoever answers behind them.

A family's server is one object for all its machines. It knows the farm and says which doors each of
its machines has; the network opens and closes them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One listening port of one machine. ``receive`` makes the protocol of one connection.

    What is optional is for looks: where it cannot be opened, the farm runs without it. ``name`` is
    how a machine's URI names a port that is not its first.
    """

    port: int
    receive: Callable[[], asyncio.BaseProtocol]
    is_optional: bool = False
    name: str = ""


class Dialect(Protocol):
    """A family's server, for all machines of that family."""

    def doors(self, index: int) -> Sequence[Door]:
        """The ports of one machine; the first is the one its URI names."""

    def password(self, index: int) -> str | None:
        """What a farm's owner would write into a password file; None where there is none."""

    async def close(self) -> None:
        """Cut off whoever is connected."""
