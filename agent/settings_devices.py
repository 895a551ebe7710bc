"""The devices of a site as a kwota file lists them: meters and miners, each with its URI.

Which families exist is the drivers' business. The ports that are meant when none is written are
needed here so that two spellings of one address are seen as one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qs

from pydantic import ConfigDict
from pydantic_core import PydanticCustomError

from agent.settings_faults import FaultList, joined, refusal, shown
from agent.settings_fields import (
    CtRatio,
    DeviceUri,
    ErrorShare,
    Identifier,
    LongS,
    Mac,
    Pattern,
    PollS,
    SecretPath,
    Text,
    from_text,
    identifier,
    mac,
    split_uri,
)
from drivers.link.endpoint import (
    DEFAULT_PORT,
    RFC2217,
    SCHEMES,
    SERIAL,
    SerialEndpoint,
    unit_address,
)
from drivers.miners.registry import FAMILIES

METER_PORTS = dict.fromkeys(SCHEMES, DEFAULT_PORT)  # a serial port has none
MINER_PORTS = {name: family.default_port for name, family in FAMILIES.items()}


def meter_uri(text: str) -> str:
    """``modbus://host[:port]/unit?profile=name``, the way out in words where it is not."""
    if text.partition("://")[0] in {SERIAL, RFC2217}:
        return _serial_meter_uri(text)
    uri = _device_uri(text, METER_PORTS, "modbus://10.1.0.10/1?profile=sdm630")
    query = dict(uri.query)
    strange = [name for name in query if name != "profile"]
    if strange:
        raise refusal(f"has the unknown parameter {shown(strange[0])}", "remove it")
    if not query.get("profile"):
        remedy = "end it with ?profile= and the meter's model, as sdm630"
        raise refusal("names no profile", remedy)
    if re.fullmatch(r"[0-9]{1,3}", uri.path) is None or not 1 <= int(uri.path) <= 247:
        raise refusal("names no Modbus unit", "put the unit, 1 to 247, after the address: /1")
    return text


def _serial_meter_uri(text: str) -> str:
    """``modbus+serial:///dev/ttyUSB0/unit?profile=name&baud=9600``, or the same by RFC 2217."""
    remedy = "write it like modbus+serial:///dev/ttyUSB0/1?profile=sdm630&baud=9600"
    try:
        more = unit_address(text).more
    except ValueError as error:
        raise refusal(f"cannot be used: {error}", remedy) from None
    strange = [name for name in more if name != "profile"]
    if strange or not text.isprintable() or " " in text:
        raise refusal(f"has the unknown parameter {shown((strange or [text])[0])}", "remove it")
    if not more.get("profile"):
        remedy = "add ?profile= and the meter's model, as sdm630"
        raise refusal("names no profile", remedy)
    return text


def miner_uri(text: str) -> str:
    """``family://host[:port]``, and ``?name=port`` for a family that has a second port."""
    uri = _device_uri(text, MINER_PORTS, "luxos://10.1.1.11")
    try:
        FAMILIES[uri.scheme].second_port(text.partition("?")[2])
    except ValueError:
        raise refusal("has parts after the address", _plainly(uri)) from None
    if uri.path:
        raise refusal("has parts after the address", _plainly(uri))
    return text


def _plainly(uri: DeviceUri) -> str:
    return f"write {uri.scheme}://{uri.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """``error_share`` guards for the class of the meter and its transformers.

    ``ct_ratio`` is the nameplate's, compared with what the meter tells; ``may_export`` says that
    the site generates, so that power may flow out. ``feeds`` are ids of machines, or patterns as
    ``r3-*``: those behind a feeder whose meter this is, below that of their meter point.
    ``clock_bound_s``: how far the meter's own clock, if it has one, may be off before that is told.
    """

    id: Identifier
    uri: Annotated[str, from_text(meter_uri)]
    serial: Text | None = None
    error_share: ErrorShare = 0.0
    poll_s: PollS = 0.5
    ct_ratio: CtRatio | None = None
    may_export: bool = False
    feeds: tuple[Pattern, ...] = ()
    clock_bound_s: LongS = 60.0
    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def profile(self) -> str:
        """The name of the meter's profile, as the URI gives it."""
        return parse_qs(self.uri.partition("?")[2])["profile"][0]

    def is_above(self, miner_id: str) -> bool:
        """Whether a machine hangs on the feeder that it measures."""
        return any(fnmatchcase(miner_id, one) for one in self.feeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSettings:
    """``mac`` is pinned: what answers with another one is never written to.

    ``meter_point`` is the point that feeds it; the file may leave it out where there is one.
    ``rack`` is where it stands, for the page and the labels; without it its name is asked.
    ``password_file`` is for families whose writes need one; without it they are only read.
    """

    id: Identifier
    uri: Annotated[str, from_text(miner_uri)]
    mac: Mac
    meter_point: Identifier = ""
    password_file: SecretPath | None = None
    rack: Text | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def check_duplicates(found: FaultList, data: Mapping[str, Any]) -> None:
    """Note ids, addresses and MACs that two devices claim, in rows with other faults as well."""
    ids: dict[str, str] = {}
    addresses: dict[str, str] = {}
    macs: dict[str, str] = {}
    for kind, ports in (("meters", METER_PORTS), ("miners", MINER_PORTS)):
        for key, row in _raw_rows(data, kind):
            _claim(found, ids, row, joined(key, "id"), identifier)
            _claim(found, addresses, row, joined(key, "uri"), partial(_address, ports))
            _claim(found, macs, row, joined(key, "mac"), mac)


def check_serial_ports(found: FaultList, meters: Mapping[int, MeterSettings]) -> None:
    """Note every serial port that two meters want at different speeds or parities."""
    ports: dict[str, tuple[str, SerialEndpoint]] = {}
    for at, meter in meters.items():
        if meter.uri.partition("://")[0] not in {SERIAL, RFC2217}:
            continue
        way = unit_address(meter.uri).way
        if isinstance(way, SerialEndpoint):
            key = joined(joined("meters", at), "uri")
            first, other = ports.setdefault(way.path, (key, way))
            if other != way:
                reason = f"gives {way} another speed, parity or stop than {first}"
                found.add(key, reason, "set all meters of one line alike")


def check_passwords(found: FaultList, miners: Mapping[int, MinerSettings]) -> None:
    """Note every password that its machine's family has no use for."""
    for at, miner in miners.items():
        family = miner.uri.partition("://")[0]
        if miner.password_file is not None and not FAMILIES[family].takes_password:
            key = joined(joined("miners", at), "password_file")
            found.add(key, f"is set, but {family} needs no password", "remove it")


def note_twice(found: FaultList, seen: dict[str, str], value: str, key: str) -> None:
    """Note that ``key`` holds ``value``, which nothing else may hold."""
    first = seen.setdefault(value, key)
    if first != key:
        found.add(key, f"is {shown(value)} again, as in {first}", "one of the two is wrong")


def _raw_rows(data: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = data.get(kind)
    for at, row in enumerate(rows if isinstance(rows, list) else []):
        if isinstance(row, dict):
            yield joined(kind, at), row


def _claim(
    found: FaultList,
    seen: dict[str, str],
    row: Mapping[str, Any],
    key: str,
    normal: Callable[[str], str],
) -> None:
    value = row.get(key.rpartition(".")[2])
    if not isinstance(value, str):
        return  # missing or of the wrong type: a fault of its own
    try:
        note_twice(found, seen, normal(value), key)
    except (PydanticCustomError, ValueError):
        return  # malformed: a fault of its own


def _address(ports: Mapping[str, int], text: str) -> str:
    """The address in one spelling. Raises ValueError for what is no URI."""
    if text.partition("://")[0] in {SERIAL, RFC2217}:
        serial = unit_address(text)
        return f"{serial.way}/{serial.unit}"
    uri = split_uri(text)
    port = uri.port if uri.port is not None else ports.get(uri.scheme, 0)
    unit = uri.path.lstrip("0")
    return f"{uri.host}:{port}/{unit}" if unit else f"{uri.host}:{port}"


def _device_uri(text: str, ports: Mapping[str, int], example: str) -> DeviceUri:
    try:
        uri = split_uri(text)
    except ValueError as error:
        raise refusal(f"{shown(text)} {error}", f"write it like {example}") from None
    if uri.scheme not in ports:
        known = ", ".join(f"{scheme}://" for scheme in sorted(ports))
        raise refusal(f"is of the unknown family {shown(uri.scheme)}", f"write one of {known}")
    return uri
