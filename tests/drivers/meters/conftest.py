"""Meters that hold what registers a test gives them, behind a server that nobody here wrote."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.meters.registry import open_meter

Holdings = Mapping[int, Sequence[int]]


class Bench:
    """pymodbus' own servers with holding registers, and our drivers at them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[ModbusTcpServer] = []
        self._meters: list[Any] = []

    async def meter(
        self,
        profile: str,
        holdings: Holdings,
        *,
        text: str = "",
        serial: str | None = None,
        rated_power_w: float | None = None,
    ) -> Any:
        """A driver by its profile, of this text if there is one, at a meter with these values."""
        if text:
            (self._folder / f"{profile}.toml").write_text(text, "utf-8")
        bits = [SimData(0, values=False, count=16, datatype=DataType.BITS)]
        rows = [
            SimData(at, values=list(row), datatype=DataType.REGISTERS)
            for at, row in sorted(holdings.items())
        ]
        inputs = [SimData(0, values=[0], datatype=DataType.REGISTERS)]
        device = SimDevice(1, simdata=(bits, bits, rows, inputs))
        server = ModbusTcpServer(device, address=("127.0.0.1", 0))
        self._servers.append(server)
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
        meter = open_meter(
            f"modbus://127.0.0.1:{port}/1?profile={profile}",
            meter_id="m",
            serial=serial,
            rated_power_w=rated_power_w,
            profile_dirs=[self._folder],
        )
        self._meters.append(meter)
        return meter

    async def change(self, at: int, words: Sequence[int]) -> None:
        """Write registers of the last meter, past its driver."""
        await self._servers[-1].async_setValues(1, 16, at, list(words))

    async def close(self) -> None:
        """Drivers first, then what they talk to."""
        for meter in self._meters:
            await meter.close()
        for server in self._servers:
            await server.shutdown()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def profile_head() -> str:
    """What every profile begins with, of a meter that exists nowhere."""
    return """
title = "A meter for tests"
source = "this file"
revision = "1"
word_order = "big"
nominal_voltage_v = 230.0
refresh_s = 1.0
[block]
register_limit = 20
"""
