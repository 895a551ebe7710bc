"""What machines can do next on their way through a plan, and at what price.

Fast steps switch one hashboard, change a profile that follows at once, or put a machine to sleep
that cannot switch boards. Slow steps change a profile that takes minutes; they are offered only
where the window is long enough for the machine's own card. In one move a machine goes as many
profiles down or up as the plan takes it; of slow moves it makes one in a window. A sleeper is woken
only if enough is bought after it. Nothing is offered that would restart mining, or change slowly,
more often in a day than the card allows.

Thousands of machines are priced at every change of plan, and most of them are alike: those that
differ in nothing that a price depends on walk together, as far as they are taken together. A step
is a row of numbers, and a set point is made only of where machines end.
"""

from collections.abc import Hashable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from operator import attrgetter

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


# Cost, restarts and changes so far, name; what the step adds in W; what it comes to in W and H/s;
# the move, and whose it is. The lesser one goes first, and no two machines share a name.
Step = tuple[float, int, int, str, float, float, float, Move, "Walk"]
# What a step costs, what it comes to in W and H/s, and the move.
Offer = tuple[float, float, float, Move]
_STEP = attrgetter("step")


# Restarts and changes so far, and name: who of equals goes first.
Member = tuple[int, int, str]


class Walk:
    """Machines that are alike on their way down or up through a plan, by the model of ``Machine``.

    ``members`` are those that still go together, in their order; ``machine`` is any one of them.
    They have got to ``boards_on``, ``on`` of their ``of`` own boards, and to the profile called
    ``name``, at which each draws ``full_w`` and hashes ``full_hs`` with all boards. ``rungs`` are
    profiles that they may still go to, the next one last. ``left`` is a move that was too large.
    """

    __slots__ = (
        *("boards", "boards_on", "full_hs", "full_w", "hashrate_hs", "idle_w", "is_awake"),
        *("is_down", "is_unworn", "left", "machine", "members", "name", "origin", "power_w"),
        *("of", "on", "room", "rungs"),
    )

    def __init__(
        self, machine: Machine, members: list[Member], room: Room, *, is_down: bool
    ) -> None:
        at, card = machine.standing, machine.card
        assert at is not None
        name, boards, boards_on, idle_w = at.profile, machine.boards, at.boards_on, card.idle_w
        self.machine, self.room, self.origin, self.is_down = machine, room, at, is_down
        self.is_awake, self.name, self.idle_w, self.members = at.is_awake, name, idle_w, members
        self.boards, self.boards_on = boards, boards_on
        self.on, self.of = len(boards & boards_on), len(boards) or 1
        self.is_unworn = _is_unworn(machine, at)
        self.left: Move | None = None
        self.rungs: list[Profile] = []
        for profile in machine.profiles:
            if profile.name == name:
                full_w, full_hs = profile.power_w, profile.hashrate_hs
                if _may_select(machine, room, is_down=is_down):
                    self.rungs = _next_rung(machine.profiles, profile.step, is_down=is_down)
                break
        else:
            full_w, full_hs = max((p.power_w for p in machine.profiles), default=idle_w), 0.0
        self.full_w, self.full_hs = full_w, full_hs
        if at.is_awake:
            share = self.on / self.of
            self.power_w, self.hashrate_hs = idle_w + (full_w - idle_w) * share, full_hs * share
        else:
            self.power_w, self.hashrate_hs = card.standby_w, 0.0

    def setpoint(self) -> Setpoint:
        """Where the machine has got to."""
        return Setpoint(is_awake=self.is_awake, profile=self.name, boards_on=self.boards_on)

    def take(self, step: Step) -> None:
        """Go one step on."""
        _, _, _, _, _, self.power_w, self.hashrate_hs, move, _ = step
        self.left = None
        if move is Move.PROFILE_DOWN or move is Move.PROFILE_UP:
            rung = self.rungs.pop()
            self.name, self.full_w, self.full_hs = rung.name, rung.power_w, rung.hashrate_hs
            if not self.rungs:
                self.rungs = _rungs(self.machine.profiles, rung.step, is_down=self.is_down)
        else:
            self.is_awake, self.boards_on = self._after(move)
            self.on = len(self.boards & self.boards_on)

    def ahead(self, step: Step) -> "Walk":
        """All members one step on; this walk stays where it is."""
        there = copy(self)
        there.rungs = list(self.rungs)
        there.take(step)
        return there

    def again(self, step: Step) -> Step:
        """The same step for the members that are left."""
        return (step[0], *self.members[0], *step[4:])

    def next_step(self) -> Step | None:
        """The cheapest step from here in the walk's direction."""
        return self.step_down() if self.is_down else self.step_up()

    def leave(self, step: Step) -> Step | None:
        """Not go this step: what else the machines could do, once."""
        if self.left is not None:
            return None
        self.left = step[7]
        return self.next_step()

    def step_down(self) -> Step | None:
        """The step that saves watts for the fewest hashes; None where nothing saves any."""
        if not self.is_awake or (self.boards and not self.boards_on):
            return None
        machine, offer = self.machine, None
        if machine.can_switch_boards:
            may_switch = self.boards_on and self.left is not Move.BOARD_OFF
            if may_switch and (self.is_unworn or self._allows(Move.BOARD_OFF)):
                is_restart = len(self.boards_on) == 1 or Move.BOARD_OFF in machine.card.restarting
                penalty = self._penalty() if is_restart else 1.0
                share = (self.on - (max(self.boards_on) in self.boards)) / self.of
                offer = self._offer(Move.BOARD_OFF, share, penalty)
        elif machine.can_sleep and self.left is not Move.SLEEP:
            saved_w = self.power_w - machine.card.standby_w
            if saved_w > 0 and (self.is_unworn or self._allows(Move.SLEEP)):
                cost = self.hashrate_hs / saved_w * self._penalty()
                offer = (cost, machine.card.standby_w, 0.0, Move.SLEEP)
        if offer is not None and offer[1] > self.power_w:
            offer = None  # below the idle draw a board's end would look like a rise
        return self._cheapest(offer, Move.PROFILE_DOWN)

    def step_up(self) -> Step | None:
        """The step that wins the most hashes for its watts; None where there is none."""
        machine, room, card, offer = self.machine, self.room, self.machine.card, None
        is_dark = not (self.is_awake and self.boards_on)
        if is_dark and room.now_s - machine.wear.down_at_s < card.min_off_s:
            return None
        if not self.is_awake:
            has_time = room.bought_for_s > WAKES_PER_STAY * card.wake_s
            if not (has_time and machine.can_sleep) or self.left is not None:
                return None
            if self.is_unworn or self._allows(Move.WAKE):
                offer = self._offer(Move.WAKE, len(self.boards) / self.of, 1.0)
            return None if offer is None else self._step(*offer)
        has_missing = machine.can_switch_boards and self.on < len(self.boards)
        may_switch = has_missing and self.left is not Move.BOARD_ON
        if may_switch and (self.is_unworn or self._allows(Move.BOARD_ON)):
            penalty = RESTART_PENALTY if Move.BOARD_ON in card.restarting else 1.0
            offer = self._offer(Move.BOARD_ON, (self.on + 1) / self.of, penalty)
        if not self.boards_on:
            return None if offer is None else self._step(*offer)
        return self._cheapest(offer, Move.PROFILE_UP)

    def _offer(self, move: Move, share: float, penalty: float) -> Offer | None:
        """A change of boards by its price: hashes lost per watt saved, or less the hashes won.

        None where it changes no watts.
        """
        to_w, to_hs = self.idle_w + (self.full_w - self.idle_w) * share, self.full_hs * share
        delta_w = to_w - self.power_w
        if delta_w == 0:
            return None
        worth = (to_hs - self.hashrate_hs) / delta_w
        return (worth * penalty if delta_w < 0 else -worth / penalty, to_w, to_hs, move)

    def _cheapest(self, offer: Offer | None, move: Move) -> Step | None:
        """The cheaper of an offer and a change of profile; the offer where they cost the same."""
        if self.rungs and self.left is not move and (self.is_unworn or self._allows(move)):
            rung, share = self.rungs[-1], self.on / self.of
            to_w, to_hs = (
                self.idle_w + (rung.power_w - self.idle_w) * share,
                rung.hashrate_hs * share,
            )
            delta_w = to_w - self.power_w
            if delta_w < 0 or (delta_w > 0 and not self.is_down):
                worth = (to_hs - self.hashrate_hs) / delta_w
                cost = worth if delta_w < 0 else -worth
                if offer is None or cost < offer[0]:
                    return self._step(cost, to_w, to_hs, move)
        return None if offer is None else self._step(*offer)

    def _step(self, cost: float, to_w: float, to_hs: float, move: Move) -> Step:
        restarts, changes, name = self.members[0]
        return (cost, restarts, changes, name, to_w - self.power_w, to_w, to_hs, move, self)

    def _penalty(self) -> float:
        """What it costs beside the hashes to stop a machine that would have to mine anew."""
        is_young = self.room.now_s - self.machine.wear.up_at_s < self.machine.card.min_on_s
        return FLUTTER_PENALTY if is_young else RESTART_PENALTY

    def _after(self, move: Move) -> tuple[bool, frozenset[int]]:
        """Whether it is awake, and with which boards on, after a move that changes that."""
        if move is Move.BOARD_OFF:
            return True, self.boards_on - {max(self.boards_on)}
        if move is Move.BOARD_ON:
            return True, self.boards_on | {min(self.boards - self.boards_on)}
        if move is Move.WAKE:
            return True, self.boards
        return move is not Move.SLEEP, self.boards_on

    def _allows(self, move: Move) -> bool:
        """Whether the restarts of mining that the card allows a day suffice for going there."""
        is_awake, boards_on = self._after(move)
        is_rung = move is Move.PROFILE_DOWN or move is Move.PROFILE_UP
        name = self.rungs[-1].name if is_rung else self.name
        to, origin = Setpoint(is_awake=is_awake, profile=name, boards_on=boards_on), self.origin
        if move is Move.SLEEP:  # it has to come back
            origin, to = to, self.setpoint()
        return allows_restarts(self.machine.wear, self.machine.card, origin, to, self.room.now_s)


def walks(machines: Iterable[Machine], room: Room, *, is_down: bool) -> list[Walk]:
    """Machines that are alike together; one whose wear may count before the plan ends by itself.

    What their drivers list is alike where it is the same object: an equal list is priced twice.
    """
    alike: dict[Hashable, list[Machine]] = {}
    for machine in machines:
        at, card, wear = machine.standing, machine.card, machine.wear
        assert at is not None
        is_slow = machine.can_select_profile and card.is_profile_slow
        key = (
            id(card),
            id(machine.profiles),
            machine.boards,
            at.is_awake,
            at.profile,
            at.boards_on,
            machine.can_switch_boards,
            machine.can_sleep,
            machine.can_select_profile,
            room.now_s - (wear.up_at_s if is_down else wear.down_at_s)
            < (card.min_on_s if is_down else card.min_off_s),
            is_slow and _may_select(machine, room, is_down=is_down),
            None if _is_unworn(machine, at) else machine.miner_id,
        )
        alike.setdefault(key, []).append(machine)
    found = []
    for group in alike.values():
        members = sorted([(len(m.wear.restarts_s), m.changes, m.miner_id) for m in group])
        found.append(Walk(group[0], members, room, is_down=is_down))
    return found


def _is_unworn(machine: Machine, at: Setpoint) -> bool:
    """Whether no plan can use up the restarts of its day: each board that can change restarts
    mining once at most, and all else together once."""
    most = len(machine.wear.restarts_s) + len(machine.boards) + len(at.boards_on)
    return most < machine.card.restarts_per_day


def _may_select(machine: Machine, room: Room, *, is_down: bool) -> bool:
    """Whether the profile may change; in the slow tier once per machine and window, if it fits."""
    card = machine.card
    if not machine.can_select_profile or not card.is_profile_slow:
        return machine.can_select_profile
    ramp_s = card.profile_down_s if is_down else card.profile_up_s
    has_time = room.window_left_s > RAMPS_PER_WINDOW * ramp_s
    is_used = machine.slow_window_ms == room.window_ms
    return has_time and not is_used and allows_slow(machine.wear, card, room.now_s)


def _next_rung(profiles: Sequence[Profile], step: int, *, is_down: bool) -> list[Profile]:
    """The last of ``_rungs`` alone: most machines go no further."""
    found = None
    for one in profiles:
        if is_down and one.step < step:
            is_nearer = found is None or one.step > found.step
        elif not is_down and step < one.step <= 0:
            is_nearer = found is None or one.step < found.step
        else:
            continue
        if is_nearer and one.is_tuned:
            found = one
    return [] if found is None else [found]


def _rungs(profiles: Sequence[Profile], step: int, *, is_down: bool) -> list[Profile]:
    """The profiles below a step, or those above it up to the default one; the nearest last.

    None that would be tuned; of several with the same step the first.
    """
    if is_down:
        found = [p for p in reversed(profiles) if p.step < step and p.is_tuned]
    else:
        found = [p for p in reversed(profiles) if step < p.step <= 0 and p.is_tuned]
    found = list({p.step: p for p in found}.values())
    found.sort(key=_STEP, reverse=not is_down)
    return found
