"""Records: what may stand in the journal, and how it becomes the one line that is signed.

A record is encoded once, and these bytes are what is hashed, stored, sent and exported; nobody
writes them a second time. So the rules hold before encoding: whole numbers in scaled units, no
floats (a NaN would silently become null), names that are text. See docs/wire.md.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from agent.siteclock import Stamp

KINDS = frozenset(
    {
        "boot",
        "config",
        "meter",
        "sweep",
        "tick",
        "frame",
        "ledger",
        "limit",
        "statement",
        "preflight",
        "decision",
        "throttle",
        "relay",
        "clock",
        "gap",
        "ack",
        "alarm",
        "key",
        "calibration",
        "learned",
        "pool",
    }
)
STATES = frozenset("GTSF")
SCHEMA = 1
RECORD_MAX_BYTES = 65_535  # tlog-tiles: an entry's length is a uint16

_ENVELOPE_MAX_BYTES = 256  # the keys and their largest numbers, without source and data
_DEPTH_MAX = 16
# The keys in their order for ever. Formatting costs a third of building a dict for the encoder;
# kinds, states and qualities are letters that need no escape.
_LINE = b'{"v":%d,"i":%%d%%b,"d":%%b}' % SCHEMA
_ENVELOPE = b',"k":"%b","b":%d,"m":%d,"t":%d,"q":"%b","e":%d,"s":%b,"st":"%b"'
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class JournalError(Exception):
    """The journal cannot be opened, read or written any more."""


class JournalFullError(JournalError):
    """No room is left for this record: the log is whole, later records may fit again."""


class RecordError(JournalError):
    """A record that may not stand in the journal; the sentence names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """What somebody wants to have written. ``taken_at_ms`` stands where it differs from now."""

    kind: str
    source: str
    data: Mapping[str, Any]
    state: str = "G"
    taken_at_ms: int | None = None


class PreparedRecord(NamedTuple):
    """A checked record that waits for its index. ``data`` is its JSON already.

    ``carried_from`` is its index in the epoch before, where it follows again from there.

    No dataclass: making a frozen one takes longer than all the rest of ``prepare``.
    """

    kind: str
    source: str
    state: str
    data: bytes
    stamp: Stamp
    time_us: int
    carried_from: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as it was read back."""

    index: int
    kind: str
    boot: int
    boottime_ns: int
    time_us: int
    quality: str
    max_error_us: int
    source: str
    state: str
    data: dict[str, Any]


def prepare(record: NewRecord, stamp: Stamp) -> PreparedRecord:
    """Check a record and encode its data. Raises RecordError."""
    if record.kind not in KINDS:
        raise RecordError(f"There is no record kind {record.kind!r}.")
    if record.state not in STATES:
        raise RecordError(f"There is no state letter {record.state!r}.")
    fields = record.data
    if type(fields) is dict:
        _check_fields(fields, "d", 0)  # nearly all of them: straight to what there is to check
    else:
        _check(fields, "d", 0)
    try:
        # Copied, because the encoder's own buffer is a kilobyte at least: a thousand of them that
        # wait for their commit cost more in fresh pages than all the rest of this function.
        data = b"%b" % orjson.dumps(fields)
        source_bytes = len(_json_text(record.source))
    except orjson.JSONEncodeError as error:
        raise RecordError(f"A {record.kind} record cannot be encoded: {error}.") from error
    if len(data) + source_bytes + _ENVELOPE_MAX_BYTES > RECORD_MAX_BYTES:
        raise RecordError(
            f"A {record.kind} record of {len(data)} bytes is too long for one line"
            f" ({RECORD_MAX_BYTES} bytes); split it."
        )
    taken_at_ms = record.taken_at_ms
    time_us = stamp.time_us if taken_at_ms is None else taken_at_ms * 1000
    # By place and past the named fields' own constructor, which takes three times as long.
    fields_of = (record.kind, record.source, record.state, data, stamp, time_us, None)
    return tuple.__new__(PreparedRecord, fields_of)


def encode_records(
    records: Sequence[PreparedRecord], *, index: int, boot: int, boot_id: str | None = None
) -> list[bytes]:
    """The bytes of records, for ever; ``index`` is the first one's.

    ``boot_id`` goes into ``boot`` records alone.
    """
    lines = []
    before: tuple[object, ...] = ()
    envelope = b""
    for at, (kind, source, state, data, stamp, time_us, carried_from) in enumerate(records, index):
        # The records of one commit differ in little: what they share is made once, as long as
        # one after the other shares it.
        about = (kind, source, state, time_us, stamp)
        if about != before:
            names = (kind, source, state)
            before, envelope = about, _envelope(names, time_us, boot, stamp)
        more = envelope
        if boot_id is not None and kind == "boot":
            more += b',"bid":' + _json_text(boot_id)
        if carried_from is not None:
            more += b',"ci":%d' % carried_from
        lines.append(_LINE % (at, more, data))
    return lines


def parse_record(line: bytes) -> Record:
    """Read a stored record. Raises RecordError where it is not one."""
    try:
        fields = orjson.loads(line)
        if fields["v"] != SCHEMA:
            raise RecordError(f"A record has the unknown schema {fields['v']!r}.")
        record = Record(
            index=fields["i"],
            kind=fields["k"],
            boot=fields["b"],
            boottime_ns=fields["m"],
            time_us=fields["t"],
            quality=fields["q"],
            max_error_us=fields["e"],
            source=fields["s"],
            state=fields["st"],
            data=fields["d"],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise RecordError("A stored line is not a record.") from error
    numbers = (record.index, record.boot, record.boottime_ns, record.time_us, record.max_error_us)
    if not all(type(number) is int for number in numbers) or not isinstance(record.data, dict):
        raise RecordError("A stored line is not a record: a field has the wrong type.")
    return record


def is_of_kind(line: bytes, kind: str) -> bool:
    """Whether a record's bytes say that it is of this kind, without reading the rest of them."""
    at = line.find(b'"k":"')  # before it stand only numbers
    return at >= 0 and line.startswith(kind.encode() + b'"', at + 5)


def _envelope(names: tuple[str, str, str], time_us: int, boot: int, stamp: Stamp) -> bytes:
    """What stands between index and data. ``names``: kind, source and state."""
    kind, source, state = names
    return _ENVELOPE % (
        kind.encode(),
        boot,
        stamp.boottime_ns,
        time_us,
        stamp.quality.encode(),
        stamp.max_error_us,
        _json_text(source),
        state.encode(),
    )


@functools.lru_cache(maxsize=1024)
def _json_text(text: str) -> bytes:
    """A text as JSON; sources are few and come again in every record."""
    return orjson.dumps(text)


def _check(value: object, path: str, depth: int) -> None:
    """Refuse what has no exact JSON form, naming where it stands."""
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise RecordError(f"{path} does not fit into 64 bits.")
    elif isinstance(value, float):
        raise RecordError(f"{path} is the float {value!r}; write a whole number in a scaled unit.")
    elif depth >= _DEPTH_MAX:
        raise RecordError(f"{path} is nested deeper than {_DEPTH_MAX} levels.")
    elif isinstance(value, dict):
        _check_fields(value, path, depth)
    elif isinstance(value, list | tuple):
        _check_items(value, path, depth)
    else:
        raise RecordError(f"{path} is a {type(value).__name__}, which a record cannot hold.")


def _check_fields(fields: Mapping[object, object], path: str, depth: int) -> None:
    for key, item in fields.items():
        if not isinstance(key, str):
            raise RecordError(f"{path} has the key {key!r}, which is not text.")
        if type(item) is str or (type(item) is int and _INT_MIN <= item <= _INT_MAX):
            continue  # nearly all of them: no path is written for these
        _check(item, f"{path}.{key}", depth + 1)


def _check_items(items: Sequence[object], path: str, depth: int) -> None:
    if all(type(item) is int and _INT_MIN <= item <= _INT_MAX for item in items):
        return  # the columns of a tick: thousands of numbers, checked without a call each
    for at, item in enumerate(items):
        _check(item, f"{path}[{at}]", depth + 1)
