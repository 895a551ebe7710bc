import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import pytest

from agent.core.merkle import leaf_hash
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.records import (
    JournalError,
    NewRecord,
)
from agent.siteclock import SiteClock, Stamp
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
STAMP = Stamp(boottime_ns=5, time_us=1_795_000_000_000_000, quality="S", max_error_us=9)


@pytest.fixture
def key(tmp_path: Path) -> LogKey:
    return create_log_key(tmp_path / "log.key", ORIGIN)


def meter(power_mw: int = 1, **more: object) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": power_mw, **more})


def opened(tmp_path: Path, key: LogKey, **changes: object) -> AbstractAsyncContextManager[Journal]:
    values: dict[str, object] = {"max_bytes": 10_000_000, "version": "0.1.0", **changes}
    settings = JournalSettings(path=tmp_path / "journal.sqlite", **values)  # type: ignore[arg-type]
    return open_journal(settings, key, SiteClock())


async def test_a_second_process_is_told_that_the_journal_is_in_use(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key) as journal:
        with pytest.raises(JournalError, match="Another process"):
            async with opened(tmp_path, key):
                pass
        await journal.append([meter()])


async def test_the_file_is_the_owners_alone_and_the_directory_must_exist(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key):
        assert (tmp_path / "journal.sqlite").stat().st_mode & 0o777 == 0o600
    with pytest.raises(JournalError, match="does not exist"):
        async with opened(tmp_path / "nowhere", key):
            pass


async def test_the_pragmas_that_durability_rests_on_are_set(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key) as journal:
        pragmas = {
            "journal_mode": "wal",
            "synchronous": 2,
            "locking_mode": "exclusive",
            "mmap_size": 0,
            "trusted_schema": 0,
            "cell_size_check": 1,
        }
        for pragma, value in pragmas.items():
            found = await journal._ask(
                lambda store, name=pragma: store._connection.execute(f"PRAGMA {name}").fetchone()
            )
            assert found == (value,), pragma
    assert not (tmp_path / "journal.sqlite-shm").exists()


CHANGED_BODY = "UPDATE records SET body = CAST(replace(body, '79', '80') AS BLOB) WHERE i = 5"
OLDER_NOTE = "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 5)"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (CHANGED_BODY, "record 5 was changed"),
        ("DELETE FROM records WHERE i = 5", "5 records are stored and 6"),
        ("DELETE FROM records WHERE i = 0", "6 records are stored and 6"),
        ("DELETE FROM checkpoints WHERE size = 6", "checkpoint of size 6 is missing"),
        ("UPDATE checkpoints SET note = replace(note, '6', '7') WHERE size = 6", "checkpoint"),
        (f"{OLDER_NOTE} WHERE size = 6", "signs something else"),
        ("UPDATE head SET frontier = x'00'", "does not belong to size"),
        ("UPDATE head SET frontier = zeroblob(64)", "signs something else"),
        ("UPDATE head SET origin = 'other'", "is the log other"),
    ],
)
async def test_a_journal_that_is_not_what_was_signed_is_not_opened(
    tmp_path: Path, key: LogKey, change: str, match: str
) -> None:
    async with opened(tmp_path, key) as journal:
        for number in range(75, 80):
            await journal.append([meter(number)])
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
        assert connection.execute(change).rowcount == 1
        connection.commit()
    with pytest.raises(JournalError, match=match):
        async with opened(tmp_path, key):
            pass


async def test_the_key_of_another_log_does_not_open_this_one(tmp_path: Path, key: LogKey) -> None:
    async with opened(tmp_path, key):
        pass
    stranger = create_log_key(tmp_path / "other.key", ORIGIN)
    with pytest.raises(JournalError, match="none of the known keys"):
        async with opened(tmp_path, stranger):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, key: LogKey) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database at all, but long enough" * 200)
    with pytest.raises(JournalError, match="damaged"):
        async with opened(tmp_path, key):
            pass


async def test_a_forged_newest_record_does_not_open_although_its_hash_fits(
    tmp_path: Path, key: LogKey
) -> None:
    async with opened(tmp_path, key) as journal:
        await journal.append([meter(7)])
        (line,) = await journal.tail(1)
    forged = line.replace(b'"power_mw":7', b'"power_mw":8')
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as connection:
        sql = "UPDATE records SET body = ?, leaf = ? WHERE i = 1"
        assert connection.execute(sql, (forged, leaf_hash(forged))).rowcount == 1
        connection.commit()
    with pytest.raises(JournalError, match="does not lead to the signed root"):
        async with opened(tmp_path, key):
            pass
