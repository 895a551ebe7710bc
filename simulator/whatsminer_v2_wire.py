"""Whatsminer API v2 as bytes, without a socket: questions, answers, tokens, sealed writes.

One JSON object each way, the name of a command under "cmd" or "command". A sealed write is
``{"enc": 1, "data": ...}`` and its answer ``{"enc": ...}``: AES-256 in mode ECB, the key of which
is the SHA-256 of the md5crypt of the password. Codes are the vendor's; the words are those seen.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

INVALID_COMMAND = 14
INVALID_JSON = 23
NO_PERMISSION = 45
OK = 131
COMMAND_ERROR = 132
TOKEN_OK = 133
TOKEN_ERROR = 135
TOO_MANY_TOKENS = 136
BASE64_ERROR = 137
MAX_REQUEST_BYTES = 65_536

Json = dict[str, Any]

_ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request. ``token`` is None for one that came in clear."""

    names: tuple[str, ...]
    fields: Json
    token: str | None = None


class AnswerError(Exception):
    """A request that gets a negative answer; ``code`` goes into it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_json(data: bytes) -> Json:
    """One object. Raises AnswerError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise AnswerError(INVALID_JSON, "invalid json") from None
    if not isinstance(document, dict):
        raise AnswerError(INVALID_JSON, "invalid json")
    return document


def is_complete(received: bytes) -> bool:
    """Whether the bytes are whole JSON; too many of them are none."""
    if len(received) > MAX_REQUEST_BYTES:
        return True
    try:
        json.loads(received.strip(b"\0 \r\n"))
    except (ValueError, RecursionError):
        return False
    return True


def question_of(document: Json, *, token: str | None = None) -> Question:
    """The command in an object. Raises AnswerError."""
    name = document.get("cmd", document.get("command"))
    if not isinstance(name, str) or not name:
        raise AnswerError(INVALID_COMMAND, "invalid cmd")
    return Question(names=tuple(name.split("+")), fields=document, token=token)


def flat(message: Any, when_s: int, *, code: int = OK, letter: str = "S") -> Json:
    """The shape of btminer's own answers."""
    return {"STATUS": letter, "When": when_s, "Code": code, "Msg": message, "Description": ""}


def listed(section: str, rows: list[Json], when_s: int, words: str, code: int) -> Json:
    """The shape inherited from cgminer."""
    status = {"STATUS": "S", "When": when_s, "Code": code, "Msg": words}
    return {"STATUS": [status | {"Description": "cgminer 4.9.2"}], section: rows, "id": 1}


def key_text(password: str, salt: str) -> str:
    """What stands behind the third dollar of the password's hash."""
    return unix_md5(password, salt)


def sign_of(key: str, time: str, new_salt: str) -> str:
    """The token that goes with a key."""
    return unix_md5(key + time[-4:], new_salt)


def open_sealed(data: object, key: str) -> bytes:
    """The text of a sealed write, whatever it is padded with. Raises AnswerError."""
    try:
        sealed = base64.b64decode(str(data), validate=True)
    except (binascii.Error, ValueError):
        raise AnswerError(BASE64_ERROR, "base64 decode err") from None
    if not sealed or len(sealed) % 16:
        raise AnswerError(INVALID_JSON, "json cmd err")
    text = _aes(key).decryptor().update(sealed)
    return text.rstrip(bytes(range(17)))


def seal(document: Json, key: str, *, is_pkcs7: bool) -> Json:
    """A sealed answer."""
    text = json.dumps(document).encode()
    missing = 16 - len(text) % 16
    text += bytes([missing]) * missing if is_pkcs7 else bytes(missing % 16)
    return {"enc": base64.b64encode(_aes(key).encryptor().update(text)).decode()}


def _aes(key: str) -> Cipher[modes.ECB]:
    digest = hashlib.sha256(key.encode()).digest()
    return Cipher(algorithms.AES(digest), modes.ECB())  # noqa: S305 - the machine's mode


def unix_md5(word: str, salt: str) -> str:
    """``crypt`` with ``$1$``, as FreeBSD's libcrypt introduced it; the last of its four parts."""
    phrase, spice = word.encode(), salt.encode()[:8]
    inner = hashlib.md5(phrase + spice + phrase).digest()  # noqa: S324 - the machine's hash
    outer = hashlib.md5(phrase + b"$1$" + spice)  # noqa: S324 - the machine's hash
    for start in range(0, len(phrase), 16):
        outer.update(inner[: len(phrase) - start])
    left = len(phrase)
    while left:
        outer.update(b"\0" if left & 1 else phrase[:1])
        left >>= 1
    state = outer.digest()
    for number in range(1000):
        turn = hashlib.md5()  # noqa: S324 - the machine's hash
        turn.update(phrase if number & 1 else state)
        if number % 3:
            turn.update(spice)
        if number % 7:
            turn.update(phrase)
        turn.update(state if number & 1 else phrase)
        state = turn.digest()
    order = (12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11)
    shuffled = bytes(state[place] for place in order)
    spelt = bytearray()
    for start in range(0, 16, 3):
        number = int.from_bytes(shuffled[start : start + 3], "little")
        for _ in range(4 if start < 15 else 2):
            spelt.append(_ALPHABET[number & 63])
            number >>= 6
    return spelt.decode()
