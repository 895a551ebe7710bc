"""Whatsminer API v3 as bytes, without a socket: frames, questions, answers, tokens.

A frame is a length of four bytes, little end first, and so many bytes of JSON; a length of 0 is a
heartbeat. Codes 0, -1, -2, -3 and -4 are the vendor's; the words beside them are this simulator's.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

FAILED = -1
INVALID = -2
MISSING = -3
NO_PERMISSION = -4
MAX_REQUEST_BYTES = 65_536
HEARTBEAT = bytes(4)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request. ``proof`` holds ts, token and account where it carries them."""

    command: str
    param: Any
    proof: Json


class AnswerError(Exception):
    """A request that gets a negative answer; ``code`` goes into it."""

    def __init__(self, code: int, message: str, command: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.command = command


class FrameError(Exception):
    """What arrives is not made of frames: the machine hangs up."""


def take_frame(received: bytearray) -> bytes | None:
    """Cut the first whole frame off. Raises FrameError for a length that no request has."""
    if len(received) < len(HEARTBEAT):
        return None
    size = int.from_bytes(received[:4], "little")
    if size > MAX_REQUEST_BYTES:
        raise FrameError(size)
    if len(received) < 4 + size:
        return None
    frame = bytes(received[4 : 4 + size])
    del received[: 4 + size]
    return frame


def parse_question(frame: bytes) -> Question:
    """Read a request. Raises AnswerError."""
    try:
        document = json.loads(frame)
    except (ValueError, RecursionError):
        raise AnswerError(FAILED, "json format error") from None
    if not isinstance(document, dict) or not isinstance(document.get("cmd"), str):
        raise AnswerError(INVALID, "invalid command")
    command: str = document["cmd"]
    return Question(
        command=command,
        param=document.get("param"),
        proof={key: document.get(key) for key in ("ts", "token", "account")},
    )


def answer(command: str, message: Any, when_s: int, code: int = 0) -> Json:
    """The envelope of every answer."""
    return {"code": code, "when": when_s, "msg": message, "desc": command}


def framed(document: Json) -> bytes:
    """The bytes that leave the machine."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return len(body).to_bytes(4, "little") + body


def token_of(command: str, password: str, salt: str, ts: object) -> str:
    """What a write has to carry."""
    digest = hashlib.sha256(f"{command}{password}{salt}{ts}".encode()).digest()
    return base64.b64encode(digest).decode()[:8]
