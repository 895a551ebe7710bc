"""A farm of two feeders and a second meter for three quarters of an hour, and the whole agent.

``feeder_day.py <directory> <where> <address>``: in the second quarter a load begins that no machine
of the configuration explains. What the agent says, of itself and by its API, goes to
``told.json``; run it in a world that leaps.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import leaping
from ports import free_port

from agent.cli import main as kwota
from agent.control_client import ask
from agent.keys import enroll
from simulator.clock import started_now
from simulator.farm import Farm, build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

REPO = Path(__file__).resolve().parents[2]
QUARTER_MS = 900_000
STRANGER, BASE_W, TAP_W = 4, 500.0, 6_000.0
ROWS = {"row-1": [0, 1], "row-2": [2, 3]}
LATER_MS = 30_000  # after a quarter's end everything in it has been weighed


def farm_file(base: str, ports: dict[str, int]) -> FarmFile:
    """Two machines on each feeder and one on none; the stranger on the second is nobody's."""
    rows = {"row-1": ("abb-b23", [0, 1]), "row-2": ("em340", [2, 3, STRANGER])}
    feeders = [
        {"id": name, "model": model, "serial": 2, "port": ports[name], "feeds": feeds}
        for name, (model, feeds) in rows.items()
    ]
    whole = [{"id": name, "serial": 1, "port": ports[name]} for name in ("site", "twin")]
    return FarmFile.model_validate(
        {
            "addresses": {"base": base, "has_web": False},
            "spread": {"reporting": 0.0, "tolerance": 0.0},
            "base_load": {"constant_w": BASE_W, "wander_w": 50.0},
            "machines": [
                {"model": "s21", "count": 4},
                {"model": "s21", "count": 1, "is_asleep": True},
                {"model": "s21", "count": 1},
            ],
            "meters": [*whole, *feeders],
        }
    )


def configured(directory: Path, farm: Farm) -> Path:
    """The agent's files, as an operator would write them. Returns its configuration."""
    enroll(directory / "log.key", "pool.example/edge/farm-edge/1")
    now_ms = farm.clock.anchor_ms
    purchase = {
        "id": "day",
        "meter_point": "mp-1",
        "start": _iso(now_ms - 60_000),
        "end": _iso(now_ms + 6 * 3_600_000),
        "energy_wh": 200_000,
        "price_kzt_per_kwh": "20.5",
        "source": "single_purchaser",
    }
    (directory / "purchases.json").write_text(json.dumps({"purchases": [purchase]}))
    path = directory / "site.toml"
    path.write_text("\n".join(_lines(farm)))
    return path


def _lines(farm: Farm) -> Iterator[str]:
    yield f"""
[site]
farm = "farm"
agent = "edge"
zone = "Asia/Almaty"
[policy]
file = {json.dumps(str(REPO / "config" / "policy.kz.toml"))}
[journal]
path = "journal.sqlite"
origin_domain = "pool.example"
key_file = "log.key"
[status]
listen = "127.0.0.1:{free_port()}"
socket = "kwota.sock"
[governor]
tick_s = 2.0
meter_stale_s = 10.0
miner_poll_s = 10.0
[purchases]
import = "purchases.json"
[[meter_points]]
id = "mp-1"
meter = "site"
reference = "twin"
rated_power_w = 40_000
base_load_max_w = 1_000
"""
    for meter in farm.file.meters:
        yield f"""
[[meters]]
id = "{meter.id}"
uri = "modbus://127.0.0.1:{meter.port}/1?profile={meter.profile}"
poll_s = 5.0
"""
        if meter.feeds:
            yield f"feeds = {json.dumps([f'm{index}' for index in ROWS[meter.id]])}"
    for label in farm.labels:
        if label.index != STRANGER:
            uri = f"luxos://{label.address}:4028"
            yield f'[[miners]]\nid = "m{label.index}"\nuri = "{uri}"\nmac = "{label.mac}"'


def begins(farm: Farm, where: str) -> None:
    """The load that nobody knows of."""
    if where == "row-2":
        farm.act(STRANGER, lambda machine, at_s: machine.wake(now_s=at_s))
    else:
        farm.switch_fault(FaultKind.BASE_LOAD, [0], is_active=True, value=BASE_W + TAP_W)


async def lived(farm: Farm, directory: Path, where: str) -> dict[str, Any]:
    """What the agent tells at the end of a calm quarter, and after two with the load."""
    network = Network(farm=farm)
    await network.open()
    try:
        api = directory / "kwota.sock"
        edge_ms = farm.clock.anchor_ms // QUARTER_MS * QUARTER_MS + QUARTER_MS
        await _until(farm, edge_ms + QUARTER_MS + LATER_MS)
        calm = await asyncio.to_thread(ask, api, "/api/v1/status")
        begins(farm, where)
        await _until(farm, edge_ms + 3 * QUARTER_MS + LATER_MS)
        late = await asyncio.to_thread(ask, api, "/api/v1/status")
    finally:
        await network.close()
    return {"calm": json.loads(calm), "late": json.loads(late), "edge_ms": edge_ms}


async def _until(farm: Farm, at_ms: int) -> None:
    await asyncio.sleep(farm.clock.s_at(at_ms) - farm.clock.now_s())


def beside(play: Callable[[], Any]) -> None:
    """Let something else run in the loop in which the agent will."""

    class Beside(type(asyncio.get_event_loop_policy())):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()
            self.playing = loop.create_task(play())
            return loop

    asyncio.set_event_loop_policy(Beside())


def main(directory: Path, where: str, base: str) -> None:
    ports = {name: free_port() for name in ("site", "twin", *ROWS)}
    farm = build_farm(farm_file(base, ports), started_now())
    config = configured(directory, farm)

    async def play() -> None:
        try:
            told = await lived(farm, directory, where)
            (directory / "told.json").write_text(json.dumps(told))
        finally:
            leaping.end()
            os.kill(os.getpid(), signal.SIGTERM)

    beside(play)
    kwota(["run", "--config", str(config)])


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
