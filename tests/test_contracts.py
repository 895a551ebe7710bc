"""The contracts of pyproject.toml on imports: they must flag what they are there to flag."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
LINTER = Path(sys.executable).parent / "lint-imports"

PACKAGES = """agent agent/core agent/status drivers drivers/link drivers/meters drivers/miners
drivers/wire simulator simulator/replay"""
MODULES = """agent/app agent/failsafe agent/journal agent/poller agent/settings agent/status/server
agent/core/ledger drivers/device drivers/errors drivers/readings drivers/wire/cgminer
drivers/link/tcp drivers/link/modbus drivers/miners/luxos drivers/meters/meter simulator/plant
simulator/farm simulator/serve simulator/pool simulator/virtual agent/sight simulator/replay/run"""

# One import per row that no reviewer may let through, and words of the contract that it breaks.
FORBIDDEN = [
    ("agent/poller", "import agent.journal", "no loop knows another"),
    ("agent/journal", "import agent.app", "over app over loops"),
    ("agent/core/ledger", "import agent.settings", "itself and the readings"),
    ("agent/core/ledger", "import drivers.errors", "itself and the readings"),
    ("agent/core/ledger", "import asyncio", "no I/O, no clock"),
    ("agent/core/ledger", "from time import monotonic", "no I/O, no clock"),
    ("drivers/wire/cgminer", "import drivers.link.tcp", "devices over links over bytes"),
    ("drivers/miners/luxos", "import drivers.meters.meter", "no kind of device knows another"),
    ("drivers/wire/cgminer", "import socket", "the wire does no I/O"),
    ("drivers/link/tcp", "import agent.settings", "devices do not know who asks"),
    ("drivers/link/tcp", "import simulator.plant", "does not know its test rig"),
    ("simulator/plant", "import drivers.wire", "shares no code with what it tests"),
    ("simulator/virtual", "import drivers.errors", "shares no code with what it tests"),
    ("simulator/pool", "import agent.sight", "shares no code with what it tests"),
    ("simulator/replay/run", "import agent.settings", "shares no code with what it tests"),
    ("simulator/farm", "import simulator.replay.run", "knows nobody who joins the agent"),
    ("agent/failsafe", "import agent.settings", "the failsafe stands alone"),
    ("drivers/link/tcp", "import drivers.link.modbus", "no ring of modules"),
]
ALLOWED = [
    ("agent/app", "import agent.poller, agent.journal, agent.status.server"),
    ("agent/poller", "import agent.core.ledger, drivers.miners.luxos"),
    ("agent/core/ledger", "import drivers.readings"),
    ("agent/failsafe", "import drivers.miners.luxos"),
    ("drivers/miners/luxos", "import drivers.link.tcp, drivers.wire.cgminer, drivers.errors"),
    ("simulator/virtual", "import agent.core.ledger, drivers.readings"),
    ("simulator/replay/run", "import agent.core.ledger, agent.sight"),
]


def lay_out(root: Path, imports: list[tuple[str, str]]) -> None:
    for package in PACKAGES.split():
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    for module in MODULES.split():
        (root / f"{module}.py").touch()
    for module, line in imports:
        with (root / f"{module}.py").open("a") as file:
            file.write(f"{line}\n")


def broken_contracts(root: Path) -> list[str]:
    """Names of the contracts that a tree breaks."""
    result = subprocess.run(
        [LINTER, "--no-logo", "--no-cache", "--config", REPO / "pyproject.toml"],
        cwd=root,
        env={"COLUMNS": "300", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert "Contracts:" in result.stdout, result.stdout + result.stderr
    flat = result.stdout.replace("\n", "\n ")
    return [line.strip() for line in flat.splitlines() if re.search(r" BROKEN\b", line)]


def test_imports_in_the_agreed_directions_are_kept(tmp_path: Path) -> None:
    lay_out(tmp_path, ALLOWED)
    assert broken_contracts(tmp_path) == []


@pytest.mark.parametrize("rows", [FORBIDDEN[0::2], FORBIDDEN[1::2]], ids=["even", "odd"])
def test_imports_against_the_agreed_directions_break_their_contract(
    tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    ring = [("drivers/link/modbus", "import drivers.link.tcp")]
    lay_out(tmp_path, [(module, line) for module, line, _ in rows] + ring)
    broken = broken_contracts(tmp_path)
    for module, line, contract in rows:
        assert any(contract in name for name in broken), f"{module}: {line} breaks nothing"
