import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.cli import main
from agent.journal import open_journal
from agent.keys import enroll, load_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-edge/1"


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A stopped journal with three readings, and its key beside it."""
    enrolment = enroll(tmp_path / "keys" / "log.key", ORIGIN)
    path = tmp_path / "journal.sqlite"
    settings = JournalSettings(path=path, max_bytes=50_000_000, version="0")
    key = load_log_key(enrolment.key_file, ORIGIN)
    async with open_journal(settings, key, SiteClock()) as opened:
        for power_w in (1, 2, 3):
            record = NewRecord(kind="meter", source="site", data={"power_w": power_w})
            await opened.append([record])
    return path


def verdict(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["verify", *arguments])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


async def test_an_untouched_log_is_sound(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vkey = str(journal.parent / "keys" / "log.vkey")
    code, out, err = verdict(capsys, str(journal), "--key", vkey)
    assert code == 0
    assert ORIGIN in out
    assert "is sound" in err
    code, out, _ = verdict(capsys, str(journal), "--json", "--key", vkey)
    report = json.loads(out)
    assert (code, report["is_sound"], report["defects"]) == (0, True, [])


async def test_a_changed_record_is_a_negative_answer_that_names_it(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = "UPDATE records SET body = CAST(replace(body, ?, ?) AS BLOB)"
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(change, ('"power_w":2', '"power_w":9'))
    code, out, err = verdict(capsys, str(journal), "--json")
    report = json.loads(out)
    assert (code, report["is_sound"]) == (1, False)
    assert 2 in [defect["index"] for defect in report["defects"]]  # after boot and the first
    assert "not sound" in err
    code, out, _ = verdict(capsys, str(journal))
    assert code == 1
    assert "defect" in out


async def test_a_key_that_is_none_is_wrong_input(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = verdict(capsys, str(journal), "--key", str(journal))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_what_is_no_journal_cannot_be_verified(terminal, tmp_path: Path) -> None:
    other = tmp_path / "journal.sqlite"
    other.write_text("no database, but long enough to be looked at", encoding="utf-8")
    for path in (tmp_path / "none", other, tmp_path):
        shown = terminal.run("verify", str(path), "--json")
        assert (shown.code, shown.out) == (2, "")
        assert shown.err.count("\n") == 1


async def test_a_record_of_the_tail_is_byte_for_byte_what_was_signed(terminal, daemon) -> None:
    shown = await terminal.ask("journal", "tail", "--count", "1", "--json")
    none = await terminal.ask("journal", "tail", "--kind", "alarm", "--json")
    wrong = await terminal.ask("journal", "tail", "--kind", "x y")
    assert shown.out.encode() == daemon.record + b"\n"
    assert (none.code, none.out) == (0, "")
    assert wrong.code == 2
