"""Which profile fits a meter that answers: every one is tried, those that hold are proposed.

A proposal is for a person to compare with the nameplate. It reads and never writes, and it decides
nothing: makers share maps, so that several profiles may hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.modbus import RegisterRefusedError
from drivers.meters.meter import ModbusMeter
from drivers.meters.profile import SUNSPEC, profile_paths
from drivers.meters.registry import open_meter
from drivers.meters.sunspec import SunSpecMeter

_LEAST_SIGNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A profile that holds, and the signs of it; ``unfit`` says why it may keep no purchase."""

    profile: str
    title: str
    signs: tuple[str, ...]
    unfit: str


async def propose(uri: str, profile_dirs: Sequence[Path] = ()) -> tuple[Proposal, ...]:
    """The profiles that hold for ``modbus://host:502/1``, the one with the most signs first.

    Raises ValueError for what is no such URI or a faulty profile, and the DriverError of a meter
    that does not answer at all.
    """
    base, _, query = uri.partition("?")
    if "profile" in parse_qs(query, keep_blank_values=True):
        raise ValueError(f"{uri!r}: take the profile away, it is what is asked for.")
    found: list[Proposal] = []
    for name in sorted({*profile_paths(profile_dirs), SUNSPEC}):
        meter = open_meter(
            f"{base}?profile={name}&{query}" if query else f"{base}?profile={name}",
            meter_id=name,
            serial=None,
            rated_power_w=None,
            profile_dirs=profile_dirs,
        )
        try:
            signs = await _signs(meter)
        except (BadReplyError, RegisterRefusedError, WrongDeviceError):
            continue  # it answered, and not as this model does
        finally:
            await meter.close()
        if len(signs) >= _LEAST_SIGNS:
            profile = meter.profile
            found.append(
                Proposal(profile=name, title=profile.title, signs=signs, unfit=profile.unfit)
            )
    return tuple(sorted(found, key=lambda one: (-len(one.signs), one.profile)))


async def _signs(meter: ModbusMeter | SunSpecMeter) -> tuple[str, ...]:
    """What speaks for a profile. Raises a DriverError where something speaks against it."""
    identity = await meter.identify()
    reading = await meter.read()
    signs = [*meter.signs]
    if identity.serial not in {"", "0"}:
        signs.append(f"serial {identity.serial}")
    if identity.model:
        signs.append(f"calls itself {identity.model}")
    if reading.voltage_v is not None:
        signs.append(f"{reading.voltage_v:.0f} V")
    if reading.frequency_hz is not None:
        signs.append(f"{reading.frequency_hz:.1f} Hz")
    if reading.energy_import_wh > 0:
        signs.append(f"{reading.energy_import_wh / 1000:.0f} kWh")
    return tuple(signs)
