"""Every listening socket of a farm, and the faults that are about sockets: gone, refused."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from simulator.dialects import DIALECTS
from simulator.door import Dialect, Door
from simulator.farm import Farm
from simulator.faults import FaultKind
from simulator.meter_lines import MeterLines
from simulator.relay_board import RelayBoard
from simulator.sdm630 import MeterConnection, MeterServer

_SPARE_FILES = 512
_BACKLOG = 64
_ACCEPT_TURNS = 4  # of the loop, from a connection that the system took to one with a client


class PortError(Exception):
    """A socket cannot be had; the message is for the user."""


class TakenAddressError(PortError):
    """The network of addresses is another farm's, or one of them in use: another may be free."""


@dataclass(slots=True, kw_only=True)
class Network:
    """Sockets of machines and meters. ``open`` first, ``close`` last."""

    farm: Farm
    meters: list[MeterServer] = field(init=False)
    dialects: dict[str, Dialect] = field(init=False)
    warnings: list[str] = field(init=False, default_factory=list)
    _claims: list[socket.socket] = field(init=False, default_factory=list)
    _machine_servers: dict[int, list[asyncio.Server]] = field(init=False, default_factory=dict)
    _shut: set[int] = field(init=False, default_factory=set)
    _meter_servers: dict[int, asyncio.Server] = field(init=False, default_factory=dict)
    _meter_ports: dict[int, int] = field(init=False, default_factory=dict)
    _relay_servers: list[asyncio.Server] = field(init=False, default_factory=list)
    _clients: dict[int, set[MeterConnection]] = field(init=False, default_factory=dict)
    _relay_clients: set[MeterConnection] = field(init=False, default_factory=set)
    _lines: MeterLines = field(init=False, default_factory=MeterLines)

    def __post_init__(self) -> None:
        spoken = dict.fromkeys(label.family for label in self.farm.labels)
        self.dialects = {family: DIALECTS[family](self.farm) for family in spoken}
        self.meters = [
            MeterServer(farm=self.farm, position=position, table=table)
            for position, table in enumerate(self.farm.file.meters)
        ]

    async def open(self) -> None:
        """Listen everywhere. Raises PortError with one sentence."""
        self._allow_files()
        self._claim()
        for position in range(len(self.meters)):
            await self._open_meter(position)
        for board in self.farm.relays:
            await self._open_relay(board)
        for index in range(len(self.farm.labels)):
            await self._open_machine(index)

    async def close(self) -> None:
        """Stop listening and cut off whoever is connected, or is just being let in."""
        singles = (*self._meter_servers.values(), *self._relay_servers)
        for server in (*chain(*self._machine_servers.values()), *singles):
            server.close()
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for clients in (*self._clients.values(), self._relay_clients):
            for client in tuple(clients):
                client.abort()
        self._lines.close()
        for dialect in self.dialects.values():
            await dialect.close()
        await asyncio.sleep(0)
        for claim in self._claims:
            claim.close()

    def meter_address(self, position: int) -> tuple[str, int]:
        """Host and port of a meter."""
        return str(self.farm.file.meters[position].host), self._meter_ports[position]

    def relay_address(self, position: int) -> tuple[str, int]:
        """Host and port of a relay board."""
        host, port = self._relay_servers[position].sockets[0].getsockname()[:2]
        return host, port

    def meter_place(self, position: int) -> str:
        """Host and port of a meter, or the path of its pty."""
        if self.meters[position].table.line != "tcp":
            return self._lines.place(self.meters[position])
        host, port = self.meter_address(position)
        return f"{host}:{port}"

    def meter_uri(self, position: int) -> str:
        """How a configuration names a meter."""
        server = self.meters[position]
        table = server.table
        if table.line == "tcp":
            return f"modbus://{self.meter_place(position)}/{table.unit}?profile={table.profile}"
        speed = f"&baud={table.baud}" if table.line == "serial" else ""
        return f"{self._lines.uri(server)}?profile={table.profile}{speed}"

    def machine_port(self, index: int) -> int:
        """Where a machine's API listens: the port of its family."""
        return self._doors(index)[0].port

    def machine_uri(self, index: int) -> str:
        """How a configuration names the machine: family, address and every port that matters."""
        first, *others = self._doors(index)
        label = self.farm.labels[index]
        named = "&".join(f"{door.name}={door.port}" for door in others if door.name)
        uri = f"{label.family}://{label.address}:{first.port}"
        return f"{uri}?{named}" if named else uri

    def machine_password(self, index: int) -> str | None:
        """What its owner would write into a password file; None where there is none."""
        return self.dialects[self.farm.labels[index].family].password(index)

    def _doors(self, index: int) -> Sequence[Door]:
        return self.dialects[self.farm.labels[index].family].doors(index)

    async def apply_faults(self) -> None:
        """Close the sockets of what is gone, open those of what is back."""
        for position, meter in enumerate(self.meters):
            if meter.table.line != "tcp":
                continue  # a line stands whatever its meters do
            is_gone = self.farm.faults.has_meter(FaultKind.METER_REFUSE, position)
            if is_gone and position in self._meter_servers:
                self._meter_servers.pop(position).close()
                for client in tuple(self._clients[position]):
                    client.abort()
            elif not is_gone and position not in self._meter_servers:
                await self._open_meter(position)
        gone = self.farm.faults.miners(FaultKind.MINER_GONE)
        for index in gone & self._machine_servers.keys():
            for server in self._machine_servers.pop(index):
                server.close()
        for index in range(len(self.farm.labels)):
            if index not in gone and index not in self._machine_servers:
                await self._open_machine(index)

    def _claim(self) -> None:
        """Hold the network's own address, at which no machine stands, while the farm exists: one
        whose machines are gone would lose theirs to the next farm, and its agent go on steering.
        """
        base = str(self.farm.file.addresses.base)
        doors = chain(*(self._doors(index) for index in range(len(self.farm.labels))))
        for port in sorted({door.port for door in doors if not door.is_optional}):
            claim = socket.socket()
            self._claims.append(claim)
            try:
                claim.bind((base, port))
            except OSError as error:
                sentence = f"machines: cannot have {base}:{port} ({reason_of(error)}); choose"
                raise _refusal(f"{sentence} another --address-base or port", error) from error

    async def _open_meter(self, position: int) -> None:
        table = self.farm.file.meters[position]
        if table.line != "tcp":
            await self._plug_meter(position)
            return
        clients = self._clients.setdefault(position, set())
        server, port = await self._listen(
            lambda: MeterConnection(self.meters[position], clients, self.meters[position].has),
            str(table.host),
            self._meter_ports.get(position, table.port),
            f"meter {table.id}",
        )
        self._meter_servers[position] = server
        self._meter_ports[position] = port

    async def _open_relay(self, board: RelayBoard) -> None:
        table = board.table
        server, _ = await self._listen(
            lambda: MeterConnection(board, self._relay_clients),
            str(table.host),
            table.port,
            f"relay board {table.id}",
        )
        self._relay_servers.append(server)

    async def _plug_meter(self, position: int) -> None:
        server = self.meters[position]
        try:
            await self._lines.plug(server)
        except OSError as error:
            raise PortError(
                f"meter {server.table.id}: no {server.table.line} line ({reason_of(error)}); "
                "choose another address or port"
            ) from error

    async def _open_machine(self, index: int) -> None:
        servers = self._machine_servers[index] = []
        for door in self._doors(index):
            if door.port in self._shut:
                continue
            try:
                server, _ = await self._listen(
                    door.receive, self.farm.labels[index].address, door.port, f"machine {index}"
                )
            except PortError as error:
                if door.is_optional:
                    self._go_without(door.port, error)
                    continue
                raise _refusal(str(error), error.__cause__) from error
            servers.append(server)

    def _go_without(self, port: int, error: PortError) -> None:
        self._shut.add(port)
        reason = "no right to bind it" if _is_rights(error) else "it is in use"
        self.warnings.append(f"machines show no web page on port {port}: {reason}")

    @staticmethod
    async def _listen(
        factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, what: str
    ) -> tuple[asyncio.Server, int]:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                factory, host, port, backlog=_BACKLOG, reuse_address=True
            )
        except OSError as error:
            raise PortError(
                f"{what}: cannot listen on {host}:{port} ({reason_of(error)}); stop what uses it"
                " or choose another address or port"
            ) from error
        return server, server.sockets[0].getsockname()[1]

    def _allow_files(self) -> None:
        """Raise the limit of open files: a listening socket a door, and one caller a machine."""
        count = len(self.farm.labels)
        listening = sum(len(self._doors(index)) for index in range(count)) + _SPARE_FILES
        wanted = listening + count
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft >= wanted or soft == resource.RLIM_INFINITY:
            return
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if most < listening:
            raise PortError(
                f"{count} machines need {listening} open files, the limit is {hard};"
                " raise it (ulimit -n) or serve fewer machines"
            )
        if most < wanted:
            self.warnings.append(
                f"{most} open files are too few for a caller at each of {count} machines at once"
                f" ({wanted} are enough): some would not get through; raise the limit (ulimit -n)"
            )
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def reason_of(error: OSError) -> str:
    """The system's own words, without what asyncio puts around them."""
    return os.strerror(error.errno) if error.errno else str(error)


def _refusal(sentence: str, cause: BaseException | None) -> PortError:
    is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
    return (TakenAddressError if is_taken else PortError)(sentence)


def _is_rights(error: PortError) -> bool:
    return isinstance(error.__cause__, PermissionError)
