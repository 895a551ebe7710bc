"""Conversations in frames: a length of four bytes, little end first, then so many bytes.

This is how Whatsminer's API v3 is spoken on TCP 4433. One connection carries several questions, one
after the other; a length of 0 is a heartbeat and is passed over. One conversation at a time per
machine. After an error its connection is cut, so that no late answer can meet a later question;
after a read that went well it may be kept for the next one.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from drivers.errors import BadReplyError
from drivers.link.line import Line, NoAnswerError, Places
from drivers.link.tcp import TimedReply

REPLY_LIMIT_BYTES = 1 << 20
# No paper says how long the firmware bears with a silent caller. One that closes is noticed; after
# this long a way between may have forgotten the connection, and nobody would say so.
KEPT_S = 30.0
_HEARTBEATS_MAX = 16
_HEAD_BYTES = 4


@dataclass(slots=True, kw_only=True)
class _Way:
    """What all conversations with one machine share. ``kept`` is a connection in nobody's hands."""

    places: Places
    connect_s: float
    answer_s: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    kept: Line | None = None
    kept_until_s: float = 0.0
    is_closed: bool = False

    def take(self) -> Line | None:
        """The kept connection; None where there is none on which a question would meet its own
        answer."""
        line, self.kept = self.kept, None
        if line is None or (line.is_idle and time.monotonic() < self.kept_until_s):
            return line
        line.cut()
        return None

    def keep(self, line: Line) -> None:
        """Keep it for the next conversation, unless it is broken or connections grow scarce."""
        if self.is_closed or line.is_crowded or not line.is_idle:
            line.cut()
            return
        self.kept, self.kept_until_s = line, time.monotonic() + KEPT_S

    def close(self) -> None:
        """Give the kept connection back, and keep none any more."""
        self.is_closed = True
        line, self.kept = self.kept, None
        if line is not None:
            line.cut()


class FramedConversation:
    """A connection, as a context. Ask, wait for the answer, ask again."""

    __slots__ = ("_ends_s", "_is_kept", "_is_proven", "_limit_s", "_line", "_way")

    def __init__(self, way: _Way, *, limit_s: float, is_kept: bool) -> None:
        self._way = way
        self._limit_s = limit_s
        self._is_kept = is_kept
        self._is_proven = True
        self._ends_s = math.inf
        self._line: Line | None = None

    async def __aenter__(self) -> Self:
        way = self._way
        await way.lock.acquire()
        try:
            self._ends_s = time.monotonic() + self._limit_s
            self._line = way.take() if self._is_kept else None
            if self._line is None:
                await self._connect()
            else:
                self._is_proven = False
        except BaseException:
            self._is_kept = False
            await self.__aexit__(None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        line, self._line = self._line, None
        if line is not None:
            if self._is_kept and kind is None:
                self._way.keep(line)
            else:
                line.cut()
        self._way.lock.release()

    async def ask(self, request: bytes, *, answer_s: float | None = None) -> TimedReply:
        """One question, one answer without its length; ``answer_s`` for one that may take longer.

        Raises NoAnswerError where no whole answer came and BadReplyError where its length cannot
        be one. After an error nothing more may be asked here.
        """
        requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        limit_s = self._way.answer_s if answer_s is None else answer_s
        replies: list[bytes] = []
        await self._ask((_framed(request),), replies, limit_s)
        return TimedReply(
            requested_at_s=requested_at_s,
            replied_at_s=time.clock_gettime(time.CLOCK_BOOTTIME),
            reply=replies[0],
        )

    async def ask_in_turn(self, requests: Sequence[bytes], replies: list[bytes]) -> None:
        """Several questions, each sent when the one before it is answered; else as ``ask``.

        ``replies`` has what came, also after an error: it may say more than the error.
        """
        await self._ask([_framed(request) for request in requests], replies, self._way.answer_s)

    async def _ask(self, framed: Sequence[bytes], replies: list[bytes], limit_s: float) -> None:
        try:
            await self._asked(framed, replies, limit_s)
        except NoAnswerError as error:
            self._is_kept = False
            if time.monotonic() < self._ends_s:
                raise
            raise NoAnswerError(
                f"{self._way.places} did not answer everything within {self._limit_s:g} s.",
                reply=error.reply,
            ) from error
        except BaseException:
            self._is_kept = False
            raise

    async def _asked(self, framed: Sequence[bytes], replies: list[bytes], limit_s: float) -> None:
        """On a kept connection that turns out to be closed, the same again on a new one."""
        assert self._line is not None
        if not self._is_proven:
            self._is_proven = True
            try:
                await self._line.ask_in_turn(framed, replies, limit_s, self._left_s())
            except NoAnswerError:
                if not self._line.is_over:
                    raise
            else:
                return
            replies.clear()
            await self._connect()
        await self._line.ask_in_turn(framed, replies, limit_s, self._left_s())

    async def _connect(self) -> None:
        if self._line is not None:
            self._line.cut()
        self._line = Line(self._way.places, _Frames(self._way.places))
        await self._line.open(min(self._way.connect_s, self._left_s()))

    def _left_s(self) -> float:
        return max(0.0, self._ends_s - time.monotonic())


class FramedLink:
    """The way to one machine. Safe to share: conversations wait for each other."""

    def __init__(
        self, *, host: str, port: int, connect_s: float = 2.0, answer_s: float = 5.0
    ) -> None:
        self._way = _Way(places=Places(host, port), connect_s=connect_s, answer_s=answer_s)

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return str(self._way.places)

    def conversation(
        self, limit_s: float = math.inf, *, is_kept: bool = False
    ) -> FramedConversation:
        """A context: connected in it, and no longer than ``limit_s``. Entering it raises
        UnreachableError.

        Its connection is new and is cut at its end. With ``is_kept`` it is that of the conversation
        before, if the machine has left it open, and is kept for the next: for reads alone, because
        a question may be sent twice where the machine closes at that very moment.
        """
        return FramedConversation(self._way, limit_s=limit_s, is_kept=is_kept)

    async def close(self) -> None:
        """Give the kept connection back, if there is one."""
        self._way.close()


def _framed(request: bytes) -> bytes:
    return len(request).to_bytes(_HEAD_BYTES, "little") + request


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
        size = int.from_bytes(data[:_HEAD_BYTES], "little")
        if 0 < size == len(data) - _HEAD_BYTES and not (self._received or self.is_whole):
            self._frame, self.is_whole = data[_HEAD_BYTES:], True  # one frame, as nearly always
            return
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
