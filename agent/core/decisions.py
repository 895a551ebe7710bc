"""What the governor wants, and why: the words every loop and the journal share.

Setpoints are absolute and idempotent: carrying one out twice does no harm, and a reader can tell
from the machine's own configuration whether it has been reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent.core.card import ActuatorCard


class Stage(StrEnum):
    """How far a command has got. No reply is UNKNOWN, never REFUSED."""

    SENT = "sent"
    ACCEPTED = "accepted"
    APPLIED = "applied"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    INEFFECTIVE = "ineffective"


class Mode(StrEnum):
    """What the governor is doing as a whole."""

    FAILSAFE = "failsafe"  # nothing may rise until meter, clock and ledger are fresh
    FOLLOWING = "following"  # pacing the energy to the end of its window
    SHEDDING = "shedding"  # the braking curve was reached: everything goes to its floor
    BLIND = "blind"  # the meter is silent: counting up by the upper bound
    NO_PURCHASE = "no_purchase"  # no transaction is open


@dataclass(frozen=True, slots=True, kw_only=True)
class Setpoint:
    """Where one machine should be. ``boards_on`` counts only while ``is_awake``."""

    is_awake: bool
    profile: str | None
    boards_on: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """The reason of a decision, in words a technician reads and fields a program reads.

    ``limit`` is the kind of the limit that ruled, ``source`` the id of the purchase, order or
    rating behind it, ``numbers`` integers with the unit in the name.
    """

    limit: str
    source: str
    words: str
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Bring one machine to a setpoint. ``expected_w`` is what it should draw there, ``card`` what
    was staked on it: the times after which it counts as not obeying."""

    miner_id: str
    setpoint: Setpoint
    expected_w: float
    is_urgent: bool
    because: Because
    card: ActuatorCard


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOrder:
    """Open or close the feed of a group of machines.

    ``is_repeated``: said before, and the relay has not reported yet. It does no harm to carry it
    out again; it is the same order and no second opening.
    """

    relay_id: str
    is_open: bool
    because: Because
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What is known of the next window before it opens.

    ``transaction_ids`` are the purchases that are open then. ``controllable_share`` is of the watts
    that may flow now; ``stop_s`` and ``stop_wh`` are until everything that obeys is at its floor.
    ``least_wh`` flows in the window at least. Of all watts ``losable_share`` may cease to obey with
    the purchase still kept, beside those that already do.
    """

    start_ms: int
    transaction_ids: tuple[str, ...]
    purchased_wh: int
    controllable_share: float
    stop_s: float
    stop_wh: float
    least_wh: float
    losable_share: float
    can_comply: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of one tick. ``power_cap_w`` is what the whole site may draw from now on."""

    at_ms: int
    mode: Mode
    power_cap_w: float
    planned_w: float
    because: Because
    commands: tuple[Command, ...]
    relays: tuple[RelayOrder, ...] = ()
    preflight: Preflight | None = None

    @property
    def is_ordering(self) -> bool:
        """Whether anything is ordered that was not ordered before."""
        return bool(self.commands) or any(not order.is_repeated for order in self.relays)
