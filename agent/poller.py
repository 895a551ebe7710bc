"""Loop in: asks every device in time and keeps the newest answer for the next tick.

One coroutine per device, started by the app; nothing one device does reaches another. When a
machine is asked is the business of its rota, how many are asked at a time that of the lanes
(docs/polling.md). A device that does not answer is asked less and less often, one that was away is
identified anew before a machine may be written to and a meter be believed: another one may have its
address now.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace

from agent.core.commissioning import refusal
from agent.core.snapshot import MeterView, MinerView, RelayView, Snapshot
from agent.lanes import Lanes
from agent.pace import Pace, Ticks
from agent.posts import MeterPost, MinerPost
from agent.rota import AWAY_AFTER_MISSES, DETAILS_AGAIN_S, Rota
from agent.siteclock import SiteClock
from drivers.device import ReadsQuantities
from drivers.errors import DriverError, UnreachableError, WrongDeviceError
from drivers.readings import MinerDetails, Profile

METER_LIMIT_S = 30.0
CHECK_AGAIN_S = 30.0

RelayViews = Callable[[Sequence[MeterView], Sequence[MinerView], float], tuple[RelayView, ...]]

_log = logging.getLogger(__name__)


def _no_relays(
    meters: Sequence[MeterView], miners: Sequence[MinerView], now_s: float
) -> tuple[RelayView, ...]:
    """A farm that has none."""
    del meters, miners, now_s
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Poller:
    """Asks meters and machines. ``miner_period_s`` is the time from one fast read to the next.

    What relays are depends on what meters and machines say: ``relays`` is asked with both.
    """

    clock: SiteClock
    meters: Sequence[MeterPost]
    miners: Sequence[MinerPost]
    miner_period_s: float
    lanes: Lanes = field(default_factory=Lanes)
    relays: RelayViews = _no_relays
    _ladders: dict[tuple[Profile, ...], tuple[Profile, ...]] = field(default_factory=dict)
    _ticks: Ticks = field(default_factory=Ticks)

    def snapshot(self) -> Snapshot:
        """The newest answers of all devices, frozen. Whoever asks for it ticks now."""
        now_s = self.clock.now_s()
        self._ticks.note(now_s)
        meters = tuple(post.view() for post in self.meters)
        miners = tuple(post.view() for post in self.miners)
        return Snapshot(
            now_s=now_s,
            now_ms=self.clock.now_ms(),
            is_clock_trusted=self.clock.is_trusted,
            meters=meters,
            miners=miners,
            relays=self.relays(meters, miners, now_s),
        )

    async def poll_meter(self, post: MeterPost) -> None:
        """Read one meter for ever; that of a purchase just before the ticks (agent.pace)."""
        pace, nobody_ticks = Pace(poll_s=post.poll_s), Ticks()
        ticks = self._ticks if post.nameplate is not None else nobody_ticks
        while True:
            started_s = self.clock.now_s()
            error = await _guarded(post.meter_id, self._ask_meter(post))
            _note(post, f"meter={post.meter_id}", error)
            post.is_faulty = error is not None and not isinstance(error, UnreachableError)
            now_s, chance = self.clock.now_s(), random.random()  # noqa: S311 - phase, not secret
            next_s = pace.next_s(started_s, now_s, ticks, chance)
            await asyncio.sleep(max(next_s - now_s, 0.02))

    def rota(self, place: int) -> Rota:
        """The times of the machine at this place of ``miners``."""
        return Rota(place=place, of=len(self.miners), period_s=self.miner_period_s)

    async def poll_miner(
        self, post: MinerPost, *, place: int = 0, first_after_s: float | None = None
    ) -> None:
        """Read one machine for ever; ``place`` is where it stands in ``miners``."""
        rota = self.rota(place)
        await asyncio.sleep(rota.first_after_s if first_after_s is None else first_after_s)
        details_due_s = 0.0
        while True:
            started_s = self.clock.now_s()
            is_full = post.identity is None or started_s >= details_due_s
            error = await self.poll_once(post, is_full=is_full)
            if is_full and error is None:
                details_due_s = rota.next_details_s(started_s)
            elif is_full:  # fast reads go on meanwhile, unless it has to be identified anew
                details_due_s = started_s + DETAILS_AGAIN_S
            now_s = self.clock.now_s()
            await asyncio.sleep(rota.next_s(started_s, now_s, post.missed_polls) - now_s)

    async def poll_once(self, post: MinerPost, *, is_full: bool) -> DriverError | None:
        """One poll of a machine, when there is a seat for it; what went wrong is its post's."""
        error = await _guarded(post.miner_id, self._ask_miner(post, is_full=is_full))
        _note(post, f"miner={post.miner_id}", error)
        return error

    async def _ask_miner(self, post: MinerPost, *, is_full: bool) -> None:
        await self.lanes.ask(
            lambda: self._read_details(post) if is_full else self._read_miner(post),
            limit_s=post.limits.full_s if is_full else post.limits.fast_s,
            is_suspect=post.missed_polls > 0,
        )

    async def _ask_meter(self, post: MeterPost) -> None:
        try:
            async with asyncio.timeout(METER_LIMIT_S):
                await self._read_meter(post)
        except TimeoutError as error:
            raise UnreachableError(
                f"no complete answer within {METER_LIMIT_S:.0f} s; the device hangs"
            ) from error

    async def _read_meter(self, post: MeterPost) -> None:
        if post.identity is None:
            identity = await post.device.identify()
            await self._commission(post)
            post.identity = identity
            _log.info("meter=%s event=identified serial=%s", post.meter_id, post.identity.serial)
        elif (post.refusal or not post.is_checked) and self._is_check_due(post):
            await self._commission(post)
        reading = await post.device.read()
        post.reading = reading if post.clock is None else replace(reading, clock=post.clock)

    async def _commission(self, post: MeterPost) -> None:
        """Ask for everything that the meter measures: whether it contradicts itself.

        A meter that does not tell everything has not contradicted itself; it is asked again.
        """
        post.checked_at_s = self.clock.now_s()
        if post.nameplate is None or not isinstance(post.device, ReadsQuantities):
            post.is_checked = True
            return
        try:
            found = refusal(await post.device.read_quantities(), post.nameplate)
        except DriverError as error:
            post.is_checked = False
            _log.warning("meter=%s event=unchecked reason=%r", post.meter_id, str(error))
            return
        post.is_checked = True
        if found != post.refusal:
            _log.warning("meter=%s event=commissioned refusal=%r", post.meter_id, found)
        post.refusal = found

    def _is_check_due(self, post: MeterPost) -> bool:
        return self.clock.now_s() - post.checked_at_s >= CHECK_AGAIN_S

    async def _read_details(self, post: MinerPost) -> None:
        post.details = self._shared(await post.device.read_details())
        post.reading = await post.device.read()
        if post.identity is None:
            identity = post.details.identity
            _log.info(
                "miner=%s event=identified model=%r mac=%s signs=%d",
                post.miner_id,
                identity.model,
                identity.mac,
                len(identity.signs),
            )
        post.identity = post.details.identity

    def _shared(self, details: MinerDetails) -> MinerDetails:
        """Machines that list the same profiles share one list: alike is planned together."""
        if len(self._ladders) > len(self.miners):
            self._ladders.clear()  # lists that nobody has any more
        ladder = self._ladders.setdefault(details.profiles, details.profiles)
        return replace(details, profiles=ladder)

    async def _read_miner(self, post: MinerPost) -> None:
        post.reading = await post.device.read()


def _note(post: MeterPost | MinerPost, who: str, error: DriverError | None) -> None:
    """How the last poll of a device went; ``who`` names it in the journal."""
    if error is None:
        if post.fault is not None:
            _log.info("%s event=answers_again", who)
        post.missed_polls, post.fault = 0, None
        return
    post.missed_polls += 1
    if post.missed_polls >= AWAY_AFTER_MISSES or isinstance(error, WrongDeviceError):
        post.identity = None
    if str(error) != post.fault:
        _log.warning("%s event=fault reason=%r", who, str(error))
    post.fault = str(error)


async def _guarded(device_id: str, poll: Coroutine[None, None, None]) -> DriverError | None:
    """One poll; whatever a driver does wrong stays with its device and is told."""
    try:
        await poll
    except DriverError as error:
        _log.debug("device=%s event=bad_reply reply=%r", device_id, error.reply[:2000])
        return error
    except Exception as error:  # noqa: BLE001 - one bad device must not blind us to the others
        _log.exception("device=%s event=driver_bug", device_id)
        return DriverError(f"the driver failed on this answer ({type(error).__name__})")
    return None
