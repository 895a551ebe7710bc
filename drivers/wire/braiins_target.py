"""The power target of Braiins OS: what is set, what may be set, and the ladder made of it.

A target is absolute, in whole watts, and outlives a restart. The vendor's relative forms are not
here because they are never sent.
"""

import re
from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.readings import MinerFault, Profile
from drivers.wire.braiins_reply import number_of, part_of
from drivers.wire.cgminer import Row

GH = 1e9
TARGET_MAX_W = 20_000
PAUSE_MAX_S = 5.0
_STEP_SHARE = 0.05
_STEP_W = 50
# Hashes fall by so much of what the watts do. No vendor publishes it: an assumption.
_HASHES_PER_WATTS = 0.85
_OVERSHOOT_MAX = 1.2
_GAIN_LEAST, _GAIN_MOST = 0.5, 1.5
_POWER_TARGET = 1
_NAME = re.compile(r"([1-9][0-9]{1,4})W\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What ``configuration/miner`` says. ``target_w`` is None unless a power target rules."""

    target_w: int | None
    is_scaling: bool
    pause_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRange:
    """Between which watts a power target may lie, and where it lies by default."""

    least_w: int
    default_w: int
    most_w: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What the tuner measured at the target for which it is tuned now."""

    target_w: int
    power_w: float
    hashrate_hs: float


def tuned_of(tuner: Row) -> Tuned | None:
    """The profile in use under a power target; None while the tuner has none."""
    profile = part_of(tuner, "mode_state", "powertargetmodestate", "profile")
    if profile is None:
        return None
    target_w = number_of(profile, "target", "watt")
    power_w = number_of(profile, "estimated_power_consumption", "watt")
    ghs = number_of(profile, "measured_hashrate", "gigahash_per_second")
    if target_w is None or power_w is None or ghs is None or min(target_w, power_w, ghs) < 1:
        return None
    return Tuned(target_w=round(target_w), power_w=power_w, hashrate_hs=ghs * GH)


def configuration_of(configuration: Row) -> Configuration:
    """``configuration/miner``."""
    tuner, dps = part_of(configuration, "tuner"), part_of(configuration, "dps")
    is_ruling = (
        tuner is not None
        and tuner.has("enabled")
        and tuner.flag("enabled")
        and number_of(tuner, "tuner_mode") == _POWER_TARGET
    )
    target_w = number_of(configuration, "tuner", "power_target", "watt") if is_ruling else None
    return Configuration(
        target_w=None if target_w is None else _watts(target_w),
        is_scaling=dps is not None and dps.flag_or_no("enabled"),
        pause_s=number_of(configuration, "hashboard_config", "quick_ramping_time_down_s"),
    )


def range_of(constraints: Row) -> PowerRange | None:
    """The limits of a power target; None where this model takes none."""
    limits = part_of(constraints, "tuner_constraints", "power_target")
    if limits is None:
        return None
    told = [number_of(limits, name, "watt") for name in ("min", "default", "max")]
    watts = [_watts(number) for number in told if number is not None]
    if len(watts) < len(told):
        return None
    if watts != sorted(watts):
        raise BadReplyError(f"The machine's limits of a power target contradict: {watts} W.")
    return PowerRange(least_w=watts[0], default_w=watts[1], most_w=watts[2])


def pause_s_of(configuration: Configuration, constraints: Row) -> float | None:
    """How long a pause takes: as configured, else the model's default."""
    if configuration.pause_s is not None:
        return configuration.pause_s
    return number_of(constraints, "hashboards_constraints", "quick_ramping_time_s", "default")


def profile_name(watts: int) -> str:
    """A power target by its name."""
    return f"{watts}W"


def target_of(name: str) -> int | None:
    """The watts behind a name; None for any other text, relative forms included."""
    match = _NAME.match(name)
    return None if match is None else int(match[1])


def profiles_of(
    limits: PowerRange, target_w: int, tuned: Tuned | None, nameplate_hs: float
) -> tuple[Profile, ...]:
    """A ladder of power targets around the default, with the ends and the one in force.

    What a target really draws and hashes is taken from the one that the tuner has measured, for
    the whole ladder alike, so that it never falls while the target rises.
    """
    width_w = max(round(limits.default_w * _STEP_SHARE / _STEP_W), 1) * _STEP_W
    rungs = {limits.least_w, limits.default_w, limits.most_w, target_w}
    rungs |= set(range(limits.default_w, limits.least_w, -width_w))
    rungs |= set(range(limits.default_w, limits.most_w, width_w))
    ordered = sorted(watts for watts in rungs if limits.least_w <= watts <= limits.most_w)
    middle = ordered.index(limits.default_w)
    overshoot = hash_gain = 1.0
    if tuned is not None:
        overshoot = min(max(tuned.power_w / tuned.target_w, 1.0), _OVERSHOOT_MAX)
        share = _hash_share(tuned.target_w / limits.default_w)
        hash_gain = min(max(tuned.hashrate_hs / (share * nameplate_hs), _GAIN_LEAST), _GAIN_MOST)
    return tuple(
        Profile(
            name=profile_name(watts),
            step=place - middle,
            power_w=watts * overshoot,
            hashrate_hs=nameplate_hs * hash_gain * _hash_share(watts / limits.default_w),
            is_tuned=True,
        )
        for place, watts in enumerate(ordered)
    )


def _hash_share(share: float) -> float:
    return 1.0 - _HASHES_PER_WATTS * (1.0 - share)


def setting_faults(configuration: Configuration, pause_s: float | None) -> tuple[MinerFault, ...]:
    """Settings that stand against being steered from outside."""
    found = []
    if configuration.target_w is None:
        words = (
            "No power target rules this machine: set its tuner to the mode power target, "
            "or it can only be paused and its boards be switched."
        )
        found.append(MinerFault(code="no-power-target", words=words))
    if configuration.is_scaling:
        words = (
            "Dynamic Performance Scaling is on: it lowers the target by itself and may pause the "
            "machine for hours; switch it off in Braiins OS."
        )
        found.append(MinerFault(code="dps", words=words))
    if pause_s is not None and pause_s > PAUSE_MAX_S:
        words = (
            f"A pause takes {pause_s:g} s: set the quick ramping of Braiins OS to "
            f"{PAUSE_MAX_S:g} s or less, or a stop comes too late."
        )
        found.append(MinerFault(code="quick-ramping", words=words))
    return tuple(found)


def _watts(number: float) -> int:
    watts = round(number)
    if not 0 < watts <= TARGET_MAX_W:
        raise BadReplyError(f"The machine names a power target of {number:g} W.")
    return watts
