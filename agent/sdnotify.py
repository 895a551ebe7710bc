"""Tells systemd how the agent is, by the datagrams of sd_notify(3).

Outside systemd there is no NOTIFY_SOCKET and every call does nothing. A call never waits: a full
or vanished socket must not hold up the control loop, and a missed WATCHDOG=1 is made good by the
next one.
"""

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

log = logging.getLogger(__name__)

STATUS_BYTES_MAX: Final = 512


class SdNotifyError(Exception):
    """NOTIFY_SOCKET or WATCHDOG_USEC make no sense. The message says what to repair."""


class SdNotifier:
    """One socket to the service manager for the life of the process."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Raise SdNotifyError where NOTIFY_SOCKET is neither a path nor an abstract name."""
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._is_failing = False
        if self._address:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_UNIX, kind)

    @property
    def is_enabled(self) -> bool:
        """Whether a service manager listens."""
        return self._socket is not None

    def ready(self) -> None:
        """Say that start-up is complete."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """Say that the control loop is healthy. Only the loop itself may call this."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that an orderly stop has begun."""
        self._send("STOPPING=1")

    def status(self, words: str) -> None:
        """Set the line that ``systemctl status`` shows."""
        # A line feed would start another assignment, such as a forged WATCHDOG=1.
        line = " ".join(words.split()).encode()[:STATUS_BYTES_MAX]
        self._send("STATUS=" + line.decode(errors="ignore"))

    def close(self) -> None:
        """Give the socket back; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, assignment: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(assignment.encode(), self._address)
        except OSError as error:
            if not self._is_failing:
                log.warning("event=sd_notify_failed reason=%r", str(error))
            self._is_failing = True
        else:
            self._is_failing = False


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often WATCHDOG=1 is due: half of the limit, as sd_watchdog_enabled(3) advises.

    None where systemd watches nobody or another process. Raises SdNotifyError on nonsense.
    """
    limit = environ.get("WATCHDOG_USEC", "")
    if not limit:
        return None
    if not limit.isdecimal() or int(limit) == 0:
        raise SdNotifyError(
            f"WATCHDOG_USEC is {limit!r} instead of microseconds: set WatchdogSec= in the unit."
        )
    watched = environ.get("WATCHDOG_PID", "")
    if watched and not watched.isdecimal():
        raise SdNotifyError(
            f"WATCHDOG_PID is {watched!r} instead of a process id: let systemd set it."
        )
    if watched and int(watched) != os.getpid():
        return None
    return int(limit) / 2 / 1_000_000


def _address(name: str) -> str:
    if not name:
        return ""
    if name[0] == "/" and len(name) > 1:
        return name
    if name[0] == "@" and len(name) > 1:
        return "\0" + name[1:]
    raise SdNotifyError(
        f"NOTIFY_SOCKET is {name!r}, neither a path nor an abstract name: let systemd set it."
    )
