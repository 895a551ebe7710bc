"""One simulated Antminer, and drivers to it that are closed with the test."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from drivers.miners.antminer import AntminerMiner, AntminerReader
from drivers.miners.registry import open_miner
from simulator.antminer import AntminerFarm
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.network import Network

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PASSWORD = "hunter2"
WEB = 8080
QUICK = {
    "profile_up_s": 0.2,
    "profile_down_s": 0.2,
    "restart_gap_s": 0.05,
    "sleep_s": 0.2,
    "wake_s": 0.3,
    "reboot_s": 0.3,
}


class Hall:
    """One simulated machine, and drivers to it that are closed with the test."""

    def __init__(self, network: Network, folder: Path, stack: AsyncExitStack) -> None:
        self.network, self.farm = network, network.farm
        self._folder, self._stack = folder, stack

    @property
    def machine(self) -> Any:
        return self.farm.plant.machines[0]

    @property
    def traits(self) -> Any:
        dialect = self.network.dialects["antminer"]
        assert isinstance(dialect, AntminerFarm)
        return dialect.traits(0)

    @property
    def true_w(self) -> float:
        return float(self.machine.watts.value(self.farm.clock.now_s()))

    def miner(self, *, password: str = PASSWORD, mac: str = "") -> AntminerMiner:
        secret = self._folder / "secret"
        secret.write_text(f"{password}\n")
        return self._open(secret, mac or self.farm.labels[0].mac, AntminerMiner)

    def reader(self) -> AntminerReader:
        return self._open(None, self.farm.labels[0].mac, AntminerReader)

    def close_later(self, device: Any) -> None:
        self._stack.push_async_callback(device.close)

    def _open(self, secret: Path | None, mac: str, kind: type) -> Any:
        uri = f"antminer://{self.farm.labels[0].address}?web={WEB}"
        miner = open_miner(uri, miner_id="a", mac=mac, password_file=secret)
        self.close_later(miner)
        assert type(miner) is kind
        return miner


@pytest_asyncio.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Opens a hall of one quick machine; the arguments are the [antminer] table."""
    async with AsyncExitStack() as stack:

        async def start(model: str = "s19j-pro", **table: Any) -> Hall:
            document = {
                "addresses": {"base": NET, "web_port": WEB},
                "antminer": {"password": PASSWORD, "form_s": 0.0} | table,
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "antminer", "model": model, "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            machine.timings = replace(machine.timings, **QUICK)
            await network.open()
            stack.push_async_callback(network.close)
            return Hall(network, tmp_path, stack)

        yield start
