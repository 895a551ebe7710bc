"""A log goes on over a change of keys: who knew the first key knows the next by the log alone."""

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.core.note import Note, Signature, parse_note, verified_by
from agent.epochs import key_of_epoch
from agent.journal import Journal, open_journal
from agent.keyring import KeyRing, key_data, ring_from, ring_of, short
from agent.keys import LogKey, create_log_key
from agent.logfile import LogError
from agent.records import JournalError, NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.verify import Keys, verify

ORIGIN = "pool.example/edge/farm-1-edge-1/1"


@dataclass
class Device:
    """A controller with as many keys as a test likes; only those named sign."""

    directory: Path
    old: LogKey
    new: LogKey
    third: LogKey

    @property
    def path(self) -> Path:
        return self.directory / "journal.sqlite"

    @asynccontextmanager
    async def boot(self, key: LogKey, successor: LogKey | None = None) -> AsyncIterator[Journal]:
        options = JournalSettings(
            path=self.path,
            max_bytes=10_000_000,
            version="0.1.0",
            second_copy=self.directory / "head",
        )
        async with open_journal(options, replace(key, successor=successor), SiteClock()) as journal:
            yield journal

    async def rotate(self) -> None:
        """The whole story: old alone, both, new alone, with a reading in each."""
        for key, successor in ((self.old, None), (self.old, self.new), (self.new, None)):
            async with self.boot(key, successor) as journal:
                await journal.append([NewRecord(kind="gap", source="agent", data={"why": "test"})])

    def signers(self) -> list[tuple[int, list[str]]]:
        """Size and key ids of each stored checkpoint."""
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT size, note FROM checkpoints ORDER BY size")
            return [
                (size, [one.key_id.hex() for one in parse_note(note).signatures])
                for size, note in rows
            ]

    def faults(self, key: LogKey, *more: LogKey) -> list[str]:
        successors = tuple(one.verifier for one in more)
        report = verify(self.path, Keys(device=key.verifier, successors=successors))
        return [defect.words for defect in report.defects]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    keys = [create_log_key(tmp_path / f"{name}.key", ORIGIN) for name in ("old", "new", "third")]
    return Device(tmp_path, *keys)


async def test_the_next_key_is_named_under_both_and_then_signs_alone(device: Device) -> None:
    await device.rotate()
    old, new = short(device.old.verifier), short(device.new.verifier)
    assert device.signers() == [
        *((1, [old]), (2, [old])),
        *((4, [old, new]), (5, [old, new])),
        *((7, [new]), (8, [new])),
    ]
    with closing(sqlite3.connect(device.path)) as connection:
        rows = connection.execute("SELECT i, body FROM records WHERE kind = 'key' ORDER BY i")
        said = [(index, json.loads(body)["d"]) for index, body in rows]
    texts = {"previous": device.old.verifier.text, "vkey": device.new.verifier.text}
    assert said == [
        (3, {"event": "added", **texts}),
        (6, {"event": "retired", "vkey": device.old.verifier.text, "previous": texts["previous"]}),
    ]


async def test_who_has_the_first_key_verifies_the_whole_log(device: Device) -> None:
    await device.rotate()
    report = verify(device.path, Keys(device=device.old.verifier))
    assert report.is_sound, report.defects
    assert [remark for remark in report.remarks if remark.startswith("Key ")] == [
        f"Key {short(device.old.verifier)} signs sizes 0 to 6.",
        f"Key {short(device.new.verifier)} signs sizes 4 and on.",
    ]
    assert device.faults(device.old, device.new) == []
    assert device.faults(device.third) != []


async def test_who_has_only_the_newest_key_is_told_which_one_to_hand_over(device: Device) -> None:
    await device.rotate()
    async with device.boot(device.new, device.third):
        pass
    async with device.boot(device.third):
        pass
    for given in (device.new, device.third):
        with pytest.raises(LogError) as said:
            verify(device.path, Keys(device=given.verifier))
        words = str(said.value)
        assert f"begins under the key {short(device.old.verifier)}" in words
        assert f"only later ones were given ({short(given.verifier)})" in words
        assert f"put the line {device.old.verifier.text} before them" in words
        assert device.faults(device.old, given) == []


async def test_an_epoch_that_began_under_the_next_key_asks_once_for_it(device: Device) -> None:
    await device.rotate()
    backup = shutil.copy(device.path, device.directory / "backup")
    async with device.boot(device.new) as journal:
        await journal.append([NewRecord(kind="gap", source="agent", data={"why": "test"})])
    shutil.copy(backup, device.path)
    async with device.boot(device.new) as journal:
        assert journal.key.origin.endswith("/2")
    async with device.boot(device.new, device.third):
        pass
    async with device.boot(device.third):
        pass
    (words,) = device.faults(device.old)
    signer = key_of_epoch(device.new.verifier, f"{ORIGIN[:-1]}2").key_id.hex()
    assert "are signed by none of the known keys" in words
    assert f"began under, by its id {signer}." in words
    assert device.faults(device.old, device.new) == []
    assert device.faults(device.new) == []


async def test_a_log_that_is_not_sound_under_its_first_key_either_is_no_matter_of_keys(
    device: Device,
) -> None:
    await device.rotate()
    with closing(sqlite3.connect(device.path)) as connection, connection:
        connection.execute("UPDATE records SET source = 'other' WHERE i = 2")
    assert any("Record 2 is filed under other" in words for words in device.faults(device.new))


async def test_a_key_that_a_log_names_without_its_signature_does_not_ask_for_another(
    device: Device,
) -> None:
    """Whoever copies a log under a key of their own cannot say that the real one is a later one."""
    thief = device.third
    async with device.boot(thief):
        pass
    data = key_data("added", device.old.verifier, ring_of(thief.verifier))
    async with device.boot(thief) as journal:
        await journal.append([NewRecord(kind="key", source="agent", data=data)])
    assert device.faults(device.old) != []


async def test_a_restart_in_the_overlap_goes_on_with_both_and_says_nothing_again(
    device: Device,
) -> None:
    await device.rotate()
    async with device.boot(device.new, device.third) as journal:
        assert journal.key.verifier == device.third.verifier
    async with device.boot(device.new, device.third) as journal:
        assert len(await journal.tail(100, "key")) == 3
    async with device.boot(device.third) as journal:
        assert len(await journal.tail(100, "key")) == 4
    assert device.faults(device.old) == []
    assert device.signers()[-1][1] == [short(device.third.verifier)]


async def test_one_change_may_end_and_the_next_begin_at_the_same_start(device: Device) -> None:
    async with device.boot(device.old, device.new):
        pass
    async with device.boot(device.new, device.third):
        pass
    assert device.faults(device.old) == []


async def test_a_log_whose_youngest_key_is_gone_is_not_signed_by_the_older_alone(
    device: Device,
) -> None:
    async with device.boot(device.old, device.new):
        pass
    with pytest.raises(JournalError, match=f"{short(device.new.verifier)}.*put its file back"):
        async with device.boot(device.old):
            pass
    assert device.faults(device.old) == []


async def test_a_key_that_the_log_never_named_cannot_go_on_with_it(device: Device) -> None:
    async with device.boot(device.old):
        pass
    with pytest.raises(JournalError, match="does not match what was signed"):
        async with device.boot(device.third):
            pass


@pytest.mark.parametrize("size", [2, 4, 8])
async def test_a_checkpoint_by_a_key_outside_its_range_is_named(device: Device, size: int) -> None:
    await device.rotate()
    wrong = device.new if size == 2 else device.old
    resign(device.path, size, wrong)
    (fault, *_) = device.faults(device.old)
    assert f"size {size} " in fault
    if size == 4:
        assert f"signature by the key {short(device.new.verifier)} is missing" in fault
    if size == 8:
        assert f"the key {short(wrong.verifier)}, which is good for sizes 0 to 6 only" in fault


def resign(path: Path, size: int, *keys: LogKey) -> None:
    """Let other keys sign what is stored: a thief's work, with the very same text."""
    with closing(sqlite3.connect(path)) as connection, connection:
        row = connection.execute("SELECT note FROM checkpoints WHERE size = ?", (size,)).fetchone()
        text = parse_note(row[0]).text
        signatures = tuple(
            Signature(name=key.origin, key_id=key.verifier.key_id, value=key.sign(text.encode()))
            for key in keys
        )
        note = Note(text=text, signatures=signatures).encode()
        connection.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note, size))


async def test_who_adds_a_key_and_retires_the_old_one_without_it_is_found_out(
    device: Device,
) -> None:
    await device.rotate()
    with closing(sqlite3.connect(device.path)) as connection, connection:
        # What a thief of the disk could make: nobody but a key of theirs ever signed beside it.
        connection.execute("DELETE FROM checkpoints WHERE size IN (4, 5)")
    (fault, *_) = device.faults(device.old)
    assert "never signed beside" in fault


async def test_a_disk_set_back_behind_a_change_of_keys_is_noticed(device: Device) -> None:
    async with device.boot(device.old):
        pass
    before = device.path.read_bytes()
    async with device.boot(device.old, device.new):
        pass
    device.path.write_bytes(before)
    async with device.boot(device.old, device.new) as journal:
        assert journal.key.origin.endswith("/2")
        assert journal.opening is not None
    report = verify(device.path, Keys(device=device.old.verifier))
    assert report.is_sound, report.defects


async def test_an_epoch_after_a_change_begins_under_the_key_that_signed_last(
    device: Device,
) -> None:
    await device.rotate()
    before = device.path.read_bytes()
    async with device.boot(device.new) as journal:
        await journal.append([NewRecord(kind="gap", source="agent", data={"why": "test"})])
    device.path.write_bytes(before)
    async with device.boot(device.new) as journal:
        assert journal.key.origin.endswith("/2")
    assert device.faults(device.old, device.new) == []
    assert device.faults(device.new) == []
    assert device.faults(device.old) != []


def test_a_ring_refuses_what_no_key_may_say(device: Device) -> None:
    old, new, third = (key.verifier for key in (device.old, device.new, device.third))
    ring = ring_of(old).after(3, key_data("added", new, ring_of(old)), checked=3)
    stranger = replace(third, name="pool.example/edge/other/1")
    for data, words in (
        (key_data("added", old, ring), "in force already"),
        (key_data("added", stranger, ring), "not a key of the log"),
        (key_data("retired", new, ring), "no younger one"),
        (key_data("retired", third, ring), "no younger one"),
        (key_data("lent", third, ring), "neither adds"),
        (key_data("added", third, ring_of(new)), "not in force"),
        ({"event": "added"}, "verifier key"),
    ):
        with pytest.raises(ValueError, match=words):
            ring.after(4, data, checked=4)
    done = ring.after(9, key_data("retired", old, ring), checked=5)
    assert [done.range_of(key) for key in done.keys] == [(0, 9), (4, None)]
    assert [done.at(size) for size in (0, 3, 4, 9, 10)] == [
        *((old,), (old,)),
        *((old, new), (old, new), (new,)),
    ]
    assert done.active == (new,)


def test_a_ring_is_read_back_from_its_records(device: Device) -> None:
    old, new = device.old.verifier, device.new.verifier
    added, ring = key_data("added", new, ring_of(old)), ring_of(old)
    assert ring_from(new, []) == ring_of(new)
    both = ring_from(new, [(3, added)])
    assert both == ring.after(3, added, checked=3)
    assert isinstance(both, KeyRing)
    note = parse_note("x\n1\n" + "A" * 43 + "=\n\n— x AAAAAAA=\n")
    with pytest.raises(ValueError, match="none of the known"):
        verified_by(note, both.active)
