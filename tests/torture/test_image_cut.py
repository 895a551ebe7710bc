"""Power cuts of a real kernel with a real file system: the disk's image is copied at any instant.

A journal is written on the disk of ``diskimage``. A copy of it is checked and mounted, which
replays ext4's own journal, and our code opens what is there. The whole agent on such a disk stands
in ``test_agent_cut.py``.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from diskimage import ImageDisk, checked, copy_of, image_disk, mounted

from agent.keys import LogKey, create_log_key

HERE = Path(__file__).parent
ORIGIN = "pool.example/edge/farm-1-edge-1/1"
INNER_BYTES = 40_000_000
FIRST_ACK_S = 30.0
RUN_CUTS = 5
"""Cuts of one life of the writer; the next life begins on the last of the copies."""
CUTS, TORTURE_PARTS, TORTURE_CUTS = 3, 10, 10
LOST_WITHIN = 10
TORTURE_LIMIT_S = 1800
"""For ten cuts: seconds are enough on an idle machine, and none may be missing on a busy one."""

Restart = Callable[..., object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The disk that a journal is written on, and the key that signs it."""

    disk: ImageDisk
    key: LogKey
    key_file: Path

    @contextmanager
    def writer(self, seed: int, how: str) -> Iterator[Path]:
        """A journal at work on the image; yields the file of what it was told was durable."""
        told = self.disk.copies / f"told-{seed}"
        with self.disk.mounted() as inner:
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
        copy = self.disk.copies / "cut.img"
        self.disk.cut(copy)
        return copy, [tuple(one) for line in lines for one in json.loads(line)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    key_file = tmp_path / "log.key"
    key = create_log_key(key_file, ORIGIN)
    with image_disk(tmp_path, INNER_BYTES) as disk:
        yield Log(disk=disk, key=key, key_file=key_file)


def outcomes(log: Log, restart: Restart, how: str, seed: int) -> Iterator:
    """Power cuts, some of each life of the writer."""
    rng = random.Random(seed)
    log.disk.format()
    earlier: list[tuple[int, str, str]] = []
    for number in itertools.count(seed * 1000):
        with log.writer(number, how) as told:
            for _ in range(RUN_CUTS):
                time.sleep(rng.random() * 0.3)
                copy, since = log.cut(told)
                checked(copy)
                with mounted(copy, log.disk.copies / "copy") as folder:
                    yield restart(folder, log.key, earlier + since)
        # The next life goes on where this one's power was cut last, and one record further.
        copy_of(copy, log.disk.image)
        earlier += since


def assert_nothing_lost(found: list) -> None:
    assert [one.refusal for one in found if one.refusal] == []
    assert sum(one.lost for one in found) == 0
    assert sum(one.acknowledged for one in found) > 10 * len(found)


@pytest.mark.timeout(120)
def test_a_cut_of_a_real_file_system_loses_nothing_that_was_acknowledged(log, restart) -> None:
    found = outcomes(log, restart, "as_shipped", seed=1)
    with_closed = list(itertools.islice(found, CUTS))
    found.close()
    assert_nothing_lost(with_closed)


@pytest.mark.timeout(120)
def test_the_copies_show_the_loss_where_less_is_synced(log, restart) -> None:
    found = outcomes(log, restart, "normal", seed=2)
    has_lost = any(one.lost for one in itertools.islice(found, LOST_WITHIN))
    found.close()
    assert has_lost


@pytest.mark.torture
@pytest.mark.timeout(TORTURE_LIMIT_S)
@pytest.mark.parametrize("seed", range(100, 100 + TORTURE_PARTS))
def test_a_hundred_cuts_of_a_real_file_system_lose_nothing(log, restart, seed: int) -> None:
    found = outcomes(log, restart, "as_shipped", seed=seed)
    all_of_them = list(itertools.islice(found, TORTURE_CUTS))
    found.close()
    assert_nothing_lost(all_of_them)
