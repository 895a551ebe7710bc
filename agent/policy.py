"""Values that law may change, with the day from which each is valid. Never constants in code.

A policy file holds versions; a day is judged by the newest version that is not younger than it.
Every value carries its status, so that a report can say on what it rests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, TypeAdapter

from agent.settings_faults import Fault, FaultList, Place, SettingsError, joined, read_toml, refusal
from agent.settings_fields import Text, from_text

VERSION_COUNT_MAX = 100
ROW_COUNT_MAX = 1000

_COUNTRY = re.compile(r"[A-Z]{2}")

Status = Literal["verified", "claimed", "unconfirmed"]


def _decimal(text: str) -> Decimal:
    """A plain decimal number in quotes: binary fractions have no place in a fee."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not whole or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise refusal("is not a decimal number", 'write it in quotes, like "2.5"')
    return Decimal(text)


def _share(text: str) -> Decimal:
    share = _decimal(text)
    if share > 1:
        raise refusal("is more than the whole", 'write a share of 1, like "0.75"')
    return share


def _words(text: str) -> str:
    if not text.strip() or len(text) > 500:
        raise refusal("says nothing, or too much", "write one sentence")
    return text


Words = Annotated[str, from_text(_words)]
Amount = Annotated[Decimal, from_text(_decimal)]
Share = Annotated[Decimal, from_text(_share)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCap:
    """The most energy one purchase may hold; exactly that much is still allowed."""

    energy_wh: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000_000)]
    status: Status
    source: Words
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRate:
    """One rate of the fee on electricity. ``price_from`` counts only with ``basis`` price."""

    basis: Literal["price", "renewable_own", "own_generation", "meter_missing"]
    fee_kzt_per_kwh: Amount
    status: Status
    source: Words
    price_from_kzt_per_kwh: Amount | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredShare:
    name: Text
    share: Share
    status: Status
    source: Words
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccreditedPool:
    name: Text
    hosts: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
    source: Words
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """What is valid from a day on. No accredited pool listed means: unknown, not forbidden."""

    valid_from: Annotated[date, Field(strict=True)]
    transaction_cap: TransactionCap
    note: Words
    fees: Annotated[tuple[FeeRate, ...], Field(max_length=ROW_COUNT_MAX)] = ()
    required_shares: Annotated[tuple[RequiredShare, ...], Field(max_length=ROW_COUNT_MAX)] = ()
    accredited_pools: Annotated[tuple[AccreditedPool, ...], Field(max_length=ROW_COUNT_MAX)] = ()
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All versions of a file, oldest first."""

    path: Path
    country: str
    versions: tuple[PolicyVersion, ...]

    def at(self, day: date) -> PolicyVersion:
        """The version valid on a day. Raises SettingsError for a day before the first one."""
        valid = [version for version in self.versions if version.valid_from <= day]
        if not valid:
            first = self.versions[0].valid_from
            reason = f"has no version for {day}, the first is valid from {first}"
            remedy = "check the clock, or add the version that ruled then"
            fault = Fault(file=str(self.path), key="versions", reason=reason, remedy=remedy)
            raise SettingsError([fault])
        return valid[-1]


_VERSION = TypeAdapter(PolicyVersion)


def load_policy(path: Path) -> Policy:
    """The policy of a file. Raises SettingsError with all its faults."""
    path = path.absolute()
    return parse_policy(read_toml(path), path)


def parse_policy(data: Mapping[str, Any], path: Path) -> Policy:
    """The policy that ``data``, read from ``path``, stands for. Raises SettingsError."""
    place = Place(base=path.parent, credentials=None)
    found = FaultList(file=str(path), place=place)
    found.refuse_unknown(data, ("country", "versions"), "")
    country = data.get("country")
    if not isinstance(country, str) or _COUNTRY.fullmatch(country) is None:
        found.add("country", "is not a country", 'write the two letters of ISO 3166, like "KZ"')
    versions = _versions(found, data.get("versions"))
    if found.faults or not isinstance(country, str):
        raise SettingsError(found.faults)
    return Policy(path=path, country=country, versions=versions)


def _versions(found: FaultList, rows: object) -> tuple[PolicyVersion, ...]:
    if not isinstance(rows, list) or not 1 <= len(rows) <= VERSION_COUNT_MAX:
        remedy = "add at least one [[versions]] table"
        found.add("versions", f"is not a list of 1 to {VERSION_COUNT_MAX} tables", remedy)
        return ()
    seen: dict[date, str] = {}
    versions = []
    for at, row in enumerate(rows):
        key = joined("versions", at)
        version = found.parse(_VERSION, PolicyVersion, row, key)
        if version is None:
            continue
        first = seen.setdefault(version.valid_from, key)
        if first != key:
            reason = f"is {version.valid_from} again, as in {first}"
            found.add(joined(key, "valid_from"), reason, "one version rules a day")
        _check_fees(found, version, key)
        versions.append(version)
    return tuple(sorted(versions, key=lambda version: version.valid_from))


def _check_fees(found: FaultList, version: PolicyVersion, key: str) -> None:
    seen: dict[tuple[str, Decimal | None], str] = {}
    for at, fee in enumerate(version.fees):
        where = joined(key, "fees", at)
        if (fee.basis == "price") != (fee.price_from_kzt_per_kwh is not None):
            remedy = "give it with basis price, and only there"
            reason = "does not fit the basis"
            found.add(joined(where, "price_from_kzt_per_kwh"), reason, remedy)
        first = seen.setdefault((fee.basis, fee.price_from_kzt_per_kwh), where)
        if first != where:
            found.add(where, f"has the same basis as {first}", "remove one of the two")


def cap_wh_at(policy: Policy, at_ms: int, zone: str) -> int:
    """The cap for one transaction by the policy valid on the day its window starts."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()
    return policy.at(day).transaction_cap.energy_wh
