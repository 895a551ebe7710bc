"""What devices say, in one vocabulary and one set of units.

Knows no transport and no vendor. Power is active power in W (float), energy is active energy import
in whole Wh (int), hashrate is H/s (float), temperature is degrees Celsius, voltage is V.
``*_s`` fields are monotonic seconds (CLOCK_BOOTTIME), ``*_ms`` fields are UTC milliseconds.

``None`` stands only where the vendor has no such number. A failure is never ``None``: it is an
error of ``drivers.errors``.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PowerProvenance(StrEnum):
    """Where a machine's own wattage comes from. None of them is fit for billing."""

    METERED_PSU = "metered_psu"
    FIRMWARE_ESTIMATE = "firmware_estimate"
    LIMIT_ONLY = "limit_only"
    ABSENT = "absent"


class Activity(StrEnum):
    """What a machine is doing as far as its firmware says."""

    HASHING = "hashing"
    RAMPING = "ramping"
    SLEEPING = "sleeping"
    STOPPED = "stopped"
    FAULT = "fault"


class Quality(StrEnum):
    """State of a meter value, by letters of our own.

    Three are also those of OCMF 1.4 (table 10); its S is a substitute value, which is never formed
    here. An export translates them (docs/wire.md).
    """

    GOOD = "G"
    TIMED_OUT = "T"
    SUSPECT = "S"
    FAULTY = "F"


class TimeQuality(StrEnum):
    """What a meter's own clock is worth, by the letters of OCMF 1.4.1 for time.

    ``SYNCHRONISED``: within its bound of the site's time. ``INFORMATIVE``: it may be, but the
    site's own time is not trusted now. ``RELATIVE``: it goes, and is off. ``UNKNOWN``: it stands,
    or shows no time, or nobody knows yet whether it goes. Nothing is booked by it whatever it says.
    """

    SYNCHRONISED = "S"
    INFORMATIVE = "I"
    RELATIVE = "R"
    UNKNOWN = "U"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerIdentity:
    """Who a machine is, and the positive signs on which that rests.

    ``signs`` holds one short sentence per independent sign; writing needs two.
    """

    family: str
    model: str
    mac: str
    serial: str
    firmware: str
    board_count: int
    nameplate_hashrate_hs: float | None
    signs: tuple[str, ...]

    @property
    def is_writable(self) -> bool:
        """Two independent positive signs: fewer never justify a write."""
        return len(self.signs) >= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReading:
    """One hashboard. ``board`` is the number that the vendor's write command takes."""

    board: int
    is_enabled: bool
    is_ramping: bool
    hashrate_hs: float
    temperature_c: float | None
    serial: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerReading:
    """One fast read of a machine: what the governor needs.

    ``requested_at_s`` is taken before the first byte left, so every value is younger than it, but
    for a profile that a machine which goes on as it did told less than a minute before, with no
    write of this driver in between (docs/polling.md).
    """

    miner_id: str
    requested_at_s: float
    replied_at_s: float
    taken_at_ms: int
    activity: Activity
    hashrate_hs: float
    power_w: float | None
    power_provenance: PowerProvenance
    profile: str | None
    boards: tuple[BoardReading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReading:
    """One pool slot of a machine, fallbacks included.

    ``accepted`` and ``rejected`` are None where the firmware counts no shares for a pool.
    """

    slot: int
    url: str
    user: str
    is_active: bool
    is_alive: bool
    accepted: int | None
    rejected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerFault:
    """What a machine complains of: the vendor's code as it stands, and our words for it.

    ``is_of_rate`` where it only says that less is hashed than could be, as it does as well of a
    machine that somebody throttled.
    """

    code: str
    words: str
    is_of_rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipTemperatures:
    """How hot the chips of one board are; ``min_c`` and ``mean_c`` where the vendor has them."""

    board: int
    min_c: float | None
    mean_c: float | None
    max_c: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One operating point a machine offers, for the whole machine with all boards on.

    ``is_tuned`` false means that the firmware would start a tuning run to reach it.
    """

    name: str
    step: int
    power_w: float
    hashrate_hs: float
    is_tuned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerDetails:
    """One slow, full read: what changes rarely.

    ``power_limit_w`` is the ceiling that the machine itself keeps. ``chip_temperatures`` has the
    boards of which the machine tells any. ``can_sleep`` is False where this machine's firmware
    cannot, though its family's driver has the verb.
    """

    identity: MinerIdentity
    pools: tuple[PoolReading, ...]
    profiles: tuple[Profile, ...]
    board_serials: tuple[str, ...]
    fan_speeds_rpm: tuple[int, ...]
    uptime_s: int | None
    faults: tuple[MinerFault, ...] = ()
    power_limit_w: float | None = None
    power_supply_serial: str | None = None
    chip_temperatures: tuple[ChipTemperatures, ...] = ()
    can_sleep: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterIdentity:
    """Which meter answers, and what was read back about how it reports."""

    profile: str
    serial: str
    firmware: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityReading:
    """One value of a meter for a person to look at.

    ``value`` is None where the meter has no such register or says that it has no value; ``fault``
    says which.
    """

    name: str
    value: float | None
    unit: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """What a meter's own clock shows, and when it was asked.

    ``shown`` has no zone: it is of the one to which the clock was set, of UTC where ``is_utc``.
    """

    requested_at_s: float
    replied_at_s: float
    shown: datetime
    is_utc: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """Power and energy of one instant, read in one request where the map allows it.

    ``energy_import_wh`` is the cumulative active energy import register, truncated to whole Wh.
    ``energy_step_wh`` is by how much it steps where it stands now, if that is more than its profile
    says, as the floats of a register lie the further apart the larger they are; else 0.
    ``clock`` says what the meter's own clock was worth when it was last asked, where that is not
    as it should be; None where it is, and where the meter has none. All times here are ours.
    """

    meter_id: str
    requested_at_s: float
    replied_at_s: float
    taken_at_ms: int
    power_w: float
    energy_import_wh: int
    voltage_v: float | None
    frequency_hz: float | None
    quality: Quality = Quality.GOOD
    energy_step_wh: int = 0
    clock: TimeQuality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReading:
    """Whether a relay's coil is on: that it feeds, if the contactor behind it does as it does."""

    relay_id: str
    requested_at_s: float
    replied_at_s: float
    taken_at_ms: int
    is_energised: bool
