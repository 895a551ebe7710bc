"""A bundle of a log whose key was changed: one key that is known from elsewhere is enough."""

import asyncio
import json
import sqlite3
import zipfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.core.note import Note, Signature, VerifierKey, parse_note
from agent.handover.check import check_bundle
from agent.handover.export import export_zip
from agent.handover.selection import SelectionError, Wanted
from agent.handover.shape import (
    CHANGES,
    CHECKPOINT,
    KEYS,
    PROOFS,
    RECORDS,
    SUMS,
    members_of,
    sums_of,
)
from agent.handover.source import open_stopped
from agent.journal import open_journal
from agent.keys import LogKey, create_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-1-edge-1/1"
START_MS, END_MS = 4_000_000_000_000, 4_000_000_900_000


@dataclass(frozen=True, slots=True)
class Changed:
    """A log under three keys, one after the other."""

    directory: Path
    keys: tuple[LogKey, ...]

    def bundle(self, device: LogKey) -> Path:
        file = self.directory / f"{device.verifier.key_id.hex()}.zip"
        if not file.exists():
            wanted = Wanted(transactions=(), from_ms=START_MS, to_ms=END_MS)
            with open_stopped(self.directory / "journal.sqlite") as source:
                write = export_zip(source, file, wanted, device=device.verifier, pool=None)
                asyncio.run(write)
        return file


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Changed:
    directory = tmp_path_factory.mktemp("changed")
    keys = tuple(create_log_key(directory / f"{name}.key", ORIGIN) for name in "abc")
    made = Changed(directory, keys)
    asyncio.run(_run(made))
    return made


async def _run(changed: Changed) -> None:
    options = JournalSettings(
        path=changed.directory / "journal.sqlite", max_bytes=10_000_000, version="0.1.0"
    )
    first, second, third = changed.keys
    for key, successor in (
        *((first, None), (first, second), (second, None)),
        *((second, third), (third, None)),
    ):
        signing = replace(key, successor=successor)
        async with open_journal(options, signing, SiteClock()) as journal:
            for number in range(3):
                data = {"energy_import_wh": number, "power_mw": 0}
                record = NewRecord(
                    kind="meter", source="site", data=data, taken_at_ms=START_MS + number
                )
                await journal.append([record])


def faults(members: Mapping[str, bytes], device: LogKey | None) -> list[str]:
    """What is wrong with a bundle whose sums were made anew by whoever changed it."""
    key = None if device is None else device.verifier
    verdict = check_bundle({**members, SUMS: sums_of(members)}, device=key)
    return [fault.words for fault in verdict.faults]


@pytest.mark.parametrize("known", [0, 1, 2])
def test_any_one_of_the_keys_is_enough(changed: Changed, stranger, known: int) -> None:
    key, file = changed.keys[known], changed.bundle(changed.keys[2])
    assert faults(members_of(file), key) == []
    vkey = changed.directory / f"{known}.vkey"
    vkey.write_text(key.verifier.text + "\n")
    with zipfile.ZipFile(file) as archive:
        archive.extract("verify.py", changed.directory)
    ((code, verdict),) = stranger.run(
        changed.directory / "verify.py", (str(file), "--key", str(vkey))
    )
    assert (code, verdict["faults"]) == (0, [])


def test_a_file_that_lists_all_keys_is_taken_too(changed: Changed, stranger) -> None:
    file, vkeys = changed.bundle(changed.keys[2]), changed.directory / "all.vkey"
    vkeys.write_text("".join(f"{key.verifier.text}\n" for key in changed.keys))
    with zipfile.ZipFile(file) as archive:
        archive.extract("verify.py", changed.directory)
    verifier = changed.directory / "verify.py"
    ((code, verdict),) = stranger.run(verifier, (str(file), "--key", str(vkeys)))
    assert (code, verdict["faults"]) == (0, [])


def test_a_bundle_says_which_key_signed_which_sizes(changed: Changed) -> None:
    members = members_of(changed.bundle(changed.keys[0]))
    with closing(sqlite3.connect(changed.directory / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT i FROM records WHERE kind = 'key' ORDER BY i")
        added, retired, added_again, retired_again = [index for (index,) in rows]
    first, second, third = (key.verifier.text for key in changed.keys)
    assert members[KEYS].decode() == (
        f"0 {retired} {first}\n{added + 1} {retired_again} {second}\n{added_again + 1} - {third}\n"
    )
    sizes = [json.loads(line)["size"] for line in members[CHANGES].splitlines()]
    assert sizes == [added + 1, added_again + 1]


def test_a_key_that_nobody_vouches_for_is_named(changed: Changed) -> None:
    first, second, third = changed.keys
    members = dict(members_of(changed.bundle(third)))
    unknown = "is vouched for by no key that is known"
    without = {name: content for name, content in members.items() if name != CHANGES}
    assert sum(unknown in words for words in faults(without, first)) == 2
    lines = members[CHANGES].splitlines(keepends=True)
    assert sum(unknown in words for words in faults({**members, CHANGES: lines[0]}, first)) == 1
    assert sum(unknown in words for words in faults({**members, CHANGES: lines[0]}, third)) == 2
    for forged in ((second,), (first,), (second, third)):
        entry = json.loads(lines[0])
        entry["note"] = signed(parse_note(entry["note"]).text, *forged)
        line = json.dumps(entry).encode() + b"\n"
        assert any(unknown in words for words in faults({**members, CHANGES: line}, first))


def test_a_checkpoint_under_another_root_vouches_for_nothing(changed: Changed) -> None:
    """Both keys have signed something of that size, only it was not this log."""
    first, second, third = changed.keys
    members = dict(members_of(changed.bundle(third)))
    entry, other = (json.loads(line) for line in members[CHANGES].splitlines())
    text = parse_note(entry["note"]).text.split("\n")
    text[2] = parse_note(other["note"]).text.split("\n")[2]
    entry["note"] = signed("\n".join(text), first, second)
    line = json.dumps(entry).encode() + b"\n"
    assert any("vouched for" in words for words in faults({**members, CHANGES: line}, first))


def test_a_record_of_a_change_that_is_left_out_is_missed(changed: Changed) -> None:
    members = dict(members_of(changed.bundle(changed.keys[2])))
    records, proofs = (members[name].splitlines(keepends=True) for name in (RECORDS, PROOFS))
    for at in [at for at, line in enumerate(records) if b'"k":"key"' in line]:
        less = {
            RECORDS: b"".join(records[:at] + records[at + 1 :]),
            PROOFS: b"".join(proofs[:at] + proofs[at + 1 :]),
        }
        assert faults({**members, **less}, changed.keys[0]) != []


def test_a_range_that_was_stretched_is_named(changed: Changed) -> None:
    first, *_, third = changed.keys
    members = dict(members_of(changed.bundle(third)))
    old, *rest = members[KEYS].decode().splitlines(keepends=True)
    since, until, text = old.split(" ")
    for end in ("-", str(int(until) + 1)):
        stretched = f"{since} {end} {text}" + "".join(rest)
        assert faults({**members, KEYS: stretched.encode()}, first) != []


def test_a_checkpoint_signed_by_a_key_outside_its_range_is_named(changed: Changed) -> None:
    first, *_, third = changed.keys
    members = dict(members_of(changed.bundle(third)))
    text = parse_note(members[CHECKPOINT].decode()).text
    note = signed(text, first, third).encode()
    (fault,) = faults({**members, CHECKPOINT: note}, first)
    assert f"by the key {first.verifier.key_id.hex()}, which is good for sizes 0 to" in fault
    in_the_overlap = signed(text, first).encode()
    assert len(faults({**members, CHECKPOINT: in_the_overlap}, first)) > 1


def test_a_stranger_s_key_gets_no_bundle(changed: Changed, tmp_path: Path) -> None:
    stranger = create_log_key(tmp_path / "x.key", ORIGIN)
    with pytest.raises(SelectionError, match="none of those that signed"):
        changed.bundle(stranger)


def signed(text: str, *keys: LogKey) -> str:
    def by(key: VerifierKey, value: bytes) -> Signature:
        return Signature(name=key.name, key_id=key.key_id, value=value)

    lines = tuple(by(key.verifier, key.sign(text.encode())) for key in keys)
    return Note(text=text, signatures=lines).encode()
