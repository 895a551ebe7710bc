"""Avalon questions and answers as bytes, without a socket: text and JSON, NUL at the end.

The text shape is ``cmd|param`` with answers of ``KEY=value`` pairs between bars; the JSON shape
that of cgminer. Codes as recorded (118, 119) and as cgminer has them; 120 is a refused ``ascset``.
"""

import json
from dataclasses import dataclass
from typing import Any

import orjson

DESCRIPTION = "cgminer 4.11.1"
MAX_REQUEST_BYTES = 8_192
INVALID_COMMAND = 14
INVALID_JSON = 23
INFO, SET_OK, SET_FAILED = 118, 119, 120

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One command with its parameter; ``is_json`` is the shape of its answer."""

    command: str
    parameter: str
    is_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer before it has a shape. ``first_key`` is the one by which text names its rows."""

    code: int
    message: str
    letter: str = "S"
    section: str = ""
    first_key: str = ""
    rows: tuple[Json, ...] = ()


class QuestionError(Exception):
    """A question that cannot be understood; ``code`` goes into the answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_complete(received: bytes) -> bool:
    """Whether a question has ended. Text is taken as it comes; JSON has to be whole."""
    if len(received) > MAX_REQUEST_BYTES:
        return True
    text = received.lstrip()
    if not text:
        return False
    return not text.startswith(b"{") or _document(text.rstrip(b"\0\r\n\t ")) is not None


def parse_question(received: bytes) -> Question:
    """Read a question in either shape. Raises QuestionError."""
    text = received.strip(b"\0\r\n\t ")
    if not text.startswith(b"{"):
        command, _, parameter = text.decode("ascii", "replace").partition("|")
        return Question(command=command, parameter=parameter, is_json=False)
    document = _document(text)
    if document is None:
        raise QuestionError(INVALID_JSON, "Invalid JSON")
    name = document.get("command")
    if not isinstance(name, str):
        raise QuestionError(INVALID_COMMAND, "Missing JSON command")
    return Question(command=name, parameter=str(document.get("parameter", "")), is_json=True)


def encode(told: Told, when_s: int, *, is_json: bool) -> bytes:
    """The bytes that leave the machine."""
    return (_json(told, when_s) if is_json else _text(told, when_s)) + b"\x00"


def encode_joined(parts: dict[str, Told], when_s: int) -> bytes:
    """The answers of a joined question, each in a list of one."""
    document = {name: [as_document(told, when_s)] for name, told in parts.items()}
    return orjson.dumps({**document, "id": 1}) + b"\x00"


def as_document(told: Told, when_s: int) -> Json:
    """An answer as cgminer's JSON has it."""
    document: Json = {"STATUS": [_status(told, when_s)]}
    if told.section:
        document[told.section] = list(told.rows)
    return {**document, "id": 1}


def _json(told: Told, when_s: int) -> bytes:
    return orjson.dumps(as_document(told, when_s))


def _text(told: Told, when_s: int) -> bytes:
    parts = [_pairs(_status(told, when_s))]
    for row in told.rows:
        head = "" if told.first_key else f"{told.section},"
        parts.append(head + _pairs(row))
    return ("|".join(parts) + "|").encode()


def _pairs(row: Json) -> str:
    return ",".join(f"{key}={_word(value)}" for key, value in row.items())


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _status(told: Told, when_s: int) -> Json:
    return {
        "STATUS": told.letter,
        "When": when_s,
        "Code": told.code,
        "Msg": told.message,
        "Description": DESCRIPTION,
    }


def _document(text: bytes) -> Json | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
