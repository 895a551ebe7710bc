"""The envelope of Braiins OS' REST API: bodies to tables, statuses to errors, requests to bytes.

Shapes of the vendor's OpenAPI document 1.7.0. It has no schema for errors: a refusal is its status,
with whatever text came along. Never saw a socket; the password is in no error and in no value that
outlives a call.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnsupportedError,
)
from drivers.wire.cgminer import Row

USER = "root"
_WORDS_MAX = 200
_TIMEOUT_MAX_S = 31_536_000
_TOKEN = re.compile(r"[!-~]{1,512}\Z")  # what a header can carry
_SPACES = re.compile(r"\s+")
_HINTS = {
    HTTPStatus.UNAUTHORIZED: "it does not accept the login: check the password file",
    HTTPStatus.FORBIDDEN: "the login may not do this: check the password file",
    HTTPStatus.CONFLICT: "it is in a state that does not allow this: look at its status",
    HTTPStatus.PRECONDITION_FAILED: "a limit of its own forbids it, or its mining program does not "
    "run: look at its limits and its status in Braiins OS",
}
_ABSENT = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a login brought. Each request renews the time."""

    token: str = field(repr=False)
    timeout_s: int


def encode_login(password: str) -> bytes:
    """The body of a login."""
    return orjson.dumps({"username": USER, "password": password})


def encode_power_target(watts: int) -> bytes:
    """The body of an absolute power target."""
    return orjson.dumps({"watt": watts})


def encode_board(board: int, *, is_on: bool) -> bytes:
    """The body that switches one hashboard."""
    return orjson.dumps({"enable": is_on, "hashboard_ids": [str(board)]})


def encode_flag(*, is_on: bool) -> bytes:
    """The body of ``actions/locate``: nothing but a boolean."""
    return orjson.dumps(is_on)


def session_of(body: bytes) -> Session:
    """The answer to a login; its bytes hold a secret and stay out of the error."""
    try:
        row = table_of(body, "login")
        token, timeout_s = row.text("token"), row.whole("timeout_s")
    except BadReplyError:
        token, timeout_s = "", 0
    if not _TOKEN.match(token) or not 0 < timeout_s <= _TIMEOUT_MAX_S:
        raise BadReplyError(
            "The machine accepted the login and gave no usable token: "
            "its firmware may be a version that kwota does not know."
        )
    return Session(token=token, timeout_s=timeout_s)


def document_of(body: bytes, what: str) -> object:
    """Any JSON. Raises BadReplyError for what is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadReplyError(
            f"The machine's {what} is cut off or is not JSON: it may be restarting.", reply=body
        ) from error


def table_of(body: bytes, what: str) -> Row:
    """One JSON object, which errors call ``what``."""
    document = document_of(body, what)
    if not isinstance(document, dict):
        raise BadReplyError(f"The machine's {what} is JSON, but not a table.", reply=body)
    return Row(section=what, values=document)


def tables_of(body: bytes, what: str) -> tuple[Row, ...]:
    """A JSON list of objects."""
    return _rows(document_of(body, what), what, lambda: body)


def part_of(row: Row, *path: str) -> Row | None:
    """A table inside of a table; None where the vendor left it out or wrote null."""
    for name in path:
        value = row.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise BadReplyError(f"The machine's {row.section} has {name!r} that is not a table.")
        row = Row(section=name, values=value)
    return row


def list_of(row: Row, name: str) -> tuple[Row, ...]:
    """A list of tables inside of a table."""
    what = f"{row.section} {name}"
    return _rows(row.values.get(name), what, lambda: repr(dict(row.values)).encode())


def number_of(row: Row, *path: str) -> float | None:
    """The number at the end of a path; None where it, or a table before it, is null."""
    value: object = row.values
    for name in path:
        if type(value) is not dict:
            break
        value = value.get(name)
    if type(value) is float or type(value) is int:
        return float(value)  # as nearly always; a yes or no is neither
    *tables, name = path
    inner = part_of(row, *tables)
    return None if inner is None else inner.number_or_none(name)


def text_of(row: Row, name: str) -> str:
    """Text without the spaces around it, "" where the vendor wrote null."""
    return row.text(name).strip() if row.has(name) else ""


def is_absent(status: int) -> bool:
    """Whether this firmware does not have what was asked for."""
    return status in _ABSENT


def refusal_of(status: int, body: bytes, what: str) -> DriverError:
    """What a status other than yes means for whoever asked for ``what``."""
    words = _words(body)
    said = f"{what} (HTTP {status}{f': {words}' if words else ''})"
    if status in _ABSENT:
        return UnsupportedError(f"This machine's firmware cannot do {said}.", reply=body)
    if status in _BUSY:
        return BusyError(f"The machine is too busy for {said}: try again in a minute.", reply=body)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        hint = next((hint for code, hint in _HINTS.items() if code == status), "")
        return RefusedError(f"The machine refused {said}{f'; {hint}' if hint else ''}.", reply=body)
    return BadReplyError(
        f"The machine answered {said} with an error of its own: it may be starting.", reply=body
    )


def _rows(value: object, what: str, reply: Callable[[], bytes]) -> tuple[Row, ...]:
    if not isinstance(value, list) or {type(row) for row in value} - {dict}:
        raise BadReplyError(f"The machine's {what} is not a list of tables.", reply=reply())
    return tuple([Row(section=what, values=row) for row in value])


def _words(body: bytes) -> str:
    """What a refusal says in words, on one line; a web page says nothing."""
    text = _SPACES.sub(" ", body[:_WORDS_MAX].decode("utf-8", "replace")).strip()
    return "" if text.startswith("<") or not text.isprintable() else text.rstrip(".")
