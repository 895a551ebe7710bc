"""A whole relay board, looked at and never told anything: its coils, and what opens them by itself.

To be asked is what keeps a board with a watchdog from opening: one look counts as one request.
"""

from dataclasses import dataclass

from drivers.errors import BadReplyError
from drivers.link.coils import CoilsRead
from drivers.link.modbus import BusLease, ReadRequest, RegisterRefusedError
from drivers.link.requests import HOLDING
from drivers.relays.profile import RelayProfile, SettingTable
from drivers.relays.setting import setting_value


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReading:
    """One channel, by its printed number; its machines are fed while its coil is on."""

    channel: int
    coil: int
    is_on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingReading:
    """A setting of the watchdog: ``value`` is None where the board has no such register."""

    setting: str
    register: int
    value: int | None
    needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardReading:
    """Everything that a board says of itself. ``watchdog_s``: 0 is off, None is none."""

    title: str
    watchdog_s: int | None
    channels: tuple[ChannelReading, ...]
    settings: tuple[SettingReading, ...]


class RelayBoard:
    """A board. ``lease`` is shared with whatever else answers at the same endpoint."""

    def __init__(self, *, lease: BusLease, unit: int, profile: RelayProfile) -> None:
        self.profile = profile
        self._lease = lease
        self._unit = unit
        self._timing = profile.patience

    async def read(self) -> BoardReading:
        """Read all coils and all settings, once. Raises a DriverError."""
        coils = await self._coils()
        settings = await self._settings(len(coils))
        watchdog = self.profile.watchdog
        seconds = None
        if watchdog is not None:
            seconds = await setting_value(
                self._lease,
                self._timing,
                unit=self._unit,
                address=watchdog.address,
                is_optional=False,
            )
        first = self.profile.first_coil
        return BoardReading(
            title=self.profile.title,
            watchdog_s=seconds,
            channels=tuple(
                ChannelReading(channel=place + 1, coil=first + place, is_on=is_on)
                for place, is_on in enumerate(coils)
            ),
            settings=settings,
        )

    async def close(self) -> None:
        """Give the bus back."""
        self._lease.close()

    async def _coils(self) -> list[bool]:
        """All coils that there are: a profile for many boards names more than each of them has."""
        profile = self.profile
        output = profile.output
        if output is not None:
            request = ReadRequest(
                unit=self._unit, function=HOLDING, address=output.status, count=output.status_count
            )
            read = await self._lease.read(request, self._timing)
            return output.states(read.registers, profile.coil_count)
        try:
            return await self._coils_from(profile.first_coil, profile.coil_count)
        except RegisterRefusedError as error:
            if not error.is_absence:
                raise
        found: list[bool] = []
        for place in range(profile.coil_count):
            try:
                found += await self._coils_from(profile.first_coil + place, 1)
            except RegisterRefusedError as refusal:
                if not refusal.is_absence or not found:
                    raise
                break
        return found

    async def _coils_from(self, address: int, count: int) -> list[bool]:
        request = CoilsRead(unit=self._unit, address=address, count=count)
        answer = await self._lease.ask(request.question(), self._timing, request.what)
        bits = [bool(one) for one in answer.pdu.bits]
        if any(bits[count:]):
            raise BadReplyError("The board answered more coils than it was asked for: another one?")
        return bits[:count]

    async def _settings(self, channels: int) -> tuple[SettingReading, ...]:
        watchdog = self.profile.watchdog
        found: list[SettingReading] = []
        for setting in () if watchdog is None else watchdog.settings:
            places = range(channels) if setting.is_per_channel else range(1)
            found += [await self._setting(setting, place) for place in places]
        return tuple(found)

    async def _setting(self, setting: SettingTable, place: int) -> SettingReading:
        whose = f" of channel {place + 1}" if setting.is_per_channel else ""
        address = setting.address + place
        return SettingReading(
            setting=setting.name + whose,
            register=address,
            value=await setting_value(
                self._lease,
                self._timing,
                unit=self._unit,
                address=address,
                is_optional=setting.is_optional,
            ),
            needed=setting.value,
        )
