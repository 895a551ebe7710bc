"""A meter's own output as the last resort: our driver and a stranger at the simulated one."""

import asyncio

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.errors import RefusedError, UnsupportedError
from drivers.relays.registry import open_board, open_relay
from drivers.relays.relay import Guard

OUTPUT = {
    "id": "meter",
    "model": "pac3200-output",
    "drop_s": 0.0,
    "contactors": [{"channel": 1, "machines": [0, 1]}],
}


def powered(site) -> list[bool]:
    for _ in range(2):  # the contactor follows in the step after its coil
        site.farm.step(site.farm.clock.now_s())
    return [machine.is_powered for machine in site.farm.plant.machines]


def uri_of(site) -> str:
    host, port = site.network.relay_address(0)
    return f"modbus://{host}:{port}/1?profile=pac3200-output"


async def test_our_driver_opens_and_closes_the_feed_and_reads_the_output_back(open_site) -> None:
    site = await open_site(relays=[OUTPUT])
    relay = open_relay(uri_of(site), relay_id="row", channel=1)
    board = site.farm.relays[0]
    assert (await relay.read()).is_energised
    for is_closed in (False, False, True, True, False):
        await relay.switch(is_closed=is_closed)
        reading = await relay.read()
        assert reading.is_energised is is_closed
        assert reading.requested_at_s <= reading.replied_at_s
        assert powered(site) == [is_closed, is_closed, True]
    assert board.writes == 5  # told twice, it is where it was told: nothing toggles
    await relay.close()


async def test_it_is_looked_at_without_being_written(open_site) -> None:
    site = await open_site(relays=[OUTPUT])
    board = open_board(uri_of(site))
    seen = await board.read()
    await board.close()
    assert [(one.channel, one.is_on) for one in seen.channels] == [(1, True)]
    assert (seen.watchdog_s, seen.settings) == (None, ())
    assert site.farm.relays[0].writes == 0


async def test_it_does_not_open_by_itself_and_says_so(open_site) -> None:
    site = await open_site(relays=[OUTPUT])
    relay = open_relay(uri_of(site), relay_id="row", channel=1, guard=Guard(after_s=10))
    with pytest.raises(UnsupportedError, match="does not open by itself"):
        await relay.check_guard()
    with pytest.raises(ValueError, match="channels 1 to 1"):
        open_relay(uri_of(site), relay_id="row", channel=2)
    await relay.close()


@pytest.mark.strangers
async def test_a_stranger_switches_it_by_one_register_and_nothing_else(open_site) -> None:
    site = await open_site(relays=[OUTPUT])
    host, port = site.network.relay_address(0)
    client = AsyncModbusTcpClient(host, port=port, retries=0)
    async with asyncio.timeout(5.0):
        assert await client.connect()
        assert not (await client.write_register(60008, 0x0000, device_id=1)).isError()
        status = await client.read_holding_registers(207, count=2, device_id=1)
        assert status.registers == [0, 0]
        assert powered(site) == [False, False, True]
        for address, value in ((60008, 0x0100), (60008, 2), (60004, 0)):
            assert (await client.write_register(address, value, device_id=1)).isError()
        assert (await client.read_holding_registers(207, count=1, device_id=1)).isError()
        assert (await client.read_coils(0, count=1, device_id=1)).isError()
        assert not (await client.write_register(60008, 0x0001, device_id=1)).isError()
        assert powered(site) == [True, True, True]
    client.close()


async def test_a_refused_switch_is_refused_and_no_success(open_site) -> None:
    site = await open_site(relays=[{**OUTPUT, "model": "kmtronic"}])
    relay = open_relay(uri_of(site), relay_id="row", channel=1)
    with pytest.raises(RefusedError):
        await relay.switch(is_closed=False)
    await relay.close()
    assert powered(site) == [True, True, True]
