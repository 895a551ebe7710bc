"""docs/verify.md is run as it stands: what an auditor is told to type must work."""

import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.bundle import export_bundle
from agent.core.note import COSIGNATURE_V1, Note, Signature, VerifierKey, parse_note
from agent.journal import open_journal
from agent.keys import enroll, load_log_key
from agent.records import NewRecord
from agent.siteclock import SiteClock
from agent.store import JournalSettings

DOC = Path(__file__).parents[2] / "docs" / "verify.md"
COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```$", DOC.read_text(), re.MULTILINE | re.DOTALL))
ORIGIN = "pool.example/edge/farm-1-edge-1/1"
TIME_S = 1_795_000_000


def shell(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", COMMANDS], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture
async def bundle(tmp_path: Path) -> Path:
    private = Ed25519PrivateKey.generate()
    pool = VerifierKey(
        name="pool.example/witness",
        algorithm=COSIGNATURE_V1,
        public_key=private.public_key().public_bytes_raw(),
    )
    enrolment = enroll(tmp_path / "keys" / "log.key", ORIGIN)
    key = load_log_key(enrolment.key_file, ORIGIN)
    options = JournalSettings(path=tmp_path / "j.sqlite", max_bytes=10_000_000, version="0")
    async with open_journal(options, key, SiteClock()) as journal:
        for number in range(10):
            data = {"power_mw": number, "text": 'back\\slash "quote" Қазақ % $HOME'}
            await journal.append([NewRecord(kind="meter", source="site", data=data)])
        checkpoint = await journal.checkpoint_at_or_after(7)
        assert checkpoint is not None
        note = parse_note(checkpoint.note)
        message = f"cosignature/v1\ntime {TIME_S}\n{note.text}".encode()
        value = TIME_S.to_bytes(8, "big") + private.sign(message)
        line = Signature(name=pool.name, key_id=pool.key_id, value=value)
        receipt = Note(text=note.text, signatures=(*note.signatures, line))
        await journal.set_cosigned(7, receipt.encode())
        await export_bundle(journal, tmp_path / "bundle", device=key.verifier, pool=pool)
    (tmp_path / "bundle" / "log.vkey").write_text(enrolment.vkey + "\n")
    (tmp_path / "bundle" / "pool.vkey").write_text(pool.text + "\n")
    return tmp_path / "bundle"


def test_the_commands_verify_an_untouched_bundle(bundle: Path) -> None:
    done = shell(bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 2
    assert "2026" in done.stdout
    assert "The root fits all 11 records" in done.stdout


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("checkpoint.note", "\n11\n", "\n12\n"),
        ("receipt.note", "\n7\n", "\n8\n"),
        ("records.ndjson", '"power_mw":3', '"power_mw":4'),
    ],
)
def test_the_commands_notice_a_change(bundle: Path, name: str, old: str, new: str) -> None:
    text = (bundle / name).read_text()
    assert old in text
    (bundle / name).write_text(text.replace(old, new))
    assert shell(bundle).returncode != 0
