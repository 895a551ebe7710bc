"""One channel of a relay board, or a meter's own output, in the coil circuit of a contactor.

The contact is one that closes: coil on, contactor in, machines fed. Everything that fails takes the
feed away: a broken wire, a board without power, a board that nobody asks. So to trip is to switch
off. Writes are absolute and are believed only when the coil reads back as told; whether the
contactor followed is for the meter to say, and for nobody here.
"""

import time
from dataclasses import dataclass

from drivers.errors import BadReplyError, UnknownOutcomeError, UnsupportedError
from drivers.link.coils import CoilsRead, CoilWrite, RegisterWrite
from drivers.link.line import NoAnswerError
from drivers.link.modbus import BusLease, ReadRequest
from drivers.link.requests import HOLDING
from drivers.readings import RelayReading
from drivers.relays.profile import OutputTable, RelayProfile, SettingTable
from drivers.relays.setting import setting_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Which contact of which unit a relay is."""

    unit: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """After how many seconds of silence the board shall open by itself.

    ``is_written``: the owner wants the board's settings changed where they are others.
    """

    after_s: int
    is_written: bool = False


class CoilRelay:
    """A relay. ``lease`` is shared with whatever else answers at the same endpoint."""

    def __init__(
        self,
        *,
        relay_id: str,
        lease: BusLease,
        channel: Channel,
        profile: RelayProfile,
        guard: Guard | None,
    ) -> None:
        self.relay_id = relay_id
        self.profile = profile
        self.guard = guard
        self._lease = lease
        self._unit = channel.unit
        self._place = channel.number - 1
        self._coil = profile.coil(channel.number)
        self._timing = profile.patience

    async def read(self) -> RelayReading:
        """Whether the coil is on. Asking is also what keeps the board's watchdog from opening."""
        if self.profile.output is not None:
            return await self._output_read(self.profile.output)
        request = CoilsRead(unit=self._unit, address=self._coil, count=1)
        answer = await self._lease.ask(request.question(), self._timing, request.what)
        if any(answer.pdu.bits[1:]):
            raise BadReplyError(
                f"The board of relay {self.relay_id} answered more coils than the one it was "
                "asked for: check its profile."
            )
        return RelayReading(
            relay_id=self.relay_id,
            requested_at_s=answer.requested_at_s,
            replied_at_s=answer.replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            is_energised=bool(answer.pdu.bits[0]),
        )

    async def switch(self, *, is_closed: bool) -> None:
        """Tell the coil where to be. That it was accepted is all that a return means."""
        output = self.profile.output
        if output is not None:
            value = output.value(self._place, is_on=is_closed)
            await self._write(RegisterWrite(unit=self._unit, address=output.command, value=value))
            return
        request = CoilWrite(
            unit=self._unit,
            address=self._coil,
            is_on=is_closed,
            function=self.profile.write_function,
        )
        await self._write(request)

    async def check_guard(self) -> tuple[str, ...]:
        """Read back what makes the board open by itself; a sentence for each setting that differs.

        Writes what differs only where the owner asked for it, and reads it back again. A relay
        without a guard in its configuration is asked nothing.
        """
        if self.guard is None:
            return ()
        watchdog = self.profile.watchdog
        if watchdog is None:
            raise UnsupportedError(
                f"{self.profile.title} does not open by itself: remove watchdog_s of relay "
                f"{self.relay_id}, or take a board that does."
            )
        seconds = SettingTable(
            name="seconds without a request", address=watchdog.address, value=self.guard.after_s
        )
        # The seconds last: they must not run before it is set what happens after them.
        found = [await self._checked(one) for one in (*watchdog.settings, seconds)]
        return tuple(sentence for sentence in found if sentence)

    async def close(self) -> None:
        """Give the bus back. The coil stays as it is: this is no switch."""
        self._lease.close()

    async def _output_read(self, output: OutputTable) -> RelayReading:
        request = ReadRequest(
            unit=self._unit, function=HOLDING, address=output.status, count=output.status_count
        )
        read = await self._lease.read(request, self._timing)
        return RelayReading(
            relay_id=self.relay_id,
            requested_at_s=read.requested_at_s,
            replied_at_s=read.replied_at_s,
            taken_at_ms=time.time_ns() // 1_000_000,
            is_energised=output.states(read.registers, self._place + 1)[self._place],
        )

    async def _write(self, request: CoilWrite | RegisterWrite) -> None:
        """A write that may have left without its own echo coming back is an unknown outcome."""
        try:
            await self._lease.ask(request.question(), self._timing, request.what)
        except (NoAnswerError, BadReplyError) as error:
            raise UnknownOutcomeError(
                f"Whether {request.what} was written is not known: {error}", reply=error.reply
            ) from error

    async def _checked(self, setting: SettingTable) -> str:
        assert self.guard is not None
        address = setting.address + (self._place if setting.is_per_channel else 0)
        found = await setting_value(
            self._lease,
            self._timing,
            unit=self._unit,
            address=address,
            is_optional=setting.is_optional,
        )
        if found in (None, setting.value):
            return ""
        if self.guard.is_written:
            request = RegisterWrite(unit=self._unit, address=address, value=setting.value)
            await self._write(request)
            found = await setting_value(
                self._lease,
                self._timing,
                unit=self._unit,
                address=address,
                is_optional=False,
            )
        if found == setting.value:
            return ""
        return (
            f"its {setting.name} (holding register {address}) is {found} and must be "
            f"{setting.value}: set it, or write sets_watchdog = true"
        )
