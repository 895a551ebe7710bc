"""What a real daemon decided is decided again from its journal; a shadow run touches nothing."""

import json
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def replayed(site, *options: str):
    """``kwota-sim replay`` of the site's journal: exit code and result."""
    done = subprocess.run(
        [sys.executable, "-m", "simulator", "replay", str(site.journal), "--json", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_decision_of_a_troubled_run_is_taken_again_to_the_last_bit(site) -> None:
    site.start_broker()
    site.start_farm(20)
    site.buy(count=1, window_s=40, lead_in_s=8)
    first = site.start_agent()
    site.wait_until(site.judged[0].start_ms + 8_000)
    site.fault("meter_silent")
    site.wait_until(site.judged[0].start_ms + 18_000)
    site.fault("meter_silent", active=False)
    code, running = replayed(site)
    assert (code, running["is_copy"], running["difference"]) == (0, True, None), running
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    site.agent = None
    site.start_agent()
    site.wait_until(site.judged[0].end_ms + 3_000)
    site.agent.stop()

    code, whole = replayed(site)
    assert (code, whole["difference"], whole["holes"]) == (0, None, []), whole
    ticks = site.records("tick")
    assert whole["boots"] == 2
    assert whole["ticks"] == len(ticks) > 40
    assert whole["ticks"] > running["ticks"] > 10
    assert whole["commands"] > 0
    assert whole["stages"] == len(site.records("throttle")) > 0
    modes = {tick["d"]["mode"] for tick in ticks}
    assert modes >= {"failsafe", "following", "blind"}
    assert site.verify()[0] == 0


def test_a_shadow_run_decides_and_sends_nothing(site) -> None:
    site.start_broker()
    site.start_farm(12)
    site.buy(count=1, window_s=25, lead_in_s=4)
    before = site.truth()
    site.start_agent("--shadow")
    site.wait_until(site.judged[0].start_ms + 15_000)
    status = site.api("status")
    told = [row for row in site.api("miners") if "Would be told" in row["why"]]
    after = site.truth()
    page = site.kwota("status").stdout
    site.agent.stop()

    assert status["is_shadow"]
    assert status["because"]["words"].startswith("shadow run, nothing is sent: ")
    assert "shadow" in page
    assert told
    decisions = [r["d"] for r in site.records("decision")]
    advised = [d for d in decisions if d["commands"]]
    assert advised
    assert all(d["is_shadow"] for d in decisions)
    assert all(r["d"]["is_shadow"] for r in site.records("config"))
    assert site.records("throttle") == []
    for count in ("commands", "board_switches", "sleeps", "mining_restarts", "device_reboots"):
        assert after[count] == before[count] == 0, count
    assert after["machines_asleep"] == 0
    assert not [a for a in status["alarms"] if a["code"] == "MINER_DISOBEYS"]
    code, result = replayed(site)
    assert (code, result["is_shadow"], result["difference"]) == (0, True, None), result
    assert result["commands"] > 0
