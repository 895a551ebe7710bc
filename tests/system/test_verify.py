"""``kwota verify`` on the journal of a stopped agent, sound and tampered with."""

import random
import shutil
import sqlite3
from contextlib import closing

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def stopped(shared_site):
    """A site whose agent has run for a while and whose records the pool has cosigned."""
    shared_site.start_broker()
    shared_site.start_farm(3)
    shared_site.start_agent()
    shared_site.wait_until(shared_site.truth()["at_ms"] + 8_000)
    shared_site.wait_for_receipts()
    shared_site.agent.stop()
    assert shared_site.agent.process.returncode == 0
    return shared_site


@pytest.fixture
def copy(stopped, tmp_path):
    """A copy of the journal that a test may spoil."""
    path = tmp_path / "journal.sqlite"
    shutil.copy(stopped.journal, path)
    wal = stopped.journal.with_name("journal.sqlite-wal")
    if wal.exists():
        shutil.copy(wal, tmp_path / wal.name)
    return path


def spoil(path, statement: str, *values) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        assert opened.execute(statement, values).rowcount == 1


def bodies(path) -> dict[int, tuple[bytes, bytes]]:
    with closing(sqlite3.connect(path)) as opened:
        return {i: (b, leaf) for i, b, leaf in opened.execute("SELECT i, body, leaf FROM records")}


def defects(site, path) -> list[dict]:
    code, report = site.verify(path)
    assert code == 1
    assert report["is_sound"] is False
    assert report["defects"]
    assert all(defect["words"] for defect in report["defects"])
    return report["defects"]


def test_the_journal_of_a_stopped_agent_is_sound(stopped, copy) -> None:
    code, report = stopped.verify(copy)
    assert code == 0
    assert report["is_sound"] is True
    assert report["defects"] == []
    assert report["size"] == len(bodies(copy)) > 20
    assert report["boots"] == 1
    assert 0 < report["cosigned_size"] <= report["size"]


def test_every_record_of_a_real_run_is_as_its_schema_says(stopped, schemas) -> None:
    records = stopped.records()
    found = [(r["i"], fault) for r in records for fault in schemas.faults(r)]
    assert found == []
    kinds = {record["k"] for record in records}
    assert kinds >= {"boot", "config", "meter", "tick", "frame", "ledger", "decision", "ack"}


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_byte_in_any_record_is_pinned_to_it(stopped, copy, seed) -> None:
    rng = random.Random(seed)
    records = bodies(copy)
    index = rng.randrange(len(records))
    body = bytearray(records[index][0])
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(7)
    spoil(copy, "UPDATE records SET body = ? WHERE i = ?", bytes(body), index)
    assert defects(stopped, copy)[0]["index"] == index


def test_a_dropped_record_is_missed(stopped, copy) -> None:
    index = len(bodies(copy)) // 2
    spoil(copy, "DELETE FROM records WHERE i = ?", index)
    found = defects(stopped, copy)
    assert f"Records {index} to {index} are missing." in [defect["words"] for defect in found]


def test_two_records_that_changed_places_are_found(stopped, copy) -> None:
    records = bodies(copy)
    index = len(records) // 2
    for at, other in ((index, index + 1), (index + 1, index)):
        statement = "UPDATE records SET body = ?, leaf = ? WHERE i = ?"
        spoil(copy, statement, *records[other], at)
    assert defects(stopped, copy)[0]["index"] == index


def test_the_last_record_cannot_be_cut_off(stopped, copy) -> None:
    spoil(copy, "DELETE FROM records WHERE i = ?", len(bodies(copy)) - 1)
    assert defects(stopped, copy)


@pytest.mark.parametrize("line", [1, 2, 4])
def test_an_altered_checkpoint_is_named(stopped, copy, line) -> None:
    """Its size, its root, its signature: none of them can be rewritten."""
    with closing(sqlite3.connect(copy)) as opened:
        rows = opened.execute("SELECT size, note FROM checkpoints ORDER BY size").fetchall()
    size, note = rows[len(rows) // 2]
    lines = note.split("\n")
    at = len(lines[line]) // 2
    other = "1" if lines[line][at] != "1" else "2"
    lines[line] = lines[line][:at] + other + lines[line][at + 1 :]
    spoil(copy, "UPDATE checkpoints SET note = ? WHERE size = ?", "\n".join(lines), size)
    assert any(str(size) in defect["words"] for defect in defects(stopped, copy))


def test_a_log_signed_with_another_key_is_not_sound(stopped, copy, tmp_path) -> None:
    made = stopped.directory / "pool" / "pool.vkey"
    done = stopped.kwota("verify", str(copy), "--key", str(made), "--json")
    assert done.returncode == 1, done.stderr


def test_a_journal_in_use_is_refused_with_the_way_out(stopped) -> None:
    stopped.start_agent()
    done = stopped.kwota("verify", str(stopped.journal))
    stopped.agent.stop()
    assert done.returncode == 2
    assert "stop the daemon" in done.stderr
    assert "Traceback" not in done.stderr
