"""Physical ways to Modbus units: a TCP port or a serial port. One of them has one bus.

The URI of a unit names its way first and the unit last: ``modbus://10.1.0.10:502/1``,
``modbus+rtu://10.1.0.10:4001/1``, ``modbus+serial:///dev/ttyUSB0/1?baud=9600&parity=N&stop=1``,
``modbus+rfc2217://10.1.0.10:4001/1?baud=9600``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from drivers.link.uri import device_uri

DEFAULT_PORT = 502
BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
# What a serial line behind a TCP port is taken to run at where nobody says so.
USUAL_BAUD = 9600
SERIAL = "modbus+serial"
RFC2217 = "modbus+rfc2217"
# Scheme to whether frames are RTU; ``modbus+socket`` is what pyserial's users call modbus+rtu.
TCP_SCHEMES = {"modbus": False, "modbus+rtu": True, "modbus+socket": True}
SCHEMES = (*TCP_SCHEMES, SERIAL, RFC2217)

_EXAMPLE = "modbus://10.1.0.10:502/1?profile=sdm630"
_SERIAL_EXAMPLE = "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&baud=9600&parity=N"
_RFC2217_EXAMPLE = "modbus+rfc2217://10.1.0.10:4001/1?profile=sdm630&baud=9600&parity=N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One TCP port, speaking Modbus TCP or RTU frames over TCP."""

    host: str
    port: int
    is_rtu: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def baud(self) -> int:
        """The speed of the serial line behind it, as far as it matters for waiting."""
        return USUAL_BAUD


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialEndpoint:
    """One serial port: a device's path, or ``rfc2217://host:port``. RTU, 8 data bits."""

    path: str
    baud: int = USUAL_BAUD
    parity: str = "N"
    stop_bits: int = 1

    def __str__(self) -> str:
        return self.path

    @property
    def is_rtu(self) -> bool:
        """Serial lines speak RTU here, never ASCII."""
        return True

    @property
    def is_remote(self) -> bool:
        """Whether the port is another host's."""
        return self.path.startswith("rfc2217://")


Way = Endpoint | SerialEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAddress:
    """A unit and the way to it. ``more`` is what the query says besides the line's settings."""

    way: Way
    unit: int
    more: Mapping[str, str]


def unit_address(uri: str) -> UnitAddress:
    """Take a unit's URI apart. Raises ValueError with one sentence that says how to write it."""
    scheme = uri.partition("://")[0].lower()
    if scheme == SERIAL:
        return _serial_address(uri)
    example = _RFC2217_EXAMPLE if scheme == RFC2217 else _EXAMPLE
    parts = device_uri(uri, schemes=SCHEMES, example=example)
    unit = _unit(uri, parts.path.removeprefix("/"), example)
    query = _query(uri, parts.query, example)
    if scheme == RFC2217:
        if parts.port is None:
            raise ValueError(f"{uri!r} names no port: write it as {example}.")
        host = f"[{parts.host}]" if ":" in parts.host else parts.host
        way = _serial_way(uri, f"rfc2217://{host}:{parts.port}", query, example)
        return UnitAddress(way=way, unit=unit, more=query)
    endpoint = Endpoint(
        host=parts.host, port=parts.port or DEFAULT_PORT, is_rtu=TCP_SCHEMES[parts.scheme]
    )
    return UnitAddress(way=endpoint, unit=unit, more=query)


def _serial_address(uri: str) -> UnitAddress:
    """The last part of the path is the unit, all in front of it the port."""
    parts = _split(uri)
    if parts is None or parts.netloc or parts.fragment or "%" in parts.path:
        raise ValueError(f"{uri!r} does not name a serial port: write it as {_SERIAL_EXAMPLE}.")
    device, _, unit_text = parts.path.rpartition("/")
    unit = _unit(uri, unit_text, _SERIAL_EXAMPLE)
    if device.count("/") < 2 or device.endswith("/") or ".." in device.split("/"):
        raise ValueError(
            f"{uri!r} does not name the port's device in front of the unit: "
            f"write it as {_SERIAL_EXAMPLE}."
        )
    query = _query(uri, parts.query, _SERIAL_EXAMPLE)
    way = _serial_way(uri, device, query, _SERIAL_EXAMPLE)
    return UnitAddress(way=way, unit=unit, more=query)


def _serial_way(uri: str, path: str, query: dict[str, str], example: str) -> SerialEndpoint:
    """The port with its line's settings, which are taken out of the query."""
    baud, parity = query.pop("baud", str(USUAL_BAUD)), query.pop("parity", "N")
    stop = query.pop("stop", "1")
    if baud not in map(str, BAUDS):
        known = ", ".join(map(str, BAUDS))
        raise ValueError(f"{uri!r} has no usable baud: write one of {known}, as in {example}.")
    if parity not in {"N", "E", "O"} or stop not in {"1", "2"}:
        raise ValueError(f"{uri!r}: parity is N, E or O and stop is 1 or 2, as in {example}.")
    return SerialEndpoint(path=path, baud=int(baud), parity=parity, stop_bits=int(stop))


def _unit(uri: str, text: str, example: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    if not is_number or not 1 <= int(text) <= 247:
        raise ValueError(f"{uri!r}: the unit's address, 1 to 247, is missing: {example}.")
    return int(text)


def _query(uri: str, text: str, example: str) -> dict[str, str]:
    query = parse_qs(text, keep_blank_values=True)
    if any(len(values) > 1 for values in query.values()):
        raise ValueError(f"{uri!r} says something twice: write it as {example}.")
    return {name: values[0] for name, values in query.items()}


def _split(uri: str) -> SplitResult | None:
    try:
        return urlsplit(uri)
    except ValueError:
        return None
