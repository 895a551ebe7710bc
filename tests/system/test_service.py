"""The daemon as a service manager sees it: ready, alive, stopping."""

import signal
import socket
import time
from contextlib import closing

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

WATCHDOG_S = 2.0


def heard(listener: socket.socket, for_s: float) -> list[str]:
    """Every word that arrives within a time."""
    words: list[str] = []
    until_s = time.monotonic() + for_s
    while (left_s := until_s - time.monotonic()) > 0:
        listener.settimeout(left_s)
        try:
            words.append(listener.recv(4096).decode())
        except TimeoutError:
            break
    return words


def test_the_service_manager_hears_ready_then_signs_of_life_then_the_stop(site) -> None:
    site.start_broker()
    site.start_farm(3)
    path = site.directory / "notify.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(path))
        watchdog = {"WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)), "WATCHDOG_PID": ""}
        agent = site.start_agent(NOTIFY_SOCKET=str(path), **watchdog)
        assert "READY=1" in heard(listener, 3.0)
        alive = heard(listener, 4 * WATCHDOG_S)
        assert set(alive) == {"WATCHDOG=1"}
        assert 7 <= len(alive) <= 9

        agent.process.send_signal(signal.SIGSTOP)
        heard(listener, 0.2)
        assert heard(listener, 2 * WATCHDOG_S) == []
        agent.process.send_signal(signal.SIGCONT)
        assert "WATCHDOG=1" in heard(listener, 2 * WATCHDOG_S)

        agent.process.send_signal(signal.SIGTERM)
        assert "STOPPING=1" in heard(listener, 3.0)
        assert agent.process.wait(15) == 0
    (boot,) = site.records("boot")
    assert boot["d"]["previous_stop"] == "first"


def test_an_orderly_stop_is_known_at_the_next_start(site) -> None:
    site.start_farm(2)
    for _ in range(2):
        agent = site.start_agent()
        started_s = time.monotonic()
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(15) == 0
        assert time.monotonic() - started_s < 8
    boots = [record["d"]["previous_stop"] for record in site.records("boot")]
    assert boots == ["first", "clean"]
    assert site.verify()[0] == 0
