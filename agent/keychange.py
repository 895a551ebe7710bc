"""The files of a change of the log's key: the next one made, later put in the first one's place.

The daemon takes up what it finds at its start: a next key is named in the log and signs beside the
first, a first key that was laid aside is retired. Nothing here is ever overwritten.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.core.note import NoteError, VerifierKey, parse_vkey
from agent.keyring import ADDED, short
from agent.keys import (
    Enrolment,
    KeyFileError,
    enroll,
    load_log_key,
    load_vkeys,
    successor_file,
)
from agent.secondcopy import sync_directory
from agent.tlskeys import put_in_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What became of the files: ``aside`` is the old key, which nothing needs any more."""

    vkey: str
    aside: Path


def prepare_change(key_file: Path, origin: str) -> Enrolment:
    """Make the key that is to follow, beside the one that signs. Raises KeyFileError."""
    load_log_key(key_file, origin)
    return enroll(successor_file(key_file), origin)


def require_named(
    key_file: Path, origin: str, said: Iterable[tuple[int, dict[str, Any]]], cosigned_size: int
) -> None:
    """See that the log has named the next key, and that the pool has that. Raises KeyFileError.

    ``said`` is what the log's `key` records say, with their indices.
    """
    following = _following(key_file, origin)
    named = [index for index, data in said if _is_adding(data, following)]
    if not named:
        raise KeyFileError(
            f"The log does not name the key {short(following)} yet: restart the daemon first, so"
            " that both keys sign for a while."
        )
    if cosigned_size <= named[-1]:
        raise KeyFileError(
            f"The pool has cosigned {cosigned_size} records and not record {named[-1]}, which names"
            " the next key: wait until it has."
        )


def complete_change(key_file: Path, origin: str) -> Retired:
    """Put the next key into the first one's place, which keeps another name. Raises KeyFileError.

    The public file lists all keys then, the oldest first.
    """
    following, old = _following(key_file, origin), load_log_key(key_file, origin).verifier
    aside = key_file.with_name(f"{key_file.stem}.retired-{short(old)}{key_file.suffix}")
    vkey_file = key_file.with_suffix(".vkey")
    listed = load_vkeys(vkey_file) if vkey_file.exists() else (old,)
    lines = "".join(f"{key.text}\n" for key in dict.fromkeys((*listed, following)))
    try:
        if not (aside.exists() and aside.samefile(key_file)):
            os.link(key_file, aside, follow_symlinks=False)
        put_in_place(vkey_file, lines.encode())
        successor_file(key_file).replace(key_file)
        successor_file(key_file).with_suffix(".vkey").unlink(missing_ok=True)
        sync_directory(key_file.parent)
    except OSError as error:
        raise KeyFileError(f"{aside} cannot be made: {error.strerror}.") from error
    return Retired(vkey=following.text, aside=aside)


def _following(key_file: Path, origin: str) -> VerifierKey:
    path = successor_file(key_file)
    if not os.path.lexists(path):
        raise KeyFileError(
            f"No change of keys is under way: {path} is not there; begin with --rotate."
        )
    return load_log_key(path, origin).verifier


def _is_adding(data: dict[str, Any], key: VerifierKey) -> bool:
    try:
        named = parse_vkey(str(data.get("vkey", "")))
    except NoteError:
        return False
    # By its bytes alone: in a later epoch of the log the same key bears another name.
    return data.get("event") == ADDED and named.public_key == key.public_key
