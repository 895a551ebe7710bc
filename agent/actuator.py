"""Loop out: brings machines to their set points and reads back what really happened.

A machine's "success" is worth nothing: a command has been applied when the configuration reads back
as told, and confirmed when the watts follow in a sample that was requested after it. No answer is
unknown, and is read back before anything is repeated. Set points are absolute, so a repeat is safe.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.core.decisions import Command, Setpoint, Stage
from agent.core.fleet import matches, read_back
from agent.core.moves import seconds_to
from agent.core.snapshot import Confirmation, PendingCommand
from agent.posts import MinerPost
from agent.siteclock import SiteClock
from drivers.device import SelectsProfile, SharesSession, Sleeps, SwitchesBoards
from drivers.errors import (
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.readings import MinerReading, PowerProvenance

CONCURRENT_WRITES = 128
BUSY_TRIES = 3
BUSY_PAUSE_S = 2.0
WRITE_LIMIT_S = 45.0
READ_PAUSE_S = 1.0
READ_LIMIT_S = 10.0
WATTS_TOLERANCE_SHARE = 0.15
WATTS_TOLERANCE_W = 120.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuation:
    """One stage that one command has reached, ``after_s`` it was taken up: what the journal keeps
    of it. ``origin`` is where the machine stood then, None if it had never been read."""

    miner_id: str
    at_ms: int
    sent_at_s: float
    stage: Stage
    setpoint: Setpoint
    expected_w: float
    power_w: float | None
    detail: str
    origin: Setpoint | None
    after_s: float


def _gates() -> defaultdict[str, asyncio.Semaphore]:
    return defaultdict(lambda: asyncio.Semaphore(CONCURRENT_WRITES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuator:
    """Carries commands out. ``tell`` is called with every stage; it must not block.

    So many writes run at once for each meter point: a hall of machines that hang must not keep the
    commands of another point waiting, whose braking curve counts on them.
    """

    clock: SiteClock
    posts: Mapping[str, MinerPost]
    tell: Callable[[Actuation], None]
    _writes: defaultdict[str, asyncio.Semaphore] = field(default_factory=_gates)

    def submit(self, commands: Sequence[Command]) -> None:
        """Hand over set points; the newest for a machine replaces one not yet taken up."""
        for command in commands:
            post = self.posts[command.miner_id]
            post.mailbox = command
            post.mail.set()

    async def drive(self, post: MinerPost) -> None:
        """Carry out one machine's commands for ever, one at a time."""
        while True:
            await post.mail.wait()
            post.mail.clear()
            command, post.mailbox = post.mailbox, None
            if command is not None:
                await self._carry_out(post, command)

    async def _carry_out(self, post: MinerPost, command: Command) -> None:
        origin = None if post.reading is None else read_back(post.reading)
        # In the journal's whole milliseconds: the governor goes by what is written.
        sent_at_s = int(self.clock.now_s() * 1000) / 1000
        errand = _Errand(command=command, origin=origin, sent_at_s=sent_at_s)
        self._reach(post, errand, Stage.SENT, "")
        error = await self._write(post, command.setpoint)
        if isinstance(error, (RefusedError, UnsupportedError, WrongDeviceError)):
            self._reach(post, errand, Stage.REFUSED, str(error))
            return
        if error is None:
            self._reach(post, errand, Stage.ACCEPTED, "")
        await self._confirm(post, errand, error)

    async def _confirm(self, post: MinerPost, errand: "_Errand", error: DriverError | None) -> None:
        """Read until the configuration and then the watts are as told, or the card's time is up."""
        command = errand.command
        limit_s = seconds_to(command.card, errand.origin, command.setpoint) + 3 * READ_PAUSE_S
        deadline_s = errand.sent_at_s + limit_s
        is_applied = False
        while self.clock.now_s() < deadline_s and not post.mail.is_set():
            reading = await self._read(post)
            if reading is not None and matches(read_back(reading), command.setpoint):
                if not is_applied:
                    is_applied = True
                    self._reach(post, errand, Stage.APPLIED, "")
                if _watts_follow(reading, command.expected_w):
                    post.confirmed = _confirmation(errand, reading)
                    self._reach(post, errand, Stage.CONFIRMED, "")
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READ_PAUSE_S):
                    await post.mail.wait()
        if post.mail.is_set():
            return
        if is_applied:
            detail = "the configuration is as told, but the watts did not follow"
        elif error is not None:
            detail = str(error)
        else:
            detail = "the machine accepted, but its configuration did not change"
        stage = Stage.UNKNOWN if error is not None and not is_applied else Stage.INEFFECTIVE
        self._reach(post, errand, stage, detail)

    async def _write(self, post: MinerPost, setpoint: Setpoint) -> DriverError | None:
        """Send what is missing. None: accepted; an error: what the outcome is known to be."""
        error: DriverError | None = None
        for _ in range(BUSY_TRIES):
            try:
                async with self._writes[post.meter_point], asyncio.timeout(WRITE_LIMIT_S):
                    await _send(post, setpoint)
            except BusyError as busy:
                error = busy
                await asyncio.sleep(BUSY_PAUSE_S)
                continue
            except DriverError as failure:
                _log.debug("miner=%s event=write_failed reply=%r", post.miner_id, failure.reply)
                return failure
            except TimeoutError:
                return UnknownOutcomeError(f"the write took longer than {WRITE_LIMIT_S:.0f} s")
            return None
        return error

    async def _read(self, post: MinerPost) -> MinerReading | None:
        """A fresh sample for the read-back; the poller tells what is wrong, if anything is."""
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                post.reading = await post.device.read()
        except (DriverError, TimeoutError) as error:
            _log.debug("miner=%s event=read_back_failed reason=%r", post.miner_id, str(error))
            return None
        return post.reading

    def _reach(self, post: MinerPost, errand: "_Errand", stage: Stage, detail: str) -> None:
        command, post.pending = errand.command, None
        if stage is not Stage.CONFIRMED:
            post.pending = PendingCommand(
                setpoint=command.setpoint,
                sent_at_s=errand.sent_at_s,
                stage=stage,
                detail=detail,
                origin=errand.origin,
            )
        level = logging.WARNING if detail else logging.INFO
        _log.log(level, "miner=%s stage=%s detail=%r", post.miner_id, stage.value, detail)
        self.tell(
            Actuation(
                miner_id=post.miner_id,
                at_ms=self.clock.now_ms(),
                sent_at_s=errand.sent_at_s,
                stage=stage,
                setpoint=command.setpoint,
                expected_w=command.expected_w,
                power_w=None if post.reading is None else post.reading.power_w,
                detail=detail,
                origin=errand.origin,
                after_s=self.clock.now_s() - errand.sent_at_s,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errand:
    """One command on its way, and where the machine stood when it was taken up."""

    command: Command
    origin: Setpoint | None
    sent_at_s: float


def _confirmation(errand: _Errand, reading: MinerReading) -> Confirmation:
    return Confirmation(
        setpoint=errand.command.setpoint,
        origin=errand.origin,
        sent_at_s=errand.sent_at_s,
        confirmed_at_s=reading.replied_at_s,
        is_measured=reading.power_provenance is PowerProvenance.METERED_PSU,
    )


async def _send(post: MinerPost, setpoint: Setpoint) -> None:
    """The writes that lead from what was read to the set point, lowering ones first."""
    if post.reading is None:
        raise WrongDeviceError("the machine has never been read; nothing is written to it")
    at = read_back(post.reading)
    if matches(at, setpoint):
        return
    async with _session(post) as session:
        if at.is_awake != setpoint.is_awake:
            await _rouse(session, is_awake=setpoint.is_awake)
        if not setpoint.is_awake:
            return
        try:
            # Boards that were off before a sleep are off after it.
            await _switch(session, at.boards_on - setpoint.boards_on, is_on=False)
            await _choose(session, at.profile, setpoint.profile)
            await _switch(session, setpoint.boards_on - at.boards_on, is_on=True)
        except DriverError:
            # Of all sequences this alone leaves a machine above what it was told: woken, and then
            # not throttled. Everything else lowers before it raises.
            if not at.is_awake:
                await _rouse(session, is_awake=False)
            raise


async def _rouse(session: object, *, is_awake: bool) -> None:
    if not isinstance(session, Sleeps):
        raise UnsupportedError("this machine cannot sleep and wake by command")
    await (session.wake() if is_awake else session.sleep())


async def _switch(session: object, boards: frozenset[int], *, is_on: bool) -> None:
    if not boards:
        return
    if not isinstance(session, SwitchesBoards):
        raise UnsupportedError("this machine cannot switch single hashboards")
    for board in sorted(boards):
        await session.switch_board(board, is_on=is_on)


async def _choose(session: object, present: str | None, wanted: str | None) -> None:
    if wanted is None or wanted == present:
        return
    if not isinstance(session, SelectsProfile):
        raise UnsupportedError("this machine has no profiles to choose from")
    await session.select_profile(wanted)


@contextlib.asynccontextmanager
async def _session(post: MinerPost) -> AsyncIterator[object]:
    if isinstance(post.device, SharesSession):
        async with post.device.writing() as session:
            yield session
    else:
        yield post.device


def _watts_follow(reading: MinerReading, expected_w: float) -> bool:
    """Whether the machine's own watts are near what the set point should draw.

    A machine without a wattmeter is taken at its configuration; the site meter sees the rest.
    """
    if reading.power_w is None:
        return True
    tolerance_w = max(expected_w * WATTS_TOLERANCE_SHARE, WATTS_TOLERANCE_W)
    return abs(reading.power_w - expected_w) <= tolerance_w
