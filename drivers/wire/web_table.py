"""The JSON object in the body of an HTTP answer, as rows that are read by key.

Never saw a socket. What is no object is a BadReplyError with the way out.
"""

import re

import orjson

from drivers.errors import BadReplyError
from drivers.wire.cgminer import Row

_KEPT_BYTES = 1_000
_AMOUNT_MAX = 1e12  # a petahash in MH/s is a thousandth of it
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")


def table_of(body: bytes, path: str) -> Row:
    """The object that answers ``path``. Raises BadReplyError."""
    kept = body[:_KEPT_BYTES]
    try:
        document = orjson.loads(body.strip(b"\0 \t\r\n"))
    except orjson.JSONDecodeError as error:
        raise BadReplyError(
            f"The answer to {path} is cut off or is not JSON: the machine may be restarting.",
            reply=kept,
        ) from error
    if not isinstance(document, dict):
        raise BadReplyError(f"The answer to {path} is JSON, but not a table.", reply=kept)
    return Row(section=path, values=document)


def part_of(table: Row, name: str) -> Row:
    """A table within a table. Raises BadReplyError where there is none."""
    value = table.values.get(name)
    if not isinstance(value, dict):
        raise BadReplyError(
            f"The machine's {table.section} has no table {name!r}: "
            "its firmware may be a version that kwota does not know."
        )
    return Row(section=name, values=value)


def rows_of(table: Row, name: str) -> tuple[Row, ...]:
    """A list of tables, possibly empty. Raises BadReplyError where there is no such list."""
    value = table.values.get(name)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise BadReplyError(
            f"The machine's {table.section} has no list of tables {name!r}: "
            "its firmware may be a version that kwota does not know."
        )
    return tuple([Row(section=name, values=row) for row in value])


def amount(row: Row, key: str) -> float:
    """A number from 0 to what any machine could mean by it. Raises BadReplyError."""
    value = row.number(key)
    if not 0 <= value <= _AMOUNT_MAX:
        raise BadReplyError(f"The machine says that its {row.section} {key} is {value:g}.")
    return value


def is_whole_mac(mac: str) -> bool:
    """Whether this is a MAC in lower case with colons."""
    return _MAC.match(mac) is not None
