"""HTTP under a token that a login gives: kept while it serves, renewed once when it does not.

Knows no family: how to log in is told to it, and the token goes into ``Authorization`` as it is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from drivers.link.http import HttpLink, HttpReply

LogIn = Callable[[], Awaitable[str]]


class TokenLink:
    """The way to one machine's pages below ``prefix``. Without ``log_in`` nobody logs in."""

    def __init__(self, *, link: HttpLink, prefix: str, log_in: LogIn | None) -> None:
        self._link = link
        self._prefix = prefix
        self._log_in = log_in
        self._token = ""
        self._logging_in = asyncio.Lock()

    async def token(self, *, worn: str = "") -> str:
        """A token other than ``worn``, from a login if need be; "" where nobody logs in."""
        if self._log_in is None:
            return ""
        if self._token and self._token != worn:
            return self._token
        async with self._logging_in:
            if self._token == worn:
                self._token = ""
                self._token = await self._log_in()
            return self._token

    async def once(
        self,
        method: str,
        path: str,
        *,
        token: str,
        body: bytes | None = None,
        answer_s: float | None = None,
    ) -> HttpReply:
        """One request under this token, whatever comes of it."""
        headers = {"Authorization": token} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._link.send(
            method, f"{self._prefix}{path}", body=body, headers=headers, answer_s=answer_s
        )

    async def get(self, path: str) -> HttpReply:
        """Read something. A token that the machine no longer knows is renewed once."""
        token = await self.token()
        reply = await self.once("GET", path, token=token)
        if reply.status == HTTPStatus.UNAUTHORIZED and token:
            reply = await self.once("GET", path, token=await self.token(worn=token))
        return reply
