"""Epochs: when a log may not go on under its name, and how the next one begins.

A journal that knows less than what this device has signed already would sign other records under
the same numbers. So it is laid aside as it is, and a new log begins, whose first record says which
head was lost and why. What the books rest on follows again in it, each record with its old number.
The new file takes the place of the old one in one step, when it is whole.
"""

import logging
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from agent.core.merkle import EMPTY_ROOT
from agent.core.note import Checkpoint, VerifierKey
from agent.records import JournalError, PreparedRecord
from agent.secondcopy import sync_directory
from agent.siteclock import Stamp

WENT_BACK, FORKED, MISSING = "went_back", "forked", "missing"
OTHER_KEY = "other_key"
UNREADABLE = "unreadable"
CARRIED_MAX = 9_000  # of each kind, as much as the start of the daemon ever looks at
AT_ONCE = 500
POOL_TAIL = 800  # more than refusals are recorded in the hour for which a batch is good
_ORIGIN = re.compile(r"(.+)/([1-9][0-9]{0,8})")
_WORDS = {
    WENT_BACK: "the disk holds an older state of the log than this device has signed",
    FORKED: "the disk holds another log than the one that this device has signed",
    MISSING: "the journal is gone, and this device has signed records in it",
    OTHER_KEY: "the journal is gone, and a key that is not here has signed records in it",
    UNREADABLE: "the journal is gone, and so is what its second copy said",
}
_MINUTE_US, _MINUTE_LEAST = 60_000_000, 29_000_000  # of 2025: a clock that says less is unset

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Why a log cannot go on: ``lost`` was signed and is not there, ``kept`` is what is.

    ``doubt`` says why nobody here knows what was signed; ``number`` is the next epoch's then.
    """

    reason: str
    lost: Checkpoint
    kept: Checkpoint
    doubt: str = ""
    number: int | None = None

    @property
    def words(self) -> str:
        if self.doubt:
            return f"{_WORDS[self.reason]} ({self.doubt}): how far the log went is not known here"
        return (
            f"{_WORDS[self.reason]}: {self.kept.size} records are there,"
            f" {self.lost.size} of {self.lost.origin} were signed"
        )


class Reads(Protocol):
    """What is read of the log that is left. ``Store`` is one."""

    def tail(self, count: int, kind: str | None) -> list[bytes]:
        """The newest records of a kind, oldest of them first."""

    def page_of(
        self, kinds: Sequence[str], since_index: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Index and bytes of the next records of some kinds."""


def split_origin(origin: str) -> tuple[str, int]:
    """The log's name without its epoch, and the epoch. Raises JournalError."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise JournalError(f"{origin} is not the name of a log: its epoch is missing.")
    return match[1], int(match[2])


def is_same_log(one: str, other: str) -> bool:
    """Whether two origins are epochs of the same log."""
    names = [_ORIGIN.fullmatch(origin) for origin in (one, other)]
    return all(names) and len({match[1] for match in names if match}) == 1


def key_of_epoch(key: VerifierKey, origin: str) -> VerifierKey:
    """A log's key under the name of another of its epochs; as it is for another log."""
    if not is_same_log(key.name, origin):
        return key
    return VerifierKey(name=origin, algorithm=key.algorithm, public_key=key.public_key)


def next_origin(found: Break) -> str:
    """The name of the log that follows on both."""
    base, lost = split_origin(found.lost.origin)
    if found.number is not None:
        return f"{base}/{found.number}"
    return f"{base}/{max(lost, split_origin(found.kept.origin)[1]) + 1}"


def break_between(signed: Checkpoint, kept: Checkpoint, root_at: bytes | None) -> Break | None:
    """Whether what was signed once is still there; ``root_at``: what is stored of that size."""
    if not signed.size or not is_same_log(signed.origin, kept.origin):
        return None
    signed_epoch, epoch = split_origin(signed.origin)[1], split_origin(kept.origin)[1]
    if signed_epoch < epoch:
        return None
    if not kept.size:
        return Break(reason=MISSING, lost=signed, kept=kept)
    if signed_epoch > epoch or signed.size > kept.size:
        return Break(reason=WENT_BACK, lost=signed, kept=kept)
    if root_at != signed.root:
        return Break(reason=FORKED, lost=signed, kept=kept)
    return None


def break_by_other_key(claimed: Checkpoint | None, kept: Checkpoint) -> Break | None:
    """Whether a head that no key here has signed says that an empty journal is not the first.

    Nothing is lost by believing that much: a log that is there never gives way to such a head.
    """
    if claimed is None or kept.size or not claimed.size:
        return None
    if not is_same_log(claimed.origin, kept.origin):
        return None
    found = Break(reason=OTHER_KEY, lost=claimed, kept=kept)
    return found if _ORIGIN.fullmatch(next_origin(found)) else None


def break_in_the_dark(doubt: str, kept: Checkpoint, stamp: Stamp) -> Break | None:
    """Whether there was a log of which nobody here knows which epoch it was, or how far it went.

    Its number is not the last one's and one more then, but the minute of this start: larger than
    any that was ever counted to, and than that of any such start before. A clock that has lost its
    battery has no such number, and then the pool's size is what finds the log that was.
    """
    number = stamp.time_us // _MINUTE_US
    if not doubt or kept.size or number < _MINUTE_LEAST:
        return None
    nothing = Checkpoint(origin=kept.origin, size=0, root=EMPTY_ROOT)
    return Break(reason=UNREADABLE, lost=nothing, kept=kept, doubt=doubt, number=number)


def epoch_data(found: Break, number: int, carried: int) -> dict[str, Any]:
    """What the first record of the new log says of the one before."""
    return {
        "number": number,
        "reason": found.reason,
        "words": found.words,
        "lost": _head_data(found.lost),
        "kept": _head_data(found.kept) if found.kept.size else None,
        "carried": carried,
    }


def _head_data(head: Checkpoint) -> dict[str, Any]:
    return {"origin": head.origin, "size": head.size, "root": head.encode().split("\n")[2]}


def carried_records(old: Reads, stamp: Stamp, first: int) -> list[PreparedRecord]:
    """What the books, limits, relays and wear are rebuilt from, in its order, once more.

    ``first`` is the index that the first of them gets. A purchase keeps its place before all that
    rests on it; the state of the books points to the new places.
    """
    kept = sorted(_wanted(old), key=lambda record: record["i"])
    indices = [record["i"] for record in kept]
    carried = []
    for record in kept:
        data = record["d"]
        if record["k"] == "ledger" and data["event"] == "state":
            place = bisect_left(indices, data["purchases_from"])
            data = {**data, "purchases_from": first + place}
        carried.append(_again(record, data, stamp))
    return carried


def _again(record: dict[str, Any], data: dict[str, Any], stamp: Stamp) -> PreparedRecord:
    """A record as it was: its own time and what was known of that, in the new log's order."""
    return PreparedRecord(
        kind=record["k"],
        source=record["s"],
        state=record["st"],
        data=orjson.dumps(data),
        stamp=replace(stamp, quality=record["q"], max_error_us=record["e"]),
        time_us=record["t"],
        carried_from=record["i"],
    )


def _wanted(old: Reads) -> Iterator[dict[str, Any]]:
    """The records that a start of the daemon reads back (recovery, limits, relays, wear)."""
    states: dict[str, dict[str, Any]] = {}
    for record in _all_of(old, "ledger"):
        if record["d"]["event"] in ("purchase", "closed"):
            yield record
        elif record["d"]["event"] == "state":
            states[record["s"]] = record
    yield from states.values()
    since = min((state["i"] for state in states.values()), default=0)
    for raw in old.tail(CARRIED_MAX, "meter"):
        record = orjson.loads(raw)
        if record["i"] > since:
            yield record
    yield from _all_of(old, "limit")
    yield from _newest_batch(old)
    for kind in ("statement", "throttle", "decision"):
        for raw in old.tail(CARRIED_MAX, kind):
            record = orjson.loads(raw)
            if kind != "decision" or "relays" in record["d"]:
                yield record


def _newest_batch(old: Reads) -> Iterator[dict[str, Any]]:
    """The newest purchases taken from the pool, or a batch could be taken a second time.

    It stands among the newest records of its kind, or it is so old that it is good no more.
    """
    records = [orjson.loads(raw) for raw in old.tail(POOL_TAIL, "pool")]
    taken = [record for record in records if record["d"]["event"] == "taken"]
    if taken:
        newest = taken[-1]
        first = newest["i"] - newest["d"]["parts"]
        yield from (record for record in records if first <= record["i"] <= newest["i"])


def _all_of(old: Reads, kind: str) -> Iterator[dict[str, Any]]:
    at = 0
    while page := old.page_of([kind], at, AT_ONCE):
        for _, raw in page:
            yield orjson.loads(raw)
        at = page[-1][0] + 1


def put_in_place(new: Path, path: Path, kept: Checkpoint) -> Path | None:
    """Let the new file take the name of the old one, which keeps another. Both must be closed.

    Returns the old one's new name; None where there was nothing in it. Raises JournalError.
    """
    for file in (path, new):
        wal = file.with_name(f"{file.name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise JournalError(f"{wal} is still in use: stop whatever has the journal open.")
    aside = None
    try:
        if kept.size:
            aside = _laid_aside(path, kept)
        new.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise JournalError(f"{path} cannot be laid aside: {error.strerror}.") from error
    _log.error("journal event=new_epoch left=%s size=%d", aside, kept.size)
    return aside


def _laid_aside(path: Path, kept: Checkpoint) -> Path:
    """Give the old file a second name, that no file has; a start that was cut off has done so."""
    number = split_origin(kept.origin)[1]
    for count in range(1, 1000):
        more = "" if count == 1 else f"-{count}"
        aside = path.with_name(f"{path.stem}-epoch-{number}-{kept.size}{more}{path.suffix}")
        if not aside.exists():
            os.link(path, aside)
            return aside
        if aside.samefile(path):
            return aside
    raise JournalError(f"There are too many old journals beside {path}: move them away.")
