"""A journal at work on a disk that is written down, to be cut off anywhere afterwards."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.keys import LogKey, create_log_key
from agent.records import JournalError, NewRecord, parse_record, prepare
from agent.siteclock import Stamp
from agent.store import JournalSettings, Store, open_store
from agent.verify import Keys, verify
from simulator.disk import Cut, Step, files_after, read_trace, said

HERE = Path(__file__).parent
ORIGIN = "pool.example/edge/farm-1-edge-1/1"
STAMP = Stamp(boottime_ns=5, time_us=1_795_000_000_000_000, quality="S", max_error_us=9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One run of the writer: what was there before, what it did, and the key of its log."""

    before: Mapping[str, bytes]
    steps: Sequence[Step]
    key: LogKey

    def acknowledged(self, steps: int) -> list[tuple[int, str, str]]:
        """Index, name and kind of every record that was durable, says the journal, by then."""
        lines = said(self.steps[:steps])
        return [(at, name, kind) for line in lines for at, name, kind in json.loads(line)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one power cut came to. ``refusal`` says why the journal cannot be read; else empty."""

    acknowledged: int
    lost: int
    refusal: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Runs programs with every write of theirs to one folder written down, and cuts them off."""

    library: Path
    directory: Path

    def new(self, name: str) -> tuple[LogKey, Mapping[str, bytes]]:
        """A folder with nothing but the key of a log."""
        path = self.directory / f"{name}.key"
        key = create_log_key(path, ORIGIN)
        return key, {"log.key": path.read_bytes()}

    def record(self, key: LogKey, before: Mapping[str, bytes], *arguments: object) -> Recording:
        """Let the writer work, on a new folder or on what a power cut left of one."""
        self.begin(before)
        assert self.run("writer.py", *arguments).returncode == 0
        return self.recording(key, before)

    def begin(self, before: Mapping[str, bytes]) -> None:
        """Put a disk there, and write down from here on."""
        shutil.rmtree(self.directory / "disk", ignore_errors=True)
        (self.directory / "trace").unlink(missing_ok=True)
        lay_out(self.directory / "disk", before)

    def recording(self, key: LogKey, before: Mapping[str, bytes]) -> Recording:
        """Everything since the beginning."""
        steps = read_trace(self.directory / "trace")
        return Recording(before=dict(before), steps=steps, key=key)

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one program on the folder as it is; what it does there is written down behind."""
        environment = os.environ | {
            "PYTHONPATH": str(HERE.parents[1]),
            "LD_PRELOAD": str(self.library),
            "KWOTA_DISK": str(self.directory / "disk"),
            "KWOTA_TRACE": str(self.directory / "trace"),
        }
        return subprocess.run(
            [sys.executable, HERE / program, self.directory / "disk", *map(str, arguments)],
            env=environment,
            check=False,
            timeout=100,
            text=True,
            stdout=subprocess.PIPE,
        )

    def outcome(self, recording: Recording, cut: Cut) -> Outcome:
        """Cut the power, start again on what is left, look, go on, and have an auditor look."""
        folder = self.directory / "restart"
        shutil.rmtree(folder, ignore_errors=True)
        files = files_after(recording.steps, cut, recording.before)
        lay_out(folder, files)
        found = restarted(folder, recording.key, recording.acknowledged(cut.steps))
        return replace(found, files=files)


def restarted(folder: Path, key: LogKey, told: Sequence[tuple[int, str, str]]) -> Outcome:
    """Start again on what is left, look for all that was told, go on, and have an auditor look."""
    try:
        store = opened(folder, key)
    except JournalError as error:
        return Outcome(acknowledged=len(told), lost=len(told), refusal=str(error))
    try:
        lost = lost_of(store, told)
    except sqlite3.DatabaseError as error:
        store.close(is_clean=False)
        return Outcome(acknowledged=len(told), lost=len(told), refusal=str(error))
    size = store.size
    record = NewRecord(kind="meter", source="site", data={"after": "the cut"})
    assert store.commit([prepare(record, STAMP)]) == range(size, size + 1)
    store.close(is_clean=True)
    report = verify(folder / "journal.sqlite", Keys(device=key.verifier))
    assert report.is_sound, report.defects
    assert report.size == size + 1
    return Outcome(acknowledged=len(told), lost=lost, refusal="")


def opened(folder: Path, key: LogKey) -> Store:
    settings = JournalSettings(path=folder / "journal.sqlite", max_bytes=50_000_000, version="0")
    return open_store(settings, key, STAMP)


def lost_of(store: Store, told: Sequence[tuple[int, str, str]]) -> int:
    """How many acknowledged records are not what was acknowledged, or not found by their name."""
    found = {}
    if told:
        lines = store._connection.execute("SELECT i, body FROM records").fetchall()
        found = {at: parse_record(body) for at, body in lines}
    lost = 0
    for at, name, kind in told:
        stored = found.get(at)
        is_there = stored is not None and (stored.data.get("name"), stored.kind) == (name, kind)
        if kind == "ledger":
            is_there = is_there and len(store.purchases_of([name])) == 1
        lost += not is_there
    return lost


def lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files where a program will look for them."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(data)


@pytest.fixture(scope="session")
def disk_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler (build-essential) or no Linux: NO power cut is tested")
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    source = HERE / "disk.c"
    flags = ["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source, "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture(scope="session")
def restart() -> Callable[[Path, LogKey, Sequence[tuple[int, str, str]]], Outcome]:
    return restarted


@pytest.fixture
def recorder(disk_library: Path, tmp_path: Path) -> Recorder:
    return Recorder(library=disk_library, directory=tmp_path)
