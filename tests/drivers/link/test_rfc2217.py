"""A serial port of another host: pyserial's own port manager as the other end."""

import asyncio
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
import serial
import serial.rfc2217

from drivers.errors import UnreachableError
from drivers.link.endpoint import SerialEndpoint
from drivers.link.modbus import ModbusBus, ReadRequest, Timing
from simulator.serial_bus import BusUnit, PtyPort, SerialBus

# pyserial 3.5 names its threads' kind in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")

TIMING = Timing(connect_s=2.0, answer_s=0.5, quiet_s=0.1)
FOUR = ReadRequest(unit=1, function=4, address=10, count=4)


class Pty(serial.Serial):
    """A pseudo terminal has no modem lines to read or set."""

    cts = dsr = ri = cd = property(lambda self: False)

    def _update_rts_state(self) -> None: ...
    def _update_dtr_state(self) -> None: ...


class PortServer(threading.Thread):
    """One client at a time gets the port at ``path``, as an RFC 2217 device server gives it."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.path = path
        self.baud = 0
        self.clients = 0

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.clients += 1
            with client, Pty(self.path, timeout=0) as device:
                self.serve(client, device)

    def serve(self, client: socket.socket, device: Pty) -> None:
        self.client = client
        manager = serial.rfc2217.PortManager(device, self)
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, "client")
            selector.register(device.fileno(), selectors.EVENT_READ, "device")
            while True:
                for key, _ in selector.select():
                    if key.data == "device":
                        data = os.read(device.fileno(), 512)
                        client.sendall(b"".join(manager.escape(data)))
                        continue
                    data = client.recv(512)
                    if not data:
                        return
                    device.write(b"".join(manager.filter(data)))
                    self.baud = device.baudrate

    def write(self, data: bytes) -> None:
        self.client.sendall(data)


@pytest.fixture
async def server() -> Iterator[PortServer]:
    def registers(_function: int, address: int, count: int) -> bytes:
        return struct.pack(f">{count}H", *range(address, address + count))

    unit = BusUnit(registers=registers, turnaround_s=0.005)
    pty = PtyPort(SerialBus(units={1: unit, 255: unit}, baud=38400))
    pty.open()
    server = PortServer(pty.path)
    server.start()
    yield server
    server.listener.close()
    pty.close()


async def test_a_port_of_another_host_is_read_set_and_given_back(server: PortServer) -> None:
    bus = ModbusBus(SerialEndpoint(path=f"rfc2217://127.0.0.1:{server.port}", baud=38400))
    for _ in range(2):
        assert (await bus.read(FOUR, TIMING)).registers == (10, 11, 12, 13)
    assert server.baud == 38400
    assert server.clients == 1
    leaving = bus._line
    bus.close()
    async with asyncio.timeout(3):
        await leaving.closed()
    assert (await bus.read(FOUR, TIMING)).registers == (10, 11, 12, 13)
    assert server.clients == 2
    leaving = bus._line
    bus.close()
    await leaving.closed()


async def test_a_host_that_is_not_there_is_unreachable_in_time() -> None:
    bus = ModbusBus(SerialEndpoint(path="rfc2217://127.0.0.1:1"))
    began_s = time.monotonic()
    with pytest.raises(UnreachableError, match="No connection"):
        await bus.read(FOUR, TIMING)
    assert time.monotonic() - began_s < 2.5


# pyserial leaves the closing of a connection that the peer ended first to the interpreter.
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
async def test_a_host_that_says_nothing_is_given_up_and_the_late_port_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        bus = ModbusBus(SerialEndpoint(path=f"rfc2217://127.0.0.1:{port}"))
        with pytest.raises(UnreachableError, match="No connection"):
            await bus.read(FOUR, Timing(connect_s=0.2))
