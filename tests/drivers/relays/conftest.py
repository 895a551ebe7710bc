"""A relay board on a loopback socket, as small as a test needs it."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


class Board:
    """Coils and holding registers of one unit; ``log`` has each PDU in the order of arrival.

    ``faults`` maps a function to bytes sent instead of its answer; None is silence.
    """

    def __init__(self, coils: int = 8, registers: dict[int, int] | None = None) -> None:
        self.coils = [False] * coils
        self.registers = dict(registers or {})
        self.faults: dict[int, bytes | None] = {}
        self.is_stuck = False
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

    def answer(self, pdu: bytes) -> bytes:
        function, address, second = struct.unpack(">BHH", pdu[:5])
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

    async def start(profile: str = "generic", **more: Any) -> tuple[Board, str]:
        board = Board(**more)
        port = await listen(board.serve)
        return board, f"modbus://127.0.0.1:{port}/3?profile={profile}"

    return start
