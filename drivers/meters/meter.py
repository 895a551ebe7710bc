"""A Modbus meter driven by its profile: identified before it is believed, checked at every read.

What cannot be right (NaN, a negative counter, a frequency of 400 Hz, ten times the rated power) is
a BadReplyError with the registers' bytes, so that nothing of it reaches a ledger.
"""

import math
import struct
import time
from collections.abc import Sequence

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.modbus import BusLease, ReadRequest, RegisterRefusedError, RegistersRead
from drivers.meters.profile import Check, MeterProfile, Register
from drivers.readings import MeterIdentity, MeterReading
from drivers.wire.registers import WordOrder, decode_registers

VOLTAGE_TOLERANCE = 0.25
FREQUENCY_MIN_HZ = 45.0
FREQUENCY_MAX_HZ = 65.0
RATED_POWER_MARGIN = 1.2


class ModbusMeter:
    """One meter behind a bus. ``serial`` pins it, ``rated_power_w`` bounds what it may say."""

    def __init__(
        self,
        *,
        meter_id: str,
        lease: BusLease,
        unit: int,
        profile: MeterProfile,
        serial: str | None,
        rated_power_w: float | None,
    ) -> None:
        self.meter_id = meter_id
        self.profile = profile
        self._lease = lease
        self._unit = unit
        self._serial = serial
        self._rated_power_w = rated_power_w

    async def identify(self) -> MeterIdentity:
        """Read back what the profile promises and who answers.

        Raises WrongDeviceError where unit prefix, register order or serial are not as configured.
        """
        for check in self.profile.checks:
            await self._verify(check)
        await self._verify_word_order()
        serial = await self._text_of(self.profile.serial)
        if self._serial is not None and serial != self._serial:
            said = f"has the serial {serial}" if serial else "does not tell its serial"
            raise WrongDeviceError(
                f"Meter {self.meter_id} should have the serial {self._serial}, but what answers at "
                f"{self._lease.endpoint} unit {self._unit} {said}: "
                "check the address, or pin the new serial if the meter was exchanged."
            )
        return MeterIdentity(
            profile=self.profile.name,
            serial=serial,
            firmware=await self._text_of(self.profile.firmware),
        )

    async def read(self) -> MeterReading:
        """Energy and power of one instant; a quantity in a later request is younger than both."""
        replies = await self._replies()
        values = self._values(replies, self.profile.word_order)
        fault = self._fault(values)
        if fault is not None:
            raise BadReplyError(
                f"Meter {self.meter_id} says {fault}: "
                "check its wiring, its settings and its profile.",
                reply=b"".join(_bytes_of(reply.registers) for reply in replies),
            )
        return MeterReading(
            meter_id=self.meter_id,
            requested_at_s=replies[0].requested_at_s,
            replied_at_s=replies[-1].replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            power_w=values["power"],
            # Never above the register: what is not yet a whole Wh has not been counted.
            energy_import_wh=math.floor(values["energy"]),
            voltage_v=values.get("voltage"),
            frequency_hz=values.get("frequency"),
        )

    async def close(self) -> None:
        """Give the bus back."""
        self._lease.close()

    async def _replies(self) -> list[RegistersRead]:
        """The profile's read plan carried out, one reply per block."""
        return [
            await self._lease.read(block.request(self._unit), self.profile.timing)
            for block in self.profile.plan
        ]

    def _values(self, replies: Sequence[RegistersRead], order: WordOrder) -> dict[str, float]:
        """All quantities in base units. Raises BadReplyError where one is not available."""
        return {
            name: _value(self.profile.quantities[name], reply, block.address, order)
            * self.profile.quantities[name].scale
            for block, reply in zip(self.profile.plan, replies, strict=True)
            for name in block.quantities
        }

    def _fault(self, values: dict[str, float]) -> str | None:
        """What a healthy meter on this grid cannot say, in words; None where all is plausible."""
        nominal_v = self.profile.nominal_voltage_v
        low_v, high_v = nominal_v * (1 - VOLTAGE_TOLERANCE), nominal_v * (1 + VOLTAGE_TOLERANCE)
        limit_w = (self._rated_power_w or math.inf) * RATED_POWER_MARGIN
        bounds = {
            "energy": (0.0, float(self.profile.modulus_wh or 10**15), "Wh"),
            "power": (-limit_w, limit_w, "W"),
            "voltage": (low_v, high_v, "V"),
            "frequency": (FREQUENCY_MIN_HZ, FREQUENCY_MAX_HZ, "Hz"),
        }
        for name, value in values.items():
            low, high, unit = bounds[name]
            if not low <= value <= high:
                return f"{name} {value:g} {unit}, which is outside {low:g}…{high:g}"
        return None

    async def _verify_word_order(self) -> None:
        """Refuse a meter whose values make sense only with their registers the other way round."""
        replies = await self._replies()
        ours = self.profile.word_order
        theirs = WordOrder.LITTLE if ours is WordOrder.BIG else WordOrder.BIG
        if not self._is_plausible(replies, ours) and self._is_plausible(replies, theirs):
            raise WrongDeviceError(
                f"Meter {self.meter_id} sends its registers in the order {theirs}, but the profile "
                f"{self.profile.name} needs {ours}: set the meter's register order."
            )

    def _is_plausible(self, replies: Sequence[RegistersRead], order: WordOrder) -> bool:
        try:
            return self._fault(self._values(replies, order)) is None
        except BadReplyError:
            return False

    async def _verify(self, check: Check) -> None:
        value = await self._single(check.register)
        if value is None or value in check.accepted:
            return
        raise WrongDeviceError(
            f"Meter {self.meter_id} has {check.name} {value:g} where the profile "
            f"{self.profile.name} needs {check.accepted[0]:g}: {check.remedy}."
        )

    async def _text_of(self, register: Register | None) -> str:
        """A number that names something, as text; empty where the meter has none."""
        value = None if register is None else await self._single(register)
        if value is None:
            return ""
        return str(int(value)) if value == int(value) else f"{value:g}"

    async def _single(self, register: Register) -> float | None:
        """One register's value; None where the profile allows its absence and the meter says so."""
        request = ReadRequest(
            unit=self._unit,
            function=register.function,
            address=register.address,
            count=register.kind.register_count,
        )
        try:
            reply = await self._lease.read(request, self.profile.timing)
        except RegisterRefusedError as error:
            if register.is_optional and error.is_absence:
                return None
            raise
        return _value(register, reply, register.address, self.profile.word_order)


def _value(register: Register, reply: RegistersRead, start: int, order: WordOrder) -> float:
    words = reply.registers[register.address - start : register.end - start]
    return decode_registers(words, register.kind, order)


def _bytes_of(registers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(registers)}H", *registers)
