"""One TCP connection to one machine, driven by the loop's readiness and nothing in between.

Thousands of machines are asked every few seconds, each over a connection of its own, where
transports, protocols and streams would cost more than the exchange itself. Here are one socket and
one future per wait. What comes goes to a ``Receiver``, which knows where an
answer ends. A line is cut, never closed politely: that would wait for a peer that may never take
the rest.
"""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Sequence
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Protocol

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.switchboard import CLOSING, switchboard

_CHUNK_BYTES = 1 << 15
_READABLE = select.EPOLLIN | CLOSING
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EINTR})

_Place = tuple[int, tuple[str | int, ...]]  # family of addresses, and an address of it


class Watcher(Protocol):
    """Somebody who wants to see the bytes of every line; each has a number."""

    def __call__(self, connection: int, peer: str, data: bytes, *, is_sent: bool) -> None:
        """So many bytes have passed."""


WATCHER: ContextVar[Watcher | None] = ContextVar("WATCHER", default=None)


class NoAnswerError(UnreachableError):
    """The request left and no whole answer came: a write may have been carried out."""


class Receiver(Protocol):
    """Takes what comes and says where an answer ends."""

    @property
    def is_whole(self) -> bool:
        """Whether an answer can be taken."""

    @property
    def rest(self) -> bytes:
        """What has come of an answer that is not whole."""

    def feed(self, data: bytes) -> None:
        """More has come. Raises BadReplyError where no answer can come of it any more."""

    def take(self) -> bytes:
        """The whole answer."""

    def end(self) -> None:
        """The peer has closed in order; for some protocols that makes an answer whole."""


class Places:
    """Where a host and port are: an address is known at once, a name is looked up each time."""

    __slots__ = ("_host", "_known", "_port")

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._known = _literal(host, port)

    def __str__(self) -> str:
        return f"{self._host}:{self._port}"

    async def find(self, limit_s: float) -> Sequence[_Place]:
        """Raises OSError where there is none, TimeoutError where nobody knows in time."""
        if self._known:
            return self._known
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(limit_s):
            try:
                rows = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            except UnicodeError as error:
                raise OSError(f"{self._host!r} is no name of a host") from error
        return [(family, (address[0], *address[1:])) for family, _, _, _, address in rows]


def _literal(host: str, port: int) -> tuple[_Place, ...]:
    try:
        version = ip_address(host).version
    except ValueError:
        return ()
    return ((socket.AF_INET if version == 4 else socket.AF_INET6, (host, port)),)


class Line:
    """A connection: ``open`` first, ``cut`` last whatever happens. One question at a time."""

    __slots__ = (
        "_answers",
        "_board",
        "_each_s",
        "_ends_s",
        "_fault",
        "_is_connected",
        "_is_over",
        "_loop",
        "_places",
        "_receiver",
        "_requests",
        "_socket",
        "_unsent",
        "_waiter",
        "_watcher",
        "deadline_s",
    )

    def __init__(self, places: Places, receiver: Receiver) -> None:
        self._places = places
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._board = switchboard(self._loop)
        self._socket: socket.socket | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.deadline_s = 0.0  # of the wait under way
        self._unsent = b""
        # What is to be asked after this, the last first, and what was answered so far.
        self._requests: list[bytes] = []
        self._answers: list[bytes] = []
        self._each_s = self._ends_s = 0.0
        self._is_connected = False
        self._is_over = False
        self._fault: Exception | None = None
        self._watcher: Watcher | None = None

    @property
    def is_over(self) -> bool:
        """Whether the peer has closed it, or what came ended it."""
        return self._is_over

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: what comes next is the answer to what is asked next."""
        receiver = self._receiver
        return not (self._is_over or self._unsent or receiver.is_whole or receiver.rest)

    @property
    def is_crowded(self) -> bool:
        """Whether there are so many connections that none should be kept for later."""
        return self._board.is_crowded

    async def open(self, limit_s: float) -> None:
        """Connect. Raises UnreachableError."""
        deadline_s = self._loop.time() + limit_s
        failure = OSError(errno.EADDRNOTAVAIL, "it has no address")
        try:
            for place in await self._places.find(limit_s):
                try:
                    await self._connect(place, deadline_s)
                except OSError as error:
                    self.cut()
                    failure = error
                else:
                    return
            raise failure
        except TimeoutError as error:
            raise UnreachableError(
                f"{self._places} did not accept a connection within {limit_s:g} s: "
                "check power, cable and address."
            ) from error
        except OSError as error:
            raise UnreachableError(
                f"No connection to {self._places} ({error.strerror or error}): "
                "check power, cable and address."
            ) from error

    async def ask(self, request: bytes, limit_s: float) -> bytes:
        """Send and wait for the whole answer. Raises NoAnswerError and BadReplyError.

        After an error nothing more may be asked on this line.
        """
        self._watcher = WATCHER.get()
        self._say(request)
        receiver = self._receiver
        if self._requests:
            self._go_on()
        if not receiver.is_whole and not self._is_over:
            try:
                await self._wait(limit_s)
            except TimeoutError as error:
                raise NoAnswerError(
                    f"{self._places} took the request and did not answer within {limit_s:g} s.",
                    reply=receiver.rest,
                ) from error
        if receiver.is_whole:
            return receiver.take()
        if isinstance(self._fault, BadReplyError):
            raise self._fault
        raise NoAnswerError(
            f"{self._places} closed the connection without a whole answer: it may be restarting.",
            reply=receiver.rest,
        ) from self._fault

    async def ask_in_turn(
        self, requests: Sequence[bytes], answers: list[bytes], each_s: float, whole_s: float
    ) -> None:
        """Several questions, each sent as soon as the one before it is answered.

        As ``ask``, but the caller is woken once; ``answers`` has what came, also after an error.
        ``each_s`` is the limit of each question, ``whole_s`` that of all.
        """
        self._answers, self._requests = answers, list(reversed(requests[1:]))
        self._each_s, self._ends_s = each_s, self._loop.time() + whole_s
        answers.append(await self.ask(requests[0], min(each_s, whole_s)))

    def cut(self) -> None:
        """End the connection now; what is under way is lost."""
        own, self._socket = self._socket, None
        if own is not None:
            self._board.unplug(own.fileno())
            own.close()

    async def _connect(self, place: _Place, deadline_s: float) -> None:
        family, address = place
        self._socket = own = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = own.connect_ex(address)
        if code not in _UNDER_WAY:
            if code:
                raise OSError(code, os.strerror(code))
            self._is_connected = True
        self._board.plug(own.fileno(), self._rung)
        if not self._is_connected:
            await self._wait(deadline_s - self._loop.time())
            code = own.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self._is_connected = True

    async def _wait(self, limit_s: float) -> None:
        """Until somebody wakes us. Raises TimeoutError."""
        self.deadline_s = self._loop.time() + limit_s
        self._waiter = self._loop.create_future()
        self._board.deadlines.add(self)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._board.deadlines.discard(self)

    def expire(self) -> None:
        """The wait under way has lasted too long."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _go_on(self) -> None:
        """The next questions, for as long as there are answers."""
        while self._requests and self._receiver.is_whole:
            self._answers.append(self._receiver.take())
            self.deadline_s = min(self._loop.time() + self._each_s, self._ends_s)
            self._say(self._requests.pop())

    def _say(self, request: bytes) -> None:
        if self._watcher is not None:
            self._watcher(id(self), str(self._places), request, is_sent=True)
        self._send(request)

    def _send(self, request: bytes) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(request)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._end(error)
            return
        self._unsent = request[sent:]

    def _rung(self, flags: int) -> None:
        """News of the socket: it is connected, takes more of a long request, or has data."""
        if not self._is_connected:
            self._wake()
            return
        if self._unsent:
            self._send(self._unsent)
        if flags & _READABLE and not self._is_over:
            self._receive(is_closing=bool(flags & CLOSING))

    def _receive(self, *, is_closing: bool) -> None:
        """All that is there: the board does not tell of it again."""
        assert self._socket is not None
        receiver = self._receiver
        try:
            while True:
                data = self._socket.recv(_CHUNK_BYTES)
                if self._watcher is not None:
                    self._watcher(id(self), str(self._places), data, is_sent=False)
                if not data:
                    receiver.end()
                    self._end(None)
                    return
                receiver.feed(data)
                if self._requests:
                    self._go_on()
                if len(data) < _CHUNK_BYTES and not (is_closing and not receiver.is_whole):
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except (OSError, BadReplyError) as error:
            self._end(error)
            return
        if receiver.is_whole:
            self._wake()

    def _end(self, fault: Exception | None) -> None:
        """Nothing more will come."""
        if self._socket is not None:
            self._board.unplug(self._socket.fileno())
        self._is_over, self._fault = True, fault
        self._wake()
