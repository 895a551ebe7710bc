"""Everything known at one tick, frozen. The governor sees the world through this and nothing else.

Times ending in ``_s`` are monotonic (CLOCK_BOOTTIME), ``now_ms`` is UTC as the site clock has it.
"""

from dataclasses import dataclass

from agent.core.decisions import Setpoint, Stage
from drivers.readings import MeterReading, MinerIdentity, MinerReading, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterView:
    """One meter. ``reading`` is the last good one; ``fault`` says what is wrong now, if so.

    ``serial`` is that of the meter that answers; empty where it tells none or was not asked yet.
    ``refusal`` says why no purchase may be kept by it, as commissioning found; empty where it may.
    ``is_faulty``: the fault is in what it answered; otherwise nothing came, or not in time.
    """

    meter_id: str
    reading: MeterReading | None
    missed_polls: int
    fault: str | None
    serial: str = ""
    refusal: str = ""
    is_faulty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCommand:
    """The last command of a machine while it is not confirmed, or the last that had no effect.

    ``origin`` is where the machine stood when it was sent, None if that is not known.
    """

    setpoint: Setpoint
    sent_at_s: float
    stage: Stage
    detail: str
    origin: Setpoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A command whose watts were seen. ``is_measured``: by a wattmeter in the power supply, not by
    the firmware's own estimate, which may run ahead of them."""

    setpoint: Setpoint
    origin: Setpoint | None
    sent_at_s: float
    confirmed_at_s: float
    is_measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerView:
    """One machine. ``fault`` says in words why it cannot be read or written now, if so.

    ``confirmed`` is the last command that was confirmed, however long ago.
    ``can_switch_boards``, ``can_sleep`` and ``can_select_profile`` are the driver's abilities.
    """

    miner_id: str
    family: str
    identity: MinerIdentity | None
    profiles: tuple[Profile, ...]
    reading: MinerReading | None
    pending: PendingCommand | None
    fault: str | None
    can_switch_boards: bool
    can_sleep: bool
    can_select_profile: bool
    confirmed: Confirmation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayView:
    """One relay and the machines whose feed it cuts. ``is_open`` is None while nobody knows."""

    relay_id: str
    miner_ids: frozenset[str]
    is_open: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One tick's image of the site. ``is_clock_trusted`` false means: wall time is a claim."""

    now_s: float
    now_ms: int
    is_clock_trusted: bool
    meters: tuple[MeterView, ...]
    miners: tuple[MinerView, ...]
    relays: tuple[RelayView, ...] = ()
