"""One careful question to an address of which nothing is known: connect, ask, listen, hang up.

Whatever happens is an outcome and not an error: of most addresses of a network nobody answers.
The call ends after the connection is closed, so that the next one to the same address never meets
a machine that still serves this one: some serve one caller at a time.
"""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

# What the system says where nobody has the address, or no way leads to it.
_NOBODY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENONET})
# What it says where this computer has run out of something.
_OWN_FAULT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
_HANG_UP_S = 1.0


class Outcome(StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    SILENT = "silent"  # took the connection, said nothing in time
    CLOSED = "closed"  # took the connection and ended it without a word
    REFUSED = "refused"  # somebody has the address, nobody listens at the port
    DROPPED = "dropped"  # no word at all: nobody, or a firewall
    NOBODY = "nobody"  # the system knows that nobody has the address
    OWN_FAULT = "own_fault"  # this computer could not ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of a question. ``reply`` holds as much as came, whole or not."""

    outcome: Outcome
    reply: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a connection and for an answer, and how much of one to take."""

    connect_s: float = 1.2
    answer_s: float = 2.0
    limit_bytes: int = 65_536


async def knock(
    host: str,
    port: int,
    request: bytes,
    is_whole: Callable[[bytes], bool],
    patience: Patience,
) -> Heard:
    """Ask once. An answer ends where ``is_whole`` says so, at the limit, or at the close."""
    loop = asyncio.get_running_loop()
    listener = _Listener(is_whole, patience.limit_bytes)
    try:
        async with asyncio.timeout(patience.connect_s):
            transport, _ = await loop.create_connection(lambda: listener, host, port)
    except TimeoutError:
        return Heard(outcome=Outcome.DROPPED)
    except OSError as error:
        return Heard(outcome=_outcome_of(error))
    try:
        transport.write(request)
        async with asyncio.timeout(patience.answer_s):
            await listener.done.wait()
    except TimeoutError:
        listener.done.set()  # what has come so far is the answer
    finally:
        transport.abort()
        async with asyncio.timeout(_HANG_UP_S):
            await listener.gone.wait()
    if listener.received:
        return Heard(outcome=Outcome.ANSWERED, reply=bytes(listener.received))
    return Heard(outcome=Outcome.CLOSED if listener.is_closed_by_peer else Outcome.SILENT)


def _outcome_of(error: OSError) -> Outcome:
    if error.errno in _NOBODY:
        return Outcome.NOBODY
    if error.errno in _OWN_FAULT:
        return Outcome.OWN_FAULT
    return Outcome.REFUSED


class _Listener(asyncio.Protocol):
    """Collects what comes, up to a limit."""

    def __init__(self, is_whole: Callable[[bytes], bool], limit_bytes: int) -> None:
        self.received = bytearray()
        self.done = asyncio.Event()
        self.gone = asyncio.Event()
        self.is_closed_by_peer = False
        self._is_whole = is_whole
        self._limit_bytes = limit_bytes

    def data_received(self, data: bytes) -> None:
        if self.done.is_set():
            return
        self.received += data[: self._limit_bytes - len(self.received)]
        if len(self.received) >= self._limit_bytes or self._is_whole(bytes(self.received)):
            self.done.set()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._end()
        self.gone.set()

    def _end(self) -> None:
        if not self.done.is_set():
            self.is_closed_by_peer = True
            self.done.set()
