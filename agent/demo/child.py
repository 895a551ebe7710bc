"""The processes of a demonstration: started, waited for, ended whatever happens.

A child dies with the demonstration even if that is killed: the kernel is asked to see to it
(prctl(2), PR_SET_PDEATHSIG).
"""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_LIMIT_S = 40.0
BROKER_LIMIT_S = 20.0
TAIL_LINES = 5

_LIBC = ctypes.CDLL(None)


class ChildError(Exception):
    """A process could not be started or ended too early; one sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running process and the file that holds what it says."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def check(self) -> None:
        """Raise ChildError where the process has ended by itself."""
        code = self.process.poll()
        if code is not None:
            said = " / ".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
            raise ChildError(f"the {self.name} ended with code {code}: {said or 'it said nothing'}")

    def wait_for(self, is_up: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Wait until something is true that the process brings about. Raises ChildError."""
        until_s = time.monotonic() + limit_s
        while not is_up():
            self.check()
            if time.monotonic() > until_s:
                raise ChildError(f"{otherwise} within {limit_s:.0f} s; is the machine very busy?")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def start(
    directory: Path, name: str, command: Sequence[str], *, environ: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Run a process until the block is left; its output goes to ``<name>.log``.

    ``environ`` is added to what this process has in its own environment.
    """
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=directory,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads here
        )
    child = Child(name=name, process=process, log=log)
    try:
        yield child
    finally:
        child.stop()


def start_python(
    directory: Path, name: str, *arguments: str, environ: Mapping[str, str] | None = None
) -> AbstractContextManager[Child]:
    """Run one of our own programs with this interpreter."""
    return start(directory, name, [sys.executable, *arguments], environ=environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker listens, and the newest MQTT it speaks."""

    url: str
    mqtt_version: str


@contextmanager
def start_broker(directory: Path, *, is_embedded: bool = False) -> Iterator[Broker]:
    """An MQTT broker on loopback: mosquitto where it is installed, else an embedded one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    installed = None if is_embedded else _mosquitto(directory, port)
    command = installed or _embedded(directory, port)
    with start(directory, "broker", command) as broker:
        broker.wait_for(lambda: _listens(port), BROKER_LIMIT_S, "the MQTT broker did not come up")
        # The embedded one leaves a client of MQTT 5 without an answer.
        yield Broker(url=f"mqtt://127.0.0.1:{port}", mqtt_version="5" if installed else "3.1.1")


def _mosquitto(directory: Path, port: int) -> list[str] | None:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        return None
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 0\n"
    )
    return [program, "-c", str(config)]


def _embedded(directory: Path, port: int) -> list[str]:
    if importlib.util.find_spec("amqtt") is None:
        raise ChildError(
            "no MQTT broker is here; install mosquitto, or the packages of requirements/demo.txt"
        )
    config = directory / "amqtt.yaml"
    config.write_text(
        "listeners:\n  default:\n    type: tcp\n"
        f"    bind: 127.0.0.1:{port}\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n"
        "    allow_anonymous: true\n"
    )
    return [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
