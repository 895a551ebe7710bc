"""The newest signed head of the log once more, in a file of its own, best on another partition.

A journal that was restored from a backup or a snapshot is sound in itself; only who remembers how
far it once went can tell. What stands here is a checkpoint that this device signed, so that nobody
without its key can claim a longer past of a log that is there. The file may lag behind the journal,
never lead it. What it says and no key here has signed is noted in the log before it is replaced.
"""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from agent.core.note import (
    Checkpoint,
    NoteError,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    verified_by,
)

EVERY_S = 60.0
_NOTE_MAX_BYTES = 1_000_000

_log = logging.getLogger(__name__)


def claimed_head(text: str) -> Checkpoint | None:
    """The head that a note names, whoever has signed it; None: it is no note of a checkpoint."""
    try:
        return parse_checkpoint(parse_note(text).text)
    except NoteError:
        return None


def signed_head(text: str, keys: Iterable[VerifierKey]) -> Checkpoint | None:
    """The head that one of these keys signed, for whichever epoch; None: there is none."""
    try:
        note = parse_note(text)
        head = parse_checkpoint(note.text)
        verified_by(note, [replace(key, name=head.origin) for key in keys])
    except NoteError:
        return None
    return head


class SecondCopy:
    """The file. A disk that refuses it is said once and is no reason to stop.

    After ``read``: ``stranger`` is a head in it that no key here has signed, and ``doubt`` says why
    it is not believed, for the log; empty: there is nothing to doubt.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stranger: Checkpoint | None = None
        self.doubt = ""
        self._is_file = True
        self._due_s = 0.0
        self._is_failing = False

    @property
    def silence(self) -> str:
        """Why a file that is there says nothing; empty: it speaks, or no file is there."""
        return self.doubt if self.stranger is None and self._is_file else ""

    def read(self, keys: Iterable[VerifierKey]) -> Checkpoint | None:
        """What it remembers; None: nothing that one of these keys has signed."""
        try:
            raw = self.path.read_bytes()[:_NOTE_MAX_BYTES]
        except FileNotFoundError:
            return None
        except OSError as error:
            self.doubt = f"it cannot be read: {error.strerror}"
            self._is_file = not isinstance(error, IsADirectoryError)
            self._complain(error)
            return None
        text = raw.decode("utf-8", "replace")
        head = signed_head(text, keys)
        if head is None:
            self.stranger = claimed_head(text)
            self.doubt = "it holds no head of a log" if self.stranger is None else _doubt(text)
            _log.warning("second_copy=%s reason=%r; it is written anew", self.path, self.doubt)
        return head

    def offer(self, note: str) -> None:
        """Write the newest head down, if the last time is long enough ago."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + EVERY_S
            self.write(note)

    def write(self, note: str) -> None:
        """Write a head down now, whole or not at all."""
        half = self.path.with_name(f".{self.path.name}.new")
        try:
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(note.encode())
                file.flush()
                os.fsync(descriptor)
            half.replace(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            self._complain(error)
        else:
            self._is_failing = False

    def _complain(self, error: OSError) -> None:
        if not self._is_failing:
            _log.warning("second_copy=%s state=failing reason=%r", self.path, error.strerror)
        self._is_failing = True


def _doubt(text: str) -> str:
    origin, size, root, *_ = text.split("\n")
    return f"no key that is here has signed its head of {size} records of {origin}, root {root}"


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
