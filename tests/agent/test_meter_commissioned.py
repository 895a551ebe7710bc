"""A purchase's meter is met on a real socket: asked for everything, and refused where it lies."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from agent.core.commissioning import Nameplate
from agent.core.samples import MeterTraits
from agent.poller import Poller
from agent.posts import MeterPost
from agent.siteclock import SiteClock
from drivers.meters.registry import open_meter

RATED_W = 100_000.0
PLATE = Nameplate(nominal_voltage_v=230.0, rated_power_w=RATED_W)
SOUND = {
    **dict.fromkeys((0, 2, 4, 42), 230.0),
    **dict.fromkeys((6, 8, 10), 88.0),
    **dict.fromkeys((12, 14, 16), 20000.0),
    0x34: 60_000.0,
    0x46: 50.0,
    0x48: 1234.56,
}


def f32(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))


def device(**inputs: float) -> SimDevice:
    image = [0] * 0x60
    for address, value in (
        SOUND | {int(at[1:], 16): watts for at, watts in inputs.items()}
    ).items():
        image[address : address + 2] = f32(value)
    holdings = {0x1E: f32(0.0), 0x28: f32(2141.0), 0xFC00: [0, 77], 0xFC03: [260]}
    bits = [SimData(0, values=False, count=16, datatype=DataType.BITS)]
    words = [SimData(at, values=it, datatype=DataType.REGISTERS) for at, it in holdings.items()]
    inputs_kept = [SimData(0, values=image, datatype=DataType.REGISTERS)]
    return SimDevice(101, simdata=(bits, bits, words, inputs_kept))


Meet = Callable[..., Awaitable[MeterPost]]


@pytest.fixture
async def meet() -> AsyncIterator[Meet]:
    """Serve a meter and poll it until it has been read once."""
    servers: list[ModbusTcpServer] = []
    posts: list[MeterPost] = []

    async def met(nameplate: Nameplate | None = PLATE, **inputs: float) -> MeterPost:
        server = ModbusTcpServer(device(**inputs), address=("127.0.0.1", 0))
        servers.append(server)
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
        address = f"modbus://127.0.0.1:{port}/101?profile=sdm630"
        meter = open_meter(address, meter_id="site", serial=None, rated_power_w=RATED_W)
        traits = MeterTraits(
            refresh_s=1.0, step_wh=10, power_error_share=0.01, rated_power_w=RATED_W
        )
        post = MeterPost(
            meter_id="site",
            address=address,
            profile="sdm630",
            poll_s=0.05,
            device=meter,
            traits=traits,
            step_wh=meter.profile.energy_step_wh,
            nameplate=nameplate,
        )
        posts.append(post)
        poller = Poller(clock=SiteClock(), meters=(post,), miners=(), miner_period_s=1.0)
        polling = asyncio.ensure_future(poller.poll_meter(post))
        async with asyncio.timeout(5):
            while post.reading is None:  # noqa: ASYNC110 - a poll tells nobody that it is over
                await asyncio.sleep(0.01)
        polling.cancel()
        return post

    yield met
    for post in posts:
        await post.device.close()
    for server in servers:
        await server.shutdown()


async def test_a_sound_meter_is_met_and_read(meet: Meet) -> None:
    post = await meet()
    assert post.is_checked
    assert post.view().refusal == ""


async def test_a_turned_transformer_is_refused_by_its_phase(meet: Meet) -> None:
    post = await meet(x0E=-20_000.0, x34=20_000.0)
    assert "on phase 2 20000 W flow out" in post.view().refusal


async def test_a_meter_that_keeps_no_purchase_is_not_held_against_anything(meet: Meet) -> None:
    post = await meet(nameplate=None, x0E=-20_000.0)
    assert post.view().refusal == ""
