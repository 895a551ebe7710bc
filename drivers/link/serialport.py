"""A line over a serial port, of this host or of another one (RFC 2217), by pyserial.

A port of this host is watched by the event loop. A remote one has no file to watch: a thread reads
it. Opening is done in a thread: a driver or a peer may take its time over it.
"""

import asyncio
import contextlib
import os
import threading
from asyncio import AbstractEventLoop, Future
from typing import Protocol

import serial

from drivers.errors import UnreachableError
from drivers.link.busline import Inbox, Line
from drivers.link.endpoint import SerialEndpoint

_READ_BYTES = 512
_THREAD_WAIT_S = 0.05


class _Port(Protocol):
    """What is used of a pyserial port."""

    in_waiting: int

    def fileno(self) -> int: ...
    def read(self, size: int) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def reset_input_buffer(self) -> None: ...
    def close(self) -> None: ...


async def open_serial(endpoint: SerialEndpoint, limit_s: float) -> Line:
    """Open the port for this process alone. Raises UnreachableError."""
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, _opened, endpoint)
    try:
        async with asyncio.timeout(limit_s):
            port = await asyncio.shield(opening)
    except (serial.SerialException, ValueError, OSError) as error:
        opening.add_done_callback(_close_late)  # of use where the time ran out
        raise UnreachableError(_no_port(endpoint, error)) from error
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise
    return _RemoteLine(port, loop) if endpoint.is_remote else _LocalLine(port, loop)


def _opened(endpoint: SerialEndpoint) -> _Port:
    port: _Port = serial.serial_for_url(
        endpoint.path,
        baudrate=endpoint.baud,
        bytesize=8,
        parity=endpoint.parity,
        stopbits=endpoint.stop_bits,
        timeout=_THREAD_WAIT_S if endpoint.is_remote else 0,
        **({} if endpoint.is_remote else {"exclusive": True}),
    )
    port.reset_input_buffer()
    return port


def _close_late(opening: Future[_Port]) -> None:
    """Give back a port that came after nobody waited for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _no_port(endpoint: SerialEndpoint, error: Exception) -> str:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"
    if endpoint.is_remote:
        return f"No connection to {endpoint}: check power, cable, address and that it is free."
    return (
        f"The serial port {endpoint} cannot be opened ({reason}): check the adapter and the path, "
        "that the user may open it (group dialout), and that no other program has it."
    )


class _LocalLine(Inbox):
    """A port of this host."""

    def __init__(self, port: _Port, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._port = port
        self._loop = loop
        self._file = port.fileno()
        loop.add_reader(self._file, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._file, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.take(data)
        if not data or not self.is_open:
            self.close()  # unplugged, or somebody who never stops

    def send(self, data: bytes) -> None:
        """Hand bytes to the system, whose buffer is larger than any request."""
        try:
            os.write(self._file, data)
        except OSError:
            self.close()

    def close(self) -> None:
        """Give the port back."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            self._file = -1
            self._port.close()
        self.end()


class _RemoteLine(Inbox):
    """A port of another host. Its thread reads, and closes it in the end."""

    def __init__(self, port: _Port, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._port = port
        self._loop = loop
        self._is_wanted = True
        self._thread = threading.Thread(target=self._pump, name="kwota-rfc2217", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        with contextlib.suppress(serial.SerialException, OSError):  # the end is told below
            while self._is_wanted:
                data = self._port.read(max(1, self._port.in_waiting))
                if data:
                    self._tell(data)
        self._port.close()
        self._tell(b"")

    def _tell(self, data: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            self._loop.call_soon_threadsafe(self._hear, data)

    def _hear(self, data: bytes) -> None:
        if not data:
            self.end()
        elif self.is_open:
            self.take(data)

    def send(self, data: bytes) -> None:
        """Hand bytes to the connection, whose buffer is larger than any request."""
        try:
            self._port.write(data)
        except (serial.SerialException, OSError):
            self.close()

    def close(self) -> None:
        """Let the thread close the port; ``closed`` tells when it has."""
        self._is_wanted = False
        self.hang_up()
