"""The API of a stock Antminer on TCP 4028: one question per connection.

Newer firmware is asked for the shape of its web pages by a flag; one that refuses the flag is asked
without it from then on. Nothing but a stock Antminer's statistics is taken for them.
"""

from dataclasses import replace

from drivers.errors import RefusedError, WrongDeviceError
from drivers.link.tcp import TcpExchange
from drivers.wire import antminer as wire
from drivers.wire.antminer_stats import Stats, stats_of
from drivers.wire.cgminer import Answer, decode_answer


class AntminerApi:
    """The API of one machine."""

    def __init__(self, rpc: TcpExchange) -> None:
        self._rpc = rpc
        self._has_flag = True

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return self._rpc.address

    def try_flag(self) -> None:
        """The firmware may be another by now: it is asked with the flag again."""
        self._has_flag = True

    async def stats(self) -> Stats:
        """``stats``, with the type that ``version`` names where they name none themselves."""
        stats = stats_of(await self.ask("stats", has_flag=True))
        name = stats.type_name or wire.type_of(await self.ask("version"))
        self._require_stock(name)
        return stats if stats.type_name else replace(stats, type_name=name)

    async def version(self) -> tuple[str, str]:
        """The type, and when the mining program was made."""
        version = await self.ask("version")
        name = wire.type_of(version)
        self._require_stock(name)
        return name, wire.compiled_of(version)

    async def ask(self, command: str, *, has_flag: bool = False) -> Answer:
        """One question. Where the flag is not understood, once more without it, and so from now."""
        is_new_api = has_flag and self._has_flag
        reply = await self._rpc.ask(wire.encode_question(command, is_new_api=is_new_api))
        try:
            return wire.accepted(decode_answer(reply.reply), command)
        except RefusedError:
            if not is_new_api:
                raise
        self._has_flag = False
        return await self.ask(command)

    def _require_stock(self, name: str) -> None:
        if not name:
            raise WrongDeviceError(
                f"What answers at {self.address} is no Antminer with Bitmain's own "
                "firmware: check the address and the family of the configuration."
            )
