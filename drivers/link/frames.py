"""Conversations in frames: a length of four bytes, little end first, then so many bytes.

This is how Whatsminer's API v3 is spoken on TCP 4433. One connection carries several questions, one
after the other; a length of 0 is a heartbeat and is passed over. One conversation at a time per
machine; it ends with its connection, so that no late answer can meet a later question.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.tcp import NoAnswerError, TimedReply

REPLY_LIMIT_BYTES = 1 << 20
_HEARTBEATS_MAX = 16
_HEAD_BYTES = 4


class FramedConversation:
    """An open connection. Ask, wait for the answer, ask again."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        address: str,
        answer_s: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._address = address
        self._answer_s = answer_s

    async def ask(self, request: bytes, *, answer_s: float | None = None) -> TimedReply:
        """One question, one answer without its length; ``answer_s`` for one that may take longer.

        Raises NoAnswerError where no whole answer came and BadReplyError where its length cannot
        be one. After an error nothing more may be asked here.
        """
        limit_s = self._answer_s if answer_s is None else answer_s
        requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            async with asyncio.timeout(limit_s):
                self._writer.write(len(request).to_bytes(_HEAD_BYTES, "little") + request)
                reply = await self._frame()
        except TimeoutError as error:
            raise NoAnswerError(
                f"{self._address} took the request and did not answer within {limit_s:g} s."
            ) from error
        except asyncio.IncompleteReadError as error:
            raise NoAnswerError(
                f"{self._address} closed the connection without a whole answer: "
                "it may be restarting.",
                reply=error.partial,
            ) from error
        except OSError as error:
            raise NoAnswerError(
                f"{self._address} cut the connection ({error.strerror or error}): "
                "it may be restarting."
            ) from error
        return TimedReply(
            requested_at_s=requested_at_s,
            replied_at_s=time.clock_gettime(time.CLOCK_BOOTTIME),
            reply=reply,
        )

    async def _frame(self) -> bytes:
        for _ in range(_HEARTBEATS_MAX):
            head = await self._reader.readexactly(_HEAD_BYTES)
            size = int.from_bytes(head, "little")
            if size > REPLY_LIMIT_BYTES:
                raise BadReplyError(
                    f"{self._address} announces an answer of {size} bytes: "
                    "something else may listen on this port.",
                    reply=head,
                )
            if size > 0:
                return await self._reader.readexactly(size)
        raise BadReplyError(f"{self._address} sends heartbeats instead of an answer.")


class FramedLink:
    """The way to one machine. Safe to share: conversations wait for each other."""

    def __init__(
        self, *, host: str, port: int, connect_s: float = 2.0, answer_s: float = 5.0
    ) -> None:
        self._host = host
        self._port = port
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._one_at_a_time = asyncio.Lock()

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return f"{self._host}:{self._port}"

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[FramedConversation]:
        """Connect, and cut the connection at the end. Raises UnreachableError."""
        async with self._one_at_a_time:
            reader, writer = await self._connect()
            try:
                yield FramedConversation(
                    reader, writer, address=self.address, answer_s=self._answer_s
                )
            finally:
                # Not close(): that would wait for a peer that may never take the rest.
                writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(self._connect_s):
                return await asyncio.open_connection(self._host, self._port)
        except TimeoutError as error:
            raise UnreachableError(
                f"{self.address} did not accept a connection within {self._connect_s:g} s: "
                "check power, cable and address."
            ) from error
        except OSError as error:
            raise UnreachableError(
                f"No connection to {self.address} ({error.strerror or error}): "
                "check power, cable and address."
            ) from error
