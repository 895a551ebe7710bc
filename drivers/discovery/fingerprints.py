"""What is asked of a stranger and which answers are signs: ``drivers/miners/fingerprints.toml``.

Pure but for reading that table once: bytes in, names of families out. A sign is a reason to let a
family's own driver look, never more.
"""

import functools
import tomllib
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

_TABLE = Path(__file__).parents[1] / "miners" / "fingerprints.toml"
_PAGE_BYTES_MAX = 262_144
_WORDS_MAX = 160


class Speaks(StrEnum):
    """How a question is put and where its answer ends."""

    TEXT = "text"
    FRAMES = "frames"
    WEB = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """All of ``text`` in an answer speak for a family. They are in lower case."""

    family: str
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question, and what its answers may be signs of."""

    name: str
    port: int
    speaks: Speaks
    ask: str
    signs: tuple[Sign, ...]

    def request(self, host: str) -> bytes:
        """The bytes to send."""
        if self.speaks is Speaks.WEB:
            head = f"GET {self.ask} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            return f"{head}Accept: */*\r\nAccept-Encoding: identity\r\n\r\n".encode()
        if self.speaks is Speaks.FRAMES:
            return len(self.ask).to_bytes(4, "little") + self.ask.encode()
        return self.ask.encode() + b"\n"

    def is_whole(self, reply: bytes) -> bool:
        """Whether nothing more can come; else the answer ends with its connection."""
        if self.speaks is Speaks.WEB:
            return _is_whole_page(reply)
        if self.speaks is Speaks.FRAMES:
            return _is_whole_frame(reply)
        return b"\0" in reply or (reply.rstrip().endswith(b"}") and _is_json(reply))

    def candidates(self, reply: bytes) -> tuple[str, ...]:
        """The families for which this answer speaks, in the order of the table."""
        words = words_of(reply)
        found = [sign.family for sign in self.signs if all(one in words for one in sign.text)]
        return tuple(dict.fromkeys(found))


@functools.cache
def questions() -> tuple[Question, ...]:
    """All questions in the order in which they are asked. Raises ValueError for a faulty table."""
    return questions_of(tomllib.loads(_TABLE.read_text("utf-8")))


def questions_of(table: dict[str, Any]) -> tuple[Question, ...]:
    """The questions of a table. Raises ValueError with one sentence for a sign without one."""
    signs: dict[str, list[Sign]] = {row["name"]: [] for row in table["questions"]}
    for row in table["signs"]:
        if row["question"] not in signs:
            raise ValueError(f"A sign of {row['family']} names no question: {row['question']!r}.")
        text = tuple(piece.lower() for piece in row["text"])
        if not text or not all(text) or not row["source"]:
            raise ValueError(f"A sign of {row['family']} has no text or no source.")
        signs[row["question"]].append(Sign(family=row["family"], text=text))
    return tuple(
        Question(
            name=row["name"],
            port=row["port"],
            speaks=Speaks(row["speaks"]),
            ask=row["ask"],
            signs=tuple(signs[row["name"]]),
        )
        for row in table["questions"]
    )


def words_of(reply: bytes) -> str:
    """An answer as lower-case text, a packed page unpacked."""
    head, gap, body = reply.partition(b"\r\n\r\n")
    if gap and body.startswith(b"\x1f\x8b"):
        reply = head + gap + _unpacked(body)
    return reply.decode("utf-8", "replace").lower()


def summary_of(reply: bytes) -> str:
    """The beginning of an answer on one line, for a person."""
    text = "".join(char if char.isprintable() else " " for char in reply.decode("utf-8", "replace"))
    line = " ".join(text.split())
    return line if len(line) <= _WORDS_MAX else f"{line[:_WORDS_MAX]}…"


def _unpacked(body: bytes) -> bytes:
    """As much of a packed page as arrived, up to a limit."""
    try:
        return zlib.decompressobj(wbits=31).decompress(body, _PAGE_BYTES_MAX)
    except zlib.error:
        return b""


def _is_whole_frame(reply: bytes) -> bool:
    """A length of 0 is a heartbeat and announces nothing."""
    while len(reply) >= 4:
        size = int.from_bytes(reply[:4], "little")
        if size:
            return len(reply) >= 4 + size
        reply = reply[4:]
    return False


def _is_whole_page(reply: bytes) -> bool:
    head, gap, body = reply.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n") if gap else ():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value[:20])
    return False


def _is_json(reply: bytes) -> bool:
    try:
        orjson.loads(reply)
    except orjson.JSONDecodeError:
        return False
    return True
