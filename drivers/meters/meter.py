"""A Modbus meter driven by its profile: identified before it is believed, checked at every read.

What cannot be right (NaN, a negative counter, a frequency of 400 Hz, ten times the rated power) is
a BadReplyError with the registers' bytes, so that nothing of it reaches a ledger.
"""

import math
import struct
import time
from collections.abc import Mapping, Sequence

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.modbus import (
    BusLease,
    Rank,
    ReadRequest,
    RegisterRefusedError,
    RegistersRead,
)
from drivers.meters.plausible import fault_of
from drivers.meters.profile import Block, Check, Identity, MeterProfile, Register
from drivers.meters.quantities import base_unit
from drivers.readings import ClockReading, MeterIdentity, MeterReading, QuantityReading
from drivers.wire.moment import decode_moment
from drivers.wire.registers import WordOrder, decode_registers, decode_text


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
        self._factors: Mapping[str, float] | None = None

    @property
    def signs(self) -> tuple[str, ...]:
        """What speaks for this profile, once the meter has been identified by it."""
        checks = self.profile.checks
        return tuple(f"{one.name} is as it should be" for one in checks if not one.is_optional)

    async def identify(self) -> MeterIdentity:
        """Read back what the profile promises and who answers.

        Raises WrongDeviceError where unit prefix, register order or serial are not as configured.
        """
        for check in self.profile.checks:
            await self._verify(check)
        self._factors = None
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
            model=await self._text_of(self.profile.model),
        )

    async def read(self) -> MeterReading:
        """Energy and power of one instant; a quantity in a later request is younger than both."""
        replies = await self._replies()
        values = self._values(replies, self.profile.word_order, await self._ratios())
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
            energy_step_wh=self._grown_step_wh(math.floor(values["energy"])),
        )

    def _grown_step_wh(self, energy_wh: int) -> int:
        step_wh = self.profile.energy_step_wh(energy_wh)
        return step_wh if step_wh > self.profile.energy_step_wh(0) else 0

    async def close(self) -> None:
        """Give the bus back."""
        self._lease.close()

    async def read_quantities(self) -> tuple[QuantityReading, ...]:
        """Everything that the profile names, not of one instant.

        What the meter does not serve or says to have no value of stands with the reason.
        """
        factors = await self._ratios()
        readings: list[QuantityReading] = []
        for block in self.profile.full_plan:
            try:
                reply = await self._lease.read(block.request(self._unit), self.profile.timing)
            except RegisterRefusedError as error:
                if not error.is_absence:
                    raise
                readings.extend(_absent(name, str(error)) for name in block.quantities)
                continue
            readings.extend(
                self._quantity(name, block, reply, factors) for name in block.quantities
            )
        order = list(self.profile.quantities)
        return tuple(sorted(readings, key=lambda reading: order.index(reading.name)))

    async def read_clock(self) -> ClockReading | None:
        """What its own clock shows; None where the profile names none.

        It waits behind every other reading, whatever purchase rests on the meter.
        """
        at = self.profile.clock
        if at is None:
            return None
        request = ReadRequest(
            unit=self._unit,
            function=at.function,
            address=at.address,
            count=at.layout.register_count,
        )
        reply = await self._lease.read(request, self.profile.timing, Rank.OTHER)
        return ClockReading(
            requested_at_s=reply.requested_at_s,
            replied_at_s=reply.replied_at_s,
            shown=decode_moment(reply.registers, at.layout, self.profile.word_order),
            is_utc=at.layout.is_utc,
        )

    def _quantity(
        self, name: str, block: Block, reply: RegistersRead, factors: Mapping[str, float]
    ) -> QuantityReading:
        try:
            value = self._sum(name, block, reply, self.profile.word_order)
        except BadReplyError as error:
            return _absent(name, str(error))
        unit = base_unit(name)
        return QuantityReading(name=name, value=value * factors.get(name, 1.0), unit=unit, fault="")

    async def _replies(self) -> list[RegistersRead]:
        """The profile's read plan carried out, one reply per block."""
        return [
            await self._lease.read(block.request(self._unit), self.profile.timing)
            for block in self.profile.plan
        ]

    async def _ratios(self) -> Mapping[str, float]:
        """What each quantity is multiplied by, read from the meter once after identification."""
        if self._factors is not None:
            return self._factors
        factors: dict[str, float] = {}
        for ratio in self.profile.ratios:
            value = await self._number(ratio.register) * ratio.register.scale
            if not value > 0.0:
                raise BadReplyError(
                    f"Meter {self.meter_id} has the {ratio.name} {value:g}: set it on the meter."
                )
            factors |= {name: factors.get(name, 1.0) * value for name in ratio.quantities}
        self._factors = factors
        return factors

    def _values(
        self, replies: Sequence[RegistersRead], order: WordOrder, factors: Mapping[str, float]
    ) -> dict[str, float]:
        """All quantities in base units. Raises BadReplyError where one is not available."""
        return {
            name: self._sum(name, block, reply, order) * factors.get(name, 1.0)
            for block, reply in zip(self.profile.plan, replies, strict=True)
            for name in block.quantities
        }

    def _sum(self, name: str, block: Block, reply: RegistersRead, order: WordOrder) -> float:
        return sum(
            _value(term, reply, block.address, order) * term.scale
            for term in self.profile.quantities[name]
        )

    def _fault(self, values: dict[str, float]) -> str | None:
        """What a healthy meter on this grid cannot say, in words; None where all is plausible."""
        return fault_of(
            values,
            nominal_voltage_v=self.profile.nominal_voltage_v,
            rated_power_w=self._rated_power_w,
            modulus_wh=self.profile.modulus_wh,
        )

    async def _verify_word_order(self) -> None:
        """Refuse a meter whose values make sense only with their registers the other way round."""
        replies, factors = await self._replies(), await self._ratios()
        ours = self.profile.word_order
        theirs = WordOrder.LITTLE if ours is WordOrder.BIG else WordOrder.BIG
        is_ours = self._is_plausible(replies, ours, factors)
        if not is_ours and self._is_plausible(replies, theirs, factors):
            raise WrongDeviceError(
                f"Meter {self.meter_id} sends its registers in the order {theirs}, but the profile "
                f"{self.profile.name} needs {ours}: set the meter's register order."
            )

    def _is_plausible(
        self, replies: Sequence[RegistersRead], order: WordOrder, factors: Mapping[str, float]
    ) -> bool:
        try:
            return self._fault(self._values(replies, order, factors)) is None
        except BadReplyError:
            return False

    async def _verify(self, check: Check) -> None:
        register = check.register
        count = register.kind.register_count
        reply = await self._reply(register.function, register.address, count, check.is_optional)
        if reply is None:
            return
        value = _value(register, reply, register.address, self.profile.word_order)
        if value in check.accepted:
            return
        raise WrongDeviceError(
            f"Meter {self.meter_id} has {check.name} {value:g} where the profile "
            f"{self.profile.name} needs {check.accepted[0]:g}: {check.remedy}."
        )

    async def _text_of(self, at: Identity | None) -> str:
        """What names something, as text; empty where the meter has none."""
        if at is None:
            return ""
        may_lack = at.is_optional or bool(at.otherwise)
        reply = await self._reply(at.function, at.address, at.count, may_lack)
        if reply is None:
            return await self._other_number(at)
        if at.kind is None:
            return decode_text(reply.registers)
        value = decode_registers(reply.registers, at.kind, self.profile.word_order)
        return str(int(value)) if value == int(value) else f"{value:g}"

    async def _other_number(self, at: Identity) -> str:
        """The same number where another paper has it, register by register; empty where none."""
        number = 0
        for address in at.otherwise:
            reply = await self._reply(at.function, address, 1, at.is_optional)
            if reply is None:
                return ""
            number = number << 16 | reply.registers[0]
        if at.otherwise and number in {0, (1 << 16 * len(at.otherwise)) - 1}:
            raise BadReplyError(
                f"Meter {self.meter_id} shows no number of its own from 0x{at.otherwise[0]:04X} "
                "on: choose the profile of the meter that is there."
            )
        return str(number) if at.otherwise else ""

    async def _number(self, at: Register) -> float:
        """One register's value. Raises RegisterRefusedError where the meter has none."""
        request = ReadRequest(
            unit=self._unit,
            function=at.function,
            address=at.address,
            count=at.kind.register_count,
        )
        reply = await self._lease.read(request, self.profile.timing)
        return _value(at, reply, at.address, self.profile.word_order)

    async def _reply(
        self, function: int, address: int, count: int, is_optional: bool
    ) -> RegistersRead | None:
        """The registers; None where the profile allows their absence and the meter says so."""
        request = ReadRequest(unit=self._unit, function=function, address=address, count=count)
        try:
            return await self._lease.read(request, self.profile.timing)
        except RegisterRefusedError as error:
            if is_optional and error.is_absence:
                return None
            raise


def _absent(name: str, why: str) -> QuantityReading:
    return QuantityReading(name=name, value=None, unit=base_unit(name), fault=why)


def _value(register: Register, reply: RegistersRead, start: int, order: WordOrder) -> float:
    words = reply.registers[register.address - start : register.end - start]
    return decode_registers(words, register.kind, order, register.sentinels)


def _bytes_of(registers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(registers)}H", *registers)
