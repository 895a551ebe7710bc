"""Registers of an Eastron SDM630 (Modbus protocol V1.8 and V2.0), and what it refuses to read.

Inputs are floats at even addresses. Between the named ones of a block lie reserved pairs; a meter
on which a block can be read in one piece answers them with zero, a strict one with exception 2.
Meter code and software version are this simulator's: the vendor's tables do not give them here.
"""

import math
import struct
from dataclasses import dataclass

from simulator.meter import Meter
from simulator.register_map import ILLEGAL_ADDRESS, ILLEGAL_VALUE, RegisterError

READ_HOLDING = 3
READ_INPUT = 4
MAX_REGISTERS = 80

_METER_CODE = 0x0070
_VERSION = 0x0112
_SERIAL = 0xFC00
_SERIAL_LOW = {0x002A: slice(0, 2), 0x002C: slice(2, 4)}
_ORDER_REVERSED = 2141.0
# Blocks of inputs that exist, as the vendor's table has them: first address, address after the end.
_BLOCKS = ((0x0000, 0x0070), (0x00C8, 0x010E), (0x014E, 0x0180))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """How a meter is set to report."""

    is_mega: bool = False
    is_low_word_first: bool = False
    holes: str = "zero"
    has_serial_low: bool = False  # as the V2.0 paper has it: two numbers of 16 bits, each alone


def input_registers(meter: Meter, reporting: Reporting, address: int, count: int) -> bytes:
    """Bytes of input registers. Raises RegisterError."""
    _check_float_read(address, count)
    values = _inputs(meter, is_mega=reporting.is_mega)
    block = next((b for b in _BLOCKS if b[0] <= address and address + count <= b[1]), None)
    if block is None:
        raise RegisterError(ILLEGAL_ADDRESS)
    parts = []
    for at in range(address, address + count, 2):
        if at not in values and reporting.holes == "exception":
            raise RegisterError(ILLEGAL_ADDRESS)
        parts.append(_float(values.get(at, 0.0), reporting))
    return b"".join(parts)


def holding_registers(meter: Meter, reporting: Reporting, address: int, count: int) -> bytes:
    """Bytes of holding registers. Raises RegisterError."""
    if address >= _SERIAL:
        if reporting.has_serial_low:
            raise RegisterError(ILLEGAL_ADDRESS)
        return _identity(meter, address, count)
    if reporting.has_serial_low and count == 1 and address in _SERIAL_LOW:
        return struct.pack(">I", meter.serial)[_SERIAL_LOW[address]]
    _check_float_read(address, count)
    values = {
        0x0002: 60.0,  # demand period, min
        0x000A: 3.0,  # 3P4W
        0x0012: 0.0,  # one stop bit, no parity
        0x0014: 1.0,  # node
        0x001C: 2.0,  # 9600 baud
        0x001E: 1.0 if reporting.is_mega else 0.0,  # energy prefix: k or M
        0x0028: _ORDER_REVERSED if reporting.is_low_word_first else 0.0,
        0x0032: 2000.0,  # CT primary, A
        0x0034: 5.0,  # CT secondary, A
    }
    wanted = range(address, address + count, 2)
    if any(at not in values for at in wanted):
        raise RegisterError(ILLEGAL_ADDRESS)
    return b"".join(_float(values[at], reporting) for at in wanted)


def _identity(meter: Meter, address: int, count: int) -> bytes:
    values = {
        _SERIAL: struct.pack(">I", meter.serial),
        0xFC02: struct.pack(">H", _METER_CODE),
        0xFC03: struct.pack(">H", _VERSION),
    }
    parts, at = [], address
    while at < address + count:
        if at not in values:
            raise RegisterError(ILLEGAL_ADDRESS)
        parts.append(values[at])
        at += len(values[at]) // 2
    if at != address + count:
        raise RegisterError(ILLEGAL_VALUE)
    return b"".join(parts)


def _check_float_read(address: int, count: int) -> None:
    if count < 1 or count > MAX_REGISTERS or count % 2:
        raise RegisterError(ILLEGAL_VALUE)
    if address % 2:
        raise RegisterError(ILLEGAL_ADDRESS)


def _float(value: float, reporting: Reporting) -> bytes:
    raw = struct.pack(">f", value)
    return raw[2:] + raw[:2] if reporting.is_low_word_first else raw


def _inputs(meter: Meter, *, is_mega: bool) -> dict[int, float]:
    power_w = meter.power_w
    energy = meter.energy_kwh / 1000.0 if is_mega else meter.energy_kwh
    volts = 230.0 + 0.8 * math.sin(meter.refreshes / 40.0)
    hertz = 50.0 + 0.02 * math.sin(meter.refreshes / 25.0)
    factor = 0.985
    apparent_va = power_w / factor
    reactive_var = apparent_va * math.sqrt(1.0 - factor * factor)
    amps = apparent_va / 3.0 / volts
    values: dict[int, float] = {}
    for phase in range(3):
        values[0x0000 + 2 * phase] = volts
        values[0x0006 + 2 * phase] = amps
        values[0x000C + 2 * phase] = power_w / 3.0
        values[0x0012 + 2 * phase] = apparent_va / 3.0
        values[0x0018 + 2 * phase] = reactive_var / 3.0
        values[0x001E + 2 * phase] = factor
        values[0x0024 + 2 * phase] = 10.0  # phase angle, degrees
        values[0x00C8 + 2 * phase] = volts * math.sqrt(3.0)
        values[0x015A + 2 * phase] = energy / 3.0
        values[0x0160 + 2 * phase] = 0.0
    values |= {
        0x002A: volts,
        0x002E: amps,
        0x0030: 3.0 * amps,
        0x0034: power_w,
        0x0038: apparent_va,
        0x003C: reactive_var,
        0x003E: factor,
        0x0042: 10.0,
        0x0046: hertz,
        0x0048: energy,
        0x004A: 0.0,
        0x004C: energy * 0.17,
        0x004E: 0.0,
        0x0156: energy,
        0x0158: energy * 0.17,
    }
    return values
