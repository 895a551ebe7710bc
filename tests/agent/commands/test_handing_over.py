"""`kwota enroll` and `kwota evidence export`: what leaves the site, and what never does."""

import asyncio
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.bundle import export_bundle
from agent.cli import main
from agent.control import Control, DirectoryError, NotNowError, Why, open_control
from agent.core.ledger import Admission, Transaction
from agent.journal import Journal, open_journal
from agent.keys import enroll, load_log_key, load_vkey
from agent.purchases import PurchaseReader
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

ORIGIN = "pool.example/edge/farm-edge/1"
EXAMPLE = Path(__file__).resolve().parents[3] / "config" / "site.example.toml"


class Exporting:
    """A daemon that has a journal and nothing else."""

    def __init__(self, journal: Journal, vkey_file: Path) -> None:
        self._journal = journal
        self._vkey_file = vkey_file

    async def add_transactions(self, candidates: Sequence[Transaction]) -> Sequence[Admission]:
        raise NotNowError("no books here")

    def why(self, miner_id: str) -> Why | None:
        return None

    async def journal_tail(self, count: int, kind: str | None) -> Sequence[bytes]:
        return await self._journal.tail(count, kind)

    async def export_evidence(self, directory: Path) -> int:
        try:
            device = load_vkey(self._vkey_file)
            return await export_bundle(self._journal, directory, device=device, pool=None)
        except OSError as error:
            raise DirectoryError(f"{directory} cannot be written ({error.strerror})") from error


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


async def exported(tmp_path: Path, capsys: pytest.CaptureFixture[str], *directories: Path) -> list:
    made = enroll(tmp_path / "keys" / "log.key", ORIGIN)
    settings = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=50_000_000, version="0")
    socket = tmp_path / "kwota.sock"
    answers = []
    async with open_journal(settings, load_log_key(made.key_file, ORIGIN), SiteClock()) as journal:
        await journal.append([NewRecord(kind="meter", source="site", data={"power_w": 1})])
        control = Control(
            target=Exporting(journal, made.vkey_file),
            reader=PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty")),
            now_ms=lambda: 0,
        )
        async with open_control(socket, control, lambda _app: None):
            for directory in directories:
                words = ("evidence", "export", str(directory), "--socket", str(socket))
                answers.append(await asyncio.to_thread(ended, capsys, *words))
    return answers


async def test_an_export_of_the_running_daemon_verifies_and_is_never_written_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "evidence"
    first, second = await exported(tmp_path, capsys, target, target)
    assert first[0] == 0
    assert "2 records" in first[2]
    assert second[0] == 4
    assert "cannot be written" in second[2]
    vkey = str(tmp_path / "keys" / "log.vkey")
    code, out, _ = ended(capsys, "verify", str(target), "--json", "--key", vkey)
    assert (code, json.loads(out)["is_sound"]) == (0, True)


async def test_an_export_to_nowhere_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((code, _, err),) = await exported(tmp_path, capsys, tmp_path / "no" / "such" / "place")
    assert code == 4
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_enrolling_makes_a_private_key_once_and_shows_only_the_public_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "site.toml"
    config.write_text(EXAMPLE.read_text())
    code, out, err = ended(capsys, "enroll", "--config", str(config))
    assert code == 0
    assert out.startswith("pool.example/edge/ekibastuz-1-edge-1/1+")
    assert "fingerprint" in err
    key_file = tmp_path / "log.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    secret = key_file.read_text()
    assert all(line not in out + err for line in secret.splitlines())
    code, _, err = ended(capsys, "enroll", "--config", str(config))
    assert code == 2
    assert key_file.read_text() == secret
    assert "Traceback" not in err
