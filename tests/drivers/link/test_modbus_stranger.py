"""The bus against a server of another project."""

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.link.modbus import Endpoint, ModbusBus, ReadRequest, RegisterRefusedError, Timing


async def test_a_stranger_serves_what_the_bus_reads() -> None:
    """pymodbus' own server as the other end: another implementation of the protocol."""
    device = SimDevice(
        17,
        simdata=(
            [SimData(0, values=False, count=16, datatype=DataType.BITS)],
            [SimData(0, values=False, count=16, datatype=DataType.BITS)],
            [SimData(0x28, values=[0x4505, 0xD000], datatype=DataType.REGISTERS)],
            [SimData(0x48, values=[0x449A, 0x5000], datatype=DataType.REGISTERS)],
        ),
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    bus = ModbusBus(Endpoint(host="127.0.0.1", port=port))
    try:
        timing = Timing(answer_s=2.0)
        energy = ReadRequest(unit=17, function=4, address=0x48, count=2)
        assert (await bus.read(energy, timing)).registers == (0x449A, 0x5000)
        order = ReadRequest(unit=17, function=3, address=0x28, count=2)
        assert (await bus.read(order, timing)).registers == (0x4505, 0xD000)
        with pytest.raises(RegisterRefusedError) as caught:
            await bus.read(ReadRequest(unit=17, function=4, address=0x100, count=2), timing)
        assert caught.value.code == 2
    finally:
        bus.close()
        await server.shutdown()
