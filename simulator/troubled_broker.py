"""A broker and pool on one port that misbehave on command: MQTT 5 enough for one agent.

What it acknowledges it may have thrown away, what it took it may never confirm, and receipts may
come late, twice, reversed or forged. The pool behind it is the reference pool.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from simulator.witness import Witness

NOT_AUTHORISED = 0x87  # MQTT 5, 2.4
QUOTA_EXCEEDED = 0x97
PAYLOAD_FORMAT_INVALID = 0x99
NO_SUBSCRIBERS = 0x10


@dataclass(slots=True, kw_only=True)
class Mood:
    """How it behaves now. ``receipts`` is prompt, kept (for later), dropped or forged."""

    puback: int = 0
    is_forgetful: bool = False
    is_stalled: bool = False
    is_mute: bool = False
    receipts: str = "prompt"


@dataclass(slots=True, kw_only=True)
class TroubledBroker:
    """One port on loopback; made by ``troubled_broker``."""

    witness: Witness
    port: int = 0
    mood: Mood = field(default_factory=Mood)
    kept: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    connections: int = 0
    refusals: int = 0
    live: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _topic: str = ""

    def cut(self) -> None:
        """Reset every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def send_receipt(self, receipt: bytes) -> None:
        """Publish a receipt to whoever is connected."""
        self.sent.append(receipt)
        topic = self._topic.encode()
        body = len(topic).to_bytes(2, "big") + topic + b"\0" + receipt
        for writer in self._writers:
            if not writer.is_closing():
                writer.write(_packet(0x30, body))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection until its end."""
        self.connections += 1
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._converse(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            first = (await reader.readexactly(1))[0]
            body = await reader.readexactly(await _length(reader))
            while self.mood.is_stalled:  # noqa: ASYNC110 – the kernel takes bytes for us meanwhile
                await asyncio.sleep(0.01)
            match first >> 4:
                case 1:  # CONNECT; the numbers are those of MQTT 5, 2.1.2
                    writer.write(_packet(0x20, b"\0\0\0"))
                case 3:  # PUBLISH
                    self._take(first, body, writer)
                case 8:  # SUBSCRIBE
                    at = 3 + body[2]
                    self._topic = body[at + 2 : at + 2 + int.from_bytes(body[at : at + 2])].decode()
                    writer.write(_packet(0x90, body[:2] + b"\0\1"))
                case 12 if not self.mood.is_mute:  # PINGREQ
                    writer.write(_packet(0xD0, b""))
                case 14:  # DISCONNECT
                    return
                case _:
                    pass

    def _take(self, first: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        """A message: acknowledged as the mood is, and taken by the pool or not."""
        end = 2 + int.from_bytes(body[:2])
        topic, has_id = body[2:end].decode(), bool(first & 0x06)
        number = body[end : end + 2] if has_id else b""
        at = end + len(number)
        payload = body[at + 1 + body[at] :]
        if not topic.endswith("/evidence"):
            self.live += not has_id
            if has_id and not self.mood.is_mute:
                writer.write(_packet(0x40, number + b"\0\0"))
            return
        code = self.mood.puback
        self.refusals += code >= 0x80
        if not self.mood.is_mute:
            writer.write(_packet(0x40, number + bytes((code, 0))))
        if code or self.mood.is_forgetful:
            return
        _, farm, agent = topic.rsplit("/", 3)[0:3]
        receipt = self.witness.take(farm, agent, payload)
        if receipt is not None:
            self._hand_out(receipt)

    def _hand_out(self, receipt: bytes) -> None:
        match self.mood.receipts:
            case "prompt":
                self.send_receipt(receipt)
            case "kept":
                self.kept.append(receipt)
            case "forged":
                self.send_receipt(receipt[:-6] + b"AAAA=\n")
            case _:
                pass


@asynccontextmanager
async def troubled_broker(witness: Witness) -> AsyncIterator[TroubledBroker]:
    """Listen on a free port of the loopback."""
    broker = TroubledBroker(witness=witness)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        broker.mood = Mood()
        server.close()
        broker.cut()
        await server.wait_closed()
        await asyncio.sleep(0.02)  # the connections' own ends


async def _length(reader: asyncio.StreamReader) -> int:
    """The remaining length (MQTT 5, 2.1.4)."""
    value, shift = 0, 0
    while True:
        (one,) = await reader.readexactly(1)
        value |= (one & 0x7F) << shift
        if one < 0x80:
            return value
        shift += 7


def _packet(first: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length += bytes((low | (0x80 if left else 0),))
        if not left:
            return bytes((first,)) + length + body
