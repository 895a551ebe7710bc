"""What the doctor says of the controller itself: clock, disk, memory, load and heat."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from ports import free_port

from agent.doctor.controller import (
    clock_finding,
    controller_findings,
    disk_finding,
    load_findings,
)
from agent.doctor.finding import Grade
from agent.host import HostFacts
from agent.settings import Settings, parse_settings
from agent.siteclock import KernelClock, read_kernel_clock

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"
CALM = HostFacts(
    load_1min=0.3,
    cpu_count=2,
    memory_total_bytes=4_000_000_000,
    memory_available_bytes=2_000_000_000,
    process_rss_bytes=60_000_000,
    disk_total_bytes=100_000_000_000,
    disk_free_bytes=50_000_000_000,
    temperature_max_c=None,
    uptime_s=3_600.0,
)


def settings_with(tmp_path: Path, max_bytes: int = 1_000_000_000) -> Settings:
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    data["journal"] |= {"path": str(tmp_path / "journal.sqlite"), "max_bytes": max_bytes}
    data["status"] = {"listen": f"127.0.0.1:{free_port()}", "socket": str(tmp_path / "none.sock")}
    return parse_settings(data, tmp_path / "site.toml")


@pytest.mark.parametrize(
    ("is_synchronised", "max_error_us", "grade", "words"),
    [
        (True, 12_000, Grade.FINE, "within 12 ms"),
        (True, 500_001, Grade.WARNING, "off by 0.5 s"),
        (False, 12_000, Grade.FAILED, "no time service"),
    ],
)
def test_a_clock_is_as_good_as_the_kernel_says(
    is_synchronised: bool, max_error_us: int, grade: Grade, words: str
) -> None:
    clock = KernelClock(is_synchronised=is_synchronised, max_error_us=max_error_us)
    found = clock_finding(clock)
    assert (found.check, found.grade) == ("clock", grade)
    assert words in found.words
    assert ("chrony" in found.remedy) is (grade is not Grade.FINE)


def test_a_disk_that_the_journal_may_outgrow_is_found_and_a_smaller_journal_mends_it(
    tmp_path: Path,
) -> None:
    found = disk_finding(CALM, settings_with(tmp_path, max_bytes=60_000_000_000))
    assert (found.grade, found.words) == (
        Grade.WARNING,
        "50.0 GB are free, the journal may grow by 60.0 GB",
    )
    assert "lower journal.max_bytes" in found.remedy
    assert disk_finding(CALM, settings_with(tmp_path)).grade is Grade.FINE


def test_what_the_journal_has_already_is_not_asked_of_the_disk_again(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(bytes(20_000_000))
    nearly = replace(CALM, disk_total_bytes=100_000_000, disk_free_bytes=10_000_000)
    assert disk_finding(nearly, settings_with(tmp_path, 25_000_000)).grade is Grade.FINE
    assert disk_finding(nearly, settings_with(tmp_path, 35_000_000)).grade is Grade.WARNING


def test_a_disk_that_is_nearly_full_is_a_failure_and_space_mends_it(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    found = disk_finding(replace(CALM, disk_free_bytes=4_900_000_000), settings)
    assert found.grade is Grade.FAILED
    assert found.remedy.startswith("free space")
    assert disk_finding(replace(CALM, disk_free_bytes=5_100_000_000), settings).grade is Grade.FINE


def test_memory_load_and_heat_are_named_with_what_to_do() -> None:
    assert [one.grade for one in load_findings(CALM)] == [Grade.FINE]
    bad = replace(CALM, memory_available_bytes=90_000_000, load_1min=4.1, temperature_max_c=81.0)
    found = {one.check: one for one in load_findings(bad)}
    assert {check: one.grade for check, one in found.items()} == {
        "memory": Grade.FAILED,
        "load": Grade.WARNING,
        "temperature": Grade.WARNING,
    }
    assert all(one.remedy for one in found.values())
    assert "81 °C" in found["temperature"].words


def test_all_of_it_is_looked_at_on_this_very_machine(tmp_path: Path) -> None:
    found = {one.check: one for one in controller_findings(settings_with(tmp_path))}
    assert {"clock", "disk", "memory", "daemon", "page"} <= set(found)
    assert (found["clock"].grade is Grade.FAILED) is not read_kernel_clock().is_synchronised
    assert found["daemon"].grade is Grade.WARNING
    assert "systemctl start kwota" in found["daemon"].remedy
