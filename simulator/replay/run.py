"""A whole journal done again: opened as ``kwota verify`` opens it, followed to its end."""

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.exact import ExactError
from agent.logfile import DamagedError, InUseError, Log, copied, open_log
from agent.records import Record, RecordError, parse_record
from simulator.replay.farm import FarmFollower
from simulator.replay.follower import Counts, Found, Hole, Revise

PROGRESS_EVERY = 200

_MILESTONES = frozenset({"boot", "frame", "tick"})  # whose time is that of the run itself

Progress = Callable[[int, int], None]
"""Told how many records are done, and of how many (0: not known)."""


class ReplayError(Exception):
    """The journal cannot be followed at all; the sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which part to do again, UTC ms; it begins at the last frame before ``from_ms``."""

    from_ms: int | None = None
    to_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. ``is_copy``: a daemon had the journal open, a copy was followed.

    ``points`` are the counts of each meter point, ``counts`` those of all together.
    """

    origin: str
    versions: tuple[str, ...]
    is_copy: bool
    is_shadow: bool
    counts: Counts
    points: Mapping[str, Counts]
    holes: tuple[Hole, ...]
    found: Found | None
    remarks: tuple[str, ...]
    wall_s: float

    def document(self) -> dict[str, Any]:
        """The result as plain JSON."""
        return {
            "origin": self.origin,
            "versions": list(self.versions),
            "is_copy": self.is_copy,
            "is_shadow": self.is_shadow,
            "is_identical": self.found is None,
            **asdict(self.counts),
            "meter_points": {name: asdict(counts) for name, counts in self.points.items()},
            "holes": [asdict(hole) for hole in self.holes],
            "difference": None if self.found is None else asdict(self.found),
            "remarks": list(self.remarks),
            "wall_s": round(self.wall_s, 3),
        }


def replay(
    path: Path,
    *,
    span: Span | None = None,
    revise: Revise = lambda parameters: parameters,
    progress: Progress = lambda _done, _total: None,
) -> Result:
    """Do a journal again until its end or the first difference. Raises ReplayError, LogError."""
    started_s = time.perf_counter()
    with _opened(path) as (log, is_copy):
        follower, remarks, versions = FarmFollower(revise=revise), [], dict[str, None]()
        try:
            for done, record in enumerate(_within(_records(log), span or Span()), 1):
                if record.kind == "boot":
                    versions[str(record.data.get("version", "unknown"))] = None
                follower.take(record)
                if follower.found is not None:
                    break
                if not done % PROGRESS_EVERY:
                    progress(record.index, log.size or 0)
        except DamagedError as error:
            remarks.append(f"The journal cannot be read to its end: {error}.")
        except (ExactError, KeyError, TypeError, AssertionError) as error:
            raise ReplayError(
                f"{path} cannot be followed: {error}; it was written by another version of kwota "
                "(replay it with that one) or by hand (see kwota verify)."
            ) from error
        follower.finish()
    counts = follower.counts()
    if not follower.has_ticks:
        raise ReplayError(
            f"{path} holds no ticks to do again: it was written by a version of kwota that did not "
            "record what its governor saw."
        )
    if not counts.ticks and follower.found is None:
        raise ReplayError(
            f"{path} has no frame from which its ticks could be followed: give a longer stretch."
        )
    return Result(
        origin=log.origin,
        versions=tuple(versions),
        is_copy=is_copy,
        is_shadow=follower.is_shadow,
        counts=counts,
        points={name: point.counts for name, point in follower.points.items()},
        holes=follower.holes(),
        found=follower.found,
        remarks=tuple(remarks),
        wall_s=time.perf_counter() - started_s,
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Log, bool]]:
    """The log, and whether it is a copy because a daemon has the journal open."""
    try:
        with open_log(path) as log:
            yield log, False
            return
    except InUseError:
        pass
    with (
        tempfile.TemporaryDirectory(prefix="kwota-replay-") as directory,
        copied(path, Path(directory)) as copy,
        open_log(copy) as log,
    ):
        yield log, True


def _records(log: Log) -> Iterator[Record]:
    for stored in log.records:
        try:
            yield parse_record(stored.body)
        except RecordError as error:
            raise DamagedError(f"record {stored.row}: {error}") from error


def _within(records: Iterator[Record], span: Span) -> Iterator[Record]:
    """The records of a stretch, from the last whole frame of each meter point before it."""
    held: deque[Record] = deque()
    frames: dict[str, int] = {}  # where each point's last frame begins: its record's index
    at_ms = 0
    for record in records:
        if record.kind in _MILESTONES:
            at_ms = record.time_us // 1000
        if span.to_ms is not None and at_ms > span.to_ms:
            break
        if span.from_ms is None or at_ms >= span.from_ms:
            yield from held
            held.clear()
            yield record
            continue
        if record.kind == "boot":
            held.clear()
            frames.clear()
        if record.kind == "frame" and not record.data.get("part", 0):
            frames[record.source] = record.index
            while held and held[0].index < min(frames.values()):
                held.popleft()
        held.append(record)
    yield from held
