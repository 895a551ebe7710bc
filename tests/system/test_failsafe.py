"""The last resort, alone with a farm: it needs no agent."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def failsafe(site) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "agent.failsafe", "--config", str(site.config)],
        cwd=site.directory,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )


def test_every_machine_is_put_to_sleep_and_one_that_is_gone_is_named(site) -> None:
    site.start_farm(12)
    gone = site.ready["machines"][4]["address"]
    site.fault("miner_gone", [4])
    done = failsafe(site)
    assert done.returncode == 1
    assert done.stderr == ""
    named = [line for line in done.stdout.splitlines() if "not known to be asleep" in line]
    assert len(named) == 1
    assert site.name_of(4) in named[0]
    assert gone in named[0]
    assert site.truth()["machines_asleep"] == 11

    site.fault("miner_gone", active=False)
    done = failsafe(site)
    assert done.returncode == 0, done.stdout
    assert "12 of 12" in done.stdout
    assert site.truth()["machines_asleep"] == 12
    site.wait_for(
        lambda: site.truth()["machines_power_w"] < 12 * 60, 20, "the machines still draw power"
    )


def test_it_works_while_a_stopped_agent_still_holds_its_connections(site) -> None:
    """A hung agent keeps its sockets and perhaps a session: the failsafe must get through."""
    site.start_broker()
    site.start_farm(6)
    site.buy(count=1, window_s=60, lead_in_s=8)
    agent = site.start_agent()
    site.wait_until(site.judged[0].start_ms + 3_000)
    agent.process.send_signal(subprocess.signal.SIGSTOP)
    done = failsafe(site)
    agent.process.send_signal(subprocess.signal.SIGCONT)
    assert done.returncode == 0, done.stdout
    assert "6 of 6" in done.stdout
