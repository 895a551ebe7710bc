"""The cgminer API's JSON: commands to bytes, answers to typed rows.

Knows the text that many firmwares inherited from cgminer 4.x and the ways in which they break it.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError
that names the key. ``inf`` and ``nan`` are read as "no value" and fail where a number is asked for.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from drivers.errors import BadReplyError, BusyError, RefusedError

REPLY_LIMIT_BYTES = 1 << 20

# LuxOS answers this code while another session holds its lock.
BUSY_CODE = 402

_WORD_LIMIT = 200
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_FLAG_WORDS = dict.fromkeys(("Y", "y", "true", "True"), True) | dict.fromkeys(
    ("N", "n", "false", "False"), False
)
_NUMBERS = (int, float)

# One pass from left to right; whole strings come first, so that nothing inside them is touched.
# Every repetition is possessive and a string without its end runs to the end of the text: the time
# is linear in the length of the answer, whatever it holds.
_FLAWS = re.compile(
    r"""
      "(?P<doubled>"[A-Za-z_][^"\\]*+")            # ""temp0": one quote too many
    | (?P<string>"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))
    | (?P<opening>[\[{])\s*+,[\s,]*+               # [,{ and {,"a"
    | ,[\s,]*+(?P<closing>[\]}])                   # ,} and ,]
    | (?P<joint>[}\]])\s*+(?=\{)                   # }{ between the members of an array
    | -?\b(?P<nothing>inf(?:inity)?|nan)\b         # printf of a float that is not a number
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


class Status(NamedTuple):
    """The machine's own verdict: S, I and W are yes, E and F are no (cgminer API-README)."""

    letter: str
    code: int
    message: str

    @property
    def is_refusal(self) -> bool:
        """Anything but the known letters of consent is a no."""
        return self.letter not in {"S", "I", "W"}


class Row(NamedTuple):
    """One object of an answer, read by key. ``section`` is for the error's sentence."""

    section: str
    values: Mapping[str, object]

    def has(self, key: str) -> bool:
        """Whether the firmware sends this key with a value at all."""
        return self.values.get(key) is not None

    def number(self, key: str) -> float:
        """A finite number. Raises BadReplyError."""
        value = self.values.get(key)
        if type(value) is float or type(value) is int:  # a yes or no is neither
            return float(value)  # orjson yields finite floats and 64-bit integers only
        raise self._wrong(key, "a number")

    def whole(self, key: str) -> int:
        """A whole number, also where the firmware writes it as text ("-12") or as 3.0."""
        value = self.values.get(key)
        if type(value) is int:  # a yes or no is none
            return value
        if isinstance(value, str) and _INTEGER.match(value):
            return int(value)
        number = self.number(key)
        if not number.is_integer():
            raise self._wrong(key, "a whole number")
        return int(number)

    def text(self, key: str) -> str:
        """Text, possibly empty. Raises BadReplyError."""
        value = self.values.get(key)
        if isinstance(value, str):
            return value
        raise self._wrong(key, "text")

    def flag(self, key: str) -> bool:
        """Yes or no, as JSON's own or as the words cgminer writes. Raises BadReplyError."""
        value = self.values.get(key)
        if value is True or value is False:
            return value
        if isinstance(value, str) and value in _FLAG_WORDS:
            return _FLAG_WORDS[value]
        raise self._wrong(key, "yes or no")

    def number_or_none(self, key: str) -> float | None:
        """``number``; None where the firmware sends none."""
        value = self.values.get(key)
        if value is None or type(value) is float:
            return value
        return self.number(key)

    def text_or_empty(self, key: str) -> str:
        """``text``; empty where the firmware sends none."""
        value = self.values.get(key)
        if type(value) is str:
            return value
        return "" if value is None else self.text(key)

    def flag_or_no(self, key: str) -> bool:
        """``flag``; no where the firmware sends none."""
        value = self.values.get(key)
        if value is True or value is False:
            return value
        return value is not None and self.flag(key)

    def _wrong(self, key: str, wanted: str) -> BadReplyError:
        fault = f"has {key!r} that is not {wanted}"
        if self.values.get(key) is None:
            fault = f"has no value for {key!r}"
        return BadReplyError(
            f"The machine's {self.section} {fault}: "
            "its firmware may be a version that kwota does not know.",
            reply=repr(dict(self.values)).encode(),
        )


class Answer(NamedTuple):
    """One answer: verdict, sections of rows, and one answer per command of a joined request.

    All of it is taken from ``document`` when it is asked for: a fast read wants little of a lot.
    """

    document: Mapping[str, object]
    reply: bytes

    @property
    def status(self) -> Status | None:
        """The verdict as a section (cgminer), at the top level (btminer), or a bare "error"."""
        rows = self.document.get("STATUS")
        if isinstance(rows, list) and rows:
            return _status_of(rows[0])
        if isinstance(rows, str):
            return _status_of(self.document)
        if "error" in self.document and not isinstance(self.document["error"], list):
            return Status(letter="E", code=0, message=str(self.document["error"]))
        return None

    @property
    def sections(self) -> Mapping[str, tuple[Row, ...]]:
        """All sections by name."""
        return {
            name: _rows(name, value)
            for name, value in self.document.items()
            if type(value) is list and not _is_part(value)
        }

    @property
    def parts(self) -> Mapping[str, "Answer"]:
        """The answers of a joined request by command."""
        return {
            name: Answer(value[0], self.reply)
            for name, value in self.document.items()
            if type(value) is list and _is_part(value)
        }

    @property
    def fields(self) -> Row:
        """What stands at the top level beside the sections (btminer writes its data there)."""
        items = self.document.items()
        return Row("answer", {name: value for name, value in items if type(value) is not list})

    def accepted(self, command: str) -> "Answer":
        """This answer where the machine said yes. Raises RefusedError, BusyError, BadReplyError."""
        status = self.status
        if status is None:
            raise BadReplyError(
                f"The answer to {command} has no STATUS: something else may listen on this port.",
                reply=self.reply,
            )
        if status.is_refusal:
            raise self._refusal(command, status)
        return self

    def rows(self, section: str) -> tuple[Row, ...]:
        """All rows of a section, possibly none. Raises BadReplyError where it is missing."""
        value = self.document.get(section)
        if type(value) is not list or _is_part(value):
            raise BadReplyError(
                f"The machine's answer has no section {section}: "
                "its firmware may be a version that kwota does not know.",
                reply=self.reply,
            )
        return _rows(section, value)

    def row(self, section: str) -> Row:
        """The first row of a section. Raises BadReplyError where there is none."""
        rows = self.rows(section)
        if not rows:
            raise BadReplyError(
                f"The machine's section {section} is empty: it may still be starting.",
                reply=self.reply,
            )
        return rows[0]

    def _refusal(self, command: str, status: Status) -> RefusedError:
        words = status.message[:_WORD_LIMIT] or "no reason given"
        if status.code == BUSY_CODE:
            return BusyError(
                f"The machine is held by another session ({words}): try again in a minute.",
                reply=self.reply,
            )
        return RefusedError(
            f"The machine refused {command}: {words} (code {status.code}).", reply=self.reply
        )


def encode_command(command: str, parameter: str | None = None) -> bytes:
    """One request. The line feed ends it for servers that read lines and is blank to JSON."""
    request = {"command": command}
    if parameter is not None:
        request["parameter"] = parameter
    return orjson.dumps(request) + b"\n"


def decode_answer(reply: bytes) -> Answer:
    """The answer in these bytes, repaired where the known firmwares break it.

    Raises BadReplyError for everything that is not one whole JSON object: nothing, more than
    1 MiB, a web page, half an answer, two answers.
    """
    if len(reply) > REPLY_LIMIT_BYTES:
        raise BadReplyError("The answer is longer than 1 MiB.", reply=reply[:_WORD_LIMIT])
    body = reply.strip(b"\0 \t\r\n")
    _refuse_what_is_no_answer(body, reply)
    try:
        document = _document(body)
    except orjson.JSONDecodeError as error:
        raise BadReplyError(
            "The answer is cut off or is not JSON: the machine may be restarting.", reply=reply
        ) from error
    if not isinstance(document, dict):
        raise BadReplyError("The answer is JSON, but not an object.", reply=reply)
    _refuse_strange_sections(document, reply)
    return Answer(document=document, reply=reply)


def _refuse_what_is_no_answer(body: bytes, reply: bytes) -> None:
    if not body:
        raise BadReplyError("The answer is empty.", reply=reply)
    if body.startswith(b"<"):
        raise BadReplyError(
            "A web page answered instead of the miner's API: check the port.", reply=reply
        )
    if body[:_WORD_LIMIT].lower().startswith(b"socket connect failed"):
        raise BadReplyError(
            "The machine's API is up, but its mining program is not: it may be starting.",
            reply=reply,
        )


def _document(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").lstrip(", \t\r\n")
        return orjson.loads(_FLAWS.sub(_repaired, text))


def _repaired(flaw: re.Match[str]) -> str:
    match flaw.lastgroup:
        case "doubled" | "string" | "opening" | "closing":
            return flaw[flaw.lastgroup]
        case "joint":
            return flaw["joint"] + ","
        case _:
            return "null"


def _refuse_strange_sections(document: Mapping[str, object], reply: bytes) -> None:
    """Lists hold objects and nothing else, in every part of a joined answer."""
    for name, value in document.items():
        if type(value) is not list:
            continue
        for member in value:
            if type(member) is not dict:
                raise BadReplyError(
                    f"The machine's section {name} holds something other than objects.",
                    reply=reply,
                )
        if _is_part(value):
            _refuse_strange_sections(value[0], reply)


def _is_part(rows: list[dict[str, object]]) -> bool:
    return len(rows) == 1 and type(rows[0].get("STATUS")) is list


def _rows(section: str, rows: list[dict[str, object]]) -> tuple[Row, ...]:
    return tuple([Row(section, row) for row in rows])


def _status_of(values: Mapping[str, object]) -> Status:
    code = values.get("Code")
    message = values.get("Msg", "")
    return Status(
        letter=str(values.get("STATUS", "")),
        code=int(code) if isinstance(code, _NUMBERS) and math.isfinite(code) else 0,
        message=message if isinstance(message, str) else "",
    )
