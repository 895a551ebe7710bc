"""Facts about this very machine, held against the kernel's own words."""

import os
import shutil
import time
from pathlib import Path

import psutil
import pytest

from agent.host import HostError, host_facts


def test_the_facts_agree_with_the_kernel(tmp_path: Path) -> None:
    facts = host_facts(tmp_path / "journal.sqlite")
    lines = Path("/proc/meminfo").read_text().splitlines()
    total_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))
    assert facts.memory_total_bytes == total_kib * 1024
    assert 0 < facts.memory_available_bytes <= facts.memory_total_bytes
    assert 1_000_000 < facts.process_rss_bytes < facts.memory_total_bytes
    assert 1 <= facts.cpu_count <= (os.cpu_count() or 1)
    assert facts.load_1min >= 0
    assert abs(facts.uptime_s - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    usage = shutil.disk_usage(tmp_path)
    assert facts.disk_total_bytes >= usage.free
    assert abs(facts.disk_free_bytes - usage.free) < 500_000_000


def test_the_temperature_is_absent_only_where_no_sensor_is(tmp_path: Path) -> None:
    has_sensor = any(psutil.sensors_temperatures().values())
    facts = host_facts(tmp_path / "journal.sqlite")
    assert (facts.temperature_max_c is not None) == has_sensor


def test_a_missing_folder_is_one_sentence_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"nowhere cannot be read .*correct \[journal\] path"):
        host_facts(tmp_path / "nowhere" / "journal.sqlite")


def test_a_hidden_proc_is_one_sentence_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    with pytest.raises(HostError, match="ProcSubset=all"):
        host_facts(tmp_path / "journal.sqlite")
