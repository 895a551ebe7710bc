"""One caller of gRPC: HTTP/2 by h2, and above it a call with one message, answered with one.

Neither TLS nor compression nor streams of messages. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2) and
the status codes of the gRPC project.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

_MAX_REQUEST_BYTES = 65_536
_PREFIX_BYTES = 5  # compressed or not, and the length
_TYPE = "application/grpc"
_VISIBLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_GARBAGE = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

Headers = Sequence[tuple[str, str]]


class Status(IntEnum):
    """Those of gRPC's codes that are used."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAUTHENTICATED = 16


class CallError(Exception):
    """The machine says no with this status; the text goes with it."""

    def __init__(self, status: Status, words: str = "") -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One message, and the metadata that precede it."""

    message: bytes
    metadata: Headers = ()


class GrpcAnswers(Protocol):
    """What a server is asked by the connections of its machines."""

    callers: set["GrpcCaller"]

    def is_rebooting(self, index: int) -> bool:
        """Whether the control board is down: connections are cut at once."""

    def is_silent(self, index: int) -> bool:
        """Whether calls are left without an answer."""

    def is_garbled(self, index: int) -> bool:
        """Whether what comes back is no HTTP/2."""

    def delay_s(self, index: int) -> float:
        """How long this machine thinks before it answers."""

    def reply(self, index: int, path: str, token: str, message: bytes) -> Reply:
        """What a call is answered, which may have changed the machine. Raises CallError."""


@dataclass(slots=True)
class _Call:
    """A call that is coming in, or the part of its answer that the caller has no window for yet."""

    path: str = ""
    token: str = ""
    kind: str = ""
    received: bytearray = field(default_factory=bytearray)
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    is_answered: bool = False


class _Ending(NamedTuple):
    status: Status
    words: str

    def headers(self) -> Headers:
        words = (("grpc-message", quote(self.words, safe=_VISIBLE)),) if self.words else ()
        return (("grpc-status", str(int(self.status))), *words)


class GrpcCaller(asyncio.Protocol):
    """One connection, with as many calls at a time as its caller likes."""

    def __init__(self, server: GrpcAnswers, index: int) -> None:
        self._server = server
        self._index = index
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._calls: dict[int, _Call] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.callers.add(self)
        if self._server.is_rebooting(self._index):
            transport.abort()
            return
        self._http.initiate_connection()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to do for this caller."""
        del exc
        self._server.callers.discard(self)
        self._calls.clear()
        for timer in self._timers:
            timer.cancel()

    def abort(self) -> None:
        """Cut the caller off."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came; what is no HTTP/2 ends the connection, with the reason where it can."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        try:
            for event in self._http.receive_data(data):
                self._take(event)
        except ProtocolError:
            self._send()
            self._transport.close()
            return
        self._send()

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            named = {str(name): str(value) for name, value in event.headers or ()}
            self._calls[event.stream_id] = _Call(
                named.get(":path", ""),
                named.get("authorization", ""),
                named.get("content-type", ""),
            )
        elif isinstance(event, DataReceived):
            call = self._calls.get(event.stream_id)
            if call is not None and len(call.received) <= _MAX_REQUEST_BYTES:
                call.received += event.data or b""
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self._begin(event.stream_id)
        elif isinstance(event, StreamReset):
            self._calls.pop(event.stream_id, None)
        elif isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
            for stream in [stream for stream, call in self._calls.items() if call.is_answered]:
                self._pour(stream)
        elif isinstance(event, ConnectionTerminated) and self._transport is not None:
            self._transport.close()

    def _begin(self, stream: int) -> None:
        if stream not in self._calls or self._server.is_silent(self._index):
            return
        delay_s = self._server.delay_s(self._index)
        if delay_s <= 0.0:
            self._answer(stream)
            return

        def answer() -> None:
            self._timers.discard(timer)
            self._answer(stream)
            self._send()

        timer = asyncio.get_running_loop().call_later(delay_s, answer)
        self._timers.add(timer)

    def _answer(self, stream: int) -> None:
        call = self._calls.get(stream)
        if call is None or self._transport is None:
            return
        if self._server.is_rebooting(self._index):
            self._transport.abort()
        elif self._server.is_garbled(self._index):
            self._transport.write(_GARBAGE)
            self._transport.close()
        elif not call.kind.startswith(_TYPE):
            del self._calls[stream]
            self._http.send_headers(stream, [(":status", "415")], end_stream=True)
        else:
            self._finish(stream, call)

    def _finish(self, stream: int, call: _Call) -> None:
        start = [(":status", "200"), ("content-type", _TYPE)]
        try:
            message = _message_of(bytes(call.received))
            reply = self._server.reply(self._index, call.path, call.token, message)
        except CallError as error:
            del self._calls[stream]
            ending = _Ending(error.status, str(error)).headers()
            self._http.send_headers(stream, [*start, *ending], end_stream=True)
            return
        self._http.send_headers(stream, [*start, *reply.metadata])
        prefix = b"\0" + len(reply.message).to_bytes(_PREFIX_BYTES - 1, "big")
        call.unsent, call.is_answered = memoryview(prefix + reply.message), True
        self._pour(stream)

    def _pour(self, stream: int) -> None:
        call = self._calls[stream]
        while call.unsent:
            room = self._http.local_flow_control_window(stream)
            room = min(room, self._http.max_outbound_frame_size)
            if room <= 0:
                return
            self._http.send_data(stream, bytes(call.unsent[:room]))
            call.unsent = call.unsent[room:]
        del self._calls[stream]
        self._http.send_headers(stream, _Ending(Status.OK, "").headers(), end_stream=True)

    def _send(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._http.data_to_send())


def _message_of(received: bytes) -> bytes:
    if len(received) > _MAX_REQUEST_BYTES:
        raise CallError(Status.RESOURCE_EXHAUSTED, "message too large")
    if len(received) < _PREFIX_BYTES:
        raise CallError(Status.INTERNAL, "no message")
    if received[0]:
        raise CallError(Status.UNIMPLEMENTED, "compression is not supported")
    message = received[_PREFIX_BYTES:]
    if len(message) != int.from_bytes(received[1:_PREFIX_BYTES], "big"):
        raise CallError(Status.INTERNAL, "one whole message is expected")
    return message
