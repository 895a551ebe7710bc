import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.audit import Report
from agent.bundle import export_bundle
from agent.core.merkle import leaf_hash
from agent.core.note import COSIGNATURE_V1, Note, Signature, VerifierKey, parse_note
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.logfile import LogError
from agent.records import JournalError, NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
POOL_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
POOL = VerifierKey(
    name="pool.example/witness",
    algorithm=COSIGNATURE_V1,
    public_key=POOL_PRIVATE.public_key().public_bytes_raw(),
)
COUNT = 13


def cosign(text: str, time_s: int) -> str:
    note = parse_note(text)
    message = f"cosignature/v1\ntime {time_s}\n{note.text}".encode()
    value = time_s.to_bytes(8, "big") + POOL_PRIVATE.sign(message)
    line = Signature(name=POOL.name, key_id=POOL.key_id, value=value)
    return Note(text=note.text, signatures=(*note.signatures, line)).encode()


async def acknowledge(journal: Journal, size: int, time_s: int) -> None:
    checkpoint = await journal.checkpoint_at_or_after(size)
    assert checkpoint is not None
    note = cosign(checkpoint.note, time_s)
    await journal.set_cosigned(size, note)
    data = {"size": size, "pool_time_s": time_s, "note": note}
    await journal.append([NewRecord(kind="ack", source="agent", data=data)])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> LogKey:
    return create_log_key(tmp_path_factory.mktemp("key") / "log.key", ORIGIN)


@pytest.fixture
def keys(key: LogKey) -> Keys:
    return Keys(device=key.verifier, pool=POOL)


@pytest.fixture
async def path(tmp_path: Path, key: LogKey) -> Path:
    """Two boots, commits of one and of several records, receipts: thirteen records."""
    path = tmp_path / "journal.sqlite"
    options = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        for number in range(3):
            await journal.append([meter(number)])
        await acknowledge(journal, 3, 1_795_000_000)
        await journal.append([meter(number) for number in range(4)])
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append([meter(7)])
        await acknowledge(journal, 10, 1_795_000_010)
        await journal.append([NewRecord(kind="gap", source="site", data={"reason": "test"})])
        assert journal.size == COUNT
    return path


def meter(number: int) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": number})


def change(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for sql, values in statements:
            assert connection.execute(sql, values).rowcount >= 1
        connection.commit()


def named(report: Report) -> set[int | None]:
    return {defect.index for defect in report.defects}


def words(report: Report) -> str:
    return " ".join(defect.words for defect in report.defects)


def test_an_untouched_log_is_sound(path: Path, keys: Keys) -> None:
    seen = []
    report = verify(path, keys, lambda done, total: seen.append((done, total)))
    assert report.is_sound, report.defects
    assert (report.origin, report.size, report.boots) == (ORIGIN, COUNT, 2)
    assert report.checkpoints == 10
    assert (report.cosigned_size, report.cosigned_at_s) == (10, 1_795_000_010)
    assert "1 gaps that the log itself declares." in report.remarks


def test_without_keys_it_says_what_was_not_checked(path: Path) -> None:
    report = verify(path, Keys())
    assert report.is_sound
    assert "signatures were not checked" in report.remarks[0]
    assert "receipts were not checked" in report.remarks[1]


@pytest.mark.parametrize("index", range(COUNT))
def test_any_changed_byte_of_any_record_names_that_record(
    path: Path, keys: Keys, index: int
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (body,) = connection.execute("SELECT body FROM records WHERE i = ?", (index,)).fetchone()
        step = 1 if index == 6 else 11  # each costs a whole verification
        for at in range(0, len(body), step):
            changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
            connection.execute("UPDATE records SET body = ? WHERE i = ?", (changed, index))
            connection.commit()
            report = verify(path, keys)
            assert index in named(report), (at, report.defects)
            if at == 0:
                assert f"Record {index} was changed" in words(report)


def test_several_changed_records_are_all_named(path: Path, keys: Keys) -> None:
    sql = "UPDATE records SET body = CAST(replace(body, 'power_mw', 'power_mW') AS BLOB)"
    change(path, (sql, ()))
    assert named(verify(path, keys)) >= {1, 2, 3, 5, 6, 7, 8, 10}


def test_a_forged_record_with_a_fitting_hash_is_pinned_to_its_commit(
    path: Path, keys: Keys, key: LogKey
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (body,) = connection.execute("SELECT body FROM records WHERE i = 6").fetchone()
    forged = body.replace(b'"power_mw":1', b'"power_mw":9')
    assert forged != body
    change(path, ("UPDATE records SET body = ?, leaf = ? WHERE i = 6", (forged, leaf_hash(forged))))
    report = verify(path, keys)
    assert "Records 5 to 8 are not those that were signed" in words(report)
    assert "later roots cannot be compared" in words(report).lower()


@pytest.mark.parametrize(
    ("sql", "index", "match"),
    [
        ("UPDATE records SET leaf = zeroblob(32) WHERE i = 6", 6, "stored hash of record 6"),
        ("UPDATE records SET kind = 'tick' WHERE i = 6", 6, "filed as tick"),
        ("UPDATE records SET source = 'x' WHERE i = 6", 6, "filed under x"),
        ("DELETE FROM records WHERE i = 6", 6, "6 to 6 are missing"),
        ("DELETE FROM records WHERE i = 12", None, "has only 12 records"),
        ("DELETE FROM records WHERE i = 0", 0, "0 to 0 are missing"),
        ("UPDATE records SET i = 99 WHERE i = 12", 12, "12 to 98 are missing"),
        ("DELETE FROM checkpoints WHERE size = 13", 12, "under no checkpoint"),
        ("UPDATE checkpoints SET size = 8 WHERE size = 9", None, "is another one's"),
        ("UPDATE checkpoints SET note = 'x' WHERE size = 9", None, "size 9 does not hold"),
        ("UPDATE checkpoints SET note = replace(note, '9', '8') WHERE size = 9", None, "size 9"),
        ("UPDATE head SET size = 12", None, "13 records are there"),
        ("UPDATE head SET origin = 'other'", None, "says it is other"),
        ("UPDATE head SET cosigned_note = replace(cosigned_note, '10', '11')", None, "newest"),
    ],
)
def test_every_other_change_is_named_too(
    path: Path, keys: Keys, sql: str, index: int | None, match: str
) -> None:
    change(path, (sql, ()))
    report = verify(path, keys)
    assert index in named(report)
    assert match in words(report)


def test_swapped_records_are_named(path: Path, keys: Keys) -> None:
    change(
        path,
        ("UPDATE records SET i = -1 WHERE i = 2", ()),
        ("UPDATE records SET i = 2 WHERE i = 3", ()),
        ("UPDATE records SET i = 3 WHERE i = -1", ()),
    )
    report = verify(path, keys)
    assert {2, 3} <= named(report)
    assert "Record 2 says that it is record 3" in words(report)


async def test_a_signed_log_whose_clock_ran_backwards_is_named(
    tmp_path: Path, key: LogKey, keys: Keys
) -> None:
    boottime_ns = [10_000_000_000]
    clock = SiteClock(boottime_ns=lambda: boottime_ns[0])
    options = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=10_000_000, version="0")
    async with open_journal(options, key, clock) as journal:
        await journal.append([meter(1)])
        boottime_ns[0] -= 1
        await journal.append([meter(2)])
    report = verify(tmp_path / "j.sqlite", keys)
    assert [defect.words for defect in report.defects] == [
        "Record 2 is older than the one before it."
    ]


async def test_a_start_that_was_not_counted_is_named(path: Path, key: LogKey, keys: Keys) -> None:
    change(path, ("UPDATE head SET boot = 4", ()))
    options = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()):
        pass
    report = verify(path, keys)
    assert [defect.words for defect in report.defects] == ["Record 13 starts boot 5 after 2."]


def test_another_key_verifies_nothing(path: Path, tmp_path: Path) -> None:
    stranger = create_log_key(tmp_path / "stranger.key", ORIGIN)
    report = verify(path, Keys(device=stranger.verifier))
    assert "none of the known keys" in words(report)


async def test_a_receipt_from_the_future_or_by_nobody_is_named(
    tmp_path: Path, key: LogKey, keys: Keys
) -> None:
    path = tmp_path / "journal.sqlite"
    options = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append([meter(1)])
        checkpoint = await journal.checkpoint_at_or_after(2)
        assert checkpoint is not None
        for note in (
            checkpoint.note,
            cosign(checkpoint.note.replace("\n2\n", "\n9\n"), 5),
            "nonsense",
        ):
            await journal.append([NewRecord(kind="ack", source="agent", data={"note": note})])
    report = verify(path, keys)
    assert named(report) == {2, 3, 4}
    assert "not cosigned" in words(report)
    assert "younger than itself" in words(report)


async def test_a_running_daemon_exports_itself_and_the_bundle_verifies(
    tmp_path: Path, key: LogKey, keys: Keys, path: Path
) -> None:
    options = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        with pytest.raises(LogError, match="running daemon"):
            verify(path, keys)
        size = await export_bundle(journal, tmp_path / "bundle", device=key.verifier, pool=POOL)
        assert size == journal.size == COUNT + 1
        stored = await journal.read(0, 1_000_000)
    bundle = tmp_path / "bundle"
    assert (bundle / "records.ndjson").read_bytes() == b"".join(line + b"\n" for line in stored)
    assert key.verifier.text in (bundle / "keys.txt").read_text()
    report = verify(bundle, keys)
    assert report.is_sound, report.defects
    assert (report.size, report.cosigned_size) == (COUNT + 1, 10)
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in bundle.iterdir():
            zipped.write(file, file.name)
    assert verify(archive, keys) == report


async def test_any_changed_line_of_a_bundle_is_found(
    tmp_path: Path, key: LogKey, keys: Keys, path: Path
) -> None:
    options = JournalSettings(path=path, max_bytes=10_000_000, version="0.1.0")
    async with open_journal(options, key, SiteClock()) as journal:
        await export_bundle(journal, tmp_path / "bundle", device=key.verifier, pool=None)
    records = tmp_path / "bundle" / "records.ndjson"
    lines = records.read_bytes().splitlines(keepends=True)
    for at, line in enumerate(lines):
        for changed in ([line.replace(b'"v"', b'"w"')], [], [line, line]):
            records.write_bytes(b"".join(lines[:at] + changed + lines[at + 1 :]))
            assert not verify(tmp_path / "bundle", keys).is_sound
    records.unlink()
    with pytest.raises(LogError, match="not a whole evidence bundle"):
        verify(tmp_path / "bundle", keys)


def test_what_is_no_journal_is_refused_in_one_sentence(tmp_path: Path, keys: Keys) -> None:
    with pytest.raises(LogError, match="does not exist"):
        verify(tmp_path / "nothing", keys)
    text = tmp_path / "text"
    text.write_text("hello" * 1000)
    with pytest.raises(LogError, match="not a journal"):
        verify(text, keys)


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    directory = tmp_path_factory.mktemp("flips")
    return lambda path: Path(shutil.copy(path, directory / "journal.sqlite"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_flipped_byte_in_the_file_never_ends_in_a_crash(
    path: Path, keys: Keys, restored: Callable[[Path], Path], data: st.DataObject
) -> None:
    copy = restored(path)
    content = bytearray(copy.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    copy.write_bytes(content)
    try:
        report = verify(copy, keys)
    except LogError:
        return
    if report.is_sound:  # unused space of a page, an index, a statistic: not evidence
        assert (report.size, report.checkpoints) == (COUNT, 10)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(data=st.data())
async def test_a_flipped_byte_never_opens_as_another_log(
    path: Path, key: LogKey, restored: Callable[[Path], Path], data: st.DataObject
) -> None:
    for leftover in restored(path).parent.glob("*-wal"):
        leftover.unlink()
    copy = restored(path)
    content = bytearray(copy.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    copy.write_bytes(content)
    options = JournalSettings(path=copy, max_bytes=10_000_000, version="0.1.0")
    try:
        async with open_journal(options, key, SiteClock()) as journal:
            assert journal.size == COUNT + 1
    except JournalError:
        return
