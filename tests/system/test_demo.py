"""``kwota demo`` as the README shows it, judged by what the farm truly burnt.

The run itself begins with the first system test (``demo_directory``) and goes on beside them.
"""

import json
import os
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(660)]

LIMIT_S = 600.0


def parts_of(directory: Path) -> list[str]:
    """The command lines of everything that runs for a demonstration in this directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(f"{directory}/kwota-demo-" in word for word in words):
            found.append(" ".join(words))
    return found


@pytest.fixture
def ended(demo_directory):
    """The directory of the demonstration when it has ended, and how many parts it had."""
    most = 0
    until_s = time.monotonic() + LIMIT_S
    try:
        while not (demo_directory / "code").exists():
            most = max(most, len(parts_of(demo_directory)))
            assert time.monotonic() < until_s, (demo_directory / "said.txt").read_text()
            time.sleep(1.0)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(int((demo_directory / "pid").read_text()), signal.SIGTERM)
        raise
    return demo_directory, most


def assert_callable(said: str) -> None:
    """The CLI that it tells people to use can be used, wherever they stand."""
    (line,) = [line for line in said.splitlines() if line.startswith("CLI ")]
    call, _, _ = line.removeprefix("CLI ").partition(" status --socket ")
    told = subprocess.run(
        [*shlex.split(call), "--version"], cwd="/", capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout[:6]) == (0, "kwota "), told


def test_the_demonstration_keeps_every_purchase_and_proves_it(ended) -> None:
    directory, most = ended
    said = (directory / "said.txt").read_text()
    assert (directory / "code").read_text().strip() == "0", said
    text = (directory / "verdict.json").read_text()
    assert text.count("\n") == 1
    verdict = json.loads(text)
    assert verdict["windows"] == 3
    assert verdict["over_wh"] == 0, verdict["per_window"]
    assert verdict["unused_share"] <= 0.015, verdict["per_window"]
    assert verdict["verified"] is True
    assert verdict["findings"] == []
    assert 0 < verdict["true_wh"] <= verdict["purchased_wh"]
    assert_callable(said)
    assert verdict["board_switches"] > 0
    assert verdict["mining_restarts"] >= 0
    assert verdict["records"] > 300
    assert verdict["receipts"] > 0
    assert verdict["cosigned"] > 300
    for row in verdict["per_window"]:
        assert row["true_wh"] <= row["purchased_wh"]
        assert abs(row["true_wh"] - row["allocated_wh"]) < 0.01 * row["purchased_wh"]
    assert "Traceback" not in said
    # Broker, farm and agent were there, and nothing of them is left.
    assert most in (0, 3), most
    assert parts_of(directory) == []
    assert list(directory.glob("kwota-demo-*")) == []
