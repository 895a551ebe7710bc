"""What an installation holds: our packages once, our commands, and every data file."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
PACKAGES = ("agent", "drivers", "simulator")


def files_of_the_packages() -> list[str]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", *PACKAGES],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(path for path in set(listed.stdout.splitlines()) if (REPO / path).is_file())


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_name_has_one_owner(package: str) -> None:
    owners = importlib.metadata.packages_distributions().get(package, [])
    assert set(owners) == {"kwota"}, f"{package} belongs to {owners or 'nobody'}: run make venv"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_the_one_of_this_checkout(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(REPO / package / "__init__.py")


@pytest.mark.parametrize("command", ["kwota", "kwota-sim"])
def test_each_command_is_there_and_has_help(command: str) -> None:
    path = Path(sys.executable).parent / command
    assert path.exists(), f"{command} is not installed: run make venv"
    result = subprocess.run(
        [path, "--help"], capture_output=True, text=True, timeout=15, check=False
    )
    assert result.returncode == 0, result.stderr
    assert command in result.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    paths = files_of_the_packages()
    for path in [*paths, "pyproject.toml", "README.md", "LICENSE", "requirements/run.in"]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / path, source / path)
    options = "--no-deps --no-build-isolation --no-index --quiet --disable-pip-version-check"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options.split(), "-w", str(tmp_path), str(source)],
        timeout=18,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("kwota-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        required = archive.read(metadata).decode()
    assert any(path.endswith((".toml", ".html", ".js")) for path in paths)
    assert held == set(paths)
    assert "Requires-Dist: aiohttp" in required
