"""The disk under a daemon at work fails, or is full for a while."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

REPO = Path(__file__).resolve().parents[2]


def failing(site, breaks: str) -> tuple[Path, dict[str, str]]:
    """The file that breaks the disk while it exists, and the daemon's environment."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (build-essential): NO failing disk under a daemon is tested")
    library, switch = site.directory / "disk.so", site.directory / "broken"
    source = REPO / "tests" / "torture" / "disk.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return switch, {
        "LD_PRELOAD": str(library),
        "KWOTA_DISK": str(site.directory),
        "KWOTA_TRACE": "/dev/null",
        "KWOTA_BREAKS": breaks,
        "KWOTA_BROKEN": str(switch),
    }


def test_a_disk_that_does_not_sync_ends_the_daemon_with_a_sentence(site) -> None:
    site.start_broker()
    site.start_farm(2)
    switch, environ = failing(site, f"S{errno.EIO}")
    agent = site.start_agent(**environ)
    site.wait_for_receipts()
    cosigned = site.api("status")["delivery"]["cosigned_size"]
    switch.touch()
    assert agent.process.wait(30) == 1
    said = agent.log.read_text()
    assert "kwota: The journal cannot be written: disk I/O error." in said
    assert "Traceback" not in said
    switch.unlink()
    site.agent = None
    site.start_agent()
    site.wait_for_receipts()
    site.agent.stop()
    code, report = site.verify()
    assert (code, report["defects"]) == (0, [])
    assert len(site.records()) > cosigned


def test_a_disk_that_was_full_for_a_while_stops_nothing(site) -> None:
    site.start_broker()
    site.start_farm(2)
    switch, environ = failing(site, f"W{errno.ENOSPC}")
    site.start_agent(**environ)
    site.wait_for_receipts()

    def is_full() -> bool:
        return any(alarm["code"] == "JOURNAL_FULL" for alarm in site.api("status")["alarms"])

    switch.touch()
    site.wait_for(is_full, 30, "nobody was told that the journal is full")
    size = site.api("status")["delivery"]["journal_size"]
    switch.unlink()
    # After a minute the ballast is laid again, when the next piece of evidence has got through, and
    # an alarm clears only after a while.
    site.wait_for(lambda: not is_full(), 170, "the alarm stayed")
    site.wait_for_receipts()
    assert site.api("status")["delivery"]["journal_size"] > size
    site.agent.stop()
    assert site.agent.process.returncode == 0
    code, report = site.verify()
    assert (code, report["defects"]) == (0, [])
