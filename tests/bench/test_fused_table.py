"""The estimate of a coarse register on a few kilowatt-hours; `make fused-table` runs a thousand."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("fused_table.py")


def test_the_estimate_is_no_worse_than_the_known_one_and_its_bound_never_below_the_truth(
    tmp_path: Path,
) -> None:
    out = tmp_path / "table.json"
    few = ["--energy-kwh", "40", "--seeds", "2", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *few], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text("utf-8"))
    assert [(row["power_kw"], row["step_wh"]) for row in rows] == [
        (power_kw, step_wh) for power_kw in (100, 1000, 3000) for step_wh in (10, 100, 1000, 10_000)
    ]
    for row in rows:
        assert row["below_wh"] <= 0.001
        assert row["register_wh"] > row["fused_wh"] > 0.0 or row["step_wh"] == 10
        assert 0.0 < row["above_wh"] < 2 * row["step_wh"] + row["power_kw"]
