"""A second copy that no key here has signed: what it says is noted, and no log begins over it."""

import json
import time

import pytest
from disk import BASE, Disk, first_of, meter

from agent.core.note import parse_checkpoint, parse_note
from agent.epochs import MISSING, OTHER_KEY, UNREADABLE, key_of_epoch, split_origin
from agent.keys import create_log_key
from agent.records import JournalError
from agent.verify import Keys, verify


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "it holds no head of a log"),
        ("nonsense", "it holds no head of a log"),
        ("{stranger}", f"no key that is here has signed its head of 9 records of {BASE}/1, root "),
        ("{other}", f"no key that is here has signed its head of 2 records of {BASE}/7, root "),
    ],
)
async def test_a_second_copy_that_this_key_never_signed_is_quoted_and_ends_no_log(
    disk: Disk, schemas, content: str, words: str
) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    note = disk.second_copy.read_text()
    changed = {"{stranger}": note.replace("\n2\n", "\n9\n"), "{other}": note.replace("/1", "/7")}
    disk.second_copy.write_text(changed.get(content, content))
    async with disk.boot() as journal:
        assert (journal.boot, journal.opening) == (2, None)
        boot = json.loads(await journal.last("boot") or b"")
    assert boot["d"]["second_copy"].startswith(words)
    assert schemas.faults(boot) == []
    head = parse_checkpoint(parse_note(disk.second_copy.read_text()).text)
    assert head.size == 3
    async with disk.boot() as journal:
        assert "second_copy" not in json.loads(await journal.last("boot") or b"")["d"]


async def test_a_new_key_does_not_begin_a_log_anew_that_another_key_has_signed(
    disk: Disk, schemas
) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.path.unlink()
    disk.key = create_log_key(disk.directory / "other.key", f"{BASE}/1")
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"
        first = await first_of(journal)
        await journal.append([meter(2)])
    assert schemas.faults(first) == []
    epoch = first["d"]["epoch"]
    assert (epoch["reason"], epoch["kept"]) == (OTHER_KEY, None)
    assert (epoch["lost"]["origin"], epoch["lost"]["size"]) == (f"{BASE}/1", 2)
    assert "a key that is not here has signed records in it" in epoch["words"]
    async with disk.boot() as journal:
        assert (journal.key.origin, journal.boot) == (f"{BASE}/2", 3)
    report = verify(disk.path, Keys(device=key_of_epoch(disk.key.verifier, f"{BASE}/2")))
    assert (report.origin, report.defects) == (f"{BASE}/2", ())


@pytest.mark.parametrize("content", ["", "nonsense", None])
async def test_a_journal_that_is_gone_with_its_second_copy_is_followed_under_no_number_it_had(
    disk: Disk, schemas, content: str | None
) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.path.unlink()
    disk.second_copy.unlink()
    if content is None:
        disk.second_copy.symlink_to(disk.second_copy)  # a disk that does not read it
    else:
        disk.second_copy.write_text(content)
    before = minute()
    async with disk.boot() as journal:
        origin, first = journal.key.origin, await first_of(journal)
    base, number = split_origin(origin)
    assert (base, before <= number <= minute()) == (BASE, True)
    assert schemas.faults(first) == []
    epoch = first["d"]["epoch"]
    assert (epoch["reason"], epoch["number"], epoch["kept"]) == (UNREADABLE, number, None)
    assert (epoch["lost"]["origin"], epoch["lost"]["size"]) == (f"{BASE}/1", 0)
    assert "how far the log went is not known here" in epoch["words"]
    async with disk.boot() as journal:
        assert (journal.key.origin, journal.boot) == (origin, 3)
    report = verify(disk.path, Keys(device=key_of_epoch(disk.key.verifier, origin)))
    assert (report.origin, report.defects) == (origin, ())


async def test_epochs_are_counted_on_from_the_number_of_one_whose_past_is_unknown(
    disk: Disk,
) -> None:
    disk.second_copy.write_text("nonsense")
    async with disk.boot() as journal:
        number = split_origin(journal.key.origin)[1]
    disk.path.unlink()
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/{number + 1}"
        assert (await first_of(journal))["d"]["epoch"]["reason"] == MISSING


def minute() -> int:
    return time.time_ns() // 60_000_000_000


async def test_a_journal_under_a_lost_key_is_moved_away_and_followed_by_the_next_epoch(
    disk: Disk,
) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.key = create_log_key(disk.directory / "other.key", f"{BASE}/1")
    with pytest.raises(JournalError, match="move it away: the next start opens a new epoch"):
        async with disk.boot():
            pass
    disk.path.rename(disk.directory / "kept")
    async with disk.boot() as journal:
        assert journal.key.origin == f"{BASE}/2"


async def test_the_head_of_another_log_is_quoted_and_a_log_begins_beside_it(disk: Disk) -> None:
    async with disk.boot() as journal:
        await journal.append([meter(1)])
    disk.path.unlink()
    disk.key = create_log_key(disk.directory / "other.key", "pool.example/edge/farm-2-edge-1/1")
    async with disk.boot() as journal:
        assert journal.opening is None
        assert f"records of {BASE}/1" in (await first_of(journal))["d"]["second_copy"]
