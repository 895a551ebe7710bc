"""Open reads of btminer, which Whatsminers of API v1 and v2 run on TCP 4028.

One question per connection. The manual lets two reads of the mining program be joined by a plus,
and no others (MicroBT API manual V1.3.8); programs of others join three at machines that they read.
Whether a machine takes ``summary`` and its boards as one question is found out once, and asked
again of another firmware; one that does not is asked for each of them, as is one that is off.
"""

from dataclasses import dataclass
from typing import Self

from drivers.errors import BadReplyError, RefusedError
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.readings import BoardReading
from drivers.wire import whatsminer_v2 as wire
from drivers.wire.cgminer import Answer, Row, encode_command
from drivers.wire.whatsminer_standing import Sight, Standing, sight_of
from drivers.wire.whatsminer_who import badge_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """What the mining program says; None where mining is off and it is not there. ``badge`` is by
    what this names its machine. ``is_flat`` is the shape in which firmware with API v3 answers, and
    nothing else is told then. ``is_joined`` where one answer told all of it."""

    summary: Row | None = None
    devs: Answer | None = None
    badge: tuple[str, ...] = ()
    is_flat: bool = False
    is_joined: bool = False

    @classmethod
    def of(cls, summary: Row | None, devs: Answer | None, *, is_joined: bool = False) -> Self:
        """What these two answers say together."""
        badge = badge_of(summary, devs)
        return cls(summary=summary, devs=devs, badge=badge, is_joined=is_joined)

    @property
    def board_count(self) -> int:
        """How many boards it tells of."""
        return 0 if self.devs is None else len(self.devs.rows("DEVS"))

    def sight(self, seen_at_s: float) -> Sight | None:
        """A machine wholly at work; None for any other, and for more than one answer."""
        if self.summary is None or self.devs is None or not self.is_joined:
            return None
        return sight_of(self.summary, self.devs, self.badge, seen_at_s=seen_at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a fast read tells from; ``standing`` where not all of it was asked anew."""

    status: wire.Status
    mining: Mining
    sight: Sight | None
    supply: Row | None
    standing: Standing | None

    def boards(self, count: int) -> tuple[BoardReading, ...]:
        """All of them; of a machine that is off those it had, by their count."""
        if self.sight is not None and not self.status.is_off:
            return self.sight.boards
        return wire.boards_of(self.mining.devs, is_off=self.status.is_off, count=count)


class Btminer:
    """One machine's reads, and what was found out of how it takes them."""

    def __init__(self, exchange: TcpExchange) -> None:
        self._exchange = exchange
        self._boards_command = "edevs"
        # Joined questions by whether they were answered; one that was not is not asked again.
        self._joined: dict[str, bool] = {}
        self._is_metered = True

    def forget(self) -> None:
        """Another firmware or another machine answers: everything is to be found out anew."""
        self._boards_command = "edevs"
        self._joined.clear()
        self._is_metered = True

    async def ask(self, command: str) -> Answer:
        """One question. Raises RefusedError where the machine says no."""
        reply = await self._exchange.ask(encode_command(command))
        return wire.decode_read(reply.reply).accepted(command)

    async def ask_miner(self, command: str, *, is_off: bool) -> Answer | None:
        """What the mining program tells; None where mining is off and it is not there."""
        try:
            return await self.ask(command)
        except RefusedError:
            if is_off:
                return None
            raise
        except BadReplyError as error:
            if is_off and wire.is_without_miner(error.reply):
                return None
            raise

    async def status(self) -> wire.Status:
        """Off or not, and the percent in force."""
        return wire.status_of(await self.ask("status"))

    async def mining(self, *, is_off: bool) -> Mining:
        """``summary`` and all boards, in one question where the machine takes it."""
        question = self._question
        is_proven = self._joined.get(question)
        if is_off or is_proven is False:
            return await self._by_turns(is_off=is_off)
        try:
            found = await self.joined()
        except (RefusedError, BadReplyError, NoAnswerError) as error:
            if is_proven and not isinstance(error, RefusedError):
                raise
            # Only a machine that answers each of them has shown that it does not join them.
            found = await self._by_turns(is_off=False)
        self._joined[question] = found.is_joined
        return found

    async def joined(self) -> Mining:
        """``summary`` and all boards in one question, come what may."""
        question = self._question
        reply = await self._exchange.ask(encode_command(question))
        summary, devs = wire.joined_of(wire.decode_read(reply.reply), question)
        return Mining.of(summary.row("SUMMARY"), devs, is_joined=True)

    @property
    def _question(self) -> str:
        return f"summary+{self._boards_command}"

    async def supply(self, *, is_off: bool, is_fresh: bool) -> Row | None:
        """What the power supply tells; None for a machine without such a command. One that has no
        wattmeter is left alone until somebody asks for a fresh answer; nobody judges a supply by
        what it says in sleep."""
        if not (self._is_metered or is_fresh):
            return None
        try:
            supply = wire.supply_of(await self.ask("get_psu"))
        except RefusedError:
            self._is_metered = is_off
            return None
        self._is_metered = is_off or wire.has_wattmeter(supply)
        return supply

    async def _by_turns(self, *, is_off: bool) -> Mining:
        answer = await self.ask_miner("summary", is_off=is_off)
        if answer is not None and wire.is_flat(answer):
            return Mining(is_flat=True)
        devs = await self._boards(is_off=is_off)
        return Mining.of(None if answer is None else answer.row("SUMMARY"), devs)

    async def _boards(self, *, is_off: bool) -> Answer | None:
        """``edevs``, or ``devs`` where the firmware does not have it."""
        try:
            return await self.ask_miner(self._boards_command, is_off=is_off)
        except RefusedError:
            if self._boards_command == "devs":
                raise
        devs = await self.ask_miner("devs", is_off=is_off)
        self._boards_command = "devs"
        return devs
