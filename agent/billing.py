"""The billing meter as a source of commercial readings: opened by its URI, and what it showed last.

Statements are of energy between two quarters of an hour, a register shows all that was ever
counted. So a reading is kept in a file until there is a later one to take it from.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from agent.atomicfile import ChangedError, replace_bytes
from agent.commercial import CommercialError
from agent.core.calibration import CommercialReading
from agent.keys import KeyFileError, read_private_file, write_new
from drivers.meters.billing import BillingMeter, EnergyRegister, billing_address

_FORM = 1
_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReading:
    """What the billing meter of that serial showed at ``at_ms``, the edge of a quarter."""

    serial: str
    at_ms: int
    count: int
    step_wh: Fraction


def open_billing(uri: str) -> BillingMeter:
    """Its driver; nothing is sent yet. Raises ValueError with one sentence, without the secret."""
    address = billing_address(uri)
    return BillingMeter(address, _password(address.password_file))


def billed_by(uri: str) -> Path | None:
    """The file with its password; None where the URI names none or is none."""
    try:
        return billing_address(uri).password_file
    except ValueError:
        return None


def _password(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        password = read_private_file(path).partition(b"\n")[0].rstrip(b"\r")
    except KeyFileError as error:
        raise ValueError(str(error)) from error
    if not 0 < len(password) <= 64:
        raise ValueError(f"The password file {path} holds no password in its first line.")
    return password


def load_kept(path: Path) -> KeptReading | None:
    """The reading that is kept in a file; None where there is no file yet.

    Raises CommercialError where there is one that holds none.
    """
    try:
        with path.open("rb") as stream:
            found: Any = json.loads(stream.read(_BYTES_MAX))
        kept = KeptReading(
            serial=str(found["serial"]),
            at_ms=int(found["at_ms"]),
            count=int(found["count"]),
            step_wh=Fraction(found["step_wh"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommercialError(f"{path} cannot be read: {error.strerror}; check it") from error
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        sentence = f"{path} holds no kept reading: name another file, or move this one away"
        raise CommercialError(sentence) from error
    if found.get("v") != _FORM or kept.step_wh <= 0 or kept.count < 0:
        raise CommercialError(f"{path} is not of this version: move it away to begin anew")
    return kept


def keep(path: Path, reading: KeptReading) -> None:
    """Put a reading into the file, as a whole or not at all. Raises CommercialError."""
    content = json.dumps(as_json(reading) | {"v": _FORM}).encode() + b"\n"
    try:
        if path.exists():
            replace_bytes(path, path.read_bytes(), content)
        else:
            write_new(path, content, mode=0o600)
    except (OSError, KeyFileError, ChangedError) as error:
        raise CommercialError(f"the reading cannot be kept: {error}") from error


def as_json(reading: KeptReading) -> dict[str, str | int]:
    """Its fields as JSON has them."""
    return {
        "serial": reading.serial,
        "at_ms": reading.at_ms,
        "count": reading.count,
        "step_wh": str(reading.step_wh),
    }


def reading_of(serial: str, register: EnergyRegister, at_ms: int) -> KeptReading:
    """What a meter shows, as of the edge that it was read at."""
    return KeptReading(serial=serial, at_ms=at_ms, count=register.count, step_wh=register.step_wh)


def between(before: KeptReading, after: KeptReading, path: Path) -> CommercialReading:
    """What the meter counted between two readings. Raises CommercialError."""
    anew = f"move {path} away to begin anew"
    if before.serial != after.serial:
        sentence = f"the kept reading is of the meter {before.serial}, this is {after.serial}"
        raise CommercialError(f"{sentence}: {anew}, or correct the address")
    if before.step_wh != after.step_wh:
        raise CommercialError(f"the meter's scaler or ratio= has changed since: {anew}")
    if after.count < before.count:
        raise CommercialError(f"the meter shows less than the kept reading: {anew}")
    if after.at_ms <= before.at_ms:
        raise CommercialError(
            "the kept reading is of the same quarter or later: run it again later"
        )
    # Each register is cut off below its step, so that together they are off by one at most.
    return CommercialReading(
        start_ms=before.at_ms,
        end_ms=after.at_ms,
        energy_wh=round((after.count - before.count) * after.step_wh),
        rounding_wh=ceil(after.step_wh),
    )
