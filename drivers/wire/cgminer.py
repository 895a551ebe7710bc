"""The cgminer API's JSON: commands to bytes, answers to typed rows.

Knows the text that many firmwares inherited from cgminer 4.x and the ways in which they break it.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError
that names the key. ``inf`` and ``nan`` are read as "no value" and fail where a number is asked for.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The machine's own verdict: S, I and W are yes, E and F are no (cgminer API-README)."""

    letter: str
    code: int
    message: str

    @property
    def is_refusal(self) -> bool:
        """Anything but the known letters of consent is a no."""
        return self.letter not in {"S", "I", "W"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One object of an answer, read by key. ``section`` is for the error's sentence."""

    section: str
    values: Mapping[str, object]

    def has(self, key: str) -> bool:
        """Whether the firmware sends this key with a value at all."""
        return self.values.get(key) is not None

    def number(self, key: str) -> float:
        """A finite number. Raises BadReplyError."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, _NUMBERS):
            raise self._wrong(key, "a number")
        return float(value)  # orjson yields finite floats and 64-bit integers only

    def whole(self, key: str) -> int:
        """A whole number, also where the firmware writes it as text ("-12") or as 3.0."""
        value = self._value(key)
        if isinstance(value, str) and _INTEGER.match(value):
            return int(value)
        number = self.number(key)
        if not number.is_integer():
            raise self._wrong(key, "a whole number")
        return int(number)

    def text(self, key: str) -> str:
        """Text, possibly empty. Raises BadReplyError."""
        value = self._value(key)
        if not isinstance(value, str):
            raise self._wrong(key, "text")
        return value

    def flag(self, key: str) -> bool:
        """Yes or no, as JSON's own or as the words cgminer writes. Raises BadReplyError."""
        value = self._value(key)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value in _FLAG_WORDS:
            return _FLAG_WORDS[value]
        raise self._wrong(key, "yes or no")

    def _value(self, key: str) -> object:
        value = self.values.get(key)
        if value is None:
            raise BadReplyError(
                f"The machine's {self.section} has no value for {key!r}: "
                "its firmware may be a version that kwota does not know.",
                reply=repr(dict(self.values)).encode(),
            )
        return value

    def _wrong(self, key: str, wanted: str) -> BadReplyError:
        return BadReplyError(
            f"The machine's {self.section} has {key!r} that is not {wanted}: "
            "its firmware may be a version that kwota does not know.",
            reply=repr(dict(self.values)).encode(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer: verdict, sections of rows, and one answer per command of a joined request.

    ``fields`` holds what stands at the top level beside them (btminer writes its data there).
    """

    status: Status | None
    sections: Mapping[str, tuple[Row, ...]]
    parts: Mapping[str, "Answer"]
    fields: Row
    reply: bytes

    def accepted(self, command: str) -> "Answer":
        """This answer where the machine said yes. Raises RefusedError, BusyError, BadReplyError."""
        if self.status is None:
            raise BadReplyError(
                f"The answer to {command} has no STATUS: something else may listen on this port.",
                reply=self.reply,
            )
        if self.status.is_refusal:
            raise self._refusal(command, self.status)
        return self

    def rows(self, section: str) -> tuple[Row, ...]:
        """All rows of a section, possibly none. Raises BadReplyError where it is missing."""
        if section not in self.sections:
            raise BadReplyError(
                f"The machine's answer has no section {section}: "
                "its firmware may be a version that kwota does not know.",
                reply=self.reply,
            )
        return self.sections[section]

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
    return _answer(document, reply)


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


def _answer(document: dict[str, object], reply: bytes) -> Answer:
    sections: dict[str, tuple[Row, ...]] = {}
    parts: dict[str, Answer] = {}
    fields: dict[str, object] = {}
    for key, value in document.items():
        if not isinstance(value, list):
            fields[key] = value
            continue
        rows = [member for member in value if isinstance(member, dict)]
        if len(rows) != len(value):
            raise BadReplyError(
                f"The machine's section {key} holds something other than objects.", reply=reply
            )
        if len(rows) == 1 and isinstance(rows[0].get("STATUS"), list):
            parts[key] = _answer(rows[0], reply)
        else:
            sections[key] = tuple([Row(section=key, values=row) for row in rows])
    return Answer(
        status=_status(sections.get("STATUS", ()), fields),
        sections=sections,
        parts=parts,
        fields=Row(section="answer", values=fields),
        reply=reply,
    )


def _status(rows: tuple[Row, ...], fields: dict[str, object]) -> Status | None:
    """The verdict as a section (cgminer), at the top level (btminer), or a bare "error"."""
    if rows:
        return _status_of(rows[0].values)
    if isinstance(fields.get("STATUS"), str):
        return _status_of(fields)
    if "error" in fields:
        return Status(letter="E", code=0, message=str(fields["error"]))
    return None


def _status_of(values: Mapping[str, object]) -> Status:
    code = values.get("Code")
    message = values.get("Msg", "")
    return Status(
        letter=str(values.get("STATUS", "")),
        code=int(code) if isinstance(code, _NUMBERS) and math.isfinite(code) else 0,
        message=message if isinstance(message, str) else "",
    )
