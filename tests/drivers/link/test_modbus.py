"""The bus against peers that misbehave in every way seen in the field."""

import asyncio
import logging
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from drivers.errors import BadReplyError, BusyError, DriverError, UnreachableError
from drivers.link.modbus import (
    BusRack,
    Endpoint,
    ModbusBus,
    ReadRequest,
    RegisterRefusedError,
    Timing,
)

Listen = Callable[[Any], Awaitable[int]]
Reply = Callable[[int, int, int, int, int], bytes]

QUICK = Timing(connect_s=1.0, answer_s=0.1, quiet_s=0.05)
FOUR = ReadRequest(unit=1, function=4, address=10, count=4)


def frame(tid: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


def right(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    """Each register holds its own address."""
    words = struct.pack(f">{count}H", *range(address, address + count))
    return frame(tid, unit, struct.pack(">BB", function, 2 * count) + words)


def registers_of(request: ReadRequest) -> tuple[int, ...]:
    return tuple(range(request.address, request.address + request.count))


async def requests(
    reader: asyncio.StreamReader,
) -> AsyncIterator[tuple[int, int, int, int, int]]:
    while True:
        try:
            head = await reader.readexactly(12)
        except asyncio.IncompleteReadError:
            return
        tid, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
        yield tid, unit, function, address, count


def answering(reply: Reply) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for request in requests(reader):
            writer.write(reply(*request))
            await writer.drain()

    return serve


def bus_at(port: int, *, is_rtu: bool = False) -> ModbusBus:
    return ModbusBus(Endpoint(host="127.0.0.1", port=port, is_rtu=is_rtu))


@pytest.fixture
async def bus_to(listen: Listen) -> AsyncIterator[Callable[[Any], Awaitable[ModbusBus]]]:
    opened: list[ModbusBus] = []

    async def open_bus(handler: Any) -> ModbusBus:
        opened.append(bus_at(await listen(handler)))
        return opened[-1]

    yield open_bus
    for bus in opened:
        bus.close()


@pytest.mark.parametrize("function", [3, 4])
async def test_registers_arrive_with_their_times(bus_to: Any, function: int) -> None:
    bus = await bus_to(answering(right))
    request = ReadRequest(unit=7, function=function, address=0x48, count=2)
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    read = await bus.read(request, QUICK)
    assert read.registers == (0x48, 0x49)
    assert before_s <= read.requested_at_s <= read.replied_at_s


async def test_one_connection_serves_many_reads(bus_to: Any) -> None:
    connections = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(right)(reader, writer)

    bus = await bus_to(counts)
    for address in range(30):
        request = ReadRequest(unit=1, function=4, address=address, count=2)
        assert (await bus.read(request, QUICK)).registers == registers_of(request)
    assert connections == 1


def wrong_unit(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return right(tid, unit + 1, function, address, count)


def wrong_function(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return right(tid, unit, 7 - function, address, count)


def too_few(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return right(tid, unit, function, address, count - 2)


def too_many(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return right(tid, unit, function, address, count + 2)


def twice(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return 2 * right(tid, unit, function, address, count)


def wrong_tid(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return right(tid + 1, unit, function, address, count)


def no_modbus(*_: int) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\n\r\n"


def rtu_bytes(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
    return right(tid, unit, function, address, count)[6:] + b"\x12\x34"


def unknown_code(tid: int, unit: int, function: int, *_: int) -> bytes:
    return frame(tid, unit, bytes((function | 0x80, 0)))


@pytest.mark.parametrize(
    "reply",
    [
        wrong_unit,
        wrong_function,
        too_few,
        too_many,
        twice,
        wrong_tid,
        no_modbus,
        rtu_bytes,
        unknown_code,
    ],
)
async def test_a_reply_to_something_else_is_bad_and_the_connection_is_new_afterwards(
    bus_to: Any, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="asyncio")  # pymodbus may raise in its protocol
    replies = [reply, right]
    connections = 0

    async def wrong_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(replies[connections - 1])(reader, writer)

    bus = await bus_to(wrong_once)
    with pytest.raises(BadReplyError):
        await bus.read(FOUR, QUICK)
    assert (await bus.read(FOUR, QUICK)).registers == registers_of(FOUR)
    assert connections == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1, RegisterRefusedError),
        (2, RegisterRefusedError),
        (3, RegisterRefusedError),
        (4, RegisterRefusedError),
        (5, BusyError),
        (6, BusyError),
        (0x0A, UnreachableError),
        (0x0B, UnreachableError),
        (0x55, BadReplyError),
    ],
)
async def test_each_exception_code_has_its_error(
    bus_to: Any, code: int, error: type[DriverError]
) -> None:
    def refuse(tid: int, unit: int, function: int, *_: int) -> bytes:
        return frame(tid, unit, bytes((function | 0x80, code)))

    bus = await bus_to(answering(refuse))
    with pytest.raises(DriverError) as caught:
        await bus.read(FOUR, QUICK)
    assert type(caught.value) is error
    if isinstance(caught.value, RegisterRefusedError):
        assert caught.value.is_absence is (code in {1, 2, 3})


async def test_a_refusal_is_an_answer_and_costs_no_quiet_time(bus_to: Any) -> None:
    bus = await bus_to(answering(lambda tid, unit, function, *_: frame(tid, unit, b"\x84\x02")))
    began_s = time.monotonic()
    for _ in range(5):
        with pytest.raises(RegisterRefusedError):
            await bus.read(FOUR, Timing(quiet_s=5.0))
    assert time.monotonic() - began_s < 1.0


async def test_silence_is_unreachable_within_the_answer_time(bus_to: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    bus = await bus_to(silent)
    began_s = time.monotonic()
    with pytest.raises(UnreachableError, match=r"did not answer within 0\.1 s"):
        await bus.read(FOUR, QUICK)
    assert 0.09 < time.monotonic() - began_s < 0.5


async def test_no_connection_is_unreachable_and_a_later_read_tries_again(listen: Listen) -> None:
    bus = bus_at(1)
    for _ in range(2):
        with pytest.raises(UnreachableError, match="No connection"):
            await bus.read(FOUR, Timing(connect_s=0.5, quiet_s=0.0))


async def test_a_connection_that_is_not_accepted_in_time_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(15)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(UnreachableError, match="No connection"):
        await bus_at(1).read(FOUR, Timing(connect_s=0.1))


async def test_a_peer_that_restarts_is_read_again(bus_to: Any) -> None:
    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for request in requests(reader):
            writer.write(right(*request))
            await writer.drain()
            return

    bus = await bus_to(one_each)
    for _ in range(3):
        assert (await bus.read(FOUR, QUICK)).registers == registers_of(FOUR)
        await asyncio.sleep(0.02)


async def test_bytes_that_nobody_asked_for_make_a_new_connection(bus_to: Any) -> None:
    connections = 0

    async def chatters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        async for request in requests(reader):
            writer.write(right(*request))
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(right(0, 1, 4, 99, 4))

    bus = await bus_to(chatters)
    for _ in range(3):
        assert (await bus.read(FOUR, QUICK)).registers == registers_of(FOUR)
        await asyncio.sleep(0.05)
    assert connections == 3


async def test_a_unit_that_needs_a_pause_gets_it(bus_to: Any) -> None:
    bus = await bus_to(answering(right))
    timing = Timing(answer_s=0.5, gap_s=0.1)
    began_s = time.monotonic()
    for _ in range(3):
        await bus.read(FOUR, timing)
    assert time.monotonic() - began_s >= 0.2


async def test_concurrent_reads_of_several_units_never_mix(bus_to: Any) -> None:
    def own(tid: int, unit: int, function: int, address: int, count: int) -> bytes:
        words = struct.pack(f">{count}H", *[1000 * unit + address] * count)
        return frame(tid, unit, struct.pack(">BB", function, 2 * count) + words)

    bus = await bus_to(answering(own))

    async def read(unit: int, address: int) -> None:
        request = ReadRequest(unit=unit, function=4, address=address, count=2)
        timing = Timing(answer_s=2.0)
        assert (await bus.read(request, timing)).registers == (1000 * unit + address,) * 2

    await asyncio.gather(*(read(unit, address) for unit in range(1, 6) for address in range(10)))


async def test_units_of_one_endpoint_share_a_bus_and_the_last_closes_it(listen: Listen) -> None:
    connections = closed = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, closed
        connections += 1
        await answering(right)(reader, writer)
        closed += 1

    rack = BusRack()
    endpoint = Endpoint(host="127.0.0.1", port=await listen(counts))
    first, second = rack.lease(endpoint), rack.lease(endpoint)
    await first.read(FOUR, QUICK)
    await second.read(FOUR, QUICK)
    assert connections == 1
    first.close()
    first.close()
    await second.read(FOUR, QUICK)
    with pytest.raises(UnreachableError, match="closed"):
        await first.read(FOUR, QUICK)
    second.close()
    await asyncio.sleep(0.05)
    assert (connections, closed) == (1, 1)
    third = rack.lease(endpoint)
    await third.read(FOUR, QUICK)
    third.close()
    assert connections == 2


async def test_one_port_speaks_one_protocol() -> None:
    rack = BusRack()
    rack.lease(Endpoint(host="10.0.0.1", port=502))
    with pytest.raises(ValueError, match="one port speaks one"):
        rack.lease(Endpoint(host="10.0.0.1", port=502, is_rtu=True))


@pytest.mark.parametrize(("function", "count"), [(6, 2), (4, 0), (4, 126)])
def test_only_reads_of_registers_can_be_asked(function: int, count: int) -> None:
    with pytest.raises(ValueError, match="not a read"):
        ReadRequest(unit=1, function=function, address=0, count=count)


def crc(data: bytes) -> bytes:
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


async def test_rtu_frames_over_tcp_are_spoken(listen: Listen) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(8):
            unit, function, address, count = struct.unpack(">BBHH", request[:6])
            assert crc(request[:6]) == request[6:]
            body = right(0, unit, function, address, count)[6:]
            writer.write(body + crc(body))

    bus = bus_at(await listen(serve), is_rtu=True)
    request = ReadRequest(unit=101, function=4, address=0x48, count=2)
    assert (await bus.read(request, QUICK)).registers == (0x48, 0x49)
    bus.close()


@pytest.mark.parametrize("reply", [too_few, too_many, wrong_function])
async def test_rtu_frames_have_only_their_content_to_tell_whose_they_are(
    listen: Listen, reply: Reply
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(8):
            unit, function, address, count = struct.unpack(">BBHH", request[:6])
            body = reply(0, unit, function, address, count)[6:]
            writer.write(body + crc(body))

    bus = bus_at(await listen(serve), is_rtu=True)
    with pytest.raises(BadReplyError, match="instead of"):
        await bus.read(ReadRequest(unit=101, function=4, address=0x48, count=4), QUICK)
    bus.close()
