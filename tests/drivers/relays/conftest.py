"""A relay board on a loopback socket, as small as a test needs it."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


def crc(frame: bytes) -> bytes:
    """Modbus over Serial Line V1.02, 6.2.2."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


class Board:
    """Coils and holding registers of one unit; ``log`` has each PDU in the order of arrival.

    ``faults`` maps a function to bytes sent instead of its answer; None is silence.
    """

    def __init__(self, coils: int = 8, registers: dict[int, int] | None = None) -> None:
        self.coils = [False] * coils
        self.registers = dict(registers or {})
        self.faults: dict[int, bytes | None] = {}
        self.is_stuck = False
        self.is_strict = False  # refuses to read coils that it does not have
        self.log: list[bytes] = []

    @property
    def writes(self) -> list[bytes]:
        return [pdu for pdu in self.log if pdu[0] in (5, 6, 15)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readexactly(7)
            except asyncio.IncompleteReadError:
                return
            tid, _, length, unit = struct.unpack(">HHHB", head)
            pdu = await reader.readexactly(length - 1)
            self.log.append(pdu)
            answer = self.faults[pdu[0]] if pdu[0] in self.faults else self.answer(pdu)
            if answer is not None:
                writer.write(struct.pack(">HHHB", tid, 0, len(answer) + 1, unit) + answer)
                await writer.drain()

    async def serve_rtu(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The same behind a transparent gateway; requests of eight bytes are enough here."""
        while True:
            try:
                request = await reader.readexactly(8)
            except asyncio.IncompleteReadError:
                return
            assert crc(request[:-2]) == request[-2:]
            self.log.append(request[1:-2])
            answer = request[:1] + self.answer(request[1:-2])
            writer.write(answer + crc(answer))
            await writer.drain()

    def answer(self, pdu: bytes) -> bytes:
        function, address, second = struct.unpack(">BHH", pdu[:5])
        if function == 1 and self.is_strict and address + second > len(self.coils):
            return b"\x81\x02"
        if function == 1:
            bits = sum(on << at for at, on in enumerate(self.coils[address : address + second]))
            size = (second + 7) // 8
            return bytes([1, size]) + bits.to_bytes(size, "little")
        if function in (3, 6) and address not in self.registers:
            return bytes([function | 0x80, 2])
        if function == 3:
            return struct.pack(">BBH", 3, 2, self.registers[address])
        if function == 6 and not self.is_stuck:
            self.registers[address] = second
        if function == 5 and not self.is_stuck:
            self.coils[address] = second == 0xFF00
        if function == 15 and not self.is_stuck:
            self.coils[address] = bool(pdu[6] & 1)
        return pdu[:5]


@pytest.fixture
async def board_at(listen: Callable[[Any], Awaitable[int]]) -> Callable[..., Awaitable[Any]]:
    """A board that listens, and its URI."""

    async def start(
        profile: str = "generic", *, is_rtu: bool = False, **more: Any
    ) -> tuple[Board, str]:
        board = Board(**more)
        port = await listen(board.serve_rtu if is_rtu else board.serve)
        scheme = "modbus+rtu" if is_rtu else "modbus"
        return board, f"{scheme}://127.0.0.1:{port}/3?profile={profile}"

    return start
