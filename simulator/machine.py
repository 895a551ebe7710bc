"""One machine's physics: what its boards, fans and power supply draw, and how fast they change.

Assumed, because no vendor publishes it: a board loses its power within about a second and a half
and comes back through an initialisation of some ten seconds; watts arrive before hashes; boards
that a user switched off stay off over sleep and wake, and come back with a restart of the machine.
"""

import math
from dataclasses import dataclass, field

from simulator.model import MachineModel, OperatingPoint
from simulator.trajectory import Trajectory, still, summed

_FANS_S = 1.0
# Share of a ramp up after which the first hashes come, and by how much they end after the watts.
_HASH_FIRST = 0.4
_HASH_LAST = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How fast a machine follows its commands, and what it draws besides its boards.

    ``profile_up_s`` and ``profile_down_s`` replace ``profile_s`` where a family's two directions
    differ; ``restart_gap_s`` is the time at no power that a change of the operating point costs.
    A board change that is not live interrupts every board of the machine.
    """

    board_on_s: float = 12.0
    board_off_s: float = 1.5
    board_reboot_s: float = 5.0
    profile_s: float = 30.0
    profile_up_s: float | None = None
    profile_down_s: float | None = None
    restart_gap_s: float = 0.0
    is_board_change_live: bool = True
    sleep_s: float = 4.0
    wake_s: float = 60.0
    wake_unsafe_s: float = 10.0
    reboot_s: float = 40.0
    fixed_w: float = 80.0
    standby_w: float = 25.0


@dataclass(slots=True, kw_only=True)
class Counters:
    """What a machine went through since the start; ``own_wakes`` are those nobody told it."""

    board_switches: int = 0
    mining_restarts: int = 0
    own_wakes: int = 0
    commands: int = 0
    sleeps: int = 0
    device_reboots: int = 0


@dataclass(slots=True, kw_only=True)
class Board:
    """One hashboard. ``is_enabled`` is what the user asked for."""

    watts: Trajectory
    hashrate_hs: Trajectory
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """How one machine differs from the table (true power) and from its own report."""

    tolerance: float = 0.0
    reporting: float = 0.0


@dataclass(slots=True, kw_only=True)
class Machine:
    """State and physics of one machine. Every verb takes the instant at which it happens.

    ``own_starts_s``: when it began, or will begin, to hash without having been told.
    """

    index: int
    model: MachineModel
    timings: Timings
    bias: Bias
    now_s: float
    profile: int = -1
    is_awake: bool = True
    is_powered: bool = True
    is_first_wake_after_reboot: bool = False
    rebooting_until_s: float = 0.0
    asleep_since_s: float | None = None
    counters: Counters = field(default_factory=Counters)
    own_starts_s: list[float] = field(default_factory=list)
    boards: list[Board] = field(init=False)
    watts: Trajectory = field(init=False)
    hashrate_hs: Trajectory = field(init=False)
    energy_ws: float = 0.0
    hashes: float = 0.0
    settled_s: float = field(init=False)
    started_s: float = field(init=False)
    _fixed: Trajectory = field(init=False)

    def __post_init__(self) -> None:
        if self.profile < 0:
            self.profile = self.model.profile_index("default")
        self.settled_s = self.now_s
        self.started_s = self.now_s
        self._fixed = still(self.timings.fixed_w, self.now_s)
        self.boards = [
            Board(
                watts=still(self._board_w(), self.now_s),
                hashrate_hs=still(self._board_hs(), self.now_s),
            )
            for _ in range(self.model.boards)
        ]
        self._join(self.now_s)

    @property
    def point(self) -> OperatingPoint:
        """The operating point that is configured now."""
        return self.model.profiles[self.profile]

    @property
    def steady_from_s(self) -> float:
        """From here on nothing moves until the next command."""
        return max(self.watts.end_s, self.hashrate_hs.end_s)

    def reported_w(self, at_s: float) -> int:
        """What the firmware says it draws: an estimate with this machine's own bias."""
        return round(self.watts.value(at_s) * (1.0 + self.bias.reporting))

    def is_board_ramping(self, board: int, at_s: float) -> bool:
        """True while a board that should hash is on its way to its operating point."""
        it = self.boards[board]
        return self.is_awake and it.is_enabled and at_s < it.hashrate_hs.end_s

    def settle(self, to_s: float) -> tuple[float, float]:
        """Integrate up to an instant. Returns the watt seconds and the hashes that this added."""
        energy_ws = self.watts.integral(self.settled_s, to_s)
        hashes = self.hashrate_hs.integral(self.settled_s, to_s)
        self.energy_ws += energy_ws
        self.hashes += hashes
        self.settled_s = to_s
        return energy_ws, hashes

    def switch_board(self, board: int, *, is_on: bool, now_s: float) -> bool:
        """Switch one board. Returns whether that changed anything."""
        it = self.boards[board]
        if it.is_enabled == is_on:
            return False
        if is_on and self.is_awake and not any(other.is_enabled for other in self.boards):
            self.counters.mining_restarts += 1
        it.is_enabled = is_on
        self.counters.board_switches += 1
        if self.is_awake and is_on:
            self._raise_board(it, now_s, now_s, self.timings.board_on_s)
        elif self.is_awake:
            self._drop_board(it, now_s, self.timings.board_off_s)
        if self.is_awake and not self.timings.is_board_change_live:
            self._restart_others(it, now_s)
        self._join(now_s)
        return True

    def reboot_board(self, board: int, *, delay_s: float | None, now_s: float) -> bool:
        """Restart one board after ``delay_s`` (None: the firmware's own), or leave it off."""
        it = self.boards[board]
        if delay_s is not None and delay_s <= 0:
            return self.switch_board(board, is_on=False, now_s=now_s)
        wait_s = self.timings.board_reboot_s if delay_s is None else delay_s
        was_hashing = any(other.is_enabled for other in self.boards if other is not it)
        self.counters.board_switches += 2 if it.is_enabled else 1
        self.counters.mining_restarts += 0 if was_hashing else 1
        it.is_enabled = True
        off_s = now_s + self.timings.board_off_s
        on_s = off_s + wait_s
        self._drop_board(it, now_s, self.timings.board_off_s)
        self._raise_board(it, now_s, on_s, self.timings.board_on_s, off_s=off_s)
        self._join(now_s)
        return True

    def select_profile(self, profile: int, *, now_s: float) -> bool:
        """Move every hashing board to another operating point."""
        if profile == self.profile:
            return False
        is_rising = self.model.profiles[profile].watts > self.point.watts
        self.profile = profile
        chosen_s = self.timings.profile_up_s if is_rising else self.timings.profile_down_s
        ramp_s = self.timings.profile_s if chosen_s is None else chosen_s
        gap_s = self.timings.restart_gap_s
        if self.is_awake and gap_s > 0.0 and any(it.is_enabled for it in self.boards):
            self.counters.mining_restarts += 1
        if self.is_awake:
            for it in self.boards:
                if it.is_enabled and gap_s > 0.0:
                    self._interrupt_board(it, now_s, gap_s, ramp_s)
                elif it.is_enabled:
                    self._move_board(it, now_s, ramp_s)
            self._join(now_s)
        return True

    def cut_power(self, *, now_s: float) -> bool:
        """A relay in the feed opens: no power, at once."""
        if not self.is_powered:
            return False
        self.is_powered = False
        self.rebooting_until_s = math.inf  # nobody is there to answer
        self._fixed = still(0.0, now_s)
        for it in self.boards:
            it.watts, it.hashrate_hs = still(0.0, now_s), still(0.0, now_s)
        self._join(now_s)
        return True

    def restore_power(self, *, now_s: float) -> bool:
        """The relay closes: the machine boots and does what its flash says."""
        if self.is_powered:
            return False
        self.is_powered = True
        self._fixed = self._fixed.redirected(now_s, [(now_s + _FANS_S, self.timings.standby_w)])
        return self.reboot_device(now_s=now_s)

    def sleep(self, *, now_s: float) -> bool:
        """Boards and power supply output off; the control board stays up."""
        if not self.is_awake:
            return False
        self.is_awake = False
        self.asleep_since_s = now_s
        self.counters.sleeps += 1
        for it in self.boards:
            self._drop_board(it, now_s, self.timings.sleep_s)
        down_s = now_s + self.timings.sleep_s
        self._fixed = self._fixed.redirected(now_s, [(down_s, self.timings.standby_w)])
        self._join(now_s)
        return True

    def resume(self, *, now_s: float) -> bool:
        """Hash again without having been told, as some firmware does after a while."""
        if not self.wake(now_s=now_s):
            return False
        self.counters.own_wakes += 1
        self.own_starts_s.append(now_s)
        return True

    def wake(self, *, now_s: float, is_unsafe: bool = False) -> bool:
        """Hash again. The single step is not available right after a restart of the machine."""
        if self.is_awake:
            return False
        is_single_step = is_unsafe and not self.is_first_wake_after_reboot
        self.is_first_wake_after_reboot = False
        ramp_s = self.timings.wake_unsafe_s if is_single_step else self.timings.wake_s
        self._start_hashing(now_s, now_s, ramp_s)
        return True

    def reboot_device(self, *, now_s: float) -> bool:
        """Restart the machine. Sleep outlives it; boards switched off by a user do not stay off."""
        self.counters.device_reboots += 1
        self.rebooting_until_s = now_s + self.timings.reboot_s
        self.started_s = self.rebooting_until_s
        self.is_first_wake_after_reboot = True
        for it in self.boards:
            it.is_enabled = True
            self._drop_board(it, now_s, self.timings.board_off_s)
        if self.is_awake:
            self.own_starts_s.append(self.rebooting_until_s)
            self._start_hashing(now_s, self.rebooting_until_s, self.timings.wake_s)
        else:
            self._join(now_s)
        return True

    def _start_hashing(self, now_s: float, from_s: float, ramp_s: float) -> None:
        self.is_awake = True
        self.asleep_since_s = None
        self.counters.mining_restarts += 1
        fans = [(now_s + _FANS_S, self.timings.fixed_w)]
        self._fixed = self._fixed.redirected(now_s, fans)
        for it in self.boards:
            if it.is_enabled:
                off_s = now_s + self.timings.board_off_s
                self._raise_board(it, now_s, max(from_s, now_s), ramp_s, off_s=off_s)
        self._join(now_s)

    def _restart_others(self, changed: Board, now_s: float) -> None:
        """The mining program starts anew for all boards that stay on."""
        self.counters.mining_restarts += 1
        gap_s = self.timings.board_off_s + 1.0
        for it in self.boards:
            if it.is_enabled and it is not changed:
                self._interrupt_board(it, now_s, gap_s, self.timings.board_on_s)

    def _interrupt_board(self, it: Board, now_s: float, gap_s: float, ramp_s: float) -> None:
        off_s = now_s + min(self.timings.board_off_s, gap_s / 2.0)
        self._drop_board(it, now_s, off_s - now_s)
        self._raise_board(it, now_s, now_s + gap_s, ramp_s, off_s=off_s)

    def _board_w(self) -> float:
        true_w = self.point.watts * (1.0 + self.bias.tolerance)
        return (true_w - self.timings.fixed_w) / self.model.boards

    def _board_hs(self) -> float:
        return self.point.hashrate_ths * 1e12 / self.model.boards

    def _drop_board(self, it: Board, now_s: float, ramp_s: float) -> None:
        it.watts = it.watts.redirected(now_s, [(now_s + ramp_s, 0.0)])
        it.hashrate_hs = it.hashrate_hs.redirected(now_s, [(now_s + ramp_s / 2.0, 0.0)])

    def _raise_board(
        self, it: Board, now_s: float, from_s: float, ramp_s: float, *, off_s: float | None = None
    ) -> None:
        watts = [(from_s + ramp_s, self._board_w())]
        hashes = [
            (from_s + _HASH_FIRST * ramp_s, it.hashrate_hs.value(from_s)),
            (from_s + _HASH_LAST * ramp_s, self._board_hs()),
        ]
        if off_s is not None and off_s < from_s:
            watts = [(off_s, 0.0), (from_s, 0.0), *watts]
            hashes = [(off_s, 0.0), (from_s, 0.0), *hashes]
        it.watts = it.watts.redirected(now_s, watts)
        it.hashrate_hs = it.hashrate_hs.redirected(now_s, hashes)

    def _move_board(self, it: Board, now_s: float, ramp_s: float) -> None:
        it.watts = it.watts.redirected(now_s, [(now_s + ramp_s, self._board_w())])
        it.hashrate_hs = it.hashrate_hs.redirected(now_s, [(now_s + ramp_s, self._board_hs())])

    def _join(self, now_s: float) -> None:
        self.watts = summed([self._fixed, *(it.watts for it in self.boards)], now_s)
        self.hashrate_hs = summed([it.hashrate_hs for it in self.boards], now_s)
