"""LuxOS requests and answers as bytes, without a socket (cgminer API in JSON, NUL terminated).

Numbers of answers come from the vendor's API pages and from answers recorded on a real machine
(LUXminer 2025.4.8). Where neither gives one, the constant says so.
"""

import json
from dataclasses import dataclass
from typing import Any

import orjson

FIRMWARE = "2025.4.8.220305"
DESCRIPTION = f"LUXminer {FIRMWARE}-57b389c7"
MAX_REQUEST_BYTES = 16_384
_MAX_ITEM = 200

# cgminer's API numbers.
INVALID_COMMAND = 14
INVALID_JSON = 23
# LuxOS: "Another session is active".
SESSION_BUSY = 402
# Not published by the vendor: numbers of this simulator.
SESSION_INVALID = 401
BAD_ARGUMENT = 403
CURTAILED = 404
REFUSED = 405

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command with its comma separated parameters."""

    command: str
    parameters: tuple[str, ...]


class RequestError(Exception):
    """A request that cannot be understood; ``code`` goes into the answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_complete(received: bytes) -> bool:
    """Whether a request has ended: by newline, by NUL, as a whole object, or as plain garbage."""
    text = received.lstrip()
    if not text:
        return False
    if not text.startswith(b"{") or text[-1:] in {b"\n", b"\x00"}:
        return True
    return text.rstrip().endswith(b"}") and _document(text) is not None


def parse_request(received: bytes) -> Request:
    """Read a request. Raises RequestError with the number of the answer."""
    document = _document(received.strip(b"\x00\r\n\t "))
    if document is None:
        raise RequestError(INVALID_JSON, "Invalid JSON")
    command = document.get("command")
    parameter = document.get("parameter", "")
    if not isinstance(command, str) or not command.isascii() or len(command) > _MAX_ITEM:
        raise RequestError(INVALID_COMMAND, "Missing command")
    if isinstance(parameter, bool) or not isinstance(parameter, str | int | float):
        raise RequestError(BAD_ARGUMENT, "Invalid parameter")
    text = str(parameter)
    items = tuple(item.strip() for item in text.split(",")) if text else ()
    if not text.isascii() or any(len(item) > _MAX_ITEM for item in items):
        raise RequestError(BAD_ARGUMENT, "Invalid parameter")
    return Request(command=command, parameters=items)


def _document(text: bytes) -> Json | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def answer(code: int, message: str, when_s: int, *, sections: Json | None = None) -> Json:
    """A positive answer with its sections."""
    return {**(sections or {}), "STATUS": [_status("S", code, message, when_s)], "id": 1}


def refusal(code: int, message: str, when_s: int) -> Json:
    """An error answer."""
    return {"STATUS": [_status("E", code, message, when_s)], "id": 1}


def encode(document: Json) -> bytes:
    """The bytes that leave the machine."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS) + b"\x00"


def _status(letter: str, code: int, message: str, when_s: int) -> Json:
    return {
        "Code": code,
        "Description": DESCRIPTION,
        "Msg": message,
        "STATUS": letter,
        "When": when_s,
    }
