"""Each machine as the governor must think of it: where it is, what it may draw, what it obeys.

A machine may be told something once it was identified beyond doubt and answers. It is counted on
only while it also obeys: one that did not is told again at growing intervals, and planned with when
it has done as told. Until a command is confirmed it counts at the higher of old and new.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from agent.core.card import ActuatorCard, Move
from agent.core.decisions import Because, Setpoint, Stage
from agent.core.evolve import replace
from agent.core.snapshot import MinerView
from agent.core.wear import UNWORN, Wear, hashes
from drivers.readings import Activity, MinerReading, Profile

READING_STALE_S = 30.0
JUST_COMMANDED_S = 3.0
RETRY_FIRST_S = 30.0
RETRY_LAST_S = 600.0
IN_TRANSIT = frozenset({Stage.SENT, Stage.ACCEPTED, Stage.APPLIED})
NO_WATTS: Mapping[Setpoint, float] = MappingProxyType({})
DISOBEYED = frozenset({Stage.REFUSED, Stage.UNKNOWN, Stage.INEFFECTIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the governor remembers of one machine from tick to tick.

    ``defiance`` counts the commands in a row that had no effect, the last one sent at
    ``failed_at_s``; the next try is due at ``retry_at_s``. ``high_w`` is the highest draw that its
    configuration has shown and that may still flow until ``high_until_s``.
    """

    desired: Setpoint | None = None
    because: Because | None = None
    commanded_at_s: float = float("-inf")
    defiance: int = 0
    failed_at_s: float = float("-inf")
    retry_at_s: float = float("-inf")
    slow_window_ms: int = 0
    changes: int = 0
    high_w: float = 0.0
    high_until_s: float = float("inf")
    wear: Wear = UNWORN


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine at this tick. ``at`` is its configuration as read back, None while unknown.

    ``at_w`` is the model's draw there, ``upper_w`` the most it can be drawing until something is
    confirmed lower, ``rising_w`` what a command or a ramp may still add to what the meter shows.
    ``standing`` is where it counts in a plan: what it is told if it obeys, what it shows if not.
    One that ``is_dark`` has lost its feed.
    ``card`` and ``seen_w``, the most it was ever seen to draw at a set point, hold what has been
    learned about it.
    """

    miner_id: str
    card: ActuatorCard
    profiles: tuple[Profile, ...]
    boards: frozenset[int]
    at: Setpoint | None
    desired: Setpoint | None
    at_w: float
    upper_w: float
    rising_w: float
    is_commandable: bool
    is_controllable: bool
    is_in_transit: bool
    retry_at_s: float
    changes: int
    slow_window_ms: int
    can_switch_boards: bool
    can_sleep: bool
    can_select_profile: bool
    wear: Wear = UNWORN
    seen_w: Mapping[Setpoint, float] = field(default_factory=lambda: NO_WATTS)
    standing: Setpoint | None = None
    standing_w: float = 0.0
    is_dark: bool = False

    @property
    def is_known(self) -> bool:
        """Whether it is known where it stands; one without a feed stands nowhere."""
        return self.at is not None or self.is_dark

    @property
    def stops_by(self) -> Move:
        """How a short stop is made: by the boards, unless that alone would restart mining."""
        if self.can_sleep and Move.BOARD_OFF in self.card.restarting:
            return Move.SLEEP
        return Move.BOARD_OFF if self.can_switch_boards else Move.SLEEP

    @property
    def resting_w(self) -> float:
        """The most that stays after a stop."""
        most_w = self.card.idle_w
        for setpoint, watts in self.seen_w.items():
            if watts > most_w and not hashes(setpoint):
                most_w = watts
        return most_w

    def power_w(self, setpoint: Setpoint) -> float:
        """The model's draw at a setpoint: fixed part, and the boards' share of the profile."""
        return model_w(self.card, self.profiles, self.boards, setpoint)

    def profile(self, name: str | None) -> Profile | None:
        """The profile of that name in the machine's own list."""
        return _named(self.profiles, name)


def model_w(
    card: ActuatorCard, profiles: Sequence[Profile], boards: frozenset[int], setpoint: Setpoint
) -> float:
    """The model of ``Machine.power_w``, for one that is not put together yet."""
    if not setpoint.is_awake:
        return card.standby_w
    profile = _named(profiles, setpoint.profile)
    if profile is None:
        full_w = max((p.power_w for p in profiles), default=card.idle_w)
    else:
        full_w = profile.power_w
    share = len(setpoint.boards_on & boards) / max(len(boards), 1)
    return card.idle_w + (full_w - card.idle_w) * share


def _named(profiles: Sequence[Profile], name: str | None) -> Profile | None:
    for profile in profiles:
        if profile.name == name:
            return profile
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What experience says of one machine: its card, and the most seen at each set point, in W."""

    card: ActuatorCard
    seen_w: Mapping[Setpoint, float] = field(default_factory=lambda: NO_WATTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A judgement and what it rests on: good until ``until_s`` while all of that is the same."""

    view: MinerView
    memory: Memory
    taught: Taught
    machine: Machine
    until_s: float
    is_dark: bool


def judged(
    before: Judged | None,
    view: MinerView,
    memory: Memory,
    taught: Taught,
    now_s: float,
    *,
    is_dark: bool = False,
) -> Judged:
    """Judge one machine, or keep the last judgement where nothing can have changed it.

    Views and memories are frozen, so the same object says the same; what time alone changes is
    known beforehand. Of thousands of machines few change from one tick to the next, and many of
    those that were asked again show what they showed before.
    """
    known = None
    if (
        before is not None
        and before.memory is memory
        and before.taught is taught
        and before.is_dark is is_dark
        and now_s < before.until_s
    ):
        if before.view is view:
            return before
        known = before.machine if _says_the_same(before.view, view, now_s) else None
    turns_s = [memory.commanded_at_s + JUST_COMMANDED_S, memory.retry_at_s, memory.high_until_s]
    if view.reading is not None:
        turns_s.append(view.reading.replied_at_s + READING_STALE_S)
    return Judged(
        view=view,
        memory=memory,
        taught=taught,
        machine=known or (_without_feed if is_dark else assess)(view, memory, taught, now_s),
        is_dark=is_dark,
        until_s=min([turn_s for turn_s in turns_s if turn_s > now_s], default=math.inf),
    )


def _says_the_same(old: MinerView, new: MinerView, now_s: float) -> bool:
    """Whether all that ``assess`` looks at is the same, in two readings that are not stale."""
    was, now = old.reading, new.reading
    if was is None or now is None or was.power_w != now.power_w or was.boards != now.boards:
        return False
    if now_s - min(was.replied_at_s, now.replied_at_s) >= READING_STALE_S:
        return False
    return (
        (was.activity, was.profile, old.pending, old.fault, old.identity, old.profiles)
        == (now.activity, now.profile, new.pending, new.fault, new.identity, new.profiles)
    ) and (
        (old.can_switch_boards, old.can_sleep, old.can_select_profile)
        == (new.can_switch_boards, new.can_sleep, new.can_select_profile)
    )


def _without_feed(view: MinerView, memory: Memory, taught: Taught, now_s: float) -> Machine:
    """A machine behind an open relay: it draws nothing, shows nothing and can be told nothing."""
    return replace(
        assess(view, memory, taught, now_s),
        at=None,
        at_w=0.0,
        upper_w=0.0,
        rising_w=0.0,
        is_commandable=False,
        is_controllable=False,
        is_in_transit=False,
        standing=None,
        standing_w=0.0,
        is_dark=True,
    )


def assess(view: MinerView, memory: Memory, taught: Taught, now_s: float) -> Machine:
    """Judge one machine from what was read, what was commanded and what came of it."""
    reading, desired = view.reading, memory.desired
    at = None if reading is None else read_back(reading)
    boards = frozenset([] if reading is None else [b.board for b in reading.boards])
    at_w = 0.0 if at is None else model_w(taught.card, view.profiles, boards, at)
    desired_w = 0.0 if desired is None else model_w(taught.card, view.profiles, boards, desired)
    stage = view.pending.stage if view.pending else None
    is_stale = reading is None or now_s - reading.replied_at_s >= READING_STALE_S
    just_commanded = now_s - memory.commanded_at_s < JUST_COMMANDED_S
    is_in_transit = stage in IN_TRANSIT or (stage is None and just_commanded)
    is_known = view.identity is not None and view.identity.is_writable
    is_commandable = bool(is_known and view.fault is None and not is_stale)
    is_obeying = at is None or desired is None or matches(at, desired) or at_w <= desired_w + 1.0
    is_tried_again = memory.defiance > 0 and now_s >= memory.retry_at_s and is_obeying
    is_trusted = is_tried_again or (memory.defiance == 0 and stage not in DISOBEYED)
    is_controllable = is_commandable and is_trusted
    is_told = desired is not None and is_controllable
    least_w = at_w if desired is None else max(at_w, desired_w, taught.seen_w.get(desired, 0.0))
    if is_stale:
        least_w = max(least_w, _default_w(view.profiles))
    may_rise = desired is not None and (is_in_transit or _is_ramping(reading))
    return Machine(
        miner_id=view.miner_id,
        card=taught.card,
        profiles=view.profiles,
        boards=boards,
        at=at,
        desired=desired,
        at_w=at_w,
        upper_w=_upper_w(view, memory, taught, boards, least_w),
        rising_w=_rising_w(reading, at_w, desired_w) if may_rise else 0.0,
        is_commandable=is_commandable,
        is_controllable=is_controllable,
        is_in_transit=is_in_transit,
        retry_at_s=memory.retry_at_s,
        changes=memory.changes,
        slow_window_ms=memory.slow_window_ms,
        can_switch_boards=view.can_switch_boards,
        can_sleep=view.can_sleep,
        can_select_profile=view.can_select_profile,
        wear=memory.wear,
        seen_w=taught.seen_w,
        standing=desired if is_told else at,
        standing_w=desired_w if is_told else at_w,
    )


def recall(view: MinerView, memory: Memory, machine: Machine, now_s: float) -> Memory:
    """What to remember of a machine after this tick, before new commands.

    A machine that stands lower than told, by its own doing, keeps its own state as the set point:
    a later rise is then a decision and not an accident.
    """
    memory = _remember_high(memory, machine, now_s)
    stage = view.pending.stage if view.pending else None
    if view.pending is not None and stage in DISOBEYED:
        if view.pending.sent_at_s != memory.failed_at_s:
            pause_s = min(RETRY_FIRST_S * 2**memory.defiance, RETRY_LAST_S)
            memory = replace(
                memory,
                defiance=memory.defiance + 1,
                failed_at_s=view.pending.sent_at_s,
                retry_at_s=now_s + pause_s,
            )
    elif machine.is_in_transit:
        return memory
    elif (
        memory.defiance
        and matches(machine.at, memory.desired)
        and memory.commanded_at_s > memory.failed_at_s
    ):
        memory = replace(memory, defiance=0)
    if machine.at is not None and obeys(machine) and not matches(machine.at, memory.desired):
        memory = replace(memory, desired=machine.at)
    return memory


def _remember_high(memory: Memory, machine: Machine, now_s: float) -> Memory:
    """A configuration that reads back lower says nothing of the watts before the card's time."""
    if machine.at is None:
        return memory
    if machine.at_w >= memory.high_w or now_s >= memory.high_until_s:
        if machine.at_w == memory.high_w and memory.high_until_s == math.inf:
            return memory
        return replace(memory, high_w=machine.at_w, high_until_s=math.inf)
    if memory.high_until_s < math.inf:
        return memory
    card = machine.card
    falls_s = max(card.board_off_s, card.profile_s) if machine.at.is_awake else card.sleep_s
    return replace(memory, high_until_s=now_s + falls_s) if falls_s < math.inf else memory


def obeys(machine: Machine) -> bool:
    """Whether a machine draws no more than it was told to."""
    if machine.at is None or machine.desired is None or matches(machine.at, machine.desired):
        return True
    return machine.power_w(machine.at) <= machine.power_w(machine.desired) + 1.0


def read_back(reading: MinerReading) -> Setpoint:
    """The setpoint that a machine's own configuration shows.

    A machine that hashes on no board because every board is switched off is awake: switching one
    on is enough. One that stopped with its boards on needs to be woken.
    """
    boards_on = frozenset([b.board for b in reading.boards if b.is_enabled])
    has_boards_left = bool(boards_on) or not reading.boards
    is_stopped = reading.activity is Activity.STOPPED and has_boards_left
    is_asleep = reading.activity is Activity.SLEEPING or is_stopped
    return Setpoint(is_awake=not is_asleep, profile=reading.profile, boards_on=boards_on)


def matches(at: Setpoint | None, desired: Setpoint | None) -> bool:
    """Whether a machine is where it should be; boards and profile of a sleeper do not count."""
    if at is None or desired is None:
        return False
    if not desired.is_awake or not at.is_awake:
        return at.is_awake == desired.is_awake
    same_profile = desired.profile is None or at.profile == desired.profile
    return same_profile and at.boards_on == desired.boards_on


def _upper_w(
    view: MinerView, memory: Memory, taught: Taught, boards: frozenset[int], least_w: float
) -> float:
    """The higher of what was read, what was commanded and what is reported.

    A machine that reports no watts may still draw what its configuration showed before.
    """
    reported_w = None if view.reading is None else view.reading.power_w
    upper_w = max(least_w, memory.high_w if reported_w is None else reported_w)
    if view.pending is None:
        return upper_w
    told = view.pending.setpoint
    told_w = model_w(taught.card, view.profiles, boards, told)
    return max(upper_w, told_w, taught.seen_w.get(told, 0.0))


def nameplate_w(machine: Machine) -> float:
    """The draw of the machine's default profile: what it resumes with when it acts by itself."""
    return _default_w(machine.profiles)


def _default_w(profiles: Sequence[Profile]) -> float:
    for profile in profiles:
        if profile.step == 0:
            return profile.power_w
    return max((p.power_w for p in profiles), default=0.0)


def _is_ramping(reading: MinerReading | None) -> bool:
    return reading is not None and any(b.is_ramping for b in reading.boards)


def _rising_w(reading: MinerReading | None, at_w: float, desired_w: float) -> float:
    """What a pending command or a running ramp may still add to the present draw."""
    drawn_w = at_w
    if reading is not None and reading.power_w is not None:
        drawn_w = min(at_w, reading.power_w)
    return max(desired_w - drawn_w, 0.0)
