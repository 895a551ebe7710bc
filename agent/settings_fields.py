"""The kinds of values a kwota file holds, each with its check and its sentence.

A field checks the form of one value; what values say about each other is checked in settings.py.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, PlainValidator, ValidationInfo

from agent.settings_faults import Place, refusal, shown

UNIX_PATH_BYTES_MAX = 107  # sockaddr_un holds 108 with its NUL

_LEVEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_MAC = re.compile(r"[0-9A-Fa-f]{12}")
_PATTERN = re.compile(r"[A-Za-z0-9._*?-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A host and a port, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One MQTT broker as written: ``mqtts`` is TLS, ``mqtt`` is plain."""

    url: str
    host: str
    port: int
    is_tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUri:
    """The parts of a device's URI. ``port`` is None where the family's own is meant."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: tuple[tuple[str, str], ...]


def is_host(text: str) -> bool:
    """Whether ``text`` is an address or a host name by RFC 1123."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.rstrip(".").split(".")
        is_number = labels[-1].isdigit()  # then it was meant as an address
        return len(text) <= 253 and not is_number and all(map(_LABEL.fullmatch, labels))
    return True


def split_uri(text: str) -> DeviceUri:
    """Take a device's URI apart. Raises ValueError with one sentence that says what is wrong."""
    parts, port = _split(text)
    if not parts.scheme or not text.lower().startswith(f"{parts.scheme}://"):
        raise ValueError("is not of the form family://host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("carries a user name or password, which never belong into a URI")
    if parts.fragment:
        raise ValueError("has a part after #, which means nothing here")
    host = parts.hostname or ""
    if not is_host(host):
        raise ValueError(f"has no usable host, {shown(host)} is neither an address nor a name")
    query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=16)
    twice = [name for name, values in query.items() if len(values) > 1]
    if twice:
        raise ValueError(f"gives {twice[0]} twice")
    return DeviceUri(
        scheme=parts.scheme,
        host=host,
        port=port,
        path=parts.path.strip("/"),
        query=tuple((name, values[0]) for name, values in query.items()),
    )


def _split(text: str) -> tuple[SplitResult, int | None]:
    if not text.isprintable() or " " in text:
        raise ValueError("contains a space or an unprintable character")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"cannot be read as a URI: {error}") from error
    if port == 0:
        raise ValueError("has port 0")
    return parts, port


def level(text: str) -> str:
    """One level of an MQTT topic, which is part of the log's name too."""
    return _matched(_LEVEL, text, "1 to 32 of a-z, 0-9 and -, with no - at the ends")


def identifier(text: str) -> str:
    return _matched(_ID, text, "1 to 64 letters, digits, dots, - or _, a letter or digit first")


def domain(text: str) -> str:
    if not is_host(text) or text != text.lower():
        raise refusal(f"is {shown(text)}, not a domain name", "write it like pool.example")
    return text


def mac(text: str) -> str:
    """A hardware address as six lower-case octets with colons, however it was written."""
    digits = re.sub(r"[:.-]", "", text)
    if _MAC.fullmatch(digits) is None:
        remedy = "write it as on the label, like 62:f7:5e:b7:10:46"
        raise refusal(f"is {shown(text)}, not a MAC address", remedy)
    if int(digits, 16) == 0 or int(digits[:2], 16) & 1:
        raise refusal(f"is {shown(text)}, which no single machine has", "read it off the label")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2)).lower()


def zone(text: str) -> str:
    """A time zone of the tz database, whose data must know Kazakhstan's change of 2024-03-01."""
    try:
        key = ZoneInfo(text).key
    except (KeyError, ValueError, OSError):
        raise refusal(f"is {shown(text)}, not a known time zone", "write Asia/Almaty") from None
    probe = datetime(2024, 3, 2, tzinfo=UTC).astimezone(ZoneInfo("Asia/Almaty"))
    if probe.utcoffset() != timedelta(hours=5):
        reason = "cannot be trusted: this machine's zone files are older than 2024a"
        raise refusal(reason, "update the tzdata package")
    return key


def local_path(text: str, place: Place) -> Path:
    if not text or not text.isprintable():
        raise refusal(f"is {shown(text)}, not a path", "write the path of a file")
    return place.base / text


def secret_path(text: str, place: Place) -> Path:
    """A file of secrets: systemd's credentials first, then beside the configuration."""
    path = local_path(text, place)
    if place.credentials is not None and "/" not in text:
        credential = place.credentials / text
        if credential.is_file():
            return credential
    return path


def socket_path(text: str, place: Place) -> Path:
    path = local_path(text, place)
    if len(bytes(path)) > UNIX_PATH_BYTES_MAX:
        raise refusal("is longer than 107 bytes, which no socket can have", "choose a shorter path")
    return path


def endpoint(text: str) -> Endpoint:
    """``address:port`` of this machine; what an address needs besides, its table says."""
    remedy = "write 127.0.0.1:8480; from elsewhere, reach it through ssh -L"
    try:
        parts, port = _split(f"//{text}")
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        raise refusal(f"is {shown(text)}, not address:port", remedy) from None
    if port is None or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise refusal(f"is {shown(text)}, not address:port", remedy)
    return Endpoint(host=str(address), port=port)


def broker(text: str) -> Broker:
    remedy = "write mqtts://host:8883, or mqtt://host:1883 for plain"
    try:
        uri = split_uri(text)
    except ValueError as error:
        raise refusal(str(error), remedy) from None
    if uri.scheme not in {"mqtt", "mqtts"} or uri.path or uri.query:
        raise refusal(f"is {shown(text)}", remedy)
    is_tls = uri.scheme == "mqtts"
    port = uri.port if uri.port is not None else (8883 if is_tls else 1883)
    return Broker(url=text, host=uri.host, port=port, is_tls=is_tls)


def plain_text(text: str) -> str:
    if not text or len(text) > 64 or not text.isprintable() or text != text.strip():
        raise refusal(f"is {shown(text)}", "write 1 to 64 printable characters")
    return text


def pattern(text: str) -> str:
    if _PATTERN.fullmatch(text) is None:
        raise refusal(f"is {shown(text)}, no id of machines", "write an id, or ids as r3-*")
    return text


def from_text(read: Callable[[str], object]) -> PlainValidator:
    """A field that is text in the file and whatever ``read`` makes of it."""
    return PlainValidator(lambda value: read(_text(value)))


def _matched(form: re.Pattern[str], text: str, rule: str) -> str:
    if form.fullmatch(text) is None:
        raise refusal(f"is {shown(text)}", f"write {rule}")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise refusal(f"is {shown(value)}, not text in quotes", "put it in quotes")
    return value


def _from_place(read: Callable[[str, Place], object]) -> PlainValidator:
    def validate(value: object, info: ValidationInfo) -> object:
        assert isinstance(info.context, Place)
        return read(_text(value), info.context)

    return PlainValidator(validate)


Level = Annotated[str, from_text(level)]
Identifier = Annotated[str, from_text(identifier)]
Domain = Annotated[str, from_text(domain)]
Pattern = Annotated[str, from_text(pattern)]
Mac = Annotated[str, from_text(mac)]
Zone = Annotated[str, from_text(zone)]
Text = Annotated[str, from_text(plain_text)]
ListenText = Annotated[Endpoint, from_text(endpoint)]
BrokerText = Annotated[Broker, from_text(broker)]
LocalPath = Annotated[Path, _from_place(local_path)]
SecretPath = Annotated[Path, _from_place(secret_path)]
SocketPath = Annotated[Path, _from_place(socket_path)]
PowerW = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
RatedPowerW = Annotated[int, Field(strict=True, ge=100, le=1_000_000_000)]
JournalBytes = Annotated[int, Field(strict=True, ge=16_000_000, le=1_000_000_000_000)]
CtRatio = Annotated[float, Field(strict=True, ge=1, le=100_000, allow_inf_nan=False)]
ErrorShare = Annotated[float, Field(strict=True, ge=0, le=0.05, allow_inf_nan=False)]
MarginShare = Annotated[float, Field(strict=True, ge=0, le=0.5, allow_inf_nan=False)]
TickS = Annotated[float, Field(strict=True, ge=0.2, le=5, allow_inf_nan=False)]
PollS = Annotated[float, Field(strict=True, ge=0.1, le=60, allow_inf_nan=False)]
StaleS = Annotated[float, Field(strict=True, ge=0.5, le=60, allow_inf_nan=False)]
LongS = Annotated[float, Field(strict=True, ge=1, le=3600, allow_inf_nan=False)]
