"""The bus on serial lines with real timing: a pty, a gateway for one client, RFC 2217."""

import asyncio
import random
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from agent.pace import Pace, Ticks
from drivers.errors import BadReplyError, DriverError, UnreachableError
from drivers.link.endpoint import Endpoint, SerialEndpoint
from drivers.link.modbus import ModbusBus, Rank, ReadRequest, Timing
from drivers.link.turns import now_s
from simulator.serial_bus import BusUnit, PtyPort, SerialBus, open_gateway

BAUD = 9600
TIMING = Timing(connect_s=1.0, answer_s=0.8, quiet_s=0.7)
LOOKALIKES = (1, 2, 3, 4, 5, 6, 15, 16, 17, 23, 43, 131)


def own(unit: int):
    def registers(_function: int, address: int, count: int) -> bytes:
        return struct.pack(
            f">{count}H", *(256 * unit + at for at in range(address, address + count))
        )

    return registers


def bus_of(*units: int, **settings: object) -> SerialBus:
    turnaround_s = 0.005
    meters = {unit: BusUnit(registers=own(unit), turnaround_s=turnaround_s) for unit in units}
    return SerialBus(units=meters, **{"baud": 115_200, **settings})


def four(unit: int) -> ReadRequest:
    return ReadRequest(unit=unit, function=4, address=10, count=4)


def right(unit: int) -> tuple[int, ...]:
    return tuple(256 * unit + at for at in range(10, 14))


@pytest.fixture
async def plugged() -> AsyncIterator:
    ports: list[PtyPort] = []
    buses: list[ModbusBus] = []

    def plug(line: SerialBus) -> ModbusBus:
        ports.append(PtyPort(line))
        ports[-1].open()
        buses.append(ModbusBus(SerialEndpoint(path=ports[-1].path, baud=line.baud)))
        return buses[-1]

    plug.ports = ports
    yield plug
    for bus in buses:
        bus.close()
    for port in ports:
        port.close()


async def test_units_of_a_serial_line_are_read(plugged) -> None:
    bus = plugged(bus_of(1, 2, 247))
    for unit in (1, 2, 247, 1):
        assert (await bus.read(four(unit), TIMING)).registers == right(unit)


async def test_a_reply_takes_as_long_as_its_bytes(plugged) -> None:
    bus = plugged(bus_of(1, baud=BAUD))
    request = ReadRequest(unit=1, function=4, address=0x34, count=22)
    read = await bus.read(request, TIMING)
    # 8 bytes, 3.5 of silence, 49 bytes at 960 a second, 5 ms to think.
    assert 0.065 < read.replied_at_s - read.requested_at_s < 0.12


@pytest.mark.parametrize("noise", [b"\0", b"\xff\x01", b"\x03\x03", b"\x01\x04\x08"])
@pytest.mark.parametrize("unit", LOOKALIKES)
async def test_noise_in_front_of_a_reply_costs_nothing_whatever_the_unit_is_called(
    plugged, noise: bytes, unit: int
) -> None:
    line = bus_of(unit)
    line.units[unit].noise = noise
    bus = plugged(line)
    assert (await bus.read(four(unit), TIMING)).registers == right(unit)


async def test_an_adapter_that_hands_back_what_is_sent_is_understood(plugged) -> None:
    bus = plugged(bus_of(1, has_echo=True))
    for _ in range(3):
        assert (await bus.read(four(1), TIMING)).registers == right(1)


async def test_a_slow_reply_of_one_unit_is_never_anothers(plugged) -> None:
    """Unit 1 answers after its time-out, in the middle of what is asked of unit 2."""
    line = bus_of(1, 2)
    line.units[1].turnaround_s = 0.13
    bus = plugged(line)
    timing = Timing(connect_s=1.0, answer_s=0.1, quiet_s=0.1, unit_gap_s=0.0)
    values, rounds = [], 0
    # Where this process is kept from its processor, two requests may reach the line as one.
    while line.units[1].requests < 10 and rounds < 30:
        rounds += 1
        for unit in (1, 2):
            try:
                values.append((unit, (await bus.read(four(unit), timing)).registers))
            except DriverError:
                bus._units[unit].misses = 0
    assert all(registers == right(unit) for unit, registers in values)
    assert line.units[1].requests == 10
    assert len(values) < 2 * rounds


async def test_an_adapter_that_is_unplugged_is_unreachable_at_once_and_says_what_to_check(
    plugged,
) -> None:
    bus = plugged(bus_of(1))
    await bus.read(four(1), TIMING)
    port = plugged.ports.pop()
    port.close()
    began_s = time.monotonic()
    for _ in range(2):
        with pytest.raises(UnreachableError):
            await bus.read(four(1), TIMING)
    with pytest.raises(UnreachableError, match="cannot be opened"):
        await bus.read(four(1), TIMING)
    assert time.monotonic() - began_s < 0.7


async def test_a_path_without_its_unit_is_a_directory_and_says_so() -> None:
    bus = ModbusBus(SerialEndpoint(path="/dev/pts"))
    with pytest.raises(UnreachableError, match="cannot be opened"):
        await bus.read(four(1), TIMING)


async def test_a_second_program_does_not_get_the_port(plugged) -> None:
    first = plugged(bus_of(1))
    await first.read(four(1), TIMING)
    second = ModbusBus(SerialEndpoint(path=plugged.ports[0].path, baud=115_200))
    with pytest.raises(UnreachableError, match="no other program"):
        await second.read(four(1), TIMING)


async def test_a_gateway_for_one_client_is_reconnected_to_after_a_time_out() -> None:
    line = bus_of(1, 2)
    line.units[2].is_dead = True
    server = await open_gateway(line)
    port = server.sockets[0].getsockname()[1]
    bus = ModbusBus(Endpoint(host="127.0.0.1", port=port, is_rtu=True))
    timing = Timing(connect_s=1.0, answer_s=0.1, quiet_s=0.05)
    for _ in range(3):
        assert (await bus.read(four(1), timing)).registers == right(1)
        with pytest.raises(UnreachableError):
            await bus.read(four(2), timing)
    bus.close()
    server.close()


async def test_several_hosts_are_asked_side_by_side() -> None:
    lines = [bus_of(1) for _ in range(4)]
    for line in lines:
        line.units[1].turnaround_s = 0.2
    servers = [await open_gateway(line) for line in lines]
    buses = [
        ModbusBus(Endpoint(host="127.0.0.1", port=server.sockets[0].getsockname()[1], is_rtu=True))
        for server in servers
    ]
    began_s = time.monotonic()
    await asyncio.gather(*(bus.read(four(1), TIMING) for bus in buses))
    assert time.monotonic() - began_s < 0.5
    for bus, server in zip(buses, servers, strict=True):
        bus.close()
        server.close()


async def test_a_silent_unit_costs_one_time_out_per_pause(plugged) -> None:
    line = bus_of(1, 2)
    line.units[2].is_dead = True
    bus = plugged(line)
    timing = Timing(connect_s=1.0, answer_s=0.05, quiet_s=0.02)
    began_s = time.monotonic()
    while time.monotonic() - began_s < 1.2:
        with pytest.raises(UnreachableError):
            await bus.read(four(2), timing)
        await asyncio.sleep(0.02)
    assert line.units[2].requests in {3, 4}  # three to learn it, one after a second
    line.units[2].is_dead = False
    bus._units[2]._paused_until_s = 0.0
    assert (await bus.read(four(2), timing)).registers == right(2)


async def test_noise_without_end_is_a_bad_reply(plugged) -> None:
    line = bus_of(1)
    line.units[1].noise = b"\x55" * 40
    bus = plugged(line)
    with pytest.raises(BadReplyError):
        await bus.read(four(1), TIMING)


@dataclass
class Watched:
    """How old a unit's readings were when the next one came, and at the ticks."""

    ages_s: list[float] = field(default_factory=list)
    at_ticks_s: list[float] = field(default_factory=list)
    newest_s: float | None = None


async def tick(ticks: Ticks, watched: Watched) -> None:
    """Once a second, a little late as a loop is."""
    while True:
        await asyncio.sleep(1.0)
        ticks.note(time.monotonic())
        if watched.newest_s is not None:
            watched.at_ticks_s.append(now_s() - watched.newest_s)


async def poll(bus: ModbusBus, unit: int, rank: Rank, watched: Watched, ticks: Ticks) -> None:
    """Ask as the poller does: the meter of a purchase just before the ticks."""
    request = ReadRequest(unit=unit, function=4, address=0x34, count=22)
    pace = Pace(poll_s=0.5 if rank is Rank.BUDGET else 2.0)
    while True:
        began_s = time.monotonic()
        try:
            read = await bus.read(request, TIMING, rank)
        except DriverError:
            pass
        else:
            assert read.registers == tuple(256 * unit + at for at in range(0x34, 0x4A))
            if watched.newest_s is not None:
                watched.ages_s.append(read.replied_at_s - watched.newest_s)
            watched.newest_s = read.requested_at_s
        next_s = pace.next_s(began_s, time.monotonic(), ticks, random.random())
        await asyncio.sleep(max(next_s - time.monotonic(), 0.02))


async def test_a_budget_meter_among_twenty_at_9600_baud_stays_young_while_three_are_dead(
    plugged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.link.turns.PATIENCE_S", 1.0)  # what otherwise takes a minute
    line = bus_of(*range(101, 121), baud=BAUD)
    for meter in line.units.values():
        meter.turnaround_s = 0.04
    for unit in (105, 109, 113):
        line.units[unit].is_dead = True
    bus = plugged(line)
    watched = {unit: Watched() for unit in line.units}
    ticks, nobody_ticks = Ticks(), Ticks()
    ranks = dict.fromkeys(line.units, Rank.OTHER) | {120: Rank.BUDGET}
    stalls = [0.0]

    async def all_of_them() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(watch(stalls))
            group.create_task(tick(ticks, watched[120]))
            for unit, rank in ranks.items():
                told = ticks if rank is Rank.BUDGET else nobody_ticks
                group.create_task(poll(bus, unit, rank, watched[unit], told))

    with pytest.raises(TimeoutError):
        await all_of_them()
    ages_s, at_ticks_s = watched[120].ages_s, watched[120].at_ticks_s
    assert len(ages_s) >= 10
    # What this process was kept from its processor is no matter of the bus.
    assert max(*ages_s, *at_ticks_s) <= 1.0 + max(stalls)
    assert [line.units[unit].requests for unit in (105, 109, 113)] <= [4, 4, 4]
    assert sum(line.units[unit].requests for unit in ranks) - len(ages_s) >= 12


async def watch(stalls: list[float]) -> None:
    """How much later than asked for the loop comes back."""
    while True:
        began_s = time.monotonic()
        await asyncio.sleep(0.01)
        stalls.append(time.monotonic() - began_s - 0.01)
