"""How many readings were dropped and stand in no signed gap yet, where a full disk can take it.

While the journal is full nothing can be added to it, not even how much is dropped meanwhile. So
the count lies in a file whose room is taken beforehand and which is written over in place; by
turns in two places, so that a power cut in the middle of one leaves the other. The signed gap stays
the only word on it: what stands here is what a start still has to say.
"""

import os
import threading
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from agent.secondcopy import sync_directory

SLOT_BYTES = 4096
_SLOTS = 2


class TallyError(Exception):
    """The file holds no count that is whole: how much was dropped is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """What no gap says yet: of each kind, since when, and whether because the journal was full.

    Gaps of the log ``origin`` from record ``from_index`` on have to be taken off. ``is_final``:
    written at a stop in order, so that nothing was dropped after it.
    """

    kinds: Mapping[str, int]
    since_ms: int
    is_by_quota: bool
    origin: str
    from_index: int
    is_final: bool


class Tally:
    """The file. Its calls take as long as the disk does, and come from one thread or another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = 0
        self._lock = threading.Lock()

    def read(self) -> Untold | None:
        """What was written last; None: nothing ever was. Raises OSError, TallyError."""
        with self._lock:
            try:
                raw = self.path.read_bytes()[: SLOT_BYTES * _SLOTS]
            except FileNotFoundError:
                return None
            slots = [raw[at : at + SLOT_BYTES] for at in range(0, len(raw), SLOT_BYTES)]
            found = [one for one in map(_decoded, slots) if one is not None]
            if not found:
                if raw.strip(b"\n\0"):
                    raise TallyError(f"{self.path} holds no count that is whole.")
                return None
            self._turn, newest = max(found, key=lambda one: one[0])
            return newest

    def make_room(self) -> None:
        """Take the room of the file, if it is not taken yet. Raises OSError."""
        with self._lock:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                missing = SLOT_BYTES * _SLOTS - os.fstat(descriptor).st_size
                if missing <= 0:
                    return
                os.pwrite(descriptor, b"\n" * missing, SLOT_BYTES * _SLOTS - missing)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_directory(self.path.parent)

    def write(self, untold: Untold) -> None:
        """Write a count over the older of the two, durably. Raises OSError."""
        self.make_room()
        with self._lock:
            self._turn += 1
            content = orjson.dumps({"turn": self._turn, **asdict(untold)})
            line = b"%08x %b" % (zlib.crc32(content), content)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                slot = line.ljust(SLOT_BYTES, b"\n")
                os.pwrite(descriptor, slot, self._turn % _SLOTS * SLOT_BYTES)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)


def tally_of(journal: Path) -> Tally:
    """The count that belongs to a journal."""
    return Tally(journal.with_name(f"{journal.name}.thinned"))


def _decoded(slot: bytes) -> tuple[int, Untold] | None:
    """Turn and content of one place; None where it is empty or a write was cut off in it."""
    checksum, _, content = slot.rstrip(b"\n\0").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(content):
        return None
    fields = orjson.loads(content)
    return fields.pop("turn"), Untold(**fields)
