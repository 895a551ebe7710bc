"""Abilities of devices, one verb each, as protocols.

A driver implements the abilities its family really has and no others; the agent asks with
``isinstance``. Every method raises only ``drivers.errors.DriverError`` leaves, besides
``asyncio.CancelledError``, and returns within the family's own time limit.
A write that returns has been *accepted*, nothing more: only a later read tells what happened.
Every driver keeps one request in flight per device by itself.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from drivers.readings import (
    ClockReading,
    MeterIdentity,
    MeterReading,
    MinerDetails,
    MinerIdentity,
    MinerReading,
    QuantityReading,
    RelayReading,
)


@runtime_checkable
class ReadsMiner(Protocol):
    """A machine that can be identified and read."""

    async def identify(self) -> MinerIdentity:
        """Who answers at the address. Raises WrongDeviceError where it is another family."""

    async def read(self) -> MinerReading:
        """The fast read: activity, watts, hashrate, boards."""

    async def read_details(self) -> MinerDetails:
        """The slow read: identity, pools, profiles, serials."""

    async def close(self) -> None:
        """Give back the session and the connection."""


@runtime_checkable
class SwitchesBoards(Protocol):
    """A machine whose hashboards can be switched one by one."""

    async def switch_board(self, board: int, *, is_on: bool) -> None:
        """Switch one hashboard."""


@runtime_checkable
class SelectsProfile(Protocol):
    """A machine with named operating points."""

    async def select_profile(self, name: str) -> None:
        """Choose one of the profiles that ``read_details`` listed."""


@runtime_checkable
class Sleeps(Protocol):
    """A machine that can stop hashing and resume by command."""

    async def sleep(self) -> None:
        """Stop hashing; the control board stays up."""

    async def wake(self) -> None:
        """Resume hashing."""


@runtime_checkable
class Locates(Protocol):
    """A machine whose light blinks by command, so that a person finds it in the hall."""

    async def locate(self, *, is_on: bool) -> None:
        """Let it blink, or leave the light to the firmware again. Changes nothing else."""


@runtime_checkable
class SharesSession(Protocol):
    """A machine that takes several writes under one session; the session has its abilities."""

    def writing(self) -> AbstractAsyncContextManager[object]:
        """Open the session and give it back at the end, whatever happens."""


@runtime_checkable
class ReadsMeter(Protocol):
    """An electricity meter."""

    async def identify(self) -> MeterIdentity:
        """Serial, and the profile's promises read back. WrongDeviceError where they differ."""

    async def read(self) -> MeterReading:
        """Power and energy of one instant."""

    async def close(self) -> None:
        """Close the bus if this was its last user."""


@runtime_checkable
class ReadsQuantities(Protocol):
    """A meter that can tell everything it measures, for a person who looks."""

    async def read_quantities(self) -> tuple[QuantityReading, ...]:
        """All quantities, one after the other; what the meter has not stands with the reason."""


@runtime_checkable
class ShowsTime(Protocol):
    """A meter that may have a clock of its own."""

    async def read_clock(self) -> ClockReading | None:
        """What it shows; None where this model has none. Waits behind every other reading."""


@runtime_checkable
class SwitchesFeed(Protocol):
    """A relay in the feed of machines."""

    async def read(self) -> RelayReading:
        """The coil, as it reads back."""

    async def switch(self, *, is_closed: bool) -> None:
        """Tell the coil where to be: absolute, so that saying it twice does no harm."""

    async def check_guard(self) -> tuple[str, ...]:
        """What is not set as configured for the relay to open by itself, a sentence each."""

    async def close(self) -> None:
        """Close the bus if this was its last user; the relay stays where it is."""
