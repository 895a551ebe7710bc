"""Writes of Whatsminer's API v2 as they travel: a token made of the password, and AES around both.

MicroBT API manuals V1.3.8 and V2.2. ``get_token`` tells two salts and a time. The key is the
md5crypt of the password with the first salt; the sign is that of the key and the last four
characters of the time with the second. SHA-256 of the key's text is the AES-256 key; the mode is
ECB. Firmware pads answers with NUL or as PKCS7, and tells some refusals in clear.
Never saw a socket; the password is in no error and no value that outlives a call.
"""

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from drivers.errors import BadReplyError, BusyError, RefusedError, UnsupportedError
from drivers.wire.cgminer import Answer, decode_answer
from drivers.wire.md5crypt import md5crypt

TOKEN_LIFE_S = 1800.0

_BLOCK_BYTES = 16
_WORDS_MAX = 200
_SALT = re.compile(r"[./0-9A-Za-z]{1,8}\Z")
_SECONDS = re.compile(r"[0-9]{1,7}\Z")
_TIME_MAX = 64

_OK_CODES = frozenset({131, 133})
_INVALID_COMMAND = 14
_INVALID_JSON = 23
_NO_PERMISSION = 45
_FAILED = 132
_TOKEN_ERROR = 135
_TOO_MANY_TOKENS = 136


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Leave to write for a while: ``life_s`` after it was given, or as long as it is in use."""

    sign: str = field(repr=False)
    key: bytes = field(repr=False)
    life_s: float


def token_of(answer: Answer, password: str) -> Token:
    """The token that an accepted answer to ``get_token`` and the password make."""
    message = answer.fields.values.get("Msg")
    told = message if isinstance(message, dict) else {}
    salt, new_salt, time = (told.get(name) for name in ("salt", "newsalt", "time"))
    if (
        not isinstance(salt, str)
        or not isinstance(new_salt, str)
        or not isinstance(time, str)
        or not (_SALT.match(salt) and _SALT.match(new_salt))
        or not 0 < len(time) <= _TIME_MAX
    ):
        raise BadReplyError(
            "The machine gave no token that can be used: "
            "its firmware may be a version that kwota does not know.",
            reply=answer.reply,
        )
    key = md5crypt(password.encode(), salt.encode())
    return Token(
        sign=md5crypt((key + time[-4:]).encode(), new_salt.encode()),
        key=hashlib.sha256(key.encode()).digest(),
        life_s=_life_s(told.get("timeout")),
    )


def _life_s(timeout: object) -> float:
    """Manual V2.2: "0" for ever, else seconds without use; older firmware says nothing."""
    text = str(timeout)
    if isinstance(timeout, bool) or not _SECONDS.match(text):
        return TOKEN_LIFE_S
    return float(text) or math.inf


def encode_write(token: Token, command: str, parameters: Mapping[str, object]) -> bytes:
    """One write. Values are text, as the firmware wants them; the beat of a light is in numbers."""
    plain = orjson.dumps({"token": token.sign, "cmd": command, **parameters})
    padded = plain + bytes(-len(plain) % _BLOCK_BYTES)
    sealed = _cipher(token).encryptor().update(padded)
    return orjson.dumps({"enc": 1, "data": base64.b64encode(sealed).decode()})


def decode_written(reply: bytes, token: Token) -> Answer:
    """The answer to a write, opened where it is sealed. Raises BadReplyError."""
    answer = decode_answer(reply)
    sealed = answer.fields.values.get("enc")
    if sealed is None:
        return answer
    try:
        data = base64.b64decode(str(sealed), validate=False)
    except (binascii.Error, ValueError) as error:
        raise _unreadable(reply) from error
    if not data or len(data) % _BLOCK_BYTES:
        raise _unreadable(reply)
    plain = _cipher(token).decryptor().update(data)
    try:
        return decode_answer(_unpadded(plain))
    except BadReplyError as error:
        raise _unreadable(reply) from error


def is_token_refused(answer: Answer) -> bool:
    """Whether the machine does not know the token, so that nothing was carried out."""
    return answer.status is not None and answer.status.code == _TOKEN_ERROR


def require_accepted(answer: Answer, command: str) -> None:
    """Nothing where the machine said yes. Raises a leaf of DriverError that says what to do."""
    status = answer.status
    if status is None:
        raise BadReplyError(f"The answer to {command} does not say yes or no.", reply=answer.reply)
    if status.letter == "S" and status.code in _OK_CODES:
        return
    words = status.message[:_WORDS_MAX] or "no reason given"
    told = f"{words} (code {status.code})"
    if status.code == _NO_PERMISSION or "access write" in words.lower():
        raise RefusedError(
            f"The machine takes no writes ({told}): in WhatsMinerTool change the admin password, "
            "if it is still the factory's, then turn the Miner API Switch on.",
            reply=answer.reply,
        )
    if status.code == _TOO_MANY_TOKENS:
        raise BusyError(
            f"The machine has given out all its tokens ({told}): they lapse within 30 minutes; "
            "find out which other program asks for one with every command.",
            reply=answer.reply,
        )
    if status.code in {_TOKEN_ERROR, _INVALID_JSON}:
        raise RefusedError(
            f"The machine does not accept what the password makes ({told}): "
            "check the password file against the machine's admin password.",
            reply=answer.reply,
        )
    if status.code == _INVALID_COMMAND or (status.code == _FAILED and "deprecat" in words.lower()):
        raise UnsupportedError(
            f"The machine's firmware does not have {command} ({told}): if it also listens on "
            "TCP 4433, configure the machine as whatsminer-v3.",
            reply=answer.reply,
        )
    if "busy" in words.lower():
        raise BusyError(f"The machine is busy ({told}): try again later.", reply=answer.reply)
    raise RefusedError(f"The machine refused {command}: {told}.", reply=answer.reply)


def _unpadded(plain: bytes) -> bytes:
    """Without the padding of either kind; JSON ends with neither."""
    count = plain[-1]
    if 1 <= count <= _BLOCK_BYTES and plain.endswith(bytes([count]) * count):
        return plain[:-count]
    return plain.rstrip(b"\0")


def _unreadable(reply: bytes) -> BadReplyError:
    return BadReplyError(
        "The machine's sealed answer cannot be opened: "
        "check the password file against the machine's admin password.",
        reply=reply,
    )


def _cipher(token: Token) -> Cipher[modes.ECB]:
    # The mode is the vendor's: what it hides is only the token of a machine on the farm's network.
    return Cipher(algorithms.AES(token.key), modes.ECB())  # noqa: S305 - the protocol's mode
