"""Meters of a farm on serial lines: a pty each, or a transparent gateway for one client."""

import asyncio
from dataclasses import dataclass, field

from simulator.faults import FaultKind
from simulator.meter_wire import on_line
from simulator.sdm630 import MeterServer
from simulator.serial_bus import Gateway, PtyPort, SerialBus

_THINKS_S = 0.02


@dataclass(slots=True, kw_only=True)
class MeterOnLine:
    """One meter as its line sees it."""

    server: MeterServer

    @property
    def requests(self) -> int:
        """How often it was asked, answered or not."""
        return self.server.requests

    @requests.setter
    def requests(self, count: int) -> None:
        self.server.requests = count

    @property
    def turnaround_s(self) -> float:
        """How long it thinks: never nothing, on a line."""
        return max(self.server.delay_s, _THINKS_S)

    @property
    def is_dead(self) -> bool:
        """Silent, or unplugged."""
        faults, position = self.server.farm.faults, self.server.position
        return self.server.is_silent or faults.has_meter(FaultKind.METER_REFUSE, position)

    def answer(self, pdu: bytes) -> bytes:
        """What the meter says."""
        return self.server.reply(self.server.table.unit, pdu)

    def sent(self, asked: bytes, body: bytes) -> bytes:
        """What the line makes of it."""
        return on_line(asked, body, self.server.has)


@dataclass(slots=True, kw_only=True)
class MeterLines:
    """All serial lines of a farm. Meters of the same kind of line, host and port share one."""

    _buses: dict[tuple[str, str, int], SerialBus] = field(default_factory=dict)
    _members: dict[tuple[str, str, int], dict[int, MeterOnLine]] = field(default_factory=dict)
    _ports: dict[tuple[str, str, int], PtyPort] = field(default_factory=dict)
    _gateways: dict[tuple[str, str, int], asyncio.Server] = field(default_factory=dict)
    _clients: list[set[Gateway]] = field(default_factory=list)

    async def plug(self, server: MeterServer) -> None:
        """Put a meter on its line. Raises OSError where a gateway cannot listen."""
        table, key = server.table, _key(server)
        members = self._members.setdefault(key, {})
        members[table.unit] = MeterOnLine(server=server)
        if key in self._buses:
            return
        bus = self._buses[key] = SerialBus(units=members, baud=table.baud)
        if table.line == "serial":
            port = self._ports[key] = PtyPort(bus)
            port.open()
            return
        taken: set[Gateway] = set()
        self._clients.append(taken)
        self._gateways[key] = await asyncio.get_running_loop().create_server(
            lambda: Gateway(bus, taken), str(table.host), table.port
        )

    def uri(self, server: MeterServer) -> str:
        """How a configuration names the meter, without its profile."""
        table = server.table
        if table.line == "serial":
            return f"modbus+serial://{self.place(server)}/{table.unit}"
        return f"modbus+rtu://{self.place(server)}/{table.unit}"

    def place(self, server: MeterServer) -> str:
        """The pty's path, or host and port."""
        key = _key(server)
        if key in self._ports:
            return self._ports[key].path
        return f"{server.table.host}:{self._gateways[key].sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Unplug everything."""
        for port in self._ports.values():
            port.close()
        for gateway in self._gateways.values():
            gateway.close()
        for taken in self._clients:
            for client in tuple(taken):
                client.abort()


def _key(server: MeterServer) -> tuple[str, str, int]:
    table = server.table
    return table.line, str(table.host), table.port
