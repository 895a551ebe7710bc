"""Conversations in frames: a length of four bytes, little end first, then so many bytes.

This is how Whatsminer's API v3 is spoken on TCP 4433. One connection carries several questions, one
after the other; a length of 0 is a heartbeat and is passed over. One conversation at a time per
machine; it ends with its connection, so that no late answer can meet a later question.
"""

import asyncio
import math
import time
from typing import Self

from drivers.errors import BadReplyError
from drivers.link.line import Line, NoAnswerError, Places
from drivers.link.tcp import TimedReply

REPLY_LIMIT_BYTES = 1 << 20
_HEARTBEATS_MAX = 16
_HEAD_BYTES = 4


class FramedConversation:
    """An open connection, as a context. Ask, wait for the answer, ask again."""

    __slots__ = ("_answer_s", "_connect_s", "_ends_s", "_limit_s", "_line", "_lock", "_places")

    def __init__(
        self,
        places: Places,
        lock: asyncio.Lock,
        *,
        connect_s: float,
        answer_s: float,
        limit_s: float,
    ) -> None:
        self._places = places
        self._lock = lock
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._limit_s = limit_s
        self._ends_s = math.inf
        self._line = Line(places, _Frames(places))

    async def __aenter__(self) -> Self:
        await self._lock.acquire()
        try:
            self._ends_s = time.monotonic() + self._limit_s
            await self._line.open(min(self._connect_s, self._limit_s))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._line.cut()
        self._lock.release()

    async def ask(self, request: bytes, *, answer_s: float | None = None) -> TimedReply:
        """One question, one answer without its length; ``answer_s`` for one that may take longer.

        Raises NoAnswerError where no whole answer came and BadReplyError where its length cannot
        be one. After an error nothing more may be asked here.
        """
        limit_s = self._answer_s if answer_s is None else answer_s
        left_s = self._ends_s - time.monotonic()
        requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        framed = len(request).to_bytes(_HEAD_BYTES, "little") + request
        try:
            reply = await self._line.ask(framed, min(limit_s, left_s))
        except NoAnswerError as error:
            if time.monotonic() < self._ends_s:
                raise
            raise NoAnswerError(
                f"{self._places} did not answer everything within {self._limit_s:g} s.",
                reply=error.reply,
            ) from error
        return TimedReply(
            requested_at_s=requested_at_s,
            replied_at_s=time.clock_gettime(time.CLOCK_BOOTTIME),
            reply=reply,
        )


class FramedLink:
    """The way to one machine. Safe to share: conversations wait for each other."""

    def __init__(
        self, *, host: str, port: int, connect_s: float = 2.0, answer_s: float = 5.0
    ) -> None:
        self._places = Places(host, port)
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._one_at_a_time = asyncio.Lock()

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return str(self._places)

    def conversation(self, limit_s: float = math.inf) -> FramedConversation:
        """A context: connected in it, cut at its end, and no longer than ``limit_s``.

        Entering it raises UnreachableError.
        """
        return FramedConversation(
            self._places,
            self._one_at_a_time,
            connect_s=self._connect_s,
            answer_s=self._answer_s,
            limit_s=limit_s,
        )


class _Frames:
    """Answers one after the other; heartbeats between them are passed over, up to a number."""

    __slots__ = ("_beats", "_frame", "_places", "_received", "is_whole")

    def __init__(self, places: Places) -> None:
        self.is_whole = False
        self._places = places
        self._frame = b""
        self._received = bytearray()
        self._beats = 0

    @property
    def rest(self) -> bytes:
        """What has come of a frame."""
        return bytes(self._received)

    def feed(self, data: bytes) -> None:
        """Gather, and look for a frame. Whoever sends what nobody asked for is stopped."""
        self._received += data
        if len(self._received) > 2 * REPLY_LIMIT_BYTES:
            raise BadReplyError(
                f"{self._places} sends answers that nobody asked for.",
                reply=bytes(self._received[:_HEAD_BYTES]),
            )
        if not self.is_whole:
            self._look()

    def take(self) -> bytes:
        """One frame, without its length."""
        frame, self._frame = self._frame, b""
        self.is_whole, self._beats = False, 0
        if self._received:
            self._look()
        return frame

    def end(self) -> None:
        """A close makes no frame whole."""

    def _look(self) -> None:
        received, start = self._received, 0
        while len(received) - start >= _HEAD_BYTES:
            end = start + _HEAD_BYTES
            size = int.from_bytes(received[start:end], "little")
            if size > REPLY_LIMIT_BYTES:
                raise BadReplyError(
                    f"{self._places} announces an answer of {size} bytes: "
                    "something else may listen on this port.",
                    reply=bytes(received[start:end]),
                )
            if size > 0:
                if len(received) - end >= size:
                    self._frame, self.is_whole = bytes(received[end : end + size]), True
                    start = end + size
                break
            start = end
            self._beats += 1
            if self._beats >= _HEARTBEATS_MAX:
                raise BadReplyError(f"{self._places} sends heartbeats instead of an answer.")
        del received[:start]
