"""One request per TCP connection: connect, send, read to the end, close.

This is how every cgminer-like API is spoken. The end is a NUL byte or the peer's close. One
exchange at a time per machine; a cancelled or timed-out exchange closes its connection, so that no
late answer can meet a later request.
"""

import asyncio
import time
from typing import NamedTuple

from drivers.errors import BadReplyError
from drivers.link.line import Line, NoAnswerError, Places

__all__ = ["REPLY_LIMIT_BYTES", "NoAnswerError", "TcpExchange", "TimedReply"]

REPLY_LIMIT_BYTES = 1 << 20


class TimedReply(NamedTuple):
    """What came back, and when. ``requested_at_s`` is taken before the first byte left."""

    requested_at_s: float
    replied_at_s: float
    reply: bytes


class TcpExchange:
    """The way to one machine. Safe to share: exchanges wait for each other."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        connect_s: float = 2.0,
        answer_s: float = 5.0,
        limit_bytes: int = REPLY_LIMIT_BYTES,
    ) -> None:
        self._places = Places(host, port)
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._limit_bytes = limit_bytes
        self._one_at_a_time = asyncio.Lock()

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return str(self._places)

    @property
    def exchange_limit_s(self) -> float:
        """The longest that one exchange can take."""
        return self._connect_s + self._answer_s

    async def ask(self, request: bytes) -> TimedReply:
        """Send and read to the end.

        Raises UnreachableError where nothing was sent, NoAnswerError where the request left and
        no whole answer came, BadReplyError where the answer exceeds the limit.
        """
        async with self._one_at_a_time:
            line = Line(self._places, _UpToTheEnd(self._limit_bytes, self._places))
            try:
                await line.open(self._connect_s)
                requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
                reply = await line.ask(request, self._answer_s)
            finally:
                line.cut()
            return TimedReply(
                requested_at_s=requested_at_s,
                replied_at_s=time.clock_gettime(time.CLOCK_BOOTTIME),
                reply=reply,
            )


class _UpToTheEnd:
    """One answer: it is whole with a NUL byte, or with the peer's close if anything came."""

    __slots__ = ("_chunks", "_limit_bytes", "_places", "_size", "is_whole")

    def __init__(self, limit_bytes: int, places: Places) -> None:
        self.is_whole = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit_bytes = limit_bytes
        self._places = places

    @property
    def rest(self) -> bytes:
        """What has come so far."""
        return b"".join(self._chunks)

    def feed(self, data: bytes) -> None:
        """Gather. What follows a whole answer belongs to nobody and is left out."""
        if self.is_whole:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._limit_bytes:
            raise BadReplyError(
                f"{self._places} sent more than {self._limit_bytes} bytes for one answer.",
                reply=self.rest[:200],
            )
        self.is_whole = b"\0" in data

    def take(self) -> bytes:
        """All of it."""
        return self.rest

    def end(self) -> None:
        """A close ends the answer, unless there is none."""
        self.is_whole = bool(self._chunks)
