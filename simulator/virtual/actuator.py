"""Carries commands to the machines in virtual time, stage by stage as the daemon does on wires.

A command is sent, acts some time later, and is then read back about once a second: applied when the
configuration is as told, confirmed when the watts follow, else ineffective when the card's time is
up, or unknown where no answer ever came. A newer command replaces one not yet taken up.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from agent.core.decisions import Command, Setpoint, Stage
from agent.core.fleet import matches, read_back
from agent.core.moves import seconds_to
from agent.core.snapshot import Confirmation, PendingCommand
from drivers.readings import MinerReading, PowerProvenance
from simulator.machine import Machine
from simulator.virtual.polls import MINER_TIMEOUT_S, MinerPost
from simulator.virtual.site import Site, Unit

WRITES_AT_ONCE = 128
READ_PAUSE_S = 1.0
WATTS_TOLERANCE_SHARE = 0.15
WATTS_TOLERANCE_W = 120.0


@dataclass(slots=True, kw_only=True)
class _Errand:
    """One command on its way."""

    post: MinerPost
    command: Command
    turn: int
    sent_at_s: float
    deadline_s: float
    origin: Setpoint | None
    has_answer: bool = True
    is_applied: bool = False

    @property
    def is_current(self) -> bool:
        return self.turn == self.post.turn


@dataclass(slots=True, kw_only=True)
class Actuator:
    """The loop out. ``commands`` counts what it was given."""

    site: Site
    posts: Mapping[str, MinerPost]
    commands: int = 0
    _writing: int = 0
    _waiting: deque[_Errand] = field(default_factory=deque)

    def submit(self, commands: Sequence[Command]) -> None:
        """Take set points; the newest for a machine counts."""
        for command in commands:
            self.commands += 1
            post = self.posts[command.miner_id]
            if post.is_writing:
                post.mailbox = command
            else:
                self._take_up(post, command)

    def forget(self) -> None:
        """The process is gone: nothing that waits will be sent any more."""
        self._waiting.clear()
        self._writing = 0

    def _take_up(self, post: MinerPost, command: Command) -> None:
        now_s = self.site.agenda.now_s
        origin = None if post.reading is None else read_back(post.reading)
        limit_s = seconds_to(command.card, origin, command.setpoint) + 3 * READ_PAUSE_S
        post.turn += 1
        errand = _Errand(
            post=post,
            command=command,
            turn=post.turn,
            sent_at_s=now_s,
            deadline_s=now_s + limit_s,
            origin=origin,
        )
        self._reach(errand, Stage.SENT, "")
        if post.reading is None:
            self._reach(errand, Stage.REFUSED, "the machine has never been read")
            return
        if matches(read_back(post.reading), command.setpoint):
            self._reach(errand, Stage.ACCEPTED, "")
            self.site.agenda.after(0.2, lambda: self._look(errand))
            return
        post.is_writing = True
        if self._writing < WRITES_AT_ONCE:
            self._write(errand)
        else:
            self._waiting.append(errand)

    def _write(self, errand: _Errand) -> None:
        self._writing += 1
        agenda, rng, unit = self.site.agenda, self.site.rng, errand.post.unit
        if unit.is_away(agenda.now_s):
            errand.has_answer = False
            agenda.after(MINER_TIMEOUT_S, lambda: self._answered(errand))
            return
        wait_s = rng.uniform(*unit.family.write_s) + unit.late_s
        agenda.after(wait_s, lambda: self._effect(errand))

    def _effect(self, errand: _Errand) -> None:
        """The request acts on the machine, whoever sent it, alive or not."""
        unit, setpoint = errand.post.unit, errand.command.setpoint
        is_deaf = unit.is_away(self.site.agenda.now_s)
        errand.has_answer = not is_deaf
        if not (is_deaf or unit.ignores or unit.refuses):
            self.site.act(unit, lambda machine, now_s: obey(machine, setpoint, now_s))
            if not setpoint.is_awake and unit.resumes_after_s is not None:
                self.site.agenda.after(unit.resumes_after_s, partial(self._resume, unit))
        self._answered(errand)

    def _resume(self, unit: Unit) -> None:
        """The machine wakes by itself, if it still sleeps."""
        if unit.machine.is_powered:
            self.site.act(unit, lambda machine, now_s: machine.resume(now_s=now_s))

    def _answered(self, errand: _Errand) -> None:
        post = errand.post
        if not errand.is_current:
            return
        self._writing = max(self._writing - 1, 0)
        post.is_writing = False
        if self._waiting:
            self._write(self._waiting.popleft())
        if errand.has_answer and post.unit.refuses:
            self._reach(errand, Stage.REFUSED, "the machine says no")
        elif errand.has_answer:
            self._reach(errand, Stage.ACCEPTED, "")
        if post.mailbox is not None:
            command, post.mailbox = post.mailbox, None
            self._take_up(post, command)
        elif not (errand.has_answer and post.unit.refuses):
            self.site.agenda.after(0.1, lambda: self._look(errand))

    def _look(self, errand: _Errand) -> None:
        """Read back; judge when the time is up."""
        if not errand.is_current:
            return
        agenda, post = self.site.agenda, errand.post
        if agenda.now_s >= errand.deadline_s:
            self._give_up(errand)
            return
        if post.unit.is_away(agenda.now_s):
            agenda.after(MINER_TIMEOUT_S + READ_PAUSE_S, lambda: self._look(errand))
            return
        reading = post.read(agenda.now_s, 0.05)
        if matches(read_back(reading), errand.command.setpoint):
            if not errand.is_applied:
                errand.is_applied = True
                self._reach(errand, Stage.APPLIED, "")
            if _watts_follow(reading, errand.command.expected_w):
                post.confirmed = Confirmation(
                    setpoint=errand.command.setpoint,
                    origin=errand.origin,
                    sent_at_s=errand.sent_at_s,
                    confirmed_at_s=agenda.now_s,
                    is_measured=reading.power_provenance is PowerProvenance.METERED_PSU,
                )
                self._reach(errand, Stage.CONFIRMED, "")
                return
        agenda.after(READ_PAUSE_S + 0.1, lambda: self._look(errand))

    def _give_up(self, errand: _Errand) -> None:
        if errand.is_applied:
            words = "the configuration is as told, but the watts did not follow"
        elif errand.has_answer:
            words = "the machine accepted, but its configuration did not change"
        else:
            words = "no answer"
        is_unknown = not errand.has_answer and not errand.is_applied
        self._reach(errand, Stage.UNKNOWN if is_unknown else Stage.INEFFECTIVE, words)

    def _reach(self, errand: _Errand, stage: Stage, words: str) -> None:
        errand.post.pending = (
            None
            if stage is Stage.CONFIRMED
            else PendingCommand(
                setpoint=errand.command.setpoint,
                sent_at_s=errand.sent_at_s,
                stage=stage,
                detail=words,
                origin=errand.origin,
            )
        )


def obey(machine: Machine, setpoint: Setpoint, now_s: float) -> bool:
    """What the writes of one set point do to a machine, lowering ones first."""
    if machine.is_awake != setpoint.is_awake:
        if setpoint.is_awake:
            return machine.wake(now_s=now_s)
        return machine.sleep(now_s=now_s)
    if not setpoint.is_awake:
        return False
    enabled = {n for n, board in enumerate(machine.boards) if board.is_enabled}
    is_changed = False
    for board in sorted(enabled - setpoint.boards_on):
        is_changed |= machine.switch_board(board, is_on=False, now_s=now_s)
    if setpoint.profile is not None:
        point = machine.model.profile_index(setpoint.profile)
        is_changed |= machine.select_profile(point, now_s=now_s)
    for board in sorted(setpoint.boards_on - enabled):
        is_changed |= machine.switch_board(board, is_on=True, now_s=now_s)
    return is_changed


def _watts_follow(reading: MinerReading, expected_w: float) -> bool:
    if reading.power_w is None:
        return True
    tolerance_w = max(expected_w * WATTS_TOLERANCE_SHARE, WATTS_TOLERANCE_W)
    return abs(reading.power_w - expected_w) <= tolerance_w
