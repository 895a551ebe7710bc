"""Relays on real sockets: who ignores every command loses the feed, and so does everybody whose
agent has stopped."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.demo.site import Window, lead_in, plan_windows, purchases_json

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

DEMO = Path(__file__).resolve().parents[2] / "simulator" / "farms" / "demo.toml"
DEAF = range(7)  # of 24


def farm_with(site, contactors: dict[int, list[int]], **board: Any) -> Path:
    """The demonstration's farm with one WB-MR6."""
    lines = ["[[relays]]", 'id = "board"']
    lines += [f"{key} = {value}" for key, value in board.items()]
    for channel, machines in contactors.items():
        lines += ["[[relays.contactors]]", f"channel = {channel}", f"machines = {machines}"]
    path = site.directory / "farm.toml"
    path.write_text("\n".join([DEMO.read_text(), *lines, ""]))
    return path


def configure(site, feeds: dict[int, list[int]], *more: str) -> None:
    """A relay for each channel, with the machines that hang on it."""
    board = site.ready["relays"][0]
    lines = []
    for channel, machines in feeds.items():
        names = ", ".join(f'"{site.name_of(at)}"' for at in machines)
        lines += [
            "[[relays]]",
            f'id = "k{channel}"',
            f'uri = "modbus://{board["address"]}/{board["unit"]}?profile={board["profile"]}"',
            f"channel = {channel}",
            f"miners = [{names}]",
            *more,
        ]
    site.config.write_text("\n".join([site.config.read_text(), *lines, ""]))


def buy(site, shares: list[float], window_s: int, lead_s: int = 16) -> None:
    """A lead-in at full power, then windows with these shares of it, one after the other."""
    first = lead_in(start_ms=site.truth()["at_ms"], full_power_w=site.full_power_w, length_s=lead_s)
    rest = plan_windows(
        first_start_ms=first.end_ms, window_s=window_s, count=len(shares), full_power_w=1.0
    )
    site.judged = [
        Window(
            transaction_id=one.transaction_id,
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            energy_wh=int(site.full_power_w * window_s / 3600 * share),
        )
        for one, share in zip(rest, shares, strict=True)
    ]
    (site.directory / "purchases.json").write_bytes(purchases_json([first, *site.judged]))


def relays(site) -> dict[str, str]:
    return {row["relay_id"]: row["state"] for row in site.api("status")["relays"]}


def alarms(site) -> set[str]:
    return {alarm["code"] for alarm in site.api("status")["alarms"]}


def powered(site) -> list[bool]:
    return [row["is_powered"] for row in site.truth("/v1/truth/machines")["machines"]]


def events(site, name: str) -> list[str]:
    return [r["d"]["event"] for r in site.records("relay") if r["s"] == name]


def test_machines_that_ignore_every_command_lose_their_feed_and_no_purchase_is_lost(site) -> None:
    """The deaf ones alone would draw more than is bought."""
    site.start_broker()
    feeds = {2: list(DEAF)}
    site.start_farm(24, farm_with(site, feeds))
    configure(site, feeds)
    site.fault("miner_ignores", list(DEAF))
    buy(site, [0.2, 0.2], 30, lead_s=40)
    site.start_agent()
    site.wait_for(lambda: relays(site) == {"k2": "closed"}, 40, "the relay was not read")
    site.wait_until(site.judged[0].start_ms - 8_000)
    assert all(powered(site))
    site.wait_for(lambda: relays(site) == {"k2": "open"}, 60, "the relay did not open")
    assert [at for at, is_fed in enumerate(powered(site)) if not is_fed] == list(DEAF)
    time.sleep(10)
    assert alarms(site) >= {"RELAY_OPEN"}
    assert "MINER_UNREACHABLE" not in alarms(site)
    site.wait_until(site.judged[-1].end_ms + 2_000)
    site.agent.stop()

    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    exact = [sys.executable, "-m", "simulator", "replay", str(site.journal), "--json"]
    done = subprocess.run(exact, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [order for r in site.records("decision") for order in r["d"].get("relays", ())]
    assert [(order["relay"], order["is_open"]) for order in told] == [("k2", True)]
    seen = events(site, "k2")
    assert seen.index("tested") < seen.index("sent") < seen.index("coil_off") < seen.index("proven")
    assert not powered(site)[0]


def test_an_agent_that_is_stopped_lets_the_feed_go(site) -> None:
    """The board's own watchdog, which the agent has set because it was asked to."""
    site.start_broker()
    feeds = {1: list(range(5)), 4: list(range(5, 12))}
    site.start_farm(12, farm_with(site, feeds))
    configure(site, feeds, "watchdog_s = 3", "sets_watchdog = true")
    buy(site, [0.7], 40)
    agent = site.start_agent()
    site.wait_for(lambda: set(relays(site).values()) == {"closed"}, 30, "no relay was read")
    site.wait_until(site.judged[0].start_ms + 6_000)
    (board,) = site.truth("/v1/farm")["relays"]
    assert (board["watchdog_s"], board["timeouts"]) == (3, 0)
    assert all(powered(site))

    agent.process.send_signal(signal.SIGSTOP)
    passed_s = site.wait_for(lambda: not any(powered(site)), 8, "the feed was not let go")
    assert passed_s > 1
    assert site.truth()["machines_power_w"] == pytest.approx(0, abs=1e-6)
    agent.process.send_signal(signal.SIGCONT)
    site.wait_for(lambda: set(relays(site).values()) == {"open"}, 30, "nobody noticed")
    site.wait_for(lambda: "RELAY_OPEN" in alarms(site), 10, "no alarm says so")
    site.wait_until(site.judged[0].end_ms + 2_000)
    assert not any(powered(site))
    site.agent.stop()
    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    for name in ("k1", "k4"):
        (off,) = [
            r["d"]
            for r in site.records("relay")
            if r["d"]["event"] == "coil_off" and r["s"] == name
        ]
        assert off["words"] == "nobody here told it to"


def test_the_failsafe_takes_the_feed_of_those_who_do_not_sleep_and_of_no_others(site) -> None:
    """Machine 3 is deaf and hangs on channel 2; channel 1 has only machines that obey."""
    feeds = {1: [0, 1], 2: [2, 3]}
    site.start_farm(6, farm_with(site, feeds))
    configure(site, feeds)
    site.fault("miner_ignores", [3])
    done = subprocess.run(
        [sys.executable, "-m", "agent.failsafe", "--config", str(site.config), "--total-s", "8"],
        cwd=site.directory,
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "failsafe: relay k2 is open.\n" in done.stdout
    assert "relay k1" not in done.stdout
    site.wait_for(lambda: powered(site) == [True, True, False, False, True, True], 3, "no trip")
