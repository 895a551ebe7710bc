"""An outage in small: what ``make outage`` shows of 72 hours and a thousand machines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def outage(tmp_path: Path, *words: object) -> tuple[int, dict, str]:
    figures = tmp_path / "figures.json"
    given = ["--folder", tmp_path, "--json", figures, "--sample-min", 1, "--commit-s", 15, *words]
    done = subprocess.run(
        [sys.executable, HERE / "outage.py", *map(str, given)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert figures.exists(), done.stderr
    return done.returncode, json.loads(figures.read_text()), done.stderr


@pytest.mark.torture
@pytest.mark.timeout(180)
def test_a_time_without_a_broker_loses_nothing_and_drains_quickly(tmp_path) -> None:
    code, it, _ = outage(tmp_path, "--machines", 10, "--hours", 0.5)
    assert [claim for claim, holds in it["claims"].items() if not holds] == []
    assert (code, it["thinned_records"]) == (0, 0)
    assert it["backlog"] > 1000
