"""What systemd would receive, over real datagram sockets."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sdnotify import SdNotifier, SdNotifyError, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket and the value of NOTIFY_SOCKET that leads to it."""
    if request.param == "path":
        name = str(tmp_path / "notify")
        address = name
    else:
        name = f"@kwota-test-{os.getpid()}"
        address = "\0" + name[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(2)
        yield listener, name


def test_each_message_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = SdNotifier({"NOTIFY_SOCKET": name})
    assert notifier.is_enabled
    notifier.ready()
    notifier.watchdog()
    notifier.status("following: 182.4 kW")
    notifier.stopping()
    received = [listener.recv(1024) for _ in range(4)]
    assert received == [b"READY=1", b"WATCHDOG=1", b"STATUS=following: 182.4 kW", b"STOPPING=1"]
    notifier.close()


def test_a_status_line_cannot_forge_another_message(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = SdNotifier({"NOTIFY_SOCKET": name})
    notifier.status("fine\nWATCHDOG=1\r\n")
    assert listener.recv(1024) == b"STATUS=fine WATCHDOG=1"
    notifier.close()


def test_a_long_status_is_cut_at_a_character(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = SdNotifier({"NOTIFY_SOCKET": name})
    notifier.status("x" + "ж" * 1000)
    assert listener.recv(4096).decode() == "STATUS=x" + "ж" * 255
    notifier.close()


def test_without_a_manager_nothing_happens() -> None:
    notifier = SdNotifier({})
    assert not notifier.is_enabled
    notifier.ready()
    notifier.watchdog()
    notifier.close()


def test_a_vanished_manager_is_logged_once_and_never_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = SdNotifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            notifier.watchdog()
    assert [record.getMessage() for record in caplog.records] == [
        "event=sd_notify_failed reason='[Errno 2] No such file or directory'"
    ]
    notifier.close()


def test_a_full_socket_does_not_hold_up_the_caller(manager: tuple[socket.socket, str]) -> None:
    _, name = manager
    notifier = SdNotifier({"NOTIFY_SOCKET": name})
    for _ in range(10_000):
        notifier.watchdog()
    notifier.close()


def test_after_close_nothing_is_sent(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    notifier = SdNotifier({"NOTIFY_SOCKET": name})
    notifier.close()
    notifier.ready()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(16)


@pytest.mark.parametrize("name", ["run/notify", "@", "/", "vsock:2:1234"])
def test_a_strange_socket_name_is_refused(name: str) -> None:
    with pytest.raises(SdNotifyError, match="NOTIFY_SOCKET"):
        SdNotifier({"NOTIFY_SOCKET": name})


def test_the_watchdog_is_fed_at_half_of_its_limit() -> None:
    assert watchdog_interval_s({"WATCHDOG_USEC": "10000000"}) == 5.0
    own = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    assert watchdog_interval_s(own) == 1.5


def test_nobody_or_somebody_else_being_watched_is_no_interval() -> None:
    assert watchdog_interval_s({}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "10s"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "me"},
    ],
)
def test_a_watchdog_that_makes_no_sense_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(SdNotifyError, match="WATCHDOG_"):
        watchdog_interval_s(environ)
