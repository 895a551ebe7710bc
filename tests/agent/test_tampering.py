"""Whatever is done to a log is named: each byte, record and checkpoint, and time set back."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.audit import Audit, Report, StoredRecord
from agent.core.note import (
    COSIGNATURE_V1,
    Note,
    Signature,
    VerifierKey,
    parse_note,
)
from agent.journal import Journal, open_journal
from agent.keys import LogKey, create_log_key
from agent.logfile import LogError, open_log
from agent.records import NewRecord
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
SEED = 20_261_122
COMMITS = (1, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class Log:
    """A whole log in memory: what ``kwota verify`` is fed with, as it lies in the file."""

    records: tuple[StoredRecord, ...]
    heads: tuple[tuple[int, str], ...]
    receipt: str
    device: VerifierKey

    def exported(self) -> "Log":
        """As an export holds it: bytes alone, the number of the line for the index."""
        return replace(
            self,
            records=tuple(
                StoredRecord(row=at, kind=None, source=None, body=one.body, leaf=None)
                for at, one in enumerate(self.records)
            ),
        )

    def judged(self) -> Report:
        """The verdict, fed in the order of the commits as ``agent.verify`` does."""
        audit = Audit(devices=(self.device,), pool=POOL, origin="")
        heads = list(self.heads)
        for record in self.records:
            while heads and heads[0][0] <= record.row:
                audit.checkpoint(*heads.pop(0))
            audit.record(record)
        for head in heads:
            audit.checkpoint(*head)
        return audit.report(self.receipt)

    def commit_of(self, index: int) -> range:
        """The records that were signed together with one."""
        edges = [0, *(size for size, _ in self.heads)]
        return next(range(a, b) for a, b in pairwise(edges) if a <= index < b)

    def with_records(self, *records: StoredRecord) -> "Log":
        return replace(self, records=records)


def names(report: Report) -> set[int]:
    return {one.index for one in report.defects if one.index is not None}


def reading(number: int) -> NewRecord:
    return NewRecord(kind="meter", source="site", data={"power_mw": number})


async def acknowledge(journal: Journal) -> None:
    head = await journal.newest_checkpoint(0, journal.size)
    assert head is not None
    note = parse_note(head.note)
    time_s = 1_795_000_000 + head.size
    message = f"cosignature/v1\ntime {time_s}\n{note.text}".encode()
    value = time_s.to_bytes(8, "big") + POOL_PRIVATE.sign(message)
    line = Signature(name=POOL.name, key_id=POOL.key_id, value=value)
    text = Note(text=note.text, signatures=(*note.signatures, line)).encode()
    await journal.set_cosigned(head.size, text)
    data = {"size": head.size, "pool_time_s": time_s, "note": text}
    await journal.append([NewRecord(kind="ack", source="agent", data=data)])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> LogKey:
    return create_log_key(tmp_path_factory.mktemp("key") / "log.key", ORIGIN)


@pytest.fixture
def options(tmp_path: Path) -> JournalSettings:
    return JournalSettings(path=tmp_path / "journal.sqlite", max_bytes=10_000_000, version="0.1.0")


@pytest.fixture
async def log(options: JournalSettings, key: LogKey) -> Log:
    """Two boots with commits of several sizes and a receipt in each."""
    for _ in range(2):
        async with open_journal(options, key, SiteClock()) as journal:
            for rows in COMMITS:
                await journal.append([reading(n) for n in range(rows)])
            await acknowledge(journal)
    with open_log(options.path) as opened:
        return Log(
            records=tuple(opened.records),
            heads=tuple(opened.checkpoints),
            receipt=opened.cosigned_note,
            device=key.verifier,
        )


def flipped(log: Log, share: float) -> Iterator[tuple[int, Log]]:
    """One bit of one byte of one record; a share of all bytes, drawn with a fixed seed."""
    draw = random.Random(SEED)
    for at, one in enumerate(log.records):
        for byte in range(len(one.body)):
            if draw.random() >= share:
                continue
            body = bytearray(one.body)
            body[byte] ^= 1 << draw.randrange(8)
            changed = replace(one, body=bytes(body))
            yield at, log.with_records(*log.records[:at], changed, *log.records[at + 1 :])


def every_flip_is_named(log: Log, share: float) -> int:
    count = 0
    for at, spoilt in flipped(log, share):
        assert at in names(spoilt.judged())
        count += 1
    for at, spoilt in flipped(log.exported(), share):
        first = log.commit_of(at)[0]  # an export has no hash per record: its commit is named
        assert {first, at} & names(spoilt.judged())
        count += 1
    return count


def test_the_log_itself_is_sound(log: Log) -> None:
    assert len(log.records) == 2 * (1 + sum(COMMITS) + 1)
    assert log.judged().is_sound
    assert log.exported().judged().is_sound
    assert log.judged().cosigned_size > sum(COMMITS)


def test_a_byte_flipped_anywhere_is_named_by_its_record(log: Log) -> None:
    assert every_flip_is_named(log, 0.03) > 100


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_each_single_byte_flipped_is_named_by_its_record(log: Log) -> None:
    assert every_flip_is_named(log, 1.0) == 2 * sum(len(one.body) for one in log.records)


@pytest.mark.parametrize("form", ["journal", "export"])
def test_each_record_that_is_dropped_is_named(log: Log, form: str) -> None:
    for at in range(len(log.records)):
        left = log.with_records(*log.records[:at], *log.records[at + 1 :])
        report = (left if form == "journal" else left.exported()).judged()
        assert not report.is_sound
        if at < len(log.records) - 1:
            assert at in names(report)


@pytest.mark.parametrize("form", ["journal", "export"])
def test_each_record_that_is_doubled_is_named(log: Log, form: str) -> None:
    for at in range(len(log.records)):
        more = log.with_records(*log.records[: at + 1], *log.records[at:])
        report = (more if form == "journal" else more.exported()).judged()
        assert {at, at + 1} & names(report)


def test_every_two_records_that_change_places_are_named(log: Log) -> None:
    for one in range(len(log.records)):
        for other in range(one + 1, len(log.records)):
            rows = list(log.records)
            rows[one] = replace(log.records[other], row=one)
            rows[other] = replace(log.records[one], row=other)
            report = log.with_records(*rows).judged()
            assert {one, other} <= names(report)


def test_every_two_checkpoints_that_change_places_are_named(log: Log) -> None:
    for one in range(len(log.heads)):
        for other in range(one + 1, len(log.heads)):
            heads = list(log.heads)
            sizes = heads[one][0], heads[other][0]
            heads[one], heads[other] = (sizes[0], heads[other][1]), (sizes[1], heads[one][1])
            words = " ".join(d.words for d in replace(log, heads=tuple(heads)).judged().defects)
            for size in sizes:
                assert f"size {size} is another one's" in words


def test_each_byte_of_each_checkpoint_counts(log: Log) -> None:
    draw = random.Random(SEED)
    for at, (size, note) in enumerate(log.heads):
        for place in draw.sample(range(len(note)), 8):
            other = "A" if note[place] != "A" else "B"
            heads = list(log.heads)
            heads[at] = (size, note[:place] + other + note[place + 1 :])
            report = replace(log, heads=tuple(heads)).judged()
            assert any(str(size) in one.words for one in report.defects), (size, place)


def test_a_checkpoint_that_is_gone_takes_no_record_with_it(log: Log) -> None:
    """All but the last are covered by the next one; the last covers what nothing else does."""
    for at in range(len(log.heads)):
        heads = log.heads[:at] + log.heads[at + 1 :]
        report = replace(log, heads=heads).judged()
        assert report.is_sound == (at < len(log.heads) - 1)
    assert "under no checkpoint" in report.defects[-1].words


async def test_a_log_that_was_set_back_is_named_by_the_head_that_somebody_kept(
    options: JournalSettings, key: LogKey, log: Log, tmp_path: Path
) -> None:
    keys = Keys(device=key.verifier, pool=POOL)
    backup = Path(shutil.copy(options.path, tmp_path / "backup.sqlite"))
    before = len(log.records)
    async with open_journal(options, key, SiteClock()) as journal:
        await journal.append([reading(1), reading(2)])
        newest = await journal.newest_checkpoint(0, journal.size)
    assert newest is not None
    assert verify(options.path, keys, head=newest.note).is_sound
    assert verify(backup, keys).is_sound  # in itself it is: nothing in it tells
    report = verify(backup, keys, head=newest.note)
    (defect,) = report.defects
    assert defect.index == before
    assert f"Records {before} to {before + 2} were signed and are not there" in defect.words


def other_root(note: str) -> str:
    lines = note.split("\n")
    return "\n".join([*lines[:2], "A" * 43 + "=", *lines[3:]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_root, "does not hold"),
        (lambda note: note.replace("/1\n", "/2\n", 1), "does not hold"),
        (lambda _: "nonsense", "does not hold"),
    ],
)
def test_a_head_that_was_not_signed_proves_nothing(
    options: JournalSettings, key: LogKey, log: Log, change: Callable[[str], str], words: str
) -> None:
    note = change(log.heads[3][1])
    report = verify(options.path, Keys(device=key.verifier), head=note)
    assert [words in defect.words for defect in report.defects] == [True]


async def test_another_history_of_the_same_length_is_named(
    options: JournalSettings, key: LogKey, log: Log, tmp_path: Path
) -> None:
    other = replace(options, path=tmp_path / "other.sqlite")
    async with open_journal(other, key, SiteClock()) as journal:
        await journal.append([reading(99)])
    report = verify(other.path, Keys(device=key.verifier), head=log.heads[1][1])
    (defect,) = report.defects
    assert "not the one that was signed at size 2" in defect.words
    with pytest.raises(LogError, match="not a journal"):
        verify(Path(__file__), Keys(), head=log.heads[1][1])
