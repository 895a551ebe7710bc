"""The meter over raw sockets, and as pymodbus and mbpoll see it."""

import asyncio
import math
import shutil
import struct
from contextlib import suppress

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from drivers.errors import WrongDeviceError
from drivers.meters.registry import open_meter
from simulator.faults import FaultKind

METER = {"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}


def frame(transaction, pdu, unit=1) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def read(function, address, count) -> bytes:
    return struct.pack(">BHH", function, address, count)


async def reply_to(reader) -> tuple[int, int, bytes]:
    async with asyncio.timeout(3.0):
        head = await reader.readexactly(7)
        transaction, protocol, length, unit = struct.unpack(">HHHB", head)
        assert protocol == 0
        return transaction, unit, await reader.readexactly(length - 1)


async def exchange(site, pdu, unit=1) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.meter_port)
    writer.write(frame(7, pdu, unit))
    transaction, answered, reply = await reply_to(reader)
    assert (transaction, answered) == (7, unit)
    writer.close()
    return reply


async def floats(site, function, address, count) -> tuple[float, ...]:
    reply = await exchange(site, read(function, address, count))
    assert reply[:2] == bytes([function, count * 2])
    return struct.unpack(f">{count // 2}f", reply[2:])


async def test_power_and_energy_come_in_one_request(open_site) -> None:
    site = await open_site()
    values = await floats(site, 4, 0x0034, 24)
    at = {0x34 + 2 * n: value for n, value in enumerate(values)}
    assert at[0x34] == pytest.approx(site.farm.plant.power_w, rel=0.01)
    assert at[0x46] == pytest.approx(50.0, abs=0.1)
    assert at[0x48] == pytest.approx(1234.5, abs=0.5)
    assert at[0x36] == 0.0


async def test_phases_add_up_to_the_total(open_site) -> None:
    site = await open_site()
    site.farm.meters[0].next_refresh_s += 100.0
    phases = await floats(site, 4, 0x000C, 6)
    total = await floats(site, 4, 0x0034, 2)
    assert sum(phases) == pytest.approx(total[0], rel=1e-5)
    volts = await floats(site, 4, 0x0000, 6)
    assert all(225.0 < value < 235.0 for value in volts)


@pytest.mark.parametrize(
    ("function", "address", "count", "code"),
    [
        (3, 0x0034, 1, 3),
        (4, 0x0034, 3, 3),
        (4, 0x0034, 0, 3),
        (4, 0x0000, 82, 3),
        (4, 0x0035, 2, 2),
        (4, 0x0033, 4, 2),
        (4, 0x0070, 2, 2),
        (4, 0x006E, 4, 2),
        (4, 0x2000, 2, 2),
        (3, 0x0030, 2, 2),
        (3, 0xFC00, 1, 3),
        (3, 0xFC01, 1, 2),
        (1, 0x0000, 8, 1),
        (2, 0x0000, 8, 1),
        (6, 0x001E, 1, 1),
        (43, 0x0E01, 0, 1),
    ],
)
async def test_what_the_meter_refuses(open_site, function, address, count, code) -> None:
    site = await open_site()
    reply = await exchange(site, read(function, address, count))
    assert reply == bytes([function | 0x80, code])


async def test_holes_are_exceptions_on_a_strict_meter(open_site) -> None:
    site = await open_site(meters=[{**METER, "holes": "exception"}])
    assert await exchange(site, read(4, 0x0034, 24)) == bytes([0x84, 2])
    assert len(await floats(site, 4, 0x0046, 4)) == 2


async def test_writes_are_refused_and_counted_as_tampering(open_site) -> None:
    site = await open_site()
    write = struct.pack(">BHHB4s", 16, 0x00D8, 2, 4, struct.pack(">f", 1.0))
    assert await exchange(site, write) == bytes([0x90, 1])
    assert site.network.meters[0].tampered == 1
    assert await exchange(site, read(4, 0x0048, 2)) != bytes([0x84, 2])


async def test_identity_is_in_the_holding_registers(open_site) -> None:
    site = await open_site()
    assert (await exchange(site, read(3, 0xFC00, 2)))[2:] == struct.pack(">I", 12345678)
    assert len(await exchange(site, read(3, 0xFC00, 4))) == 2 + 8
    assert len(await exchange(site, read(3, 0xFC02, 1))) == 2 + 2
    assert await floats(site, 3, 0x001E, 2) == (0.0,)
    assert await floats(site, 3, 0x0028, 2) == (0.0,)


async def test_a_meter_of_the_newer_paper_has_its_serial_in_two_halves_and_is_pinned_by_it(
    open_site,
) -> None:
    site = await open_site(meters=[{**METER, "paper": "V2.0"}])
    halves = [await exchange(site, read(3, address, 1)) for address in (0x002A, 0x002C)]
    assert b"".join(half[2:] for half in halves) == struct.pack(">I", 12345678)
    assert await exchange(site, read(3, 0xFC00, 2)) == bytes([0x83, 2])
    uri = site.network.meter_uri(0)
    meter = open_meter(uri, meter_id="site", serial="12345678", rated_power_w=None)
    other = open_meter(uri, meter_id="site", serial="12345679", rated_power_w=None)
    assert (await meter.identify()).serial == "12345678"
    with pytest.raises(WrongDeviceError, match="has the serial 12345678"):
        await other.identify()
    await meter.close()
    await other.close()


async def test_a_reversed_word_order_is_said_and_done(open_site) -> None:
    site = await open_site(meters=[{**METER, "word_order": "little"}])
    raw = (await exchange(site, read(3, 0x0028, 2)))[2:]
    assert struct.unpack(">f", raw[2:] + raw[:2]) == (2141.0,)
    energy = (await exchange(site, read(4, 0x0048, 2)))[2:]
    assert struct.unpack(">f", energy[2:] + energy[:2])[0] == pytest.approx(1234.5, abs=0.5)


async def test_a_mega_prefix_is_said_and_done(open_site) -> None:
    site = await open_site()
    site.farm.faults.switch(FaultKind.METER_MEGA, [0], is_active=True)
    assert await floats(site, 3, 0x001E, 2) == (1.0,)
    assert (await floats(site, 4, 0x0048, 2))[0] == pytest.approx(1.2345, abs=0.001)


async def test_another_unit_is_not_there(open_site) -> None:
    site = await open_site()
    assert await exchange(site, read(4, 0x0034, 2), unit=9) == bytes([0x84, 0x0B])


async def test_pipelined_requests_and_split_segments_are_answered_in_order(open_site) -> None:
    site = await open_site()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.meter_port)
    stream = b"".join(frame(n, read(4, 0x0034, 2)) for n in range(20))
    for start in range(0, len(stream), 5):
        writer.write(stream[start : start + 5])
        await writer.drain()
        await asyncio.sleep(0)
    assert [(await reply_to(reader))[0] for _ in range(20)] == list(range(20))
    writer.close()


async def test_several_clients_are_served_at_once(open_site) -> None:
    site = await open_site()
    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(floats(site, 4, 0x0034, 2)) for _ in range(20)]
    assert all(task.result()[0] > 0 for task in reads)


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x01\x00\x00\x00\x01\x01" * 2])
async def test_what_is_not_modbus_ends_the_connection(open_site, stream) -> None:
    site = await open_site()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.meter_port)
    writer.write(stream)
    async with asyncio.timeout(3.0):
        assert await reader.read() == b""
    writer.close()


async def test_a_silent_meter_takes_connections_and_a_refusing_one_does_not(open_site) -> None:
    site = await open_site()
    site.farm.faults.switch(FaultKind.METER_SILENT, [0], is_active=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.meter_port)
    writer.write(frame(1, read(4, 0x0034, 2)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await reader.read(1)
    port = site.meter_port
    site.farm.faults.switch(FaultKind.METER_REFUSE, [0], is_active=True)
    await site.network.apply_faults()
    async with asyncio.timeout(3.0):
        with suppress(ConnectionResetError):  # the same to a client: it is cut off
            assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    site.farm.clear_faults()
    await site.network.apply_faults()
    assert site.meter_port == port
    assert (await floats(site, 4, 0x0034, 2))[0] > 0


async def test_frozen_jumping_and_unreadable_registers(open_site) -> None:
    site = await open_site(meters=[{**METER, "step_kwh": 0.0001}])
    farm = site.farm
    farm.switch_fault(FaultKind.METER_FROZEN, [0], is_active=True, value=None)
    frozen = await floats(site, 4, 0x0048, 2)
    await asyncio.sleep(0.5)
    assert await floats(site, 4, 0x0048, 2) == frozen
    farm.switch_fault(FaultKind.METER_FROZEN, [0], is_active=False, value=None)
    farm.switch_fault(FaultKind.METER_JUMP, [0], is_active=True, value=-50_000.0)
    await asyncio.sleep(0.15)
    assert (await floats(site, 4, 0x0048, 2))[0] == pytest.approx(1184.5, abs=0.5)
    farm.clear_faults()
    farm.switch_fault(FaultKind.METER_NAN, [0], is_active=True, value=None)
    values = await floats(site, 4, 0x0034, 24)
    assert math.isnan(values[0])
    assert math.isnan(values[10])
    assert not math.isnan(values[9])


async def test_a_slow_meter_answers_late_and_in_order(open_site) -> None:
    site = await open_site()
    site.farm.switch_fault(FaultKind.METER_SLOW, [0], is_active=True, value=0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.meter_port)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    writer.write(frame(1, read(4, 0x0034, 2)) + frame(2, read(4, 0x0048, 2)))
    assert [(await reply_to(reader))[0] for _ in range(2)] == [1, 2]
    assert 0.38 < loop.time() - started_s < 1.0
    writer.close()


@pytest.mark.strangers
async def test_pymodbus_reads_the_meter(open_site) -> None:
    site = await open_site()
    client = AsyncModbusTcpClient("127.0.0.1", port=site.meter_port, framer=FramerType.SOCKET)
    async with asyncio.timeout(5.0):
        assert await client.connect()
        reply = await client.read_input_registers(0x0034, count=2, device_id=1)
        serial = await client.read_holding_registers(0xFC00, count=2, device_id=1)
        odd = await client.read_input_registers(0x0035, count=2, device_id=1)
    client.close()
    power_w = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32)
    assert power_w == pytest.approx(site.farm.plant.power_w, rel=0.01)
    assert client.convert_from_registers(serial.registers, client.DATATYPE.UINT32) == 12345678
    assert odd.isError()
    assert odd.exception_code == 2


@pytest.mark.strangers
async def test_mbpoll_reads_the_meter(open_site) -> None:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed: the meter is not read by it")
    site = await open_site()
    arguments = ["-m", "tcp", "-a", "1", "-t", "3:float", "-B", "-r", "53", "-c", "1", "-1"]
    async with asyncio.timeout(8.0):
        process = await asyncio.create_subprocess_exec(
            program,
            *[*arguments, "-p", str(site.meter_port), "127.0.0.1"],
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    line = next(row for row in output.decode().splitlines() if row.startswith("[53]"))
    assert float(line.split()[1]) == pytest.approx(site.farm.plant.power_w, rel=0.01)
