"""One device's place in the daemon: its driver, what it last said, and what is wrong with it.

The poller fills the reading side, the actuator the pending side; both are read at the tick. All of
it lives on the event loop, so nothing here needs a lock.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from agent.core.commissioning import Nameplate
from agent.core.decisions import Command
from agent.core.samples import MeterTraits
from agent.core.snapshot import Confirmation, MeterView, MinerView, PendingCommand
from drivers.device import ReadsMeter, ReadsMiner, SelectsProfile, Sleeps, SwitchesBoards
from drivers.readings import (
    MeterIdentity,
    MeterReading,
    MinerDetails,
    MinerIdentity,
    MinerReading,
    TimeQuality,
)


@dataclass(slots=True, kw_only=True)
class MeterPost:
    """A meter. ``missed_polls`` counts in a row; ``fault`` is the last error's sentence, and
    ``is_faulty`` where that was about an answer, not about none.

    ``step_wh`` tells by how much its register steps at a value. ``nameplate`` is what a purchase's
    meter is held against when it is met, ``refusal`` what was found then, at ``checked_at_s``.
    ``clock`` is what its own clock is worth, where that is not as it should be.
    """

    meter_id: str
    address: str
    profile: str
    poll_s: float
    device: ReadsMeter
    traits: MeterTraits
    step_wh: Callable[[int], int]
    identity: MeterIdentity | None = None
    reading: MeterReading | None = None
    missed_polls: int = 0
    fault: str | None = None
    is_faulty: bool = False
    nameplate: Nameplate | None = None
    refusal: str = ""
    is_checked: bool = False
    checked_at_s: float = float("-inf")
    clock: TimeQuality | None = None

    def view(self) -> MeterView:
        """What the tick sees of it."""
        return MeterView(
            meter_id=self.meter_id,
            reading=self.reading,
            missed_polls=self.missed_polls,
            fault=self.fault,
            serial="" if self.identity is None else self.identity.serial,
            refusal=self.refusal,
            is_faulty=self.is_faulty,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a fast and a full read of a machine may take, by its family."""

    fast_s: float = 15.0
    full_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verbs:
    """What a driver can do; the same for each machine of one kind, and slow to find out."""

    switches_boards: bool
    sleeps: bool
    selects_profile: bool


@cache
def _verbs_of(driver: type) -> _Verbs:
    return _Verbs(
        switches_boards=issubclass(driver, SwitchesBoards),
        sleeps=issubclass(driver, Sleeps),
        selects_profile=issubclass(driver, SelectsProfile),
    )


@dataclass(slots=True, kw_only=True)
class MinerPost:
    """A machine. ``mailbox`` holds the newest command not yet taken up: a newer one replaces it."""

    miner_id: str
    address: str
    family: str
    device: ReadsMiner
    limits: Limits = field(default_factory=Limits)
    meter_point: str = ""
    identity: MinerIdentity | None = None
    details: MinerDetails | None = None
    reading: MinerReading | None = None
    missed_polls: int = 0
    fault: str | None = None
    pending: PendingCommand | None = None
    confirmed: Confirmation | None = None
    mailbox: Command | None = None
    mail: asyncio.Event = field(default_factory=asyncio.Event)
    _shown: MinerView | None = None

    def view(self) -> MinerView:
        """What the tick sees of it: the same object as long as nothing is new."""
        shown = self._shown
        if (
            shown is None
            or shown.reading is not self.reading
            or shown.pending is not self.pending
            or shown.identity is not self.identity
            or shown.fault != self.fault
            or (self.details is not None and shown.profiles is not self.details.profiles)
        ):
            self._shown = shown = self._seen()
        return shown

    @property
    def _can_sleep(self) -> bool:
        """The driver has the verb, and nothing that was read says that this machine has not."""
        can = self.details is None or self.details.can_sleep
        return can and _verbs_of(type(self.device)).sleeps

    def _seen(self) -> MinerView:
        verbs = _verbs_of(type(self.device))
        return MinerView(
            miner_id=self.miner_id,
            family=self.family,
            identity=self.identity,
            profiles=() if self.details is None else self.details.profiles,
            reading=self.reading,
            pending=self.pending,
            fault=self.fault,
            can_switch_boards=verbs.switches_boards,
            can_sleep=self._can_sleep,
            can_select_profile=verbs.selects_profile,
            confirmed=self.confirmed,
        )
