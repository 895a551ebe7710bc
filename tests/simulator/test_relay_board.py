"""Simulated relay boards: a stranger's client moves contactors in the plant."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError
from pymodbus.client import AsyncModbusTcpClient

from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network
from simulator.relay_board import RelayBoard
from simulator.relay_table import RelayTable

FEEDS = [{"channel": 2, "machines": [0, 1]}]
Open = Callable[..., Awaitable[tuple[Network, AsyncModbusTcpClient]]]


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Open]:
    """A farm of three machines with one board, no socket of a machine open, and a client."""
    networks: list[Network] = []
    clients: list[AsyncModbusTcpClient] = []

    async def build(**board: Any) -> tuple[Network, AsyncModbusTcpClient]:
        table = {"id": "board", "contactors": FEEDS, "drop_s": 0.0, **board}
        file = FarmFile.model_validate(
            {
                "machines": [{"model": "s21", "count": 3}],
                "meters": [{"id": "site", "port": 0, "serial": 1}],
                "relays": [table],
            }
        )
        network = Network(farm=build_farm(file, started_now()))
        await network._open_relay(network.farm.relays[0])
        networks.append(network)
        host, port = network.relay_address(0)
        client = AsyncModbusTcpClient(host, port=port, timeout=1, retries=0)
        assert await client.connect()
        clients.append(client)
        return network, client

    yield build
    for client in clients:
        client.close()
    for network in networks:
        await network.close()


def powered(network: Network) -> list[bool]:
    for _ in range(2):  # a coil that a step switches moves its contactor in the next one
        network.farm.step(network.farm.clock.now_s())
    return [machine.is_powered for machine in network.farm.plant.machines]


async def test_a_coil_that_is_written_moves_the_contactor_on_it(opened: Open) -> None:
    network, client = await opened()
    assert (await client.read_coils(0, count=6)).bits[:6] == [True] * 6
    full_w = network.farm.plant.power_w
    await client.write_coil(1, False)
    assert powered(network) == [False, False, True]
    assert network.farm.plant.power_w < full_w / 2
    await client.write_coils(0, [True, True])
    assert powered(network) == [True] * 3


async def test_what_a_board_does_not_have_it_refuses(opened: Open) -> None:
    _, client = await opened()
    for reply in (
        await client.read_coils(4, count=3),
        await client.read_coils(0, count=1, device_id=9),
        await client.read_holding_registers(931, count=20),
        await client.write_register(500, 1),
        await client.read_input_registers(0, count=1),
        await client.write_coil(6, True),
    ):
        assert reply.isError()


async def test_a_wb_mr6_that_nobody_asks_opens_and_one_that_is_asked_does_not(
    opened: Open,
) -> None:
    network, client = await opened()
    await client.write_register(8, 1)
    for _ in range(4):
        await asyncio.sleep(0.4)
        assert powered(network) == [True] * 3
        await client.read_coils(1, count=1)
    await asyncio.sleep(1.1)
    assert powered(network) == [False, False, True]


async def test_a_channel_that_is_set_to_do_nothing_stays_as_it_is(opened: Open) -> None:
    network, client = await opened(watchdog_s=1)
    await client.write_register(939, 0)
    await asyncio.sleep(1.2)
    assert powered(network) == [True] * 3
    assert network.farm.relays[0].timeouts == 1
    assert network.farm.relays[0].coils[:2] == [False, True]


async def test_a_welded_contactor_stays_in_and_drops_when_it_is_free(opened: Open) -> None:
    network, client = await opened()
    network.farm.switch_fault(FaultKind.RELAY_WELDED, [0], is_active=True, value=None)
    await client.write_coil(1, False)
    assert powered(network) == [True] * 3
    network.farm.switch_fault(FaultKind.RELAY_WELDED, [0], is_active=False, value=None)
    assert powered(network) == [False, False, True]


async def test_a_machine_that_wakes_by_itself_does_not_without_a_feed(opened: Open) -> None:
    network, client = await opened()
    farm = network.farm
    farm.act(0, lambda machine, now_s: machine.sleep(now_s=now_s))
    farm.switch_fault(FaultKind.MINER_WAKES, [0], is_active=True, value=None)
    await client.write_coil(1, False)
    farm.step(farm.clock.now_s())
    farm.step(farm.clock.now_s() + 100.0)
    assert not farm.plant.machines[0].is_awake


def test_a_board_toggles_nothing() -> None:
    moved: list[object] = []
    table = RelayTable(id="board", model="waveshare")
    board = RelayBoard(table=table, now_s=lambda: 0.0, move=lambda *what: moved.append(what))
    assert board.reply(1, b"\5\0\0\x55\0") == b"\x85\3"
    assert board.reply(1, b"\6\0\x08\0\1")[0] == 0x86
    assert moved == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "10.0.0.1"},
        {"model": "waveshare", "watchdog_s": 5},
        {"contactors": [{"channel": 7, "machines": [0]}]},
    ],
)
def test_a_board_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RelayTable.model_validate({"id": "board", **wrong})
