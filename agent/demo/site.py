"""The files of a demonstration site: key, registry, configuration, purchases."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.keys import enroll

FARM, AGENT, DOMAIN, METER_POINT = "demo-farm", "edge-1", "pool.example", "mp-demo"
ORIGIN = f"{DOMAIN}/edge/{FARM}-{AGENT}/1"
BASE_LOAD_MAX_W = 5_000.0
LEAD_IN_S = 20
LEAD_IN_HEADROOM = 1.1
SHARES = (0.74, 0.62, 0.83, 0.68, 0.79)
CAP_WH = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One purchase of the demonstration. A lead-in or lead-out is not judged."""

    transaction_id: str
    start_ms: int
    end_ms: int
    energy_wh: int


def plan_windows(
    *, first_start_ms: int, window_s: int, count: int, full_power_w: float, first_number: int = 1
) -> list[Window]:
    """Purchases one after the other, each a part of what the farm could burn, never the same."""
    windows = []
    for number in range(first_number, first_number + count):
        share = SHARES[(number - 1) % len(SHARES)]
        start_ms = first_start_ms + (number - first_number) * window_s * 1000
        energy_wh = min(int(full_power_w * window_s / 3600 * share), CAP_WH)
        windows.append(
            Window(
                transaction_id=f"demo-{number:04d}",
                start_ms=start_ms,
                end_ms=start_ms + window_s * 1000,
                energy_wh=energy_wh,
            )
        )
    return windows


def lead_in(*, start_ms: int, full_power_w: float, length_s: int = LEAD_IN_S) -> Window:
    """A purchase for the seconds in which everything comes up: the machines are hashing already."""
    energy_wh = min(int(full_power_w * length_s / 3600 * LEAD_IN_HEADROOM), CAP_WH)
    return Window(
        transaction_id="demo-lead-in",
        start_ms=start_ms,
        end_ms=start_ms + length_s * 1000,
        energy_wh=energy_wh,
    )


def purchases_json(windows: list[Window]) -> bytes:
    """Purchases as ``kwota transactions import`` takes them."""
    rows = [
        {
            "id": window.transaction_id,
            "meter_point": METER_POINT,
            "start": _iso(window.start_ms),
            "end": _iso(window.end_ms),
            "energy_wh": window.energy_wh,
            "price_kzt_per_kwh": f"{random.Random(window.start_ms).uniform(18, 26):.2f}",  # noqa: S311
            "source": "single_purchaser",
        }
        for window in windows
    ]
    return json.dumps({"purchases": rows}).encode()


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def write_key(directory: Path) -> None:
    """A fresh key of the agent, made known to the pool."""
    enrolment = enroll(directory / "log.key", ORIGIN)
    registry = directory / "pool" / "registry.json"
    registry.parent.mkdir(exist_ok=True)
    registry.write_text(json.dumps({f"{FARM}/{AGENT}": enrolment.vkey}))


def write_config(
    directory: Path,
    *,
    ready: Mapping[str, Any],
    broker: str,
    policy: Path,
    page_port: int,
    full_power_w: float,
    mqtt_version: str = "5",
) -> Path:
    """The agent's configuration for the simulated farm. Returns its path."""
    meter = ready["meters"][0]
    lines = [
        "# Written by `kwota demo` for one run.",
        "[site]",
        f'farm = "{FARM}"',
        f'agent = "{AGENT}"',
        'zone = "Asia/Almaty"',
        "[policy]",
        f"file = {json.dumps(str(policy))}",
        "[journal]",
        f'path = "{directory}/journal.sqlite"',
        f'origin_domain = "{DOMAIN}"',
        'key_file = "log.key"',
        "[mqtt]",
        f'brokers = ["{broker}"]',
        f'version = "{mqtt_version}"',
        'pool_vkey_file = "pool/pool.vkey"',
        'pool_signing_vkey_file = "pool/signing.vkey"',
        "[status]",
        f'listen = "127.0.0.1:{page_port}"',
        'socket = "kwota.sock"',
        "[governor]",
        "miner_poll_s = 2.0",
        "[purchases]",
        'import = "purchases.json"',
        "[[meter_points]]",
        f'id = "{METER_POINT}"',
        f"rated_power_w = {round(full_power_w * 1.25)}",
        f"base_load_max_w = {round(BASE_LOAD_MAX_W)}",
        "[[meters]]",
        'id = "site"',
        f'uri = "modbus://{meter["address"]}/{meter["unit"]}?profile={meter["profile"]}"',
        f'serial = "{meter["serial"]}"',
        "poll_s = 0.5",
    ]
    for place, machine in enumerate(ready["machines"]):
        lines += [
            "[[miners]]",
            f'id = "r{place // 20 + 1}-s{place % 20 + 1:02d}"',
            f'uri = "{machine["uri"]}"',
            f'mac = "{machine["mac"]}"',
        ]
        if machine["password"] is not None:
            secret = directory / f"{machine['family']}.password"
            secret.touch(mode=0o600)
            secret.write_text(f"{machine['password']}\n")
            lines.append(f'password_file = "{secret.name}"')
    path = directory / "site.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
