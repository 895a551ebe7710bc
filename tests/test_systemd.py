"""The unit files, judged by Debian's own systemd tools in a root of the test's making."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNITS = ("kwota.service", "kwota-failsafe.service")
EXPOSURE_MAX = 15  # tenths; systemd-timesyncd has 23
TARGETS = """basic multi-user network network-online paths shutdown slices sockets sysinit
time-sync timers"""


def tool(name: str) -> str:
    """A program of Debian's systemd package. Without it the test cannot speak."""
    found = shutil.which(name)
    if found is None:
        sentence = (
            f"{name} is not installed: the unit files are not checked (apt-get install systemd)"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return found


def run(*command: str) -> str:
    """Everything the command says. It must succeed."""
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=15,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def directives(unit: str) -> dict[str, str]:
    """Last value of each directive of the sections [Unit] and [Service]."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keep the case of keys
    parser.read_string((SYSTEMD / unit).read_text())
    return dict(parser["Unit"]) | dict(parser["Service"])


def seconds(unit: str, key: str) -> float:
    return float(directives(unit)[key])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with our units, what they run and the targets that they name."""
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(SYSTEMD / unit, units)
    for target in TARGETS.split():
        (units / f"{target}.target").write_text("[Unit]\nDescription=stub\n")
    for program in ("opt/kwota/venv/bin/python", "bin/sh"):
        path = tmp_path / program
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def test_systemd_has_nothing_to_say_about_the_units(root: Path) -> None:
    assert run(tool("systemd-analyze"), f"--root={root}", "verify", *UNITS) == ""


def test_a_misspelt_directive_would_be_noticed(root: Path) -> None:
    unit = root / "etc" / "systemd" / "system" / "kwota.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    said = run(tool("systemd-analyze"), f"--root={root}", "verify", *UNITS)
    assert "WatchdogSecs" in said


@pytest.mark.parametrize("unit", UNITS)
def test_exposure_stays_low(unit: str) -> None:
    analyze = tool("systemd-analyze")
    threshold = f"--threshold={EXPOSURE_MAX}"
    said = run(analyze, "security", "--offline=true", threshold, str(SYSTEMD / unit))
    assert "Overall exposure level" in said


def test_the_account_of_the_agent_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run(tool("systemd-sysusers"), f"--root={tmp_path}", str(SYSTEMD / "kwota.sysusers"))
    account = (tmp_path / "etc" / "passwd").read_text()
    assert account.startswith("kwota:")
    assert account.rstrip().endswith("/nologin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders to another account")
def test_the_folders_of_the_agent_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run(tool("systemd-sysusers"), f"--root={tmp_path}", str(SYSTEMD / "kwota.sysusers"))
    (tmp_path / "etc" / "kwota").mkdir()
    key = tmp_path / "etc" / "kwota" / "log.key"
    key.touch(0o644)
    tmpfiles = tool("systemd-tmpfiles")
    run(tmpfiles, f"--root={tmp_path}", "--create", str(SYSTEMD / "kwota.tmpfiles"))
    assert (tmp_path / "etc" / "kwota" / "meters.d").stat().st_mode & 0o777 == 0o750
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("result", ["watchdog", "timeout"])
def test_a_hang_runs_the_failsafe_before_the_restart(result: str, tmp_path: Path) -> None:
    assert stop_post(result, tmp_path) == "-I -m agent.failsafe --config /etc/kwota/site.toml"


@pytest.mark.parametrize("result", ["success", "exit-code", "signal", "core-dump", "oom-kill"])
def test_a_clean_stop_or_a_single_crash_leaves_the_machines_alone(
    result: str, tmp_path: Path
) -> None:
    assert stop_post(result, tmp_path) == ""


def stop_post(result: str, folder: Path) -> str:
    """What ExecStopPost= runs for a result, with a stub in place of the interpreter."""
    stub = folder / "python"
    stub.write_text('#!/bin/sh\nprintf "%s" "$*"\n')
    stub.chmod(0o755)
    line = directives("kwota.service")["ExecStopPost"]
    match = re.fullmatch(r"-/bin/sh -c '(.*)'", line)
    assert match is not None
    # systemd turns $$ into $ before the shell sees it (systemd.service(5), Command lines).
    script = match[1].replace("$$", "$").replace("/opt/kwota/venv/bin/python", str(stub))
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={"SERVICE_RESULT": result},
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    return done.stdout


def test_a_crash_loop_ends_in_the_failsafe_unit() -> None:
    unit = directives("kwota.service")
    assert unit["OnFailure"] == "kwota-failsafe.service"
    assert unit["Restart"] == "always"
    # Every start that is cut off by its time-out still counts within the interval: otherwise an
    # agent that never comes up would be started for ever and the unit would never fail.
    longest_s = sum(seconds("kwota.service", key) for key in ("TimeoutStartSec", "RestartSec"))
    burst = seconds("kwota.service", "StartLimitBurst")
    assert burst * longest_s < seconds("kwota.service", "StartLimitIntervalSec")


def test_the_failsafe_tries_again_until_the_agent_is_back() -> None:
    unit = directives("kwota-failsafe.service")
    assert unit["Restart"] == "on-failure"
    assert unit["StartLimitIntervalSec"] == "0"
    assert unit["Conflicts"] == "kwota.service"
    assert "kwota.service" in unit["After"].split()


def test_the_failsafe_has_the_time_that_it_takes() -> None:
    from agent.failsafe import Bounds

    bounds = Bounds()
    feeds_s = bounds.tries * bounds.relay_s  # all relays at once
    longest_s = bounds.total_s + feeds_s + bounds.close_s  # giving up, opening feeds, closing
    assert longest_s <= seconds("kwota.service", "TimeoutStopSec")
    assert longest_s <= seconds("kwota-failsafe.service", "TimeoutStartSec")


def test_the_seconds_in_the_manual_are_those_of_the_unit() -> None:
    manual = (SYSTEMD.parent / "docs" / "install.md").read_text()
    for key in ("WatchdogSec", "TimeoutAbortSec", "RestartSec", "TimeoutStartSec"):
        assert f"`{key}={directives('kwota.service')[key]}`" in manual
    for key in ("StartLimitBurst", "StartLimitIntervalSec"):
        assert f"`{key}={directives('kwota.service')[key]}`" in manual


def test_both_units_run_isolated_as_the_agents_own_account() -> None:
    for unit in UNITS:
        found = directives(unit)
        assert found["User"] == "kwota"
        assert found["ExecStart"].startswith("/opt/kwota/venv/bin/python -I ")


def test_the_unit_of_a_shadow_run_has_no_failsafe(tmp_path: Path) -> None:
    """The recipe of docs/install.md, made where it does not matter."""
    page = (SYSTEMD.parent / "docs" / "install.md").read_text()
    recipe = page[page.index("sed -e '/OnFailure") :].partition("\nsystemctl")[0]
    target = tmp_path / "kwota-shadow.service"
    command = recipe.replace("/etc/systemd/system/kwota-shadow.service", str(target))
    subprocess.run(["/bin/sh", "-ec", command], cwd=SYSTEMD.parent, check=True, timeout=10)
    text = target.read_text()
    directives = [line for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in directives if "failsafe" in line]
    assert len([line for line in directives if "run --shadow --config /etc" in line]) == 1
    assert directives.index("Conflicts=kwota.service") == directives.index("[Unit]") + 1
