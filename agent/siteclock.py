"""The site's time: wall time anchored to CLOCK_BOOTTIME, so that a step is an event, not a fact.

Windows of purchased energy are bounded by wall time, so a clock that jumps could close a window or
open one. The anchored time goes on by CLOCK_BOOTTIME and follows the small corrections of a time
daemon; a step of more than a second is reported, and believed only once it has been stable.
"""

import ctypes
import ctypes.util
import functools
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_NS_PER_US = 1_000
_STA_UNSYNC = 0x0040  # linux/timex.h
_TIME_ERROR = 5  # linux/timex.h
_KERNEL_MAX_ERROR_US = 16_000_000  # NTP_PHASE_LIMIT: what the kernel says when it does not know
_NOT_BEFORE_MS = 1_767_225_600_000  # 2026-01-01: earlier than any release of this program


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelClock:
    """What the kernel says about its own clock (adjtimex(2))."""

    is_synchronised: bool
    max_error_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """One instant as a record carries it. ``quality`` is U, I, S or R (OCMF 1.4.1)."""

    boottime_ns: int
    time_us: int
    quality: str
    max_error_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockEvent:
    """A step of the wall clock against CLOCK_BOOTTIME: ``what`` is step, return or adopt.

    ``old_ms`` is the time that the site goes by until this event, ``new_ms`` what the wall says.
    """

    what: str
    old_ms: int
    new_ms: int

    @property
    def data(self) -> dict[str, int | str]:
        """The data of a ``clock`` record."""
        return {"what": self.what, "old_ms": self.old_ms, "new_ms": self.new_ms}


class _Timex(ctypes.Structure):
    # linux/timex.h, struct timex; the tail is room for what the kernel may fill in.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("tail", ctypes.c_byte * 256),
    )


def read_kernel_clock() -> KernelClock:
    """Ask the kernel. A kernel that will not answer (sandbox) counts as not synchronised."""
    timex = _Timex()
    state = _libc().adjtimex(ctypes.byref(timex))
    if state < 0:
        _warn_no_adjtimex(os.strerror(ctypes.get_errno()))
        return KernelClock(is_synchronised=False, max_error_us=_KERNEL_MAX_ERROR_US)
    is_synchronised = state != _TIME_ERROR and not timex.status & _STA_UNSYNC
    return KernelClock(is_synchronised=is_synchronised, max_error_us=max(0, int(timex.maxerror)))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _warn_no_adjtimex(reason: str) -> None:
    _log.warning("clock quality=unknown reason=%r; times count as not synchronised", reason)


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class SiteClock:
    """Wall time and monotonic time of the site. ``check`` must be called once per tick.

    A step is held back until the new time has been stable for ``settle_s`` and the kernel calls
    itself synchronised, or until it has been stable for ``hold_max_s``: a site without any time
    server must not live in the past for ever.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        boottime_ns: Callable[[], int] = _boottime_ns,
        kernel: Callable[[], KernelClock] = read_kernel_clock,
        settle_s: float = 60.0,
        hold_max_s: float = 900.0,
        step_s: float = 1.0,
    ) -> None:
        self._wall_ns = wall_ns
        self._boottime_ns = boottime_ns
        self._kernel = kernel
        self._settle_ns = int(settle_s * _NS_PER_S)
        self._hold_max_ns = int(hold_max_s * _NS_PER_S)
        self._step_ns = int(step_s * _NS_PER_S)
        self._not_before_ms = _NOT_BEFORE_MS
        self._offset_ns = self._measured_ns()
        self._candidate_ns: int | None = None
        self._candidate_since_ns = 0

    def now_s(self) -> float:
        """Monotonic seconds, CLOCK_BOOTTIME."""
        return self._boottime_ns() / _NS_PER_S

    def now_ms(self) -> int:
        """UTC milliseconds as the site goes by them: never earlier than before, besides slewing."""
        return (self._boottime_ns() + self._offset_ns) // _NS_PER_MS

    @property
    def is_trusted(self) -> bool:
        """Whether wall time is more than a claim: no step is pending and it is not in the past."""
        return self._candidate_ns is None and self.now_ms() >= self._not_before_ms

    def require_after(self, earliest_ms: int) -> None:
        """Distrust any time before this one, which the journal has seen already."""
        self._not_before_ms = max(self._not_before_ms, earliest_ms)

    def stamp(self) -> Stamp:
        """This instant, with its quality, for a record."""
        boottime_ns = self._boottime_ns()
        kernel = self._kernel()
        return Stamp(
            boottime_ns=boottime_ns,
            time_us=(boottime_ns + self._offset_ns) // _NS_PER_US,
            quality=self._quality(kernel),
            max_error_us=kernel.max_error_us,
        )

    def check(self) -> ClockEvent | None:
        """Compare the wall clock with CLOCK_BOOTTIME. What it returns belongs into the journal."""
        measured_ns = self._measured_ns()
        if abs(measured_ns - self._offset_ns) <= self._step_ns:
            event = self._event("return", measured_ns) if self._candidate_ns is not None else None
            self._candidate_ns, self._offset_ns = None, measured_ns
            return event
        now_ns = self._boottime_ns()
        candidate_ns = self._candidate_ns
        if candidate_ns is None or abs(measured_ns - candidate_ns) > self._step_ns:
            self._candidate_ns, self._candidate_since_ns = measured_ns, now_ns
            return self._event("step", measured_ns)
        self._candidate_ns = measured_ns
        stable_ns = now_ns - self._candidate_since_ns
        is_settled = stable_ns >= self._settle_ns and self._kernel().is_synchronised
        if not is_settled and stable_ns < self._hold_max_ns:
            return None
        event = self._event("adopt", measured_ns)
        self._candidate_ns, self._offset_ns = None, measured_ns
        return event

    def _measured_ns(self) -> int:
        return self._wall_ns() - self._boottime_ns()

    def _event(self, what: str, measured_ns: int) -> ClockEvent:
        now_ns = self._boottime_ns()
        return ClockEvent(
            what=what,
            old_ms=(now_ns + self._offset_ns) // _NS_PER_MS,
            new_ms=(now_ns + measured_ns) // _NS_PER_MS,
        )

    def _quality(self, kernel: KernelClock) -> str:
        """S: synchronised. I: the wall clock unchecked. R: held after a step. U: implausible."""
        if self._candidate_ns is not None:
            return "R"
        if self.now_ms() < self._not_before_ms:
            return "U"
        return "S" if kernel.is_synchronised else "I"
