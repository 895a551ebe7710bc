"""The page a LuxOS machine shows on port 80, as far as discovery tools look at it."""

import asyncio

_BODY = (
    b"<!DOCTYPE html><html><head><title>LuxOS</title></head>"
    b"<body><h1>Luxor Firmware</h1></body></html>"
)
_OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_MAX_HEAD_BYTES = 8_192
_PATIENCE_S = 5.0


class WebConnection(asyncio.Protocol):
    """One request, one answer, closed."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A browser connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to do."""
        del exc
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer once the head is complete."""
        if self._transport is None or self._transport.is_closing():
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            is_root = self._head.startswith((b"GET / ", b"HEAD / "))
            self._transport.write(_OK if is_root else _NOT_FOUND)
            self._transport.close()
        elif len(self._head) > _MAX_HEAD_BYTES:
            self._transport.close()
