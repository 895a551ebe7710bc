"""The envelope of Whatsminer's API v3: questions and writes to JSON, answers from it.

Shape as MicroBT's own clients use it: ``code``, ``when``, ``desc`` and ``msg``. A write carries the
account and a token, which is the first eight characters of base64(SHA-256(command + password +
salt + clock)).
Never saw a socket; the password is in no error and no value that outlives a call.
"""

import base64
import hashlib
from typing import NamedTuple

import orjson

from drivers.errors import BadReplyError, BusyError, RefusedError
from drivers.wire.cgminer import Row

ACCOUNT = "super"
NO_PERMISSION = -4
_WORDS_MAX = 200


class Reply(NamedTuple):
    """One answer: its code, the machine's clock in Unix seconds, and ``msg`` if it is a table."""

    code: int
    when_s: int | None
    told: object
    reply: bytes

    @property
    def message(self) -> Row:
        """``msg`` as a table, empty where it is none."""
        return Row(section="answer", values=self.told if isinstance(self.told, dict) else {})

    @property
    def words(self) -> str:
        """``msg`` as text, empty where it is none."""
        return self.told[:_WORDS_MAX] if isinstance(self.told, str) else ""

    def accepted(self, command: str) -> "Reply":
        """This answer where the machine said yes. Raises RefusedError and BusyError."""
        if self.code == 0:
            return self
        if self.code == NO_PERMISSION:
            raise RefusedError(
                f"The machine gives no permission for {command}: check the password file, and in "
                "WhatsMinerTool that the default password is changed and the API switch is on.",
                reply=self.reply,
            )
        if "busy" in self.words.lower():
            raise BusyError(
                f"The machine is busy ({self.words}): try again in a minute.", reply=self.reply
            )
        words = self.words or "no reason given"
        raise RefusedError(
            f"The machine refused {command}: {words} (code {self.code}).", reply=self.reply
        )

    def part(self, name: str) -> Row:
        """One table of ``msg``. Raises BadReplyError where there is none."""
        told = self.told
        value = told.get(name) if isinstance(told, dict) else None
        if type(value) is not dict:
            raise BadReplyError(
                f"The machine's answer has no table {name!r}: "
                "its firmware may be a version that kwota does not know.",
                reply=self.reply,
            )
        return Row(name, value)

    def parts(self, name: str) -> tuple[Row, ...]:
        """One list of tables of ``msg``; a sleeping machine may leave it out."""
        value = self.told.get(name) if isinstance(self.told, dict) else None
        if value is None:
            return ()
        if not isinstance(value, list) or {type(row) for row in value} - {dict}:
            raise BadReplyError(
                f"The machine's list {name!r} holds something other than tables.", reply=self.reply
            )
        return tuple([Row(name, row) for row in value])


def encode_read(command: str, param: str | None = None) -> bytes:
    """A question; reads need no password."""
    document = {"cmd": command}
    if param is not None:
        document["param"] = param
    return orjson.dumps(document)


def encode_write(command: str, param: object, *, password: str, salt: str, clock_s: int) -> bytes:
    """A write with its token: the first eight characters of base64(SHA-256(...))."""
    told = f"{command}{password}{salt}{clock_s}".encode()
    token = base64.b64encode(hashlib.sha256(told).digest())[:8].decode()
    document = {"cmd": command, "param": param, "ts": clock_s, "token": token, "account": ACCOUNT}
    return orjson.dumps(document)


def decode_reply(reply: bytes, command: str) -> Reply:
    """The answer to ``command``. Raises BadReplyError for what is none."""
    body = reply if reply.endswith(b"}") else reply.strip(b"\0 \t\r\n")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadReplyError(
            "The answer is cut off or is not JSON: the machine may be restarting.", reply=reply
        ) from error
    if not isinstance(document, dict):
        raise BadReplyError("The answer is JSON, but not a table.", reply=reply)
    code, when = document.get("code"), document.get("when")
    if type(code) is not int:  # a yes or no is none
        raise BadReplyError(
            "The answer has no code: something else may listen on this port.", reply=reply
        )
    if document.get("desc", command) != command:
        raise BadReplyError(f"The answer is not one to {command}.", reply=reply)
    return Reply(
        code=code,
        when_s=when if type(when) is int else None,
        told=document.get("msg"),
        reply=reply,
    )
