"""Power cuts of a real kernel with a real file system: the disk's image is copied at any instant.

A journal is written on an ext4 file system that lies in a file, and that file lies in another ext4
file system. Freezing the outer one holds every write of the inner one, wherever it is, also in the
middle of a sync; what has reached the file by then is what a power cut would leave. The copy is
mounted, which replays ext4's own journal, and our code opens what is there. It needs root and loop
devices; where there are none nothing is tested, and it says so.
"""

import fcntl
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.keys import LogKey, create_log_key

HERE = Path(__file__).parent
ORIGIN = "pool.example/edge/farm-1-edge-1/1"
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h
INNER_BYTES, OUTER_BYTES = 40_000_000, 64_000_000
FIRST_ACK_S = 30.0
RUN_CUTS = 5
"""Cuts of one life of the writer; the next life begins on the last of the copies."""
CUTS, TORTURE_PARTS, TORTURE_CUTS = 3, 10, 10
LOST_WITHIN = 10

Restart = Callable[..., object]


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)


@contextmanager
def mounted(image: Path, directory: Path) -> Iterator[Path]:
    directory.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, directory)
    try:
        yield directory
    finally:
        run("umount", directory)


@contextmanager
def frozen(directory: Path) -> Iterator[None]:
    """Nothing reaches this file system meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, FIFREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, FITHAW, 0)
    finally:
        os.close(descriptor)


def make_image(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-F", "-m", "0", path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The outer file system with the image in it, and a place for copies that it does not touch."""

    outer: Path
    copies: Path
    key: LogKey
    key_file: Path

    @property
    def image(self) -> Path:
        return self.outer / "disk.img"

    @contextmanager
    def writer(self, seed: int, how: str) -> Iterator[Path]:
        """A journal at work on the image; yields the file of what it was told was durable."""
        told = self.copies / f"told-{seed}"
        inner = self.copies / "inner"
        with mounted(self.image, inner):
            words = [inner, self.key_file, told, seed, how]
            process = subprocess.Popen(
                [sys.executable, HERE / "imagewriter.py", *map(str, words)],
                env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
            )
            try:
                until_s = time.monotonic() + FIRST_ACK_S
                while not told.exists() or not told.stat().st_size:
                    assert process.poll() is None, "the writer has ended"
                    assert time.monotonic() < until_s, "the writer does not begin"
                    time.sleep(0.01)
                yield told
                assert process.poll() is None, "the writer has ended"
            finally:
                process.kill()
                process.wait()

    def cut(self, told: Path) -> tuple[Path, list[tuple[int, str, str]]]:
        """A copy of the disk as it is, and what was acknowledged before."""
        lines = told.read_text().split("\n")[:-1]
        copy = self.copies / "cut.img"
        with frozen(self.outer):
            run("cp", "--sparse=always", self.image, copy)
        return copy, [tuple(one) for line in lines for one in json.loads(line)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    key_file = tmp_path / "log.key"
    key = create_log_key(key_file, ORIGIN)
    with ExitStack() as stack:
        try:
            make_image(tmp_path / "outer.img", OUTER_BYTES)
            outer = stack.enter_context(mounted(tmp_path / "outer.img", tmp_path / "outer"))
            with frozen(outer):
                pass
        except (OSError, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", b"") or str(error).encode()
            pytest.skip(
                "no loop devices, no rights or no ext4: NO power cut of a real kernel is tested"
                f" ({words.decode().strip()})"
            )
        yield Disk(outer=outer, copies=tmp_path, key=key, key_file=key_file)


def outcomes(disk: Disk, restart: Restart, how: str, seed: int) -> Iterator:
    """Power cuts, some of each life of the writer."""
    rng = random.Random(seed)
    make_image(disk.image, INNER_BYTES)
    earlier: list[tuple[int, str, str]] = []
    for number in itertools.count(seed * 1000):
        with disk.writer(number, how) as told:
            for _ in range(RUN_CUTS):
                time.sleep(rng.random() * 0.3)
                copy, since = disk.cut(told)
                with mounted(copy, disk.copies / "copy") as folder:
                    yield restart(folder, disk.key, earlier + since)
        # The next life goes on where this one's power was cut last, and one record further.
        run("cp", "--sparse=always", copy, disk.image)
        earlier += since


def assert_nothing_lost(found: list) -> None:
    assert [one.refusal for one in found if one.refusal] == []
    assert sum(one.lost for one in found) == 0
    assert sum(one.acknowledged for one in found) > 10 * len(found)


@pytest.mark.timeout(120)
def test_a_cut_of_a_real_file_system_loses_nothing_that_was_acknowledged(disk, restart) -> None:
    found = outcomes(disk, restart, "as_shipped", seed=1)
    with_closed = list(itertools.islice(found, CUTS))
    found.close()
    assert_nothing_lost(with_closed)


@pytest.mark.timeout(120)
def test_the_copies_show_the_loss_where_less_is_synced(disk, restart) -> None:
    found = outcomes(disk, restart, "normal", seed=2)
    has_lost = any(one.lost for one in itertools.islice(found, LOST_WITHIN))
    found.close()
    assert has_lost


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 100 + TORTURE_PARTS))
def test_a_hundred_cuts_of_a_real_file_system_lose_nothing(disk, restart, seed: int) -> None:
    found = outcomes(disk, restart, "as_shipped", seed=seed)
    all_of_them = list(itertools.islice(found, TORTURE_CUTS))
    found.close()
    assert_nothing_lost(all_of_them)
