"""The actuator card: what the control of one miner family can really do, as the governor needs it.

A card is worst case, not typical: the governor stakes a purchase on it. Confirmations override it
machine by machine, see ``agent.core.learning``; the families' cards are in ``agent.core.cards``.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

SLOW_S = 60.0  # a change of the operating point that takes longer belongs to the slow tier
NEVER_S = math.inf  # the time of a move that a family has no command for


class Move(StrEnum):
    """One kind of actuation. ``FIRST_BOARD`` switches a board on where none was on."""

    BOARD_OFF = "board_off"
    BOARD_ON = "board_on"
    FIRST_BOARD = "first_board"
    PROFILE_DOWN = "profile_down"
    PROFILE_UP = "profile_up"
    SLEEP = "sleep"
    WAKE = "wake"


class Steps(StrEnum):
    """What a machine can be set to. Percent and watts are points of its profile list."""

    BOARDS = "boards"
    PROFILES = "profiles"
    PERCENT = "percent"
    WATTS = "watts"
    SLEEP = "sleep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where some figures of a card come from. ``is_confirmed`` false: nobody publishes them, and
    they are the worst end of what is known or assumed."""

    figures: tuple[str, ...]
    words: str
    is_confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ActuatorCard:
    """Seconds from sending a command until the watts have followed, and what it costs.

    ``accuracy_share`` is how far the watts may end above a set point. ``idle_w`` is drawn with
    every hashboard off but the machine awake, ``standby_w`` asleep. ``kept`` are the settings that
    outlive a reboot of the machine. ``restarting`` are the moves that restart mining, which costs
    up to ``dead_s`` without a hash. Unless it must stop, a machine stays up at least ``min_on_s``
    and down at least ``min_off_s``.
    """

    family: str
    steps: frozenset[Steps]
    board_off_s: float
    board_on_s: float
    profile_down_s: float
    profile_up_s: float
    sleep_s: float
    wake_s: float
    accuracy_share: float
    idle_w: float
    standby_w: float
    kept: frozenset[Steps]
    restarting: frozenset[Move]
    dead_s: float
    restarts_per_day: int
    slow_changes_per_day: int
    min_on_s: float
    min_off_s: float
    sources: tuple[Source, ...]

    def seconds(self, move: Move) -> float:
        """How long one move takes at worst. Whoever waits or brakes asks here and nowhere else."""
        found: float = _SECONDS[move](self)
        return found

    @property
    def profile_s(self) -> float:
        """A change of the operating point, whichever way it goes."""
        return max(self.profile_down_s, self.profile_up_s)

    @property
    def is_profile_slow(self) -> bool:
        """Whether a change of the operating point belongs to the slow tier."""
        return self.profile_s > SLOW_S


_SECONDS = {move: attrgetter(f"{move}_s") for move in Move} | {
    Move.FIRST_BOARD: attrgetter("board_on_s")
}
