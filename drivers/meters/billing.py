"""A billing (commercial, ASKUE) meter that speaks DLMS: read for comparison, never governed by.

``dlms://10.1.0.20:4059?client=32&password_file=/etc/kwota/askue.password&serial=12345678``. OBIS
codes as in IEC 62056-6-1: 1.0.1.8.0.255 import, 1.0.2.8.0.255 export, both of all tariffs. Every
answer takes up to seconds behind a gateway, so that no purchase can rest on it.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qs

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.cosem import ANSWER_S, AbsentError, Attribute, CosemLink, Got
from drivers.link.uri import device_uri
from drivers.readings import MeterIdentity, QuantityReading
from drivers.wire.cosem import (
    WATT_HOURS,
    clock_text,
    identity_text,
    scaler_unit,
    whole_number,
)

SCHEME = "dlms"
DEFAULT_PORT = 4059
PUBLIC_CLIENT = 16
READER_CLIENT = 32  # reads with a password (LLS), as SPODES meters have it
_EXAMPLE = "dlms://10.1.0.20:4059?client=32&password_file=/etc/kwota/askue.password"
_KNOWN = frozenset({"client", "server", "password_file", "serial", "ratio"})
_REGISTER, _DATA, _CLOCK = 3, 1, 8
_IMPORT, _EXPORT = "1.0.1.8.0.255", "1.0.2.8.0.255"
_SERIALS = ("0.0.96.1.0.255", "0.0.42.0.0.255")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingAddress:
    """Where a billing meter is, as whom it is read, and what is known of it.

    ``ratio`` is current times voltage transformers where its register counts the secondary side.
    """

    host: str
    port: int
    client: int
    server: int
    password_file: Path | None
    serial: str | None
    ratio: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyRegister:
    """What a register showed: ``count`` steps of ``step_wh``, ratio and scaler applied."""

    count: int
    step_wh: Fraction
    requested_at_ms: int
    replied_at_ms: int

    @property
    def energy_wh(self) -> Fraction:
        """All that it has counted."""
        return self.count * self.step_wh


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingClock:
    """What its clock showed, in its own zone, and the wall clock around the exchange."""

    shown: datetime
    requested_at_ms: int
    replied_at_ms: int


def billing_address(uri: str) -> BillingAddress:
    """Take a URI apart. Raises ValueError with one sentence that says how to write it."""
    parts = device_uri(uri, schemes=[SCHEME], example=_EXAMPLE)
    query = parse_qs(parts.query, keep_blank_values=True)
    if (
        parts.path not in {"", "/"}
        or set(query) - _KNOWN
        or any(len(v) > 1 for v in query.values())
    ):
        known = ", ".join(sorted(_KNOWN))
        raise ValueError(
            f"{uri!r}: after the port there is ? and each once of {known}: {_EXAMPLE}."
        )
    said = {name: values[0] for name, values in query.items()}
    if any(not value for value in said.values()):
        raise ValueError(f"{uri!r} leaves a value out: write it as {_EXAMPLE}.")
    password = said.get("password_file")
    usual = PUBLIC_CLIENT if password is None else READER_CLIENT
    return BillingAddress(
        host=parts.host,
        port=parts.port or DEFAULT_PORT,
        client=_number(uri, "client", said.get("client", str(usual)), 0xFFFF),
        server=_number(uri, "server", said.get("server", "1"), 0xFFFF),
        password_file=None if password is None else Path(password),
        serial=said.get("serial"),
        ratio=_number(uri, "ratio", said.get("ratio", "1"), 1_000_000),
    )


class BillingMeter:
    """One session with a billing meter, opened by the first question; ``close`` it last."""

    def __init__(
        self, address: BillingAddress, password: bytes | None, *, answer_s: float = ANSWER_S
    ) -> None:
        self._address = address
        self._link = CosemLink(
            host=address.host,
            port=address.port,
            client=address.client,
            server=address.server,
            password=password,
            answer_s=answer_s,
        )
        self._is_open = False

    @property
    def source(self) -> str:
        """Where it is, for records and sentences: no secret, no path."""
        return f"{SCHEME}://{self._link.address}"

    async def identify(self) -> MeterIdentity:
        """Its serial number, or its logical name. WrongDeviceError where another is pinned."""
        serial = await self._serial()
        pinned = self._address.serial
        if pinned is not None and serial != pinned:
            raise WrongDeviceError(
                f"The billing meter at {self._link.address} should have the serial {pinned}, but "
                f"it says {serial}: check the address, or pin the new one if it was exchanged."
            )
        return MeterIdentity(profile=SCHEME, serial=serial, firmware="")

    async def read_import(self) -> EnergyRegister:
        """Active energy import of all tariffs; the count is asked for before its step."""
        return await self._energy(_IMPORT)

    async def read_quantities(self) -> tuple[QuantityReading, ...]:
        """Import, and export if the meter has it."""
        readings = [_quantity("energy", await self._energy(_IMPORT))]
        try:
            readings.append(_quantity("energy_export", await self._energy(_EXPORT)))
        except AbsentError as error:
            absent = QuantityReading(name="energy_export", value=None, unit="Wh", fault=str(error))
            readings.append(absent)
        return tuple(readings)

    async def read_clock(self) -> BillingClock:
        """What its clock shows. Raises AbsentError where it has none."""
        got = await self._got(Attribute(interface=_CLOCK, obis="0.0.1.0.0.255", number=2))
        try:
            shown = datetime.fromisoformat(clock_text(got.data))
        except ValueError as error:
            words = "The meter's clock shows a day that no calendar has: set it."
            raise BadReplyError(words, reply=got.data[:200]) from error
        return BillingClock(
            shown=shown, requested_at_ms=got.requested_at_ms, replied_at_ms=got.replied_at_ms
        )

    async def close(self) -> None:
        """Release the association and cut the line."""
        await self._link.close()

    async def _serial(self) -> str:
        with suppress(AbsentError):
            return await self._text(_SERIALS[0])
        return await self._text(_SERIALS[1])

    async def _text(self, obis: str) -> str:
        return identity_text((await self._got(_attribute(obis, _DATA, 2))).data)

    async def _energy(self, obis: str) -> EnergyRegister:
        got = await self._got(_attribute(obis, _REGISTER, 2))
        count = whole_number(got.data)
        scaled = scaler_unit((await self._got(_attribute(obis, _REGISTER, 3))).data)
        if scaled.unit != WATT_HOURS:
            raise BadReplyError(
                f"{self._link.address} counts {obis} in the unit {scaled.unit} and not in Wh (30): "
                "it is not the register of active energy.",
            )
        if count < 0:
            raise BadReplyError(f"{self._link.address} shows {count} in {obis}, which is below 0.")
        return EnergyRegister(
            count=count,
            step_wh=Fraction(10) ** scaled.scaler * self._address.ratio,
            requested_at_ms=got.requested_at_ms,
            replied_at_ms=got.replied_at_ms,
        )

    async def _got(self, attribute: Attribute) -> Got:
        if not self._is_open:
            await self._link.open()
            self._is_open = True
        return await self._link.get(attribute)


def _attribute(obis: str, interface: int, number: int) -> Attribute:
    return Attribute(interface=interface, obis=obis, number=number)


def _quantity(name: str, register: EnergyRegister) -> QuantityReading:
    return QuantityReading(name=name, value=float(register.energy_wh), unit="Wh", fault="")


def _number(uri: str, name: str, text: str, most: int) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 7
    if not is_number or not 1 <= int(text) <= most:
        raise ValueError(f"{uri!r}: {name} is a whole number from 1 to {most}: {_EXAMPLE}.")
    return int(text)
