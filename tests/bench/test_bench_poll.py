"""The polling benchmark runs and writes what it promises; its times are not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MEASURED = {
    "polls",
    "cpu_us_per_poll",
    "raw_us_per_poll",
    "times_raw",
    "polls_per_cpu_s",
    "raw_polls_per_cpu_s",
    "machines",
    "rss_mb",
}
WATCHED = {
    "machines",
    "period_s",
    "core_share",
    "polls_per_s",
    "settled_s",
    "median_reading_s",
    "p90_reading_s",
    "oldest_reading_s",
    "slowest_exchange_s",
    "faults",
    "rss_mb",
    "rss_most_mb",
    "rss_empty_mb",
}
BARS = {
    "is_plain_tcp",
    "times_raw",
    "times_raw_at_most",
    "over_pyasic_fast",
    "over_pyasic_whole",
    "over_pyasic_rs_whole",
    "over_pyasic_at_least",
    "core_share",
    "core_share_below",
    "rss_mb",
    "rss_mb_below",
}


@pytest.mark.strangers
@pytest.mark.timeout(180)  # eight processes one after the other, two of them with large libraries
def test_the_benchmark_reads_a_small_farm_with_every_reader_and_writes_all_its_keys(
    tmp_path: Path,
) -> None:
    figures = tmp_path / "bench.json"
    command = [sys.executable, str(HERE / "bench_poll.py"), "--quick", "--families", "luxos"]
    done = subprocess.run(
        [*command, "--counts", "1,2", "--json", str(figures)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(figures.read_text("utf-8"))
    assert {"taken_at", "computer", "families", "bars"} == document.keys()
    assert {"processor", "cores", "system", "python", "load"} < document["computer"].keys()
    assert document["bars"]["luxos"].keys() == BARS
    assert document["families"]["luxos"].keys() == {"1", "2"}
    for count, found in document["families"]["luxos"].items():
        assert found["exchange"]["requests"] == 1
        assert found["exchange"]["bytes_received"] > 3000
        assert found["kwota"].keys() == MEASURED | {"full_us_per_poll", "rss_empty_mb"}
        for of in (found["pyasic"]["fast"], found["pyasic"]["whole"], found["pyasic_rs"]["whole"]):
            assert of.keys() == MEASURED
        assert found["kwota"]["machines"] == int(count)
    watched = document["families"]["luxos"]["2"]["daemon"]
    assert watched.keys() == WATCHED
    assert watched["faults"] == 0
    assert watched["polls_per_s"] > 0
    assert len(done.stdout.splitlines()) >= 10
