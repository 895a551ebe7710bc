"""One Modbus endpoint, shared by the units behind it, with the checks that pymodbus leaves out.

pymodbus 3.16 hands over a late RTU reply as the answer to the next request, and accepts answers of
another function, of too few registers and with transaction id 0. Here one request is on its way at
a time, every reply is compared with its request, and whatever ends otherwise than with the right
reply closes the connection and keeps the endpoint quiet until a late reply must have passed.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnknownOutcomeError,
    UnreachableError,
)
from drivers.link.coils import Answer, CoilsRead, CoilWrite, RegisterWrite

HOLDING = 3
INPUT = 4
REGISTER_LIMIT = 125

_GATEWAY_CODES = frozenset({0x0A, 0x0B})
_BUSY_CODES = frozenset({0x05, 0x06})
# Modbus Application Protocol V1.1b3, section 7.
_EXCEPTION_WORDS = {
    1: "it does not know this function",
    2: "it has no such register",
    3: "it does not accept this count",
    4: "it failed while answering",
}


class RegisterRefusedError(RefusedError):
    """The unit answered with an exception: it is alive, but does not serve these registers."""

    def __init__(self, sentence: str, *, code: int) -> None:
        super().__init__(sentence, reply=bytes((code,)))
        self.code = code

    @property
    def is_absence(self) -> bool:
        """Whether the unit says that there is no such function, register or block."""
        return self.code in {1, 2, 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A physical way to units: one TCP port, speaking Modbus TCP or RTU frames over TCP."""

    host: str
    port: int
    is_rtu: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How patient to be with one unit.

    ``answer_s``: a reply is late after it. ``quiet_s``: how late a late reply may be.
    ``gap_s``: pause between two requests, for units that need one.
    """

    connect_s: float = 2.0
    answer_s: float = 0.8
    quiet_s: float = 0.7
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """Registers of one unit. ``function`` is 3 (holding) or 4 (input)."""

    is_write: ClassVar[bool] = False
    unit: int
    function: int
    address: int
    count: int

    def __post_init__(self) -> None:
        if self.function not in {HOLDING, INPUT} or not 1 <= self.count <= REGISTER_LIMIT:
            raise ValueError(f"not a read of registers: {self}")

    @property
    def reply_bytes(self) -> int:
        """How long a right reply is, from the function on."""
        return 2 + 2 * self.count

    @property
    def what(self) -> str:
        """What is asked for, in words."""
        return f"registers 0x{self.address:04X}…0x{self.address + self.count - 1:04X}"

    async def send(self, client: AsyncModbusTcpClient) -> ModbusPDU:
        """Ask, and wait for the reply."""
        is_holding = self.function == HOLDING
        ask = client.read_holding_registers if is_holding else client.read_input_registers
        return await ask(self.address, count=self.count, device_id=self.unit)

    def complaint(self, pdu: ModbusPDU, raw: bytes) -> str:
        """Why a reply of this function and unit is not the one to this; empty where it is."""
        del raw
        found = len(pdu.registers)
        return "" if found == self.count else f"{found} registers instead of {self.count}"


Request = ReadRequest | CoilsRead | CoilWrite | RegisterWrite


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistersRead:
    """The reply to a request, and when. ``requested_at_s`` is before the first byte left."""

    requested_at_s: float
    replied_at_s: float
    registers: tuple[int, ...]


@dataclass(slots=True)
class _Traffic:
    """What has come in on a connection since the last request."""

    received: bytearray = field(default_factory=bytearray)

    def trace(self, is_sending: bool, data: bytes) -> bytes:  # pymodbus: trace_packet
        if not is_sending:
            # Called again with what is still unused in front: the last call has all of it.
            self.received[:] = data[-1024:]
        return data


@contextmanager
def _heeding_cancellation() -> Iterator[None]:
    """End by the cancellation that came meanwhile, whatever else there is to tell.

    ``asyncio.wait_for`` of Python 3.11, by which pymodbus waits, forgets one that comes together
    with the answer: whoever asked would go on as if nobody had told it to stop.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


class ModbusBus:
    """One endpoint. ``ask`` and ``read`` may be called by many: requests wait for each other."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: AsyncModbusTcpClient | None = None
        self._traffic = _Traffic()
        self._not_before_s = 0.0
        self._one_at_a_time = asyncio.Lock()
        _quieten_pymodbus()

    async def read(self, request: ReadRequest, timing: Timing) -> RegistersRead:
        """Read registers, or say exactly why not: as ``ask``."""
        answer = await self.ask(request, timing)
        return RegistersRead(
            requested_at_s=answer.requested_at_s,
            replied_at_s=answer.replied_at_s,
            registers=tuple(answer.pdu.registers),
        )

    async def ask(self, request: Request, timing: Timing) -> Answer:
        """One request and the reply to it, or exactly why there is none.

        Raises UnreachableError (no connection, no reply, gateway without the unit), BadReplyError
        (a reply to something else), RegisterRefusedError, BusyError. A write that left and was not
        answered as it must be is an UnknownOutcomeError, whatever came instead.
        """
        async with self._one_at_a_time:
            await asyncio.sleep(max(0.0, self._not_before_s - _now_s()))
            with _heeding_cancellation():
                client = await self._connected(timing)
            is_answered = False
            try:
                with _heeding_cancellation():
                    reply = await self._exchange(client, request, timing)
                is_answered = True
            except (RegisterRefusedError, BusyError):
                is_answered = True
                raise
            except DriverError as error:
                if request.is_write:
                    raise UnknownOutcomeError(
                        f"Whether {request.what} was written is not known: {error}",
                        reply=error.reply,
                    ) from error
                raise
            finally:
                if not is_answered:
                    self._drop()
                self._not_before_s = _now_s() + (timing.gap_s if is_answered else timing.quiet_s)
            return reply

    def close(self) -> None:
        """Close the connection; a later read opens it again."""
        self._drop()

    async def _connected(self, timing: Timing) -> AsyncModbusTcpClient:
        """The open connection, a new one if the old one is gone or holds unasked bytes."""
        if self._client is not None and self._client.connected and not self._traffic.received:
            return self._client
        self._drop()
        client = AsyncModbusTcpClient(
            self._endpoint.host,
            port=self._endpoint.port,
            framer=FramerType.RTU if self._endpoint.is_rtu else FramerType.SOCKET,
            timeout=timing.connect_s,
            retries=0,
            reconnect_delay=0,  # off: a connection is opened here, by the read that needs it
            reconnect_delay_max=5,
            trace_packet=self._traffic.trace,
        )
        is_connected = False
        try:
            async with asyncio.timeout(timing.connect_s):
                is_connected = await client.connect()
        except (TimeoutError, OSError) as error:
            raise self._unreachable() from error
        finally:
            if not is_connected:
                client.close()
        if not is_connected:
            raise self._unreachable()
        self._client = client
        return client

    async def _exchange(
        self, client: AsyncModbusTcpClient, request: Request, timing: Timing
    ) -> Answer:
        """One request and its reply. Everything raised here makes the caller drop the line."""
        requested_at_s = _now_s()
        try:
            async with asyncio.timeout(timing.answer_s):
                pdu = await request.send(client)
        except (TimeoutError, ModbusException) as error:
            raise self._no_reply(request, timing) from error
        replied_at_s = _now_s()
        raw = bytes(self._traffic.received)
        self._traffic.received.clear()
        self._check(pdu, request, raw)
        return Answer(requested_at_s=requested_at_s, replied_at_s=replied_at_s, pdu=pdu)

    def _check(self, pdu: ModbusPDU, request: Request, raw: bytes) -> None:
        """Raise unless this is the reply to this request and nothing else came with it."""
        if pdu.dev_id != request.unit:
            raise BadReplyError(
                f"Unit {pdu.dev_id} of {self._endpoint} answered for unit {request.unit}.",
                reply=raw,
            )
        if pdu.function_code == request.function | 0x80:
            raise self._refusal(pdu.exception_code, request)
        if pdu.function_code != request.function:
            raise BadReplyError(
                f"{self._endpoint} answered function {pdu.function_code} "
                f"instead of {request.function}.",
                reply=raw,
            )
        complaint = request.complaint(pdu, raw)
        if complaint:
            raise BadReplyError(f"{self._endpoint} answered {complaint}.", reply=raw)
        # Transaction id, protocol, length and unit stand before the reply. RTU may trail noise; its
        # own checksum guards the frame.
        if not self._endpoint.is_rtu and len(raw) != 7 + request.reply_bytes:
            raise BadReplyError(f"{self._endpoint} sent more than one reply.", reply=raw)

    def _refusal(self, code: int, request: Request) -> DriverError:
        where, what = f"unit {request.unit} of {self._endpoint}", request.what
        if code in _GATEWAY_CODES:
            return UnreachableError(
                f"The gateway {self._endpoint} does not reach unit {request.unit}: "
                "check the bus behind it and the unit's address."
            )
        if code in _BUSY_CODES:
            return BusyError(f"The {where} is busy: try again later.")
        if code not in _EXCEPTION_WORDS:
            return BadReplyError(f"The {where} refused {what} with an unknown code {code}.")
        return RegisterRefusedError(
            f"The {where} refused {what}: {_EXCEPTION_WORDS[code]} (code {code}); "
            "check that the profile fits the device.",
            code=code,
        )

    def _no_reply(self, request: Request, timing: Timing) -> DriverError:
        raw = bytes(self._traffic.received)
        if raw:
            return BadReplyError(
                f"{self._endpoint} answered with something that is no reply to unit "
                f"{request.unit}: check the protocol (modbus or modbus+rtu) and the unit.",
                reply=raw,
            )
        return UnreachableError(
            f"Unit {request.unit} of {self._endpoint} did not answer within "
            f"{timing.answer_s:g} s: check the bus, the unit's address and its speed."
        )

    def _unreachable(self) -> UnreachableError:
        return UnreachableError(
            f"No connection to {self._endpoint}: check power, cable and address; "
            "many gateways accept only one client."
        )

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._traffic.received.clear()


class BusRack:
    """All endpoints in use: units of one endpoint share one bus, the last user closes it."""

    def __init__(self) -> None:
        self._buses: dict[Endpoint, tuple[ModbusBus, int]] = {}

    def lease(self, endpoint: Endpoint) -> "BusLease":
        """The endpoint's bus, opened at the first read."""
        for other in self._buses:
            is_same_port = (other.host, other.port) == (endpoint.host, endpoint.port)
            if is_same_port and other.is_rtu != endpoint.is_rtu:
                raise ValueError(
                    f"{endpoint} is configured both as modbus and as modbus+rtu: "
                    "one port speaks one of them."
                )
        bus, users = self._buses.get(endpoint) or (ModbusBus(endpoint), 0)
        self._buses[endpoint] = (bus, users + 1)
        return BusLease(rack=self, endpoint=endpoint, bus=bus)

    def give_back(self, endpoint: Endpoint) -> None:
        """Count one user less; nobody else calls this but a lease."""
        bus, users = self._buses[endpoint]
        if users > 1:
            self._buses[endpoint] = (bus, users - 1)
            return
        del self._buses[endpoint]
        bus.close()


class BusLease:
    """One user's share of a bus. Giving it back twice does no harm."""

    def __init__(self, *, rack: BusRack, endpoint: Endpoint, bus: ModbusBus) -> None:
        self.endpoint = endpoint
        self._rack = rack
        self._bus: ModbusBus | None = bus

    async def read(self, request: ReadRequest, timing: Timing) -> RegistersRead:
        """As ModbusBus.read; UnreachableError after ``close``."""
        if self._bus is None:
            raise UnreachableError(f"The way to {self.endpoint} has been closed.")
        return await self._bus.read(request, timing)

    async def ask(self, request: Request, timing: Timing) -> Answer:
        """As ModbusBus.ask; UnreachableError after ``close``."""
        if self._bus is None:
            raise UnreachableError(f"The way to {self.endpoint} has been closed.")
        return await self._bus.ask(request, timing)

    def close(self) -> None:
        """Give the share back."""
        if self._bus is not None:
            self._bus = None
            self._rack.give_back(self.endpoint)


# Units of one endpoint must share one connection, whatever kind of device they are.
SHARED_RACK = BusRack()


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _quieten_pymodbus() -> None:
    """Silence a library that logs each time-out as an error; an operator's own level wins."""
    logger = logging.getLogger("pymodbus")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
