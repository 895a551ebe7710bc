"""Sealed writes to a Whatsminer with API v2: its token kept, and renewed once if it is forgotten.

Tokens are few at the machine, so one is used until it is about to lapse. A write whose token is not
known has carried nothing out and goes once more with another. Silence after a write, or an answer
that cannot be opened, is an unknown outcome and nothing is repeated.
"""

import asyncio
import time
from collections.abc import Mapping

from drivers.errors import BadReplyError, UnknownOutcomeError, UnreachableError
from drivers.link.tcp import NoAnswerError, TcpExchange
from drivers.wire.cgminer import Answer, decode_answer, encode_command
from drivers.wire.whatsminer_sealed import (
    Token,
    decode_written,
    encode_write,
    is_token_refused,
    require_accepted,
    token_of,
)

WRITE_LIMIT_S = 15.0
# A token is laid down a little before it lapses.
_LIFE_SHARE = 0.9


class SealedLink:
    """The way of writes to one machine. ``exchange`` waits for an answer as long as a write may."""

    def __init__(self, *, exchange: TcpExchange, password: str) -> None:
        self._exchange = exchange
        self._password = password
        self._token: Token | None = None
        self._until_s = 0.0

    async def order(self, command: str, parameters: Mapping[str, object]) -> None:
        """Send one write. Raises UnknownOutcomeError where nobody knows what became of it, and
        what ``require_accepted`` raises where the machine says no."""
        deadline_s = asyncio.get_running_loop().time() + WRITE_LIMIT_S
        may_renew = self._has_token()
        answer = await self._answer(command, parameters, deadline_s)
        if is_token_refused(answer) and may_renew:
            answer = await self._answer(command, parameters, deadline_s)
        require_accepted(answer, command)

    async def _answer(
        self, command: str, parameters: Mapping[str, object], deadline_s: float
    ) -> Answer:
        """What the machine says to one write. Until a token is there, nothing of it has left."""
        try:
            async with asyncio.timeout_at(deadline_s):
                token = await self._valid_token()
        except TimeoutError as error:
            raise UnreachableError(
                f"{self._exchange.address} gave no token within {WRITE_LIMIT_S:g} s; "
                f"{command} was not sent."
            ) from error
        try:
            async with asyncio.timeout_at(deadline_s):
                reply = await self._exchange.ask(encode_write(token, command, parameters))
            answer = decode_written(reply.reply, token)
        except (NoAnswerError, BadReplyError) as error:
            raise self._unknown(command, f" ({error})", error.reply) from error
        except TimeoutError as error:
            raise self._unknown(command, "", b"") from error
        if is_token_refused(answer):
            self._token = None
        return answer

    def _has_token(self) -> bool:
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._token is not None and now_s < self._until_s

    async def _valid_token(self) -> Token:
        if self._token is not None and self._has_token():
            return self._token
        reply = await self._exchange.ask(encode_command("get_token"))
        answer = decode_answer(reply.reply)
        require_accepted(answer, "get_token")
        self._token = token_of(answer, self._password)
        self._until_s = reply.requested_at_s + _LIFE_SHARE * self._token.life_s
        return self._token

    def _unknown(self, command: str, why: str, reply: bytes) -> UnknownOutcomeError:
        # The token may be the reason: the next write gets another.
        self._token = None
        return UnknownOutcomeError(
            f"{command} was sent to {self._exchange.address} and no usable answer came{why}: "
            "read back what it did before sending anything else.",
            reply=reply,
        )
