"""The service that some Antminers have on TCP 6060: watts, and what the machine warns of.

Seen on a few models only, so each machine is asked once whether it has it. One that was there and
does not answer any more is a failure once, and absent after that.
"""

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.http import HttpLink
from drivers.readings import MinerFault
from drivers.wire import antminer as wire

PORT = 6060


class PowerService:
    """The service of one machine. ``link`` needs no login."""

    def __init__(self, link: HttpLink) -> None:
        self._link = link
        self._is_there = False

    async def look(self) -> tuple[MinerFault, ...]:
        """Find out whether it is there, and what it warns of."""
        was_there, self._is_there = self._is_there, False
        try:
            power = await self._link.get("/miner_power")
            warning = await self._link.get("/warning")
        except (UnreachableError, BadReplyError):
            if was_there:
                raise
            return ()
        self._is_there = wire.service_power_w(power.body) is not None
        return wire.service_faults(warning.body)

    async def power_w(self) -> float | None:
        """Watts; None where the machine has no such service."""
        if not self._is_there:
            return None
        body = (await self._link.get("/miner_power")).body
        power_w = wire.service_power_w(body)
        if power_w is None:
            raise BadReplyError(
                f"{self._link.address} does not tell watts any more: the machine may be starting.",
                reply=body,
            )
        return power_w

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await self._link.close()
