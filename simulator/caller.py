"""One caller with one question, as every cgminer-like server meets it: collect, answer, close."""

import asyncio
from typing import Protocol

# A silent machine holds a caller so long, then resets: half-closed sockets must not pile up.
_SILENCE_S = 60.0


class Answers(Protocol):
    """What a server is asked by the connections of its machines."""

    patience_s: float
    callers: set["Caller"]

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down: connections are cut at once."""

    def is_complete(self, received: bytes) -> bool:
        """Whether a question has ended, or is too long to be one."""

    def reply(self, index: int, received: bytes) -> bytes | None:
        """Bytes for a question; none at all to close without a word, None to stay silent."""

    def delay_s(self, index: int) -> float:
        """How long this machine thinks before it answers."""


class Caller(asyncio.Protocol):
    """One connection. Whoever sends half a question is answered after a while, never forgotten."""

    def __init__(self, server: Answers, index: int) -> None:
        self._server = server
        self._index = index
        self._received = bytearray()
        self._is_answered = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.callers.add(self)
        if self._server.is_rebooting(self._index):
            self._is_answered = True
            transport.abort()
            return
        self._wait(self._server.patience_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to do for this caller."""
        del exc
        self._server.callers.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Cut the caller off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Collect; answer as soon as the question has ended."""
        if self._is_answered:
            return
        self._received += data
        if self._server.is_complete(bytes(self._received)):
            self._finish()

    def eof_received(self) -> bool:
        """The caller has said everything: answer what there is."""
        if not self._is_answered:
            self._finish()
        return True

    def _wait(self, patience_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(patience_s, self._finish)

    def _finish(self) -> None:
        if self._is_answered or self._transport is None:
            return
        self._is_answered = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._received:
            self._transport.close()
            return
        reply = self._server.reply(self._index, bytes(self._received))
        loop = asyncio.get_running_loop()
        if reply is None:
            self._timer = loop.call_later(_SILENCE_S, self._transport.abort)
            return
        delay_s = self._server.delay_s(self._index)
        if delay_s > 0.0:
            self._timer = loop.call_later(delay_s, self._say, reply)
        else:
            self._say(reply)

    def _say(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)
            self._transport.close()
