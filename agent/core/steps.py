"""What one machine can do next on its way through a plan, and at what price.

Fast steps switch one hashboard, change a profile that follows at once, or put a machine to sleep
that cannot switch boards. Slow steps change a profile that takes minutes; they are offered only
where the window is long enough for the machine's own card. In one move a machine goes as many
profiles down or up as the plan takes it; of slow moves it makes one in a window. A sleeper is woken
only if enough is bought after it. Nothing is offered that would restart mining, or change slowly,
more often in a day than the card allows.
"""

from dataclasses import dataclass
from typing import NamedTuple

from agent.core.card import Move
from agent.core.decisions import Setpoint
from agent.core.fleet import Machine
from agent.core.wear import allows_restarts, allows_slow
from drivers.readings import Profile

RAMPS_PER_WINDOW = 4  # a slow step is worth it where four of its ramps fit
WAKES_PER_STAY = 1.5  # a wake is worth it where the machine then stays up half as long again
RESTART_PENALTY = 1.5  # a step that restarts mining, or the last board off: to come back does
FLUTTER_PENALTY = 100.0  # a machine that has just come up goes down only after all others


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much time there is: in the present window, and until nothing is bought any more.

    ``window_ms`` names the window by its end, ``now_s`` is the tick's monotonic time.
    """

    window_left_s: float
    bought_for_s: float
    window_ms: int
    now_s: float = 0.0


class Offer(NamedTuple):
    """One step that a machine could take, at a price: hashes lost per watt saved, or less the
    hashes won. ``power_w`` and ``hashrate_hs`` are what it comes to, ``delta_w`` what it adds;
    ``profile`` is where a change of profile leads."""

    cost: float
    delta_w: float
    power_w: float
    hashrate_hs: float
    move: Move
    profile: Profile | None


class Step(NamedTuple):
    """The cheapest offer of one machine, and the other one from the same place, if any.

    The lesser step goes first: by price, then by wear, then by name, and no two share a name.
    """

    cost: float
    restarts: int
    changes: int
    miner_id: str
    offer: Offer
    other: Offer | None
    walk: "Walk"


class Walk:
    """One machine on its way through a plan, by the model of ``Machine``: how far it has got.

    Of its ``of`` boards ``on`` are switched on; ``profile`` is the one selected, None where its
    list has none of that ``name``.
    """

    __slots__ = (
        *("boards_on", "hashrate_hs", "is_awake", "is_unworn", "machine", "name", "of", "on"),
        *("origin", "power_w", "profile"),
    )

    def __init__(self, machine: Machine, at: Setpoint) -> None:
        boards, name = machine.boards, at.profile
        self.machine, self.origin = machine, at
        self.is_awake = at.is_awake
        self.boards_on = boards_on = at.boards_on
        self.name = name
        self.profile: Profile | None = None
        for profile in machine.profiles:
            if profile.name == name:
                self.profile = profile
                break
        self.of = len(boards) or 1
        self.on = len(boards_on & boards)
        # Each board that can change restarts mining once at most, and all else together once.
        most = len(machine.wear.restarts_s) + len(boards_on) + len(boards) + 1
        self.is_unworn = most <= machine.card.restarts_per_day
        self.power_w, self.hashrate_hs = machine.card.standby_w, 0.0
        if at.is_awake:
            self.power_w, self.hashrate_hs = self.at(self.profile, self.on)

    def at(self, profile: Profile | None, on: int) -> tuple[float, float]:
        """What the machine draws, in W, and hashes, in H/s, awake with so many boards on."""
        idle_w, share = self.machine.card.idle_w, on / self.of
        if profile is not None:
            return idle_w + (profile.power_w - idle_w) * share, profile.hashrate_hs * share
        most_w = max((p.power_w for p in self.machine.profiles), default=idle_w)
        return idle_w + (most_w - idle_w) * share, 0.0

    def setpoint(self) -> Setpoint:
        """Where the machine has got to."""
        return Setpoint(is_awake=self.is_awake, profile=self.name, boards_on=self.boards_on)

    def take(self, offer: Offer) -> None:
        """Go one step on."""
        self.is_awake, self.boards_on = self._after(offer.move)
        self.on = len(self.boards_on & self.machine.boards)
        self.power_w, self.hashrate_hs = offer.power_w, offer.hashrate_hs
        if offer.profile is not None:
            self.profile, self.name = offer.profile, offer.profile.name

    def allows(self, room: Room, move: Move, profile: Profile | None = None) -> bool:
        """Whether the restarts of mining that the card allows a day suffice for going there."""
        if self.is_unworn:
            return True
        is_awake, boards_on = self._after(move)
        name = self.name if profile is None else profile.name
        to, origin = Setpoint(is_awake=is_awake, profile=name, boards_on=boards_on), self.origin
        if move is Move.SLEEP:  # it has to come back
            origin, to = to, self.setpoint()
        return allows_restarts(self.machine.wear, self.machine.card, origin, to, room.now_s)

    def step(self, offer: Offer | None, other: Offer | None = None) -> Step | None:
        """The cheaper of two offers as a step, the first one where they cost the same."""
        if offer is None or (other is not None and other.cost < offer.cost):
            offer, other = other, offer
        if offer is None:
            return None
        machine = self.machine
        restarts = len(machine.wear.restarts_s)
        return Step(offer.cost, restarts, machine.changes, machine.miner_id, offer, other, self)

    def _after(self, move: Move) -> tuple[bool, frozenset[int]]:
        """Whether it is awake, and with which boards on, after a move."""
        if move is Move.BOARD_OFF:
            return True, self.boards_on - {max(self.boards_on)}
        if move is Move.BOARD_ON:
            return True, self.boards_on | {min(self.machine.boards - self.boards_on)}
        if move is Move.WAKE:
            return True, self.machine.boards
        return move is not Move.SLEEP, self.boards_on


def step_down(walk: Walk, room: Room) -> Step | None:
    """The step that saves watts for the fewest hashes; None where nothing saves any."""
    machine, boards_on, profile = walk.machine, walk.boards_on, walk.profile
    if not walk.is_awake or (machine.boards and not boards_on):
        return None
    first = second = None
    if machine.can_switch_boards:
        if boards_on and walk.allows(room, Move.BOARD_OFF):
            restarts = len(boards_on) == 1 or Move.BOARD_OFF in machine.card.restarting
            penalty = _penalty(machine, room) if restarts else 1.0
            on = walk.on - (max(boards_on) in machine.boards)
            first = _saving(walk, Move.BOARD_OFF, walk.at(profile, on), penalty)
    elif machine.can_sleep and walk.allows(room, Move.SLEEP):
        asleep = (machine.card.standby_w, 0.0)
        first = _saving(walk, Move.SLEEP, asleep, _penalty(machine, room))
    if profile is not None and _may_select(machine, room, machine.card.profile_down_s):
        lower = _lower(machine, profile)
        if lower is not None and walk.allows(room, Move.PROFILE_DOWN, lower):
            second = _saving(walk, Move.PROFILE_DOWN, walk.at(lower, walk.on), 1.0, lower)
    return walk.step(first, second)


def step_up(walk: Walk, room: Room) -> Step | None:
    """The step that wins the most hashes for its watts; None where there is none."""
    machine, boards_on, profile = walk.machine, walk.boards_on, walk.profile
    card = machine.card
    is_dark = not (walk.is_awake and boards_on)
    if is_dark and room.now_s - machine.wear.down_at_s < card.min_off_s:
        return None
    if not walk.is_awake:
        has_time = room.bought_for_s > WAKES_PER_STAY * card.wake_s
        if has_time and machine.can_sleep and walk.allows(room, Move.WAKE):
            return walk.step(_offer(walk, Move.WAKE, walk.at(profile, len(machine.boards)), 1.0))
        return None
    first = second = None
    has_missing = machine.can_switch_boards and walk.on < len(machine.boards)
    if has_missing and walk.allows(room, Move.BOARD_ON):
        penalty = RESTART_PENALTY if Move.BOARD_ON in card.restarting else 1.0
        first = _offer(walk, Move.BOARD_ON, walk.at(profile, walk.on + 1), penalty)
    if boards_on and profile is not None and _may_select(machine, room, card.profile_up_s):
        higher = _higher(machine, profile)
        if higher is not None and walk.allows(room, Move.PROFILE_UP, higher):
            second = _offer(walk, Move.PROFILE_UP, walk.at(higher, walk.on), 1.0, higher)
    return walk.step(first, second)


def _penalty(machine: Machine, room: Room) -> float:
    """What it costs beside the hashes to stop a machine that would have to mine anew."""
    is_young = room.now_s - machine.wear.up_at_s < machine.card.min_on_s
    return FLUTTER_PENALTY if is_young else RESTART_PENALTY


def _may_select(machine: Machine, room: Room, ramp_s: float) -> bool:
    """Whether the profile may change; in the slow tier once per machine and window, if it fits."""
    if not machine.can_select_profile or not machine.card.is_profile_slow:
        return machine.can_select_profile
    has_time = room.window_left_s > RAMPS_PER_WINDOW * ramp_s
    is_used = machine.slow_window_ms == room.window_ms
    return has_time and not is_used and allows_slow(machine.wear, machine.card, room.now_s)


def _lower(machine: Machine, present: Profile) -> Profile | None:
    """The next profile down; never one that would be tuned."""
    found, step = None, present.step
    for one in machine.profiles:
        if one.step < step and one.is_tuned and (found is None or one.step > found.step):
            found = one
    return found


def _higher(machine: Machine, present: Profile) -> Profile | None:
    """The next profile up; never above the default one, never one that would be tuned."""
    found, step = None, present.step
    for one in machine.profiles:
        if step < one.step <= 0 and one.is_tuned and (found is None or one.step < found.step):
            found = one
    return found


def _saving(
    walk: Walk,
    move: Move,
    to: tuple[float, float],
    penalty: float,
    profile: Profile | None = None,
) -> Offer | None:
    """A step down; with a profile below the idle draw a board's end would look like a rise."""
    offer = _offer(walk, move, to, penalty, profile)
    return offer if offer is not None and offer.delta_w < 0 else None


def _offer(
    walk: Walk,
    move: Move,
    to: tuple[float, float],
    penalty: float,
    profile: Profile | None = None,
) -> Offer | None:
    """A step by its price; None where it changes no watts."""
    power_w, hashrate_hs = to
    delta_w = power_w - walk.power_w
    if delta_w == 0:
        return None
    worth = (hashrate_hs - walk.hashrate_hs) / delta_w
    cost = worth * penalty if delta_w < 0 else -worth / penalty
    return Offer(cost, delta_w, power_w, hashrate_hs, move, profile)
