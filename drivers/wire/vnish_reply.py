"""The envelope of VNish's REST API: bodies to JSON, answers and refusals from it.

Every answer is a JSON table; a refusal is a status and at best ``{"err": "..."}``. A login is the
web page's password in exchange for a token, which goes along as ``Authorization: Bearer``.
Never saw a socket; password and token are in no error.
"""

import orjson

from drivers.errors import (
    BadReplyError,
    BusyError,
    DriverError,
    RefusedError,
    UnsupportedError,
)
from drivers.wire.cgminer import Row

_WORDS_MAX = 200
_TOKEN_MAX = 4096
_NO_PERMISSION = frozenset({401, 403})
_TOO_MANY = 429
_NO_SUCH_THING = frozenset({404, 405})


def decode_table(body: bytes, what: str) -> Row:
    """The table in the answer to ``what``. Raises BadReplyError for everything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadReplyError(
            f"The answer to {what} is cut off or is not JSON: the machine may be starting, or "
            "something else may listen on this port.",
            reply=body,
        ) from error
    if not isinstance(document, dict):
        raise BadReplyError(f"The answer to {what} is JSON, but not a table.", reply=body)
    return Row(section=what, values=document)


def table_in(row: Row, key: str) -> Row:
    """A table inside of another. Raises BadReplyError where there is none."""
    value = row.values.get(key)
    if not isinstance(value, dict):
        raise BadReplyError(
            f"The machine's {row.section} has no table {key!r}: "
            "its firmware may be a version that kwota does not know.",
            reply=repr(dict(row.values)).encode(),
        )
    return Row(section=key, values=value)


def tables_in(row: Row, key: str) -> tuple[Row, ...]:
    """A list of tables; the firmware leaves it out, or writes null, while it has none."""
    value = row.values.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadReplyError(
            f"The machine's list {key!r} holds something other than tables.",
            reply=repr(dict(row.values)).encode(),
        )
    return tuple([Row(section=key, values=entry) for entry in value])


def refusal(status: int, body: bytes, what: str) -> DriverError:
    """What a status that is no yes means, in the words of ``drivers.errors``."""
    words = _words(body)
    if status in _NO_PERMISSION:
        return RefusedError(
            f"The machine gives no permission for {what}: name a password_file that holds the "
            "password of its web page.",
            reply=body,
        )
    if status == _TOO_MANY:
        return BusyError(
            f"The machine takes no {what} for now, it was asked too often: try again in a minute.",
            reply=body,
        )
    if status in _NO_SUCH_THING:
        return UnsupportedError(
            f"The machine does not know {what}: its firmware is too old for it, or it is not VNish."
        )
    if words is None:
        return BadReplyError(f"{what} was answered with HTTP {status} and no reason.", reply=body)
    return RefusedError(f"The machine refused {what}: {words} (HTTP {status}).", reply=body)


def is_verdict(status: int, body: bytes) -> bool:
    """Whether the machine itself has decided about a write: a plain yes, or a no with a reason.

    A page in between, or half an answer, leaves open what became of it.
    """
    if 200 <= status < 300:
        return not body.strip() or _is_json(body)
    return not isinstance(refusal(status, body, "the write"), BadReplyError)


def encode_unlock(password: str) -> bytes:
    """The login's body."""
    return orjson.dumps({"pw": password})


def token_of(body: bytes) -> str:
    """The token of a login. Raises BadReplyError; the answer itself is in no error."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    token = document.get("token") if isinstance(document, dict) else None
    if not isinstance(token, str) or not 0 < len(token) <= _TOKEN_MAX or not _is_plain(token):
        raise BadReplyError("The machine accepted the password and sent no token that can be used.")
    return token


def encode_throttle(percent: int) -> bytes:
    """The body of ``mining/throttle``."""
    return orjson.dumps({"percent": percent})


def encode_light(*, is_on: bool) -> bytes:
    """The body of ``find-miner``."""
    return orjson.dumps({"on": is_on})


def _is_plain(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _words(body: bytes) -> str | None:
    """The reason in ``err``; None where something else than the machine may have answered."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    told = document.get("err")
    return (
        told.strip()[:_WORDS_MAX] if isinstance(told, str) and told.strip() else "no reason given"
    )
