"""What lines and gateways do to a meter's frames while a fault is on, as vendors' users tell it.

A frame on a serial line is unit, PDU and checksum; behind TCP it has a header instead.
"""

import struct
from collections.abc import Callable

from simulator.faults import FaultKind
from simulator.serial_bus import checksum

_NOISE = b"\x00\xff\x00"

Has = Callable[[FaultKind], bool]


def nothing(_: FaultKind) -> bool:
    """A way without faults."""
    return False


def on_line(asked: bytes, body: bytes, has: Has) -> bytes:
    """What a line brings: ``body`` is unit and PDU, ``asked`` the request's frame."""
    body = bytes([body[0] + has(FaultKind.METER_STRANGER)]) + body[1:]
    frame = body + checksum(body)
    if has(FaultKind.METER_GARBLED):
        middle = len(frame) // 2
        frame = frame[:middle] + bytes([frame[middle] ^ 0x10]) + frame[middle + 1 :]
    if has(FaultKind.METER_HALF):
        frame = frame[: len(frame) // 2]
    echo = asked if has(FaultKind.METER_ECHO) else b""
    return echo + (_NOISE if has(FaultKind.METER_NOISE) else b"") + frame


def on_tcp(transaction: int, unit: int, pdu: bytes, has: Has) -> list[bytes]:
    """The segments that a gateway sends."""
    transaction = 0 if has(FaultKind.METER_NO_ID) else transaction
    unit += has(FaultKind.METER_STRANGER)
    frame = struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu
    if has(FaultKind.METER_HALF):
        frame = frame[: len(frame) // 2]
    if has(FaultKind.METER_PIECES):
        return [bytes([byte]) for byte in frame]
    return [frame]
