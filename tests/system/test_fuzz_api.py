"""A stranger's fuzzer against a really running agent: schemathesis, by the document it serves.

It sends what the document allows and what it does not, and compares every answer with the document.
``make fuzz-api`` gives it longer, and another seed each time.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(60 + int(os.environ.get("FUZZ_S", "12")))]

FUZZ_S = int(os.environ.get("FUZZ_S", "12"))
# An endless answer; that it is the document's is tested where the stream is.
ENDLESS = "/api/v1/stream"
OPERATIONS = 8


def fuzzed(directory: Path, url: str) -> "subprocess.CompletedProcess[str]":
    """One run of the fuzzer, below the rate at which the agent tells a client to ask less often."""
    is_long = FUZZ_S > 12
    drawn = ("--generation-database", "none") if is_long else ("--generation-deterministic",)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
        *("--exclude-path", ENDLESS, "--max-time", str(FUZZ_S), "--rate-limit", "40/s"),
        *("--request-timeout", "10", "--no-color", *drawn),
        *("--report", "json", "--report-json-path", str(directory / "fuzz.json")),
    ]
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=40 + FUZZ_S
    )


def test_no_request_that_a_fuzzer_draws_is_answered_otherwise_than_the_document_says(site) -> None:
    site.start_broker()
    site.start_farm(3)
    agent = site.start_agent()
    done = fuzzed(site.directory, f"http://127.0.0.1:{site.page_port}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"Tested: +{OPERATIONS}\b", done.stdout), done.stdout
    assert json.loads((site.directory / "fuzz.json").read_text())
    # The agent went on meanwhile.
    agent.check()
    assert site.api("status")["mode"] != "blind"
