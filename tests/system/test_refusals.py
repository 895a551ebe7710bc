"""A daemon that cannot start says so in one sentence, and ends with a code."""

import socket
import sys

import pytest
from ports import free_port

from agent.demo.child import start

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def running(shared_site):
    """A daemon that holds its journal, its page's port and its socket."""
    shared_site.start_broker()
    shared_site.start_farm(2)
    shared_site.start_agent()
    return shared_site


def refusal(site, config: str) -> str:
    """The one sentence with which a second daemon with this configuration ends."""
    path = site.directory / "other.toml"
    path.write_text(config)
    done = site.kwota("run", "--config", str(path))
    assert done.returncode in (1, 2), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", "WARNING"))]
    assert len(said) == 1, said
    site.agent.check()
    return said[0]


def other(site, *changes: tuple[str, str]) -> str:
    """The configuration of a daemon beside the running one, but for what ``changes`` say."""
    text = site.config.read_text()
    own = (
        (f"127.0.0.1:{site.page_port}", f"127.0.0.1:{free_port()}"),
        ('socket = "kwota.sock"', 'socket = "other.sock"'),
        (f'path = "{site.journal}"', f'path = "{site.directory}/other.sqlite"'),
    )
    for old, new in (*own, *changes):
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_status_port_in_use_is_named(running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = other(running).replace("listen = ", f'listen = "127.0.0.1:{port}" # ')
        said = refusal(running, text)
    assert str(port) in said


def test_a_socket_of_a_running_daemon_is_not_taken_over(running) -> None:
    said = refusal(running, other(running, ("other.sock", "kwota.sock")))
    assert "kwota.sock" in said
    assert running.api("status")["miners_total"] == 2


def test_a_journal_of_a_running_daemon_is_not_opened(running) -> None:
    said = refusal(running, other(running, ("other.sqlite", "journal.sqlite")))
    assert "journal.sqlite" in said
    assert "Another process" in said


@pytest.mark.parametrize(
    ("path", "words"),
    [("/sys/journal.sqlite", "cannot be made"), ("/nowhere/journal.sqlite", "does not exist")],
)
def test_a_journal_that_cannot_be_made_is_named(running, path, words) -> None:
    own = f"{running.directory}/other.sqlite"
    said = refusal(running, other(running, (own, path)))
    assert words in said
    assert path.rpartition("/")[0] in said


def test_a_key_that_others_may_read_is_not_used(running) -> None:
    key = running.directory / "loose.key"
    key.write_bytes((running.directory / "log.key").read_bytes())
    key.chmod(0o644)
    said = refusal(running, other(running, ("log.key", "loose.key")))
    assert "loose.key" in said
    assert "0600" in said or "chmod" in said


def test_every_fault_of_a_configuration_is_named_at_once(running) -> None:
    changes = (("[policy]", "[polity]"), ("miner_poll_s = 2.0", "miner_poll_s = -1"))
    text = other(running, *changes)
    path = running.directory / "faulty.toml"
    path.write_text(text)
    done = running.kwota("run", "--config", str(path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "polity" in done.stderr
    assert "policy" in done.stderr
    assert "miner_poll_s" in done.stderr


def test_a_farm_whose_port_is_taken_says_so(running) -> None:
    base = running.ready["machines"][0]["address"].rpartition(".")[0] + ".0"
    command = [sys.executable, "-m", "simulator", "serve"]
    farm = running.directory / "farm.toml"
    farm.write_text(
        '[site]\nseed = 1\n[[machines]]\nmodel = "s21"\ncount = 1\n'
        '[[meters]]\nid = "site"\nport = 0\nserial = 1\n'
    )
    command += [str(farm), "--address-base", base]
    with start(running.directory, "second", command) as second:
        assert second.process.wait(20) == 2
    assert f"{base}:4028 (Address already in use)" in second.log.read_text()
    assert "Traceback" not in second.log.read_text()
