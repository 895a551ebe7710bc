"""The bytes that one command sends and receives, as they are on the wire, without its secrets.

An event loop whose connections remember; lines, which do without the loop's connections, tell the
same. No driver knows of it, so that nothing is shown that was not sent. Passwords, tokens and
cookies are masked before anybody sees them, in both directions: what is shown is there to be
handed to others.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import quote

from drivers.link.line import WATCHER

_Answer = TypeVar("_Answer")

_TEXT_SHARE = 0.8
_LINE_BYTES = 32
_MASK = b"***"
_JSON_SECRET = re.compile(
    rb"""("(?:[^"\\]*(?:pass|pwd|token|secret|session_?id|api_?key)[^"\\]*|pw|sign)"\s*:\s*")"""
    rb"""(?:[^"\\]|\\.)*""",
    re.IGNORECASE,
)
_HEADER_SECRET = re.compile(
    rb"(^(?:authorization|cookie|set-cookie|token|[a-z-]*api-?key|[a-z-]*token)[ \t]*:[ \t]*)"
    rb"[^\r\n]+",
    re.IGNORECASE | re.MULTILINE,
)
_FORM_SECRET = re.compile(
    rb"((?:^|[?&])(?:password|pass|pw|token)=)[^&\s]+", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What went one way before something came the other way; ``after_s`` since the tap began.

    ``data`` is masked, ``size`` is the number of bytes that really passed.
    """

    is_sent: bool
    peer: str
    after_s: float
    size: int
    data: bytes


@dataclass(slots=True, kw_only=True)
class Tap:
    """Collects passages. ``secrets`` are passwords that are masked wherever they stand."""

    secrets: Sequence[str] = ()
    _started_s: float = field(init=False, default_factory=time.monotonic)
    _passages: list[tuple[bool, str, float, bytearray, int]] = field(
        init=False, default_factory=list
    )

    def note(self, connection: int, peer: str, data: bytes, *, is_sent: bool) -> None:
        """Bytes that passed; pieces of one answer become one passage, nothing becomes none."""
        if not data:
            return
        if self._passages:
            was_sent, _, _, whole, last = self._passages[-1]
            if (was_sent, last) == (is_sent, connection):
                whole += data
                return
        after_s = time.monotonic() - self._started_s
        self._passages.append((is_sent, peer, after_s, bytearray(data), connection))

    def passages(self) -> list[Passage]:
        """Everything so far, masked."""
        return [
            Passage(
                is_sent=is_sent,
                peer=peer,
                after_s=after_s,
                size=len(data),
                data=masked(bytes(data), self.secrets),
            )
            for is_sent, peer, after_s, data, _ in self._passages
        ]


def run_tapped(asking: Coroutine[Any, Any, _Answer], tap: Tap) -> _Answer:
    """Run something to its end on a loop of its own, with the tap on every connection."""
    context = copy_context()
    context.run(WATCHER.set, tap.note)
    with asyncio.Runner(loop_factory=partial(TappedLoop, tap)) as runner:
        return runner.run(asking, context=context)


class TappedLoop(asyncio.SelectorEventLoop):
    """An event loop that tells a tap what its TCP connections carry."""

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self._tap = tap
        self._connections = 0

    async def create_connection(  # type: ignore[override] # the base has seventeen arguments
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """As the base class, with a listener on each side of the connection."""
        self._connections += 1
        number = self._connections
        inner = protocol_factory()
        _, outer = await super().create_connection(
            lambda: _TappedProtocol(cast("asyncio.Protocol", inner), self._tap, number),
            *args,
            **kwargs,
        )
        assert outer.transport is not None
        return outer.transport, inner


class _TappedProtocol(asyncio.Protocol):
    """Hands everything on to the protocol that it stands for."""

    def __init__(self, inner: asyncio.Protocol, tap: Tap, number: int) -> None:
        self.transport: _TappedTransport | None = None
        self._inner = inner
        self._tap = tap
        self._number = number
        self._peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        host, port = transport.get_extra_info("peername")[:2]
        self._peer = f"{host}:{port}"
        self.transport = _TappedTransport(transport, self._sent)
        self._inner.connection_made(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._tap.note(self._number, self._peer, data, is_sent=False)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _sent(self, data: bytes) -> None:
        self._tap.note(self._number, self._peer, data, is_sent=True)


class _TappedTransport(asyncio.Transport):
    """Hands everything on to the transport that it stands for."""

    def __init__(self, inner: asyncio.Transport, sent: Callable[[bytes], None]) -> None:
        super().__init__()
        self._inner = inner
        self._sent = sent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._sent(bytes(data))
        self._inner.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._inner.write_eof()

    def can_write_eof(self) -> bool:
        return self._inner.can_write_eof()

    def abort(self) -> None:
        self._inner.abort()

    def close(self) -> None:
        self._inner.close()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def is_reading(self) -> bool:
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._inner.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._inner.get_protocol()


def masked(data: bytes, secrets: Sequence[str]) -> bytes:
    """The same bytes without what is secret in them."""
    for secret in filter(None, secrets):
        for spelling in (secret, json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret)):
            data = data.replace(spelling.encode(), _MASK)
    data = _JSON_SECRET.sub(rb"\1" + _MASK, data)
    data = _HEADER_SECRET.sub(rb"\1" + _MASK, data)
    return _FORM_SECRET.sub(rb"\1" + _MASK, data)


def shown(data: bytes) -> str:
    """Bytes as a person reads them: text with escapes, or hexadecimal where most is no text."""
    plain = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in data)
    if plain < _TEXT_SHARE * len(data):
        rows = [data[at : at + _LINE_BYTES] for at in range(0, len(data), _LINE_BYTES)]
        return "\n".join(row.hex(" ") for row in rows)
    return "".join(_escaped(byte) for byte in data).removesuffix("\n")


def _escaped(byte: int) -> str:
    if byte == ord("\\"):
        return "\\\\"
    if 32 <= byte < 127:
        return chr(byte)
    return {9: "\\t", 10: "\\n\n", 13: "\\r"}.get(byte, f"\\x{byte:02x}")
