"""What a running agent hands over of one purchase, checked by a stranger with one file."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cryptography
import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

KEYS = ("--key", "log.vkey", "--pool-key", "pool/pool.vkey")


def strangers_verdict(site, bundle: Path, tmp_path: Path) -> tuple[int, str]:
    """The verifier out of the bundle, run where there is nothing of ours to import."""
    libraries = tmp_path / "libraries"
    libraries.mkdir(exist_ok=True)
    installed = Path(cryptography.__file__).parent.parent
    for name in ("cryptography", "cffi", *(file.name for file in installed.glob("_cffi_backend*"))):
        if not (libraries / name).exists():
            (libraries / name).symlink_to(installed / name)
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("verify.py", tmp_path)
    start = (
        f"import runpy, sys; sys.path.append({str(libraries)!r});"
        f" sys.argv[0] = 'verify.py'; runpy.run_path({str(tmp_path / 'verify.py')!r},"
        " run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, str(bundle), *KEYS],
        cwd=site.directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def receipt_in(bundle: Path, transaction_id: str = "") -> dict[str, Any]:
    """The receipt of this transaction, or the only one there is."""
    with zipfile.ZipFile(bundle) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(f"{transaction_id}.json"))
        return dict(json.loads(archive.read(name)))


@pytest.fixture(scope="module")
def settled(shared_site):
    """A site whose agent still runs, after a purchase of which the books are closed."""
    site = shared_site
    site.start_broker()
    site.start_farm(3)
    site.buy(count=1, window_s=15)
    site.start_agent()
    (window,) = site.judged
    site.wait_until(window.end_ms)

    def is_closed() -> bool:
        rows = {row["transaction_id"]: row for row in site.api("transactions")}
        return bool(rows[window.transaction_id]["status"] == "closed")

    site.wait_for(is_closed, 30, "the purchase was not closed")
    return site


def test_a_purchase_of_a_running_agent_is_proven_to_a_stranger(settled, tmp_path) -> None:
    (window,) = settled.judged
    bundle = tmp_path / "one.zip"

    def is_proven() -> bool:
        """The books are closed a moment before that is written; what was written until then may
        well be cosigned by now."""
        bundle.unlink(missing_ok=True)
        done = settled.kwota(
            "evidence", "export", str(bundle), "--transaction", window.transaction_id, "--json"
        )
        assert done.returncode == 0, done.stderr
        if not json.loads(done.stdout)["is_cosigned"]:
            return False
        return bool(receipt_in(bundle)["status"] == "closed")

    settled.wait_for(is_proven, 30, "the pool did not cosign the settlement")
    code, words = strangers_verdict(settled, bundle, tmp_path)
    assert (code, words.splitlines()[-1]) == (0, "SOUND"), words
    code, report = settled.verify(bundle)
    assert (code, report["defects"]) == (0, [])
    assert report["cosigned_at_s"] is not None
    receipt = receipt_in(bundle)
    assert receipt["purchased_wh"] == window.energy_wh
    assert receipt["allocated_wh"] + receipt["unused_wh"] == window.energy_wh
    assert receipt["over_wh"] == 0
    register = receipt["register"]
    assert register["closed_at_wh"] - register["opened_at_wh"] == receipt["allocated_wh"]
    assert {(r["edge"], r["side"]) for r in register["readings"]} == {
        (edge, side) for edge in ("start", "end") for side in ("before", "after")
    }
    assert receipt["decisions"]


def test_the_journal_of_the_stopped_agent_gives_the_same_receipt(settled, tmp_path) -> None:
    (window,) = settled.judged
    settled.agent.stop()
    files = (tmp_path / "part.zip", tmp_path / "all.zip")
    chosen = (("--transaction", window.transaction_id), ())
    for file, words in zip(files, chosen, strict=True):
        done = settled.kwota(
            *("evidence", "export", str(file), "--journal", str(settled.journal), *KEYS, *words)
        )
        assert done.returncode == 0, done.stderr
        code, said = strangers_verdict(settled, file, tmp_path)
        assert (code, said.splitlines()[-1]) == (0, "SOUND"), said
        assert settled.verify(file)[0] == 0
    figures = []
    for file in files:
        receipt = receipt_in(file, window.transaction_id)
        figures.append({name: value for name, value in receipt.items() if name != "checkpoint"})
    assert figures[0] == figures[1]
