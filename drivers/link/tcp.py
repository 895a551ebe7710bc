"""One request per TCP connection: connect, send, read to the end, close.

This is how every cgminer-like API is spoken. The end is a NUL byte or the peer's close. One
exchange at a time per machine; a cancelled or timed-out exchange closes its connection, so that no
late answer can meet a later request.
"""

import asyncio
import time
from dataclasses import dataclass

from drivers.errors import BadReplyError, UnreachableError

REPLY_LIMIT_BYTES = 1 << 20


class NoAnswerError(UnreachableError):
    """The request left and no whole answer came: a write may have been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedReply:
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
        self._host = host
        self._port = port
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._limit_bytes = limit_bytes
        self._one_at_a_time = asyncio.Lock()

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return f"{self._host}:{self._port}"

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
            collector = _Collector(self._limit_bytes, self.address)
            transport = await self._connect(collector)
            try:
                requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
                transport.write(request)
                async with asyncio.timeout(self._answer_s):
                    reply = await collector.whole
            except TimeoutError as error:
                raise NoAnswerError(
                    f"{self.address} took the request and did not answer within "
                    f"{self._answer_s:g} s.",
                    reply=collector.received,
                ) from error
            finally:
                # Not close(): that would wait for a peer that may never take the rest.
                transport.abort()
            return TimedReply(
                requested_at_s=requested_at_s,
                replied_at_s=time.clock_gettime(time.CLOCK_BOOTTIME),
                reply=reply,
            )

    async def _connect(self, collector: "_Collector") -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                transport, _ = await loop.create_connection(
                    lambda: collector, self._host, self._port
                )
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
        return transport


class _Collector(asyncio.Protocol):
    """Gathers one answer. Cheaper than streams: one object, one future, no reader task."""

    def __init__(self, limit_bytes: int, address: str) -> None:
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        # An exchange that was cancelled while connecting never asks for the outcome.
        self.whole.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit_bytes = limit_bytes
        self._address = address

    @property
    def received(self) -> bytes:
        """What has come so far."""
        return b"".join(self._chunks)

    def data_received(self, data: bytes) -> None:
        if self.whole.done():
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._limit_bytes:
            self.whole.set_exception(
                BadReplyError(
                    f"{self._address} sent more than {self._limit_bytes} bytes for one answer.",
                    reply=self.received[:200],
                )
            )
        elif b"\0" in data:
            self.whole.set_result(self.received)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, cause: Exception | None) -> None:
        if self.whole.done():
            return
        if self._chunks and cause is None:
            self.whole.set_result(self.received)
            return
        error = NoAnswerError(
            f"{self._address} closed the connection without a whole answer: it may be restarting.",
            reply=self.received,
        )
        error.__cause__ = cause
        self.whole.set_exception(error)
