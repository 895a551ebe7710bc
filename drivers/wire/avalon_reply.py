"""The envelope of Canaan's API on TCP 4028: questions as JSON, answers as JSON or as text.

Canaan's mining program descends from cgminer 4.11.1 and answers in the shape of the question, but
not every firmware knows both. The text shape is ``STATUS=S,When=..,Code=..|VERSION,PROD=..|``;
values there hold commas inside square brackets, which separate nothing.
Never saw a socket; what is cut off, a web page or anything else is a BadReplyError.
"""

import re

import orjson

from drivers.errors import BadReplyError, RefusedError, UnsupportedError
from drivers.wire.cgminer import REPLY_LIMIT_BYTES, Answer, decode_answer

INVALID_COMMAND = 14
_INFO, _SET = 118, 119
_WORDS_MAX = 200
_ROWS_MAX = 1000
_CODE = re.compile(r"[0-9]{1,9}\Z")
_UNKNOWN_OPTION = "unknown option"

# A bracket without its end runs to the end of the text, so that the time is linear in its length.
_MARK = re.compile(r"\[[^\]]*+(?:\]|\Z)|([,|])")
# The text shape names a section by the first key of its rows, the JSON shape in the plural.
_SECTIONS = {"POOL": "POOLS", "ASC": "DEVS"}


def encode_question(command: str, parameter: str | None = None) -> bytes:
    """One question. No line feed: the server takes what came as the whole of it."""
    document = {"command": command}
    if parameter is not None:
        document["parameter"] = parameter
    return orjson.dumps(document)


def decode(reply: bytes) -> Answer:
    """The answer in these bytes, in either shape. Raises BadReplyError for what is none."""
    body = reply[: REPLY_LIMIT_BYTES + 1].strip(b"\0 \t\r\n")
    if len(reply) > REPLY_LIMIT_BYTES or not body.startswith(b"STATUS="):
        return decode_answer(reply)
    return _text_answer(body.decode("utf-8", "replace"), reply)


def clock_of(answer: Answer) -> int:
    """The machine's own clock: Unix seconds, or seconds since its start where it has no time."""
    when_s = answer.row("STATUS").whole("When")
    if when_s < 0:
        raise BadReplyError("The machine's clock is negative.", reply=answer.reply)
    return when_s


def is_unknown_command(answer: Answer) -> bool:
    """Whether this firmware does not have the command at all."""
    status = answer.status
    return status is not None and status.is_refusal and status.code == INVALID_COMMAND


def accepted_write(answer: Answer, what: str) -> None:
    """Return where the machine said yes to an ``ascset``: 118 with the word success, or 119.

    Raises UnsupportedError where the firmware does not have the option, RefusedError for a no, and
    BadReplyError for what is neither.
    """
    status = answer.status
    if status is None:
        raise BadReplyError(f"The answer to {what} has no verdict.", reply=answer.reply)
    words = status.message[:_WORDS_MAX] or "no reason given"
    if status.is_refusal and _UNKNOWN_OPTION in words.lower():
        raise UnsupportedError(
            f"The machine's firmware does not know {what} ({words}): plan without it.",
            reply=answer.reply,
        )
    if status.is_refusal or (status.code == _INFO and "success" not in words.lower()):
        raise RefusedError(
            f"The machine refused {what}: {words} (code {status.code}).", reply=answer.reply
        )
    if status.code not in {_INFO, _SET}:
        raise BadReplyError(f"The answer is not one to {what}: {words}.", reply=answer.reply)


def _text_answer(text: str, reply: bytes) -> Answer:
    document: dict[str, list[dict[str, object]]] = {}
    for name, values in _rows(text, reply):
        document.setdefault(name, []).append(values)
    verdict = document["STATUS"][0]
    code = str(verdict.get("Code", ""))
    verdict["Code"] = int(code) if _CODE.match(code) else 0
    return Answer(document=document, reply=reply)


def _rows(text: str, reply: bytes) -> list[tuple[str, dict[str, object]]]:
    """Every row with the name of its section. The last character of a whole answer ends a row."""
    rows: list[tuple[str, dict[str, object]]] = []
    pieces: list[str] = []
    start = 0
    for mark in _MARK.finditer(text):
        if mark[1] is None:
            continue
        pieces.append(text[start : mark.start()])
        start = mark.end()
        if mark[1] == "|":
            rows.append(_row(pieces))
            pieces = []
        if len(rows) > _ROWS_MAX:
            raise BadReplyError("The answer has more rows than any machine.", reply=reply[:1000])
    if pieces or text[start:].strip():
        raise BadReplyError("The answer is cut off: the machine may be restarting.", reply=reply)
    return rows


def _row(pieces: list[str]) -> tuple[str, dict[str, object]]:
    """``SUMMARY,Elapsed=1`` or ``POOL=0,URL=x``; what has no key belongs to the one before it."""
    name, is_pair, _ = pieces[0].partition("=")
    texts: dict[str, list[str]] = {}
    last: list[str] = []
    for piece in pieces if is_pair else pieces[1:]:
        key, has_value, value = piece.partition("=")
        if has_value:
            last = texts.setdefault(key.strip(), [])
            last.append(value)
        else:
            last.append(piece)
    values: dict[str, object] = {key: ",".join(parts) for key, parts in texts.items()}
    return _SECTIONS.get(name.strip(), name.strip()), values
