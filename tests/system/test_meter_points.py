"""Two farms at two meter points under one agent: one has bought far too little, one enough."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.demo.child import start_python
from agent.demo.site import BASE_LOAD_MAX_W, Window, plan_windows, purchases_json

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

RICH, POOR = "mp-demo", "mp-poor"
METERS = {RICH: "site", POOR: "poor"}
WINDOW_S = 30
FARM = Path(__file__).resolve().parents[2] / "simulator" / "farms" / "demo.toml"


@dataclass
class Neighbour:
    """A second farm beside the test's own; what it says of itself is true."""

    ready: dict[str, Any]

    def truth(self, path: str = "/v1/truth") -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.ready['control_url']}{path}", timeout=5) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
        return answer


def start_neighbour(site, miners: int) -> Neighbour:
    """The second farm: other machines, another meter, no pool of its own."""
    ready = site.directory / "poor.json"
    farm = site.stack.enter_context(
        start_python(
            site.directory,
            "poor",
            *("-m", "simulator", "serve", str(FARM), "--seed", "2"),
            *("--miners", str(miners), "--meter-port", "0", "--exit-with-parent"),
            *("--address-base", "free", "--ready-file", str(ready)),
        )
    )
    farm.wait_for(ready.exists, 60.0, "the second farm did not come up")
    return Neighbour(json.loads(ready.read_text()))


def join(site, poor: Neighbour, rated_power_w: int) -> None:
    """One configuration for both farms."""
    site.change_config(f'id = "{RICH}"\n', f'id = "{RICH}"\nmeter = "site"\n')
    text = site.config.read_text().replace("[[miners]]\n", f'[[miners]]\nmeter_point = "{RICH}"\n')
    meter = poor.ready["meters"][0]
    lines = [
        "[[meter_points]]",
        f'id = "{POOR}"',
        'meter = "poor"',
        f"rated_power_w = {rated_power_w}",
        f"base_load_max_w = {round(BASE_LOAD_MAX_W)}",
        "[[meters]]",
        'id = "poor"',
        f'uri = "modbus://{meter["address"]}/{meter["unit"]}?profile={meter["profile"]}"',
    ]
    for place, machine in enumerate(poor.ready["machines"]):
        lines += [
            "[[miners]]",
            f'id = "poor-{place}"',
            f'meter_point = "{POOR}"',
            f'uri = "luxos://{machine["address"]}:{machine["port"]}"',
            f'mac = "{machine["mac"]}"',
        ]
    site.config.write_text("\n".join([text, *lines, ""]))


def buy(site, poor_windows: list[Window]) -> None:
    """The purchases of both points in one file."""
    document = json.loads((site.directory / "purchases.json").read_text())
    rows = json.loads(purchases_json(poor_windows))["purchases"]
    document["purchases"] += [
        {**row, "id": f"poor-{row['id']}", "meter_point": POOR} for row in rows
    ]
    (site.directory / "purchases.json").write_text(json.dumps(document))


def modes(site) -> dict[str, str]:
    return {row["meter_point"]: row["mode"] for row in site.api("status")["meter_points"]}


def allocated(site) -> dict[str, int]:
    rows = site.api("transactions")
    return {
        point: sum(row["allocated_wh"] for row in rows if row["meter_point"] == point)
        for point in METERS
    }


def books_of(site, point: str) -> dict[str, Any]:
    """Where the books of a point stand at last, after checking that its statements add up."""
    states = [
        record["d"]
        for record in site.records("ledger")
        if record["s"] == point and record["d"]["event"] == "state"
    ]
    last = states[-1]
    parts = [record["d"] for record in site.records("statement") if record["s"] == point]
    parts += [last["quarter"]] if last["quarter"] else []
    for key in ("metered_wh", "unknown_wh", "allocated_wh", "over_wh"):
        assert sum(part[key] for part in parts) == last[key], (point, key)
    whole = last["metered_wh"] + last["unknown_wh"]
    assert whole == last["allocated_wh"] + last["over_wh"]
    return last


def start_both(site) -> tuple[Neighbour, float]:
    """Farms, purchases and the agent; the second farm with its full power.

    A tenth of that is less than its base load alone, and after its one purchase comes nothing.
    """
    site.start_broker()
    site.start_farm(10)
    poor = start_neighbour(site, 8)
    full_w = float(poor.truth()["power_w"])
    join(site, poor, round(full_w * 1.25))
    site.buy(count=2, window_s=WINDOW_S, lead_in_s=12)
    start_ms = site.windows[0].start_ms
    buy(
        site,
        plan_windows(
            first_start_ms=start_ms,
            window_s=(site.judged[0].end_ms - start_ms) // 1000,
            count=1,
            full_power_w=full_w * 0.1,
        ),
    )
    site.start_agent()
    return poor, full_w


def kill_and_restart(site) -> None:
    """Both points go on from what the journal has of each."""
    before = allocated(site)
    site.agent.process.send_signal(signal.SIGKILL)
    site.agent.process.wait()
    site.agent = None
    site.start_agent()
    site.wait_for(lambda: modes(site)[RICH] == "following", 20, "it did not go on")
    after = allocated(site)
    assert all(after[point] >= before[point] > 0 for point in METERS)


def assert_a_limit_names_its_point(site) -> None:
    words = ("limit", "set", "--kw", "1", "--for", "1m", "--reason", "none")
    refused = site.kwota(*words)
    assert refused.returncode == 2
    assert f"one of {RICH}, {POOR}" in refused.stderr
    assert site.kwota(*words, "--meter-point", POOR).returncode == 0

    def is_told() -> bool:
        rows = [row for row in site.api("status")["limits"] if row["id"] == "manual-1"]
        return [row["meter_point"] for row in rows] == [POOR]

    site.wait_for(is_told, 5, "the limit is not in the list")
    assert POOR in site.kwota("limit", "list").stdout


def test_a_point_that_has_bought_too_little_costs_the_other_nothing(site) -> None:
    poor, full_w = start_both(site)
    first = site.judged[0]
    site.wait_until(first.start_ms + 12_000)
    site.wait_for(
        lambda: site.truth()["power_w"] > 0.4 * site.full_power_w, 12, "the rich point stands still"
    )
    assert poor.truth()["power_w"] < 0.35 * full_w
    assert modes(site)[RICH] == "following"
    assert modes(site)[POOR] in ("shedding", "no_purchase")
    assert site.api("status")["because"]["words"].startswith(f"{POOR}: ")
    kill_and_restart(site)

    site.wait_until(first.end_ms + 15_000)
    assert modes(site) == {RICH: "following", POOR: "no_purchase"}
    assert poor.truth()["power_w"] < 0.35 * full_w
    assert site.truth()["power_w"] > 0.3 * site.full_power_w
    assert_a_limit_names_its_point(site)

    site.wait_until(site.judged[-1].end_ms + 3_000)
    site.agent.stop()
    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    rich, short = books_of(site, RICH), books_of(site, POOR)
    assert rich["allocated_wh"] > 10 * short["allocated_wh"] > 0
    assert short["over_wh"] > 0  # its base load alone is more than was bought: told, not hidden
    assert_metered_is_true(site, RICH, site.truth)
    assert_metered_is_true(site, POOR, poor.truth)
    assert_replayed(site)


def assert_metered_is_true(site, point: str, truth: Callable[[str], dict[str, Any]]) -> None:
    """What a point's meter records grow by is what truly flowed at its own farm."""
    readings = [r for r in site.records("meter") if r["s"] == METERS[point]]
    ends_ms = (readings[-1]["t"] // 1000, readings[0]["t"] // 1000)
    last_wh, first_wh = (truth(f"/v1/truth/energy?at_ms={at}")["energy_wh"] for at in ends_ms)
    shown_wh = readings[-1]["d"]["energy_import_wh"] - readings[0]["d"]["energy_import_wh"]
    assert shown_wh == pytest.approx(last_wh - first_wh, abs=60)


def assert_replayed(site) -> None:
    """Both points are decided again to the last bit, each by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "simulator", "replay", str(site.journal), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    points = json.loads(done.stdout)["meter_points"]
    assert set(points) == set(METERS)
    assert all(counts["ticks"] > 60 and counts["boots"] == 2 for counts in points.values())
