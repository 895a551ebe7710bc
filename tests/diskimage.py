"""A disk that is an ext4 file system in a file, whose power is cut by copying it at any instant.

The file lies in another ext4 file system. Freezing that one holds every write of the inner one,
wherever it is, also in the middle of a sync; what has reached the file by then is what a power cut
would leave. It needs root and loop devices; where there are none nothing is tested, and it says so.
"""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # linux/fs.h
OUTER_SHARE = 1.6
"""How much larger the outer file system is than the image in it."""
FSCK_MENDED = 1  # e2fsck(8): errors were corrected, as after any power cut


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


def copy_of(image: Path, copy: Path) -> None:
    run("cp", "--sparse=always", image, copy)


def checked(image: Path) -> None:
    """What a start of the machine does first: the file system's journal, then all of it."""
    words = ["e2fsck", "-f", "-p", str(image)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode <= FSCK_MENDED, done.stdout + done.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDisk:
    """The outer file system with the image in it, and a place for copies that it does not touch."""

    outer: Path
    copies: Path
    inner_bytes: int

    @property
    def image(self) -> Path:
        return self.outer / "disk.img"

    def format(self) -> None:
        make_image(self.image, self.inner_bytes)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The inner file system, to be written to."""
        with mounted(self.image, self.copies / "inner") as folder:
            yield folder

    def cut(self, copy: Path, then: Callable[[], None] | None = None) -> None:
        """A copy of the disk as it is. ``then``: what is done before anything goes on."""
        with frozen(self.outer):
            copy_of(self.image, copy)
            if then is not None:
                then()


@contextmanager
def image_disk(directory: Path, inner_bytes: int) -> Iterator[ImageDisk]:
    """Such a disk in a directory; the test is skipped, with the reason, where none can be made."""
    with ExitStack() as stack:
        try:
            make_image(directory / "outer.img", int(inner_bytes * OUTER_SHARE))
            outer = stack.enter_context(mounted(directory / "outer.img", directory / "outer"))
            with frozen(outer):
                pass
        except (OSError, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", b"") or str(error).encode()
            pytest.skip(
                "no loop devices, no rights or no ext4: NO power cut of a real kernel is tested"
                f" ({words.decode().strip()})"
            )
        yield ImageDisk(outer=outer, copies=directory, inner_bytes=inner_bytes)
