"""A disk that loses its power: what a folder may hold afterwards, given everything done to it.

Knows only what POSIX promises. What was synced stays. What was written and not synced stays, goes,
or stays in part, sector by sector and in any order; a name that was made, moved or removed is
certain only once the folder itself is synced; and what a failed sync left behind no later sync
brings to the disk (Linux marks such pages clean). Real file systems are kinder.
"""

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECTORS = (512, 4096)
FATES = ("nothing", "everything", "beginning", "writes", "sectors")
"""What a power cut leaves of the writes that were not synced."""

_HEAD = struct.Struct("<cQQI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was done. ``file`` numbers the file, ``at`` is an offset or a size."""

    letter: str
    file: int
    at: int
    data: bytes


@dataclass(slots=True)
class _File:
    """Bytes that are certain; then what was done since, and whether a sync failed on it."""

    certain: bytearray = field(default_factory=bytearray)
    loose: list[tuple[Step, bool]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A moment without power: after which step, and by what chance the rest is decided."""

    steps: int
    seed: int


def read_trace(path: Path) -> list[Step]:
    """What ``tests/torture/disk.c`` wrote down; a last entry that is cut short is left out."""
    return list(_steps(path.read_bytes()))


def said(steps: Sequence[Step]) -> list[str]:
    """What the process said between its writes."""
    return [step.data.decode() for step in steps if step.letter == "A"]


def files_after(steps: Sequence[Step], cut: Cut, before: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the folder as the next start finds them; ``before`` is what was there first."""
    disk = _Disk(random.Random(cut.seed), before)
    for step in steps[: cut.steps]:
        disk.take(step)
    return disk.left()


def _steps(trace: bytes) -> Iterator[Step]:
    at = 0
    while at + _HEAD.size <= len(trace):
        letter, file, offset, length = _HEAD.unpack_from(trace, at)
        at += _HEAD.size
        if at + length > len(trace):
            return
        yield Step(letter=letter.decode(), file=file, at=offset, data=trace[at : at + length])
        at += length


class _Disk:
    def __init__(self, rng: random.Random, before: Mapping[str, bytes]) -> None:
        self._rng = rng
        self._sector = rng.choice(SECTORS)
        self._fate = rng.choice(FATES)
        self._share = rng.uniform(0.05, 0.95)
        self._names = {name: _File(bytearray(data)) for name, data in before.items()}
        self._live = dict(self._names)
        self._by_number: dict[int, _File] = {}
        self._moves: list[tuple[tuple[str, _File | None], ...]] = []

    def take(self, step: Step) -> None:
        """One step of the process."""
        match step.letter:
            case "O":
                self._by_number[step.file] = self._live[step.data.decode()]
            case "C":
                self._by_number[step.file] = made = _File()
                self._name((step.data.decode(), made))
            case "U":
                self._name((step.data.decode(), None))
            case "R":
                old, new = step.data.decode().split("/")
                self._name((new, self._live[old]), (old, None))
            case "W" | "T":
                self._by_number[step.file].loose.append((step, False))
            case "S":
                self._sync(self._by_number[step.file])
            case "E" if step.file:
                file = self._by_number[step.file]
                file.loose = [(one, True) for one, _ in file.loose]
            case "D":
                self._names = dict(self._live)
                self._moves.clear()
            case _:
                pass  # said, or a folder that could not be synced: nothing changes on the disk

    def left(self) -> dict[str, bytes]:
        """What the power cut leaves."""
        for changes in self._moves:
            if self._fate == "everything" or (
                self._fate != "nothing" and self._rng.random() < self._share
            ):
                _rename(self._names, changes)
        return {name: bytes(self._torn(file)) for name, file in self._names.items()}

    def _name(self, *changes: tuple[str, _File | None]) -> None:
        self._moves.append(changes)
        _rename(self._live, changes)

    def _sync(self, file: _File) -> None:
        for step, has_failed in file.loose:
            if not has_failed or self._rng.random() < 0.5:
                _do(file.certain, step)
        file.loose.clear()

    def _torn(self, file: _File) -> bytearray:
        """The certain bytes with as much of the rest as the drawn fate lets stand."""
        steps = [step for step, _ in file.loose]
        held = bytearray(file.certain)
        if self._fate == "nothing":
            return held
        if self._fate == "beginning":
            steps = steps[: self._rng.randint(0, len(steps))]
        if self._fate == "writes":
            steps = [step for step in steps if self._rng.random() < self._share]
        for step in steps:
            if self._fate == "sectors" and step.letter == "W":
                self._do_in_part(held, step)
            else:
                _do(held, step)
        return held

    def _do_in_part(self, held: bytearray, step: Step) -> None:
        """Some sectors of a write. Lost behind the old end, one holds what once lay there."""
        at, end = step.at, step.at + len(step.data)
        while at < end:
            until = min(end, (at // self._sector + 1) * self._sector)
            if self._rng.random() < self._share:
                _write(held, at, step.data[at - step.at : until - step.at])
            elif at >= len(held) and self._rng.random() < 0.5:
                _write(held, at, self._rng.randbytes(until - at))
            at = until


def _rename(names: dict[str, _File], changes: Sequence[tuple[str, _File | None]]) -> None:
    for name, file in changes:
        names.pop(name, None)
        if file is not None:
            names[name] = file


def _do(held: bytearray, step: Step) -> None:
    if step.letter == "W":
        _write(held, step.at, step.data)
    elif step.at <= len(held):
        del held[step.at :]
    else:
        held.extend(bytes(step.at - len(held)))


def _write(held: bytearray, at: int, data: bytes) -> None:
    if at > len(held):
        held.extend(bytes(at - len(held)))
    held[at : at + len(data)] = data
