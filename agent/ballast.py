"""Room on the disk that is held in reserve, to be given up when somebody else has filled the rest.

SQLite can do nothing at all on a full disk, not even make room: neither DELETE nor a checkpoint of
its write-ahead log gets through. Once the ballast is gone, evidence of decisions can still be
written; readings wait until there is room to lay it again.
"""

import logging
import os
import time
from pathlib import Path

from agent.secondcopy import sync_directory

LAY_AGAIN_S = 60.0
SPARE_TIMES = 2
"""It is laid only where twice as much would stay free: else it would fill the disk itself."""

_log = logging.getLogger(__name__)


class Ballast:
    """A file of ``size_bytes`` beside the journal.

    ``is_laid`` says whether it is there, ``was_needed`` whether it was given up since: on a disk
    that was too small for it from the beginning nothing is wrong.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._due_s = 0.0
        self.is_laid = False
        self.was_needed = False

    def lay(self) -> bool:
        """Take the room, if there is enough of it; looked at once a minute.

        Returns ``is_laid``.
        """
        now_s = time.monotonic()
        if self.is_laid or now_s < self._due_s:
            return self.is_laid
        self._due_s = now_s + LAY_AGAIN_S
        try:
            self.is_laid = self._laid()
            self.was_needed = self.was_needed and not self.is_laid
        except OSError as error:
            _log.warning("ballast=%s event=not_laid reason=%r", self._path, error.strerror)
            self._path.unlink(missing_ok=True)
        return self.is_laid

    def cast_off(self) -> bool:
        """Give the room back. False: there was nothing to give."""
        if not self.is_laid:
            return False
        self.is_laid, self.was_needed = False, True
        self._due_s = time.monotonic() + LAY_AGAIN_S
        self._path.unlink(missing_ok=True)
        _log.error("ballast=%s event=cast_off the disk is full", self._path)
        return True

    def _laid(self) -> bool:
        """Whether all of it is on the disk."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            missing = self._size_bytes - os.fstat(descriptor).st_blocks * 512
            room = os.fstatvfs(descriptor)
            if missing > 0 and room.f_bavail * room.f_frsize < missing * (1 + SPARE_TIMES):
                _log.warning("ballast=%s event=not_laid reason='too little room'", self._path)
                return False
            os.posix_fallocate(descriptor, 0, self._size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(self._path.parent)
        return True
