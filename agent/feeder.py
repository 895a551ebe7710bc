"""Keeps the relays: asks them in time, carries orders out, and tells whether the feed is gone.

To ask a relay is also what keeps its board from opening by itself. So nobody is asked while the
tick does not run: a loop that hangs, or one that is stopped, lets the feed go. Orders are absolute
and are said again at every tick until they are seen to be done; what was written is read back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from agent.alarms import Condition
from agent.core.decisions import RelayOrder
from agent.core.snapshot import MeterView, MinerView, RelayView
from agent.feedproof import Gone, Proof, baseline_of, proven
from agent.records import NewRecord
from agent.relaypost import RelayPost
from agent.siteclock import SiteClock
from drivers.errors import DriverError, UnknownOutcomeError
from drivers.readings import RelayReading

EXCHANGE_LIMIT_S = 10.0
GUARD_EVERY_S = 600.0
TEST_AGAIN_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Due:
    """When a relay's board is next asked for its settings, and its next self-test."""

    guard_s: float = 0.0
    test_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the last tick was shown of a relay's surroundings."""

    meter: MeterView | None
    behind: Sequence[MinerView]
    beside: Sequence[MinerView]


class Feeder:
    """All relays of the daemon. ``tell`` is called with every record; it must not block."""

    def __init__(
        self, *, clock: SiteClock, posts: Sequence[RelayPost], tell: Callable[[NewRecord], None]
    ) -> None:
        self.posts = tuple(posts)
        self._clock = clock
        self._tell = tell
        self._is_fed: Callable[[], bool] = lambda: False
        self._by_id = {post.relay_id: post for post in posts}
        self._meters: Sequence[MeterView] = ()
        self._miners: Sequence[MinerView] = ()

    def feed_on(self, is_healthy: Callable[[], bool]) -> None:
        """What has to be true for the relays to be asked: that the loop decides."""
        self._is_fed = is_healthy

    def views(
        self, meters: Sequence[MeterView], miners: Sequence[MinerView], now_s: float
    ) -> tuple[RelayView, ...]:
        """The relays as the tick may believe them, by what meter and machines say now."""
        self._meters, self._miners = meters, miners
        for post in self.posts:
            if post.gone is not None:
                self._judge(post, self._seen(post), now_s)
        return tuple(post.view() for post in self.posts)

    def submit(self, orders: Sequence[RelayOrder]) -> None:
        """Hand over orders; the newest for a relay replaces one not yet taken up."""
        for order in orders:
            post = self._by_id[order.relay_id]
            is_news = order.is_open and (post.baseline is None or not order.is_repeated)
            if is_news and post.gone is None:
                seen = self._seen(post)
                post.baseline = baseline_of(seen.meter, seen.behind, seen.beside)
            post.is_told_open = order.is_open
            post.mailbox = order
            post.mail.set()

    def conditions(self) -> Iterator[Condition]:
        """What is wrong with relays now."""
        for post in self.posts:
            for code, severity, words, remedy in _complaints(post):
                yield Condition(
                    code=code,
                    severity=severity,
                    source=post.relay_id,
                    words=words,
                    remedy=remedy,
                    meter_point=post.meter_point,
                )

    async def drive(self, post: RelayPost) -> None:
        """One relay for ever: orders at once, and polls in between."""
        due = _Due()
        while True:
            post.mail.clear()
            order, post.mailbox = post.mailbox, None
            if order is not None:
                await self._guarded(post, partial(self._carry_out, post, order))
            elif self._is_fed():
                await self._guarded(post, partial(self._poll, post, due))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(post.poll_s):
                    await post.mail.wait()

    async def _guarded(self, post: RelayPost, act: Callable[[], Awaitable[None]]) -> None:
        """One exchange; what goes wrong stays with the relay and is told."""
        fault: str | None = None
        try:
            async with asyncio.timeout(EXCHANGE_LIMIT_S):
                await act()
        except DriverError as error:
            _log.debug("relay=%s event=bad_reply reply=%r", post.relay_id, error.reply)
            fault = str(error)
        except TimeoutError:
            fault = f"no complete answer within {EXCHANGE_LIMIT_S:.0f} s; the board hangs"
        post.missed_polls = 0 if fault is None else post.missed_polls + 1
        if fault is not None and fault != post.fault:
            _log.warning("relay=%s event=fault reason=%r", post.relay_id, fault)
        elif fault is None and post.fault is not None:
            _log.info("relay=%s event=answers_again", post.relay_id)
        post.fault = fault
        if not post.is_known:
            post.unset = None  # what comes back may be another board

    async def _poll(self, post: RelayPost, due: _Due) -> None:
        now_s = self._clock.now_s()
        self._take(post, await post.device.read())
        if post.unset is None or now_s >= due.guard_s:
            await self._check_guard(post)
            due.guard_s = now_s + GUARD_EVERY_S
        if now_s >= due.test_s and post.mailbox is None:
            await self._self_test(post)
            due.test_s = now_s + (TEST_AGAIN_S if post.test_fault else post.test_every_s)

    async def _check_guard(self, post: RelayPost) -> None:
        before, post.unset = post.unset, await post.device.check_guard()
        if post.unset != (before or ()):
            self._note(post, "unset" if post.unset else "set", "; ".join(post.unset))

    async def _self_test(self, post: RelayPost) -> None:
        """Write the coil to where it is, and read it back: the way of a trip without one.

        A coil that is on though the last order was to open it is left to that order.
        """
        reading = await post.device.read()
        if reading.is_energised and post.is_told_open:
            return
        words = ""
        try:
            await post.device.switch(is_closed=reading.is_energised)
            after = await post.device.read()
        except DriverError as error:
            words = str(error)
        else:
            self._take(post, after)
            if after.is_energised is not reading.is_energised:
                words = "its coil moved"
        if words != post.test_fault or not words:
            self._note(post, "test_failed" if words else "tested", words)
        post.test_fault = words

    async def _carry_out(self, post: RelayPost, order: RelayOrder) -> None:
        is_closed = not order.is_open
        if is_closed and post.unset != ():
            reason = "; ".join(post.unset or ("its board has not been asked for its settings",))
            self._note(post, "refused", f"it stays open: {reason}")
            return
        if post.reading is not None and post.reading.is_energised is is_closed and post.is_known:
            # Said again while the meter is still to show it: look whether it has stayed so.
            reading = await post.device.read()
            if reading.is_energised is is_closed:
                self._take(post, reading)
                return
        if not order.is_repeated:
            self._note(post, "sent", order.because.words, is_closed=is_closed)
        try:
            await post.device.switch(is_closed=is_closed)
        except UnknownOutcomeError as error:
            _log.debug("relay=%s event=unknown_outcome reason=%r", post.relay_id, str(error))
        reading = await post.device.read()
        self._take(post, reading)
        if reading.is_energised is not is_closed:
            self._note(post, "ineffective", "the coil does not read back as told")

    def _take(self, post: RelayPost, reading: RelayReading) -> None:
        """A coil as it reads back."""
        before, post.reading = post.reading, reading
        if reading.is_energised:
            if before is None or not before.is_energised:
                self._note(post, "closed", "")
            post.gone, post.proof, post.doubt, post.baseline = None, Proof.AWAITED, "", None
            return
        if post.gone is not None:
            return
        baseline = post.baseline if post.is_told_open else None
        post.gone = Gone(off_at_s=reading.replied_at_s, baseline=baseline)
        words = "" if post.is_told_open else "nobody here told it to"
        if before is None:
            words = "it was found open"
        self._note(post, "coil_off", words)

    def _seen(self, post: RelayPost) -> _Seen:
        return _Seen(
            meter=next((one for one in self._meters if one.meter_id == post.meter_id), None),
            behind=[one for one in self._miners if one.miner_id in post.miner_ids],
            beside=[one for one in self._miners if one.miner_id in post.beside_ids],
        )

    def _judge(self, post: RelayPost, seen: _Seen, now_s: float) -> None:
        assert post.gone is not None
        before = post.proof
        post.proof, post.doubt = proven(
            post.gone,
            seen.meter,
            seen.behind,
            seen.beside,
            now_s,
            is_proven=before is Proof.PROVEN,
        )
        if post.proof is not before:
            self._note(post, post.proof.value, post.doubt)

    def _note(
        self, post: RelayPost, event: str, words: str, *, is_closed: bool | None = None
    ) -> None:
        level = logging.INFO if event in ("set", "tested", "closed", "proven") else logging.WARNING
        _log.log(level, "relay=%s event=%s reason=%r", post.relay_id, event, words)
        coil = None if post.reading is None else post.reading.is_energised
        data = {"event": event, "coil": coil, "words": words, "meter_point": post.meter_point}
        if is_closed is not None:
            data["is_open"] = not is_closed
        self._tell(
            NewRecord(
                kind="relay", source=post.relay_id, data=data, taken_at_ms=self._clock.now_ms()
            )
        )


def _complaints(post: RelayPost) -> Iterator[tuple[str, str, str, str]]:
    """Code, severity, words and remedy of what is wrong with one relay."""
    critical, warning = "critical", "warning"
    if post.fault is not None and not post.is_known:
        remedy = "check the board, its supply and its bus; while it is lost it protects nothing"
        yield "RELAY_LOST", critical, post.fault, remedy
    if post.unset:
        remedy = "set the board as configured; until then the relay opens and is never closed"
        yield "RELAY_UNGUARDED", critical, "; ".join(post.unset), remedy
    if post.test_fault:
        remedy = "it may not open when it has to: see to the board"
        yield "RELAY_TEST", warning, post.test_fault, remedy
    if post.gone is not None and post.proof is Proof.DOUBTED:
        remedy = "switch its feed off by hand: contactor or wiring do not do what the coil says"
        yield "RELAY_STUCK", critical, post.doubt, remedy
    elif post.gone is not None and post.proof is Proof.PROVEN:
        words = f"it is open: {len(post.miner_ids)} machines have no feed"
        remedy = "see `kwota journal tail --kind relay`; it closes by itself, late and seldom"
        yield "RELAY_OPEN", warning, words, remedy
