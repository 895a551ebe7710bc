"""The campaign's own promise, on a small part of it: `make campaign` runs twenty times as many."""

import json
import subprocess
import sys

import pytest

RUNS = 500


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_five_hundred_drawn_sites_burn_no_more_than_was_bought() -> None:
    command = [sys.executable, "-m", "simulator", "campaign", "--runs", str(RUNS)]
    done = subprocess.run(
        [*command, "--faults", "2", "--seed", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["failures"]) == (0, [])
    assert (document["runs"], document["runs_over"]) == (RUNS, 0)
    assert document["worst_over_wh"] == 0.0
    assert document["estimator_below_truth_runs"] == 0
    assert document["unused_share_median"] <= 0.01
    assert document["not_coverable_runs"] <= 0.05 * RUNS
