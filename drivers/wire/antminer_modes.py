"""Modes of a stock Antminer: what an order means as a mode, and when the mode may be told.

Modes are kept in flash. One that raises the power is told 15 minutes after the last one at the
soonest. One that lowers it is never kept waiting, because energy that is not bought weighs more;
there are two of them at most before the next rise, and that one waits.
"""

from dataclasses import dataclass

from drivers.errors import RefusedError, UnsupportedError

NORMAL_MODE = 0
SLEEP_MODE = 1
# Firmware from July 2023 on also reads 5 where a machine sleeps.
SLEEP_MODES = frozenset({SLEEP_MODE, 5})
NORMAL, LOW = "normal", "low"

WRITES_APART_S = 900.0
FALLS_S = 120.0  # so long a machine that was told to sleep may still hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wished: asleep or awake (None: as it is), and in which mode."""

    is_awake: bool | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A mode that was posted, when (monotonic), and whether as text or as a number."""

    mode: int
    at_s: float
    is_text: bool = False
    is_second: bool = False


class Wishes:
    """Collects what is wished of a machine; it is told once, at the end."""

    def __init__(self) -> None:
        self.order: Order | None = None

    async def sleep(self) -> None:
        """Stop hashing."""
        self.order = Order(is_awake=False)

    async def wake(self) -> None:
        """Mine again."""
        self.order = Order(is_awake=True)

    async def select_profile(self, name: str) -> None:
        """Choose a mode."""
        is_awake = None if self.order is None else self.order.is_awake
        self.order = Order(is_awake=is_awake, profile=name)


def profile_of(mode: int | None, low_mode: int | None) -> str | None:
    """The name of a mode; that of a sleeper is what it wakes to."""
    if mode is None:
        return None
    if mode == NORMAL_MODE or mode in SLEEP_MODES:
        return NORMAL
    return LOW if mode == low_mode else f"mode {mode}"


def mode_of(order: Order, *, at_mode: int | None, low_mode: int | None) -> int:
    """The mode that an order means. Raises RefusedError and UnsupportedError."""
    if order.is_awake is False:
        return SLEEP_MODE
    if order.is_awake is None and at_mode in SLEEP_MODES:
        raise RefusedError("The machine is asleep: wake it before its mode is chosen.")
    if order.profile in (None, NORMAL):
        return NORMAL_MODE
    if order.profile == LOW and low_mode is not None:
        return low_mode
    raise UnsupportedError(f"{order.profile!r} is not the name of a mode of this machine.")


def is_ignored(told: Told | None, mode: int, *, is_hashing: bool, now_s: float) -> bool:
    """Whether a machine hashes on though its configuration has had it sleep for a while."""
    if mode not in SLEEP_MODES or not is_hashing:
        return False
    return told is None or told.mode != mode or now_s - told.at_s >= FALLS_S


def due(told: Told | None, mode: int, *, at_mode: int | None, now_s: float) -> Told:
    """How to tell a mode now. Raises RefusedError where the flash is to be spared.

    A mode that was accepted and does not stand in the configuration was ignored, and nothing was
    written: it is told once more, as text where it was a number, as some firmware wants it.
    """
    if told is None:
        return Told(mode=mode, at_s=now_s)
    is_untaken = told.mode == mode != at_mode
    since_s = now_s - told.at_s
    if since_s >= WRITES_APART_S or _rank(mode) < _rank(told.mode):
        return Told(mode=mode, at_s=now_s, is_text=told.is_text is not is_untaken)
    if is_untaken and not told.is_second:
        return Told(mode=mode, at_s=now_s, is_text=not told.is_text, is_second=True)
    if told.mode == mode == at_mode:
        raise RefusedError(
            "The machine has the mode in its configuration and does not follow it: restart it by "
            "hand; it is told again 15 minutes after the last time."
        )
    raise RefusedError(
        f"The machine was told a mode {since_s / 60:.0f} min ago and keeps modes in flash: "
        f"the next one is due in {(WRITES_APART_S - since_s) / 60:.0f} min."
    )


def _rank(mode: int) -> int:
    """Modes by what they draw: asleep, low power, anything else."""
    if mode in SLEEP_MODES:
        return 0
    return 2 if mode == NORMAL_MODE else 1
