"""A file of the operator replaced as a whole or not at all, with its owner and its rights."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path


class ChangedError(Exception):
    """Somebody else has written the file meanwhile: read it again and start over."""


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    """Put ``new`` in the place of ``old``. Raises OSError and ChangedError, nothing done then."""
    target = path.resolve(strict=True)
    state = target.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    half = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(new)
            stream.flush()
            # The owner first: a change of owner takes rights away.
            if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), state.st_uid, state.st_gid)
            os.fchmod(stream.fileno(), stat.S_IMODE(state.st_mode))
            os.fsync(stream.fileno())
        _require(target, old)
        half.replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            half.unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _require(path: Path, old: bytes) -> None:
    if path.read_bytes() != old:
        raise ChangedError(f"{path} was changed by somebody else meanwhile: run it again")
