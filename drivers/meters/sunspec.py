"""A SunSpec meter: found by walking the chain of models, read in one request with its scales.

Where its registers lie is for the device to say, so that no file can: ``?profile=sunspec`` stands
for all of them. Every reading begins with the model's own header; where that is no longer there,
the chain is walked anew, and the serial compared again.
"""

import math
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.modbus import BusLease, ReadRequest, RegisterRefusedError, RegistersRead, Timing
from drivers.link.requests import HOLDING
from drivers.meters.plausible import fault_of
from drivers.meters.profile import SUNSPEC
from drivers.meters.quantities import FAST, base_unit
from drivers.readings import MeterIdentity, MeterReading, QuantityReading
from drivers.wire import sunspec
from drivers.wire.registers import RegisterType, float_spacing

_ADDRESS_END = 0x10000


@dataclass(frozen=True, slots=True, kw_only=True)
class SunSpecProfile:
    """What is known of any SunSpec meter before it is met; named as in a MeterProfile.

    Nothing says at which energy its register starts again, since that hangs on a scale factor: a
    lower register is always a fault.
    """

    name: str = SUNSPEC
    title: str = "SunSpec meters, models 201-204 and 211-214"
    source: str = "SunSpec Alliance, published models (sunspec/models json/model_*.json)"
    revision: str = "as of 2026-11"
    unfit: str = ""
    refresh_s: float = 1.0  # no paper gives one
    nominal_voltage_v: float = 230.0
    modulus_wh: int | None = None
    timing: Timing = field(
        default_factory=lambda: Timing(answer_s=1.0, quiet_s=1.0, gap_s=0.0, unit_gap_s=0.06)
    )

    def energy_step_wh(self, energy_wh: int) -> int:
        """The step of a float at that value. A coarser one is told with each reading."""
        return max(1, math.ceil(float_spacing(energy_wh, RegisterType.FLOAT32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the meter's model begins, and which one it is."""

    address: int
    base: int
    header: sunspec.Header

    @property
    def model(self) -> sunspec.MeterModel:
        return sunspec.METER_MODELS[self.header.model]


class SunSpecMeter:
    """One meter. ``serial`` pins it, ``rated_power_w`` bounds what it may say."""

    def __init__(
        self,
        *,
        meter_id: str,
        lease: BusLease,
        unit: int,
        serial: str | None,
        rated_power_w: float | None,
    ) -> None:
        self.meter_id = meter_id
        self.profile = SunSpecProfile()
        self._lease = lease
        self._unit = unit
        self._serial = serial
        self._rated_power_w = rated_power_w
        self._place: _Place | None = None

    @property
    def signs(self) -> tuple[str, ...]:
        """What speaks for a SunSpec meter, once it has been identified."""
        if self._place is None:
            return ()
        at = self._place
        return (f"SunS at {at.base}", f"model {at.header.model} at {at.address}")

    async def identify(self) -> MeterIdentity:
        """Walk the chain. WrongDeviceError where it holds no meter, several, or another serial."""
        self._place = None
        base = await self._base()
        who: sunspec.Common | None = None
        meters: list[_Place] = []
        address = base + sunspec.MARKER_COUNT
        for _ in range(sunspec.MODELS_MAX):
            header = await self._header(address)
            if header is None or header.model == sunspec.END:
                break
            if header.model == sunspec.COMMON and who is None:
                who = sunspec.common(await self._words(address, sunspec.COMMON_COUNT))
            if header.model in sunspec.METER_MODELS:
                meters.append(_Place(address=address, base=base, header=header))
            address += header.end
            if address + sunspec.HEADER_COUNT > _ADDRESS_END:
                break
        place = self._only(meters)
        serial = "" if who is None else who.serial
        if self._serial is not None and serial != self._serial:
            said = f"has the serial {serial}" if serial else "does not tell its serial"
            raise WrongDeviceError(
                f"Meter {self.meter_id} should have the serial {self._serial}, but what answers at "
                f"{self._lease.endpoint} unit {self._unit} {said}: "
                "check the address, or pin the new serial if the meter was exchanged."
            )
        self._place = place
        return MeterIdentity(
            profile=self.profile.name,
            serial=serial,
            firmware="" if who is None else who.version,
            model="" if who is None else f"{who.manufacturer} {who.model}".strip(),
        )

    async def read(self) -> MeterReading:
        """Energy and power of one instant, with the scale factors of that instant."""
        reply, model = await self._block()
        values = {name: self._value(reply, model, name) for name in ("energy", "power")}
        values |= _present(reply.registers, model, ("voltage", "frequency"))
        fault = fault_of(
            values,
            nominal_voltage_v=self.profile.nominal_voltage_v,
            rated_power_w=self._rated_power_w,
            modulus_wh=self.profile.modulus_wh,
        )
        if fault is not None:
            raise BadReplyError(
                f"Meter {self.meter_id} says {fault}: check its wiring and its settings.",
                reply=_bytes_of(reply.registers),
            )
        step_wh = math.ceil(sunspec.step_of(reply.registers, model.points["energy"]))
        return MeterReading(
            meter_id=self.meter_id,
            requested_at_s=reply.requested_at_s,
            replied_at_s=reply.replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            power_w=values["power"],
            # Never above the register: what is not yet a whole Wh has not been counted.
            energy_import_wh=math.floor(values["energy"]),
            voltage_v=values.get("voltage"),
            frequency_hz=values.get("frequency"),
            energy_step_wh=step_wh if step_wh > self.profile.energy_step_wh(0) else 0,
        )

    async def read_quantities(self) -> tuple[QuantityReading, ...]:
        """Everything that the model has; what the meter does not fill in stands with the reason."""
        reply, model = await self._block()
        readings = []
        for name in (*FAST, *(name for name in model.points if name not in FAST)):
            value, fault = None, ""
            try:
                value = sunspec.value_of(reply.registers, model.points[name])
            except BadReplyError as error:
                fault = str(error)
            unit = base_unit(name)
            readings.append(QuantityReading(name=name, value=value, unit=unit, fault=fault))
        return tuple(readings)

    async def close(self) -> None:
        """Give the bus back."""
        self._lease.close()

    async def _block(self) -> tuple[RegistersRead, sunspec.MeterModel]:
        """The meter's model, with its header in front. Raises BadReplyError where it has moved."""
        if self._place is None:
            await self.identify()
        place = self._place
        assert place is not None
        reply = await self._lease.read(
            self._request(place.address, place.model.count), self.profile.timing
        )
        if sunspec.header(reply.registers) != place.header:
            self._place = None
            raise BadReplyError(
                f"Meter {self.meter_id} has its SunSpec models elsewhere than before: "
                "they are looked for anew.",
                reply=_bytes_of(reply.registers),
            )
        return reply, place.model

    def _value(self, reply: RegistersRead, model: sunspec.MeterModel, name: str) -> float:
        return sunspec.value_of(reply.registers, model.points[name])

    def _only(self, meters: Sequence[_Place]) -> _Place:
        """The one meter of the chain. Raises WrongDeviceError."""
        if len(meters) != 1:
            found = ", ".join(f"{one.header.model} at {one.address}" for one in meters) or "none"
            raise WrongDeviceError(
                f"Meter {self.meter_id} should be the one SunSpec meter behind its unit, but there "
                f"are {len(meters)} ({found}): check address and unit, or read it by its own list."
            )
        (place,) = meters
        if place.header.length != place.model.length:
            raise WrongDeviceError(
                f"Meter {self.meter_id} has a SunSpec model {place.header.model} of "
                f"{place.header.length} registers, not {place.model.length}: use its own list."
            )
        return place

    async def _base(self) -> int:
        for base in sunspec.BASES:
            try:
                if tuple(await self._words(base, sunspec.MARKER_COUNT)) == sunspec.MARKER:
                    return base
            except RegisterRefusedError as error:
                if not error.is_absence:
                    raise
        places = ", ".join(map(str, sunspec.BASES))
        raise WrongDeviceError(
            f"Meter {self.meter_id} is no SunSpec device: none of the registers {places} holds "
            "its mark. Choose its own profile, or switch SunSpec on in the device."
        )

    async def _header(self, address: int) -> sunspec.Header | None:
        """What begins there; None where the chain ends without saying so."""
        try:
            return sunspec.header(await self._words(address, sunspec.HEADER_COUNT))
        except RegisterRefusedError as error:
            if error.is_absence:
                return None
            raise

    async def _words(self, address: int, count: int) -> tuple[int, ...]:
        reply = await self._lease.read(self._request(address, count), self.profile.timing)
        return reply.registers

    def _request(self, address: int, count: int) -> ReadRequest:
        return ReadRequest(unit=self._unit, function=HOLDING, address=address, count=count)


def _present(
    registers: Sequence[int], model: sunspec.MeterModel, names: Sequence[str]
) -> Mapping[str, float]:
    """What a meter need not have, where it has it."""
    found: dict[str, float] = {}
    for name in names:
        try:
            found[name] = sunspec.value_of(registers, model.points[name])
        except BadReplyError:
            continue  # not implemented: a meter for three wires has no voltage to neutral
    return found


def _bytes_of(registers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(registers)}H", *registers)
