"""`kwota evidence export`: what leaves the site, and what never does."""

import asyncio
import json
import stat
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from agent.bundle import export_bundle
from agent.cli import main
from agent.control import Control, DirectoryError, NotNowError, Why, open_control
from agent.control_evidence import add_evidence_routes
from agent.core.ledger import Admission, Transaction
from agent.handover.ocmfkey import ocmf_signer
from agent.journal import Journal, open_journal
from agent.keys import enroll, load_log_key, load_vkey
from agent.purchases import PurchaseReader
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.testimony import purchase_record

ORIGIN = "pool.example/edge/farm-edge/1"
BOUGHT = Transaction(
    transaction_id="tx-1",
    meter_point="mp-1",
    start_ms=0,
    end_ms=None,
    energy_wh=1000,
    price_kzt_per_kwh="24.5",
    source="single_purchaser",
    received_at_ms=0,
)


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


async def exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *asked: Path | tuple[str, ...]
) -> list:
    made = enroll(tmp_path / "keys" / "log.key", ORIGIN)
    settings = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=50_000_000, version="0")
    socket = tmp_path / "kwota.sock"
    answers = []
    async with open_journal(settings, load_log_key(made.key_file, ORIGIN), SiteClock()) as journal:
        await journal.append([NewRecord(kind="meter", source="site", data={"power_w": 1})])
        await journal.append([purchase_record(BOUGHT)])
        control = Control(
            target=Exporting(journal, made.vkey_file),
            reader=PurchaseReader(meter_points=("mp-1",), zone=ZoneInfo("Asia/Almaty")),
            now_ms=lambda: 0,
        )

        def mount(app: web.Application) -> None:
            ocmf = partial(ocmf_signer, tmp_path / "keys" / "ocmf.key", journal.key)
            add_evidence_routes(app, journal, load_vkey(made.vkey_file), None, ocmf)

        async with open_control(socket, control, mount):
            for given in asked:
                words = given if isinstance(given, tuple) else (str(given),)
                words = ("evidence", "export", *words, "--socket", str(socket))
                answers.append(await asyncio.to_thread(ended, capsys, *words))
    return answers


async def test_an_export_of_the_running_daemon_verifies_and_is_never_written_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "evidence"
    first, second = await exported(tmp_path, capsys, target, target)
    assert first[0] == 0
    assert "3 records" in first[2]
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


async def test_the_running_daemon_hands_over_a_purchase_or_a_span_as_one_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, span = str(tmp_path / "one.zip"), str(tmp_path / "span.zip")
    first, again, second = await exported(
        tmp_path,
        capsys,
        (one, "--transaction", "tx-1", "--json"),
        (one, "--transaction", "tx-1"),
        (span, "--from", "2020-01-01T00:00+05:00", "--to", "2099-01-01T00:00Z"),
    )
    assert first[0] == second[0] == 0
    told = json.loads(first[1])
    assert (told["file"], told["records"], told["transactions"]) == (one, 3, ["tx-1"])
    assert "the pool has not cosigned all of it yet" in first[2]
    assert again[0] == 4
    assert "cannot be written" in again[2]
    vkey = str(tmp_path / "keys" / "log.vkey")
    for bundle in (one, span):
        code, out, _ = ended(capsys, "verify", bundle, "--json", "--key", vkey)
        report = json.loads(out)
        assert (code, report["is_sound"], report["size"]) == (0, True, 3)


async def test_the_key_of_ocmf_records_is_made_at_first_use_and_one_that_others_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file = tmp_path / "keys" / "ocmf.key"
    first, second = str(tmp_path / "one.zip"), str(tmp_path / "two.zip")
    key_file.parent.mkdir()
    key_file.touch(mode=0o644)
    ((code, _, err),) = await exported(tmp_path, capsys, (first, "--transaction", "tx-1"))
    assert (code, err.count("\n")) == (4, 1)
    assert "chmod 600" in err
    for name in ("j.sqlite", "keys/log.key", "keys/log.vkey", "keys/ocmf.key"):
        (tmp_path / name).unlink()
    ((code, _, _),) = await exported(tmp_path, capsys, (second, "--transaction", "tx-1"))
    assert code == 0
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    with zipfile.ZipFile(second) as archive:
        assert archive.read("ocmf/key.note").decode().startswith(f"{ORIGIN}\nocmf key")


async def test_what_cannot_be_handed_over_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped = str(tmp_path / "e.zip")
    answers = await exported(
        tmp_path,
        capsys,
        (zipped, "--transaction", "tx-9"),
        (zipped, "--from", "2099-01-01T00:00Z"),
        (zipped, "--from", "yesterday"),
        (zipped, "--from", "2020-01-01T00:00"),
        (zipped, "--from", "2020-01-01T00:00Z", "--transaction", "tx-1"),
        (zipped, "--key", zipped),
        (str(tmp_path / "no" / "e.zip"), "--transaction", "tx-1"),
    )
    assert [answer[0] for answer in answers] == [4, 4, 2, 2, 2, 2, 4]
    for _, out, err in answers:
        assert (out, err.count("\n")) == ("", 1)
    assert "no purchase 'tx-9'" in answers[0][2]
    assert not (tmp_path / "e.zip").exists()


def test_a_stopped_agent_s_journal_is_handed_over_without_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asyncio.run(exported(tmp_path, capsys)) == []
    journal, zipped = str(tmp_path / "j.sqlite"), str(tmp_path / "e.zip")
    vkey = str(tmp_path / "keys" / "log.vkey")
    words = ("evidence", "export", zipped, "--journal", journal)
    code, _, err = ended(capsys, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert "--key FILE" in err
    code, out, _ = ended(capsys, *words, "--key", vkey, "--transaction", "tx-1", "--json")
    assert (code, json.loads(out)["records"]) == (0, 3)
    assert ended(capsys, "verify", zipped, "--key", vkey)[0] == 0
    with zipfile.ZipFile(zipped) as archive:
        assert "no OCMF records" in archive.read("README.txt").decode()
    assert ended(capsys, *words, "--key", vkey)[0] == 4
    assert ended(capsys, "evidence", "export", "x.zip", "--journal", vkey, "--key", vkey)[0] == 2
