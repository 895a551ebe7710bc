"""A file is replaced whole, as its owner left it otherwise, or not at all."""

import stat
from pathlib import Path

import pytest

from agent.atomicfile import ChangedError, replace_bytes


def test_the_new_file_has_the_rights_of_the_old_one_and_nothing_is_left_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"old")
    path.chmod(0o640)
    before = path.stat()
    replace_bytes(path, b"old", b"new")
    assert path.read_bytes() == b"new"
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "written in place, it could be read half"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.toml", tmp_path / "site.toml"
    target.write_bytes(b"old")
    link.symlink_to(target)
    replace_bytes(link, b"old", b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_what_somebody_else_wrote_meanwhile_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"theirs")
    with pytest.raises(ChangedError, match="changed by somebody else"):
        replace_bytes(path, b"old", b"new")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_bytes(tmp_path / "site.toml", b"", b"new")
    assert list(tmp_path.iterdir()) == []
