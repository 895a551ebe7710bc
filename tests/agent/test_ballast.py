"""A disk that others have filled still takes the evidence of decisions."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ballast import Ballast
from agent.journal import open_journal
from agent.keys import create_log_key
from agent.records import JournalError, JournalFullError, NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, small enough to fill."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command: a full disk is not tested")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: a full disk is not tested ({done.stderr})")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def filled(disk: Path) -> Path:
    """A file by somebody else that takes all that is left."""
    path = disk / "somebody-elses"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


def reading(length: int = 100) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"text": "x" * length})


def decision(length: int = 100) -> NewRecord:
    return NewRecord(kind="decision", source="mp-1", data={"text": "x" * length})


async def test_evidence_is_written_on_a_disk_that_others_have_filled(
    disk: Path, tmp_path: Path
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(
        path=disk / "journal.sqlite", max_bytes=100 * MIB, version="0.1.0", ballast_bytes=MIB
    )
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append([reading()], urgent=False)
        ballast = disk / "journal.sqlite.ballast"
        assert ballast.stat().st_blocks * 512 >= MIB
        foreign = filled(disk)
        written = journal.size
        for _ in range(20):
            await journal.append([decision(10_000)])
        assert journal.size == written + 20
        assert not ballast.exists()
        with pytest.raises(JournalFullError, match="takes no more readings"):
            await journal.append([reading()], urgent=False)
        foreign.unlink()
        await journal.append([decision()])
    assert verify(options.path, Keys(device=key.verifier)).is_sound
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append([reading()], urgent=False)
        assert ballast.exists()
        last = json.loads((await journal.tail(1))[0])
        assert last["k"] == "meter"


async def test_a_start_on_a_full_disk_gives_the_ballast_up(disk: Path, tmp_path: Path) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(
        path=disk / "journal.sqlite", max_bytes=100 * MIB, version="0.1.0", ballast_bytes=MIB
    )
    async with open_journal(options, key, SiteClock()) as journal:
        assert journal.size == 1
    filled(disk)
    async with open_journal(options, key, SiteClock()) as journal:
        for _ in range(10):
            await journal.append([decision(10_000)])
        assert journal.boot == 2


async def test_without_it_a_full_disk_takes_nothing_more(disk: Path, tmp_path: Path) -> None:
    """What the ballast is for: the same, and the first record is refused."""
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(path=disk / "journal.sqlite", max_bytes=100 * MIB, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        filled(disk)
        with pytest.raises(JournalError, match="disk"):
            await journal.append([decision(60_000)])


async def test_where_there_is_no_room_for_it_nothing_is_refused_for_that(
    disk: Path, tmp_path: Path
) -> None:
    key = create_log_key(tmp_path / "log.key", ORIGIN)
    options = JournalSettings(
        path=disk / "journal.sqlite", max_bytes=MIB, version="0.1.0", ballast_bytes=7 * MIB
    )
    async with open_journal(options, key, SiteClock()) as journal:
        assert await journal.append([reading()], urgent=False) == range(1, 2)
    assert os.statvfs(disk).f_bavail * 4096 > 6 * MIB


def test_it_is_there_after_a_restart_without_being_laid_again(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    for _ in range(2):
        ballast = Ballast(path, MIB)
        assert not ballast.cast_off()
        assert ballast.lay()
        assert path.stat().st_size == MIB
    assert ballast.cast_off()
    assert not path.exists()
    assert not ballast.lay()  # not at once: the disk is still full
    assert ballast.was_needed
