"""A line to Modbus units: bytes out, bytes in, and whether it still stands. TCP here.

A line knows no request. What has come in stays in ``received`` until somebody clears it.
"""

import asyncio
from typing import Protocol

from drivers.errors import UnreachableError
from drivers.link.endpoint import Endpoint

# More than any reply with its echo; who sends more without being asked is cut off.
RECEIVED_BYTES_MAX = 1024


class Line(Protocol):
    """One open connection or port."""

    received: bytearray

    @property
    def is_open(self) -> bool:
        """Whether the other end was there when last looked at."""

    def send(self, data: bytes) -> None:
        """Hand bytes to the system."""

    async def arrival(self) -> None:
        """Wait until more has come in, or the line has ended."""

    def close(self) -> None:
        """End the line; nothing more is received."""

    async def closed(self) -> None:
        """Wait until the other end can know that the line has ended."""


class Inbox:
    """What has come in, and the wait for more."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.is_open = True
        self._news = asyncio.Event()
        self._end = asyncio.Event()

    async def arrival(self) -> None:
        """Wait until more has come in, or the line has ended."""
        await self._news.wait()
        self._news.clear()

    async def closed(self) -> None:
        """Wait until the line has ended."""
        await self._end.wait()

    def take(self, data: bytes) -> None:
        """More bytes."""
        self.received += data
        self._news.set()
        if len(self.received) > RECEIVED_BYTES_MAX:
            del self.received[RECEIVED_BYTES_MAX:]
            self.hang_up()

    def hang_up(self) -> None:
        """No more bytes will be taken."""
        self.is_open = False
        self._news.set()

    def end(self) -> None:
        """The line has ended at the system too."""
        self.hang_up()
        self._end.set()


class TcpLine(Inbox, asyncio.Protocol):
    """A TCP connection. Made by ``open_tcp``."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.is_open:
            self.take(data)

    def eof_received(self) -> None:
        """The peer closed."""
        self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        del exc
        self.end()

    def send(self, data: bytes) -> None:
        """Hand bytes to the system."""
        self._transport.write(data)

    def close(self) -> None:
        """Not by waiting for a peer that may never take the rest."""
        self.hang_up()
        self._transport.abort()


async def open_tcp(endpoint: Endpoint, limit_s: float) -> TcpLine:
    """Connect. Raises UnreachableError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            _, line = await loop.create_connection(TcpLine, endpoint.host, endpoint.port)
    except (TimeoutError, OSError) as error:
        raise UnreachableError(
            f"No connection to {endpoint}: check power, cable and address; "
            "many gateways accept only one client."
        ) from error
    return line
