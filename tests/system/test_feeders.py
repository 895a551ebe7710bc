"""A load that no machine explains begins behind a feeder's meter, and the agent names that feeder.

The whole agent, on real sockets and with a real journal. Meter and machines are laid beside each
other by the quarter of an hour, so both it and the farm live in a world whose clock leaps.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.demo.child import start_python

TESTS = Path(__file__).resolve().parents[1]
NET = f"127.{192 + os.getpid() % 32}.0.0"  # every test process has addresses of its own
QUARTER_MS = 900_000


def lived(site, where: str) -> dict[str, Any]:
    """Three quarters of an hour of the farm; the load begins after the first."""
    program = (str(TESTS / "leaping.py"), str(TESTS / "system" / "feeder_day.py"))
    day = start_python(site.directory, "day", *program, str(site.directory), where, NET)
    child = site.stack.enter_context(day)
    assert child.process.wait(140) == 0, child.log.read_text()
    told: dict[str, Any] = json.loads((site.directory / "told.json").read_text())
    return told


def discrepancies(status: dict[str, Any]) -> dict[str, str]:
    alarms = [one for one in status["alarms"] if one["code"] in {"UNSEEN_LOAD", "METER_LOW"}]
    return {one["source"]: one["words"].partition(": ")[0] for one in alarms}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("where", "words"),
    [
        pytest.param("row-2", "feeder row-2", marks=pytest.mark.system),
        pytest.param(
            "site/rest",
            "between the site meter and its feeders",
            marks=pytest.mark.scenario,
        ),
    ],
)
def test_a_load_that_no_machine_explains_is_told_by_the_feeder_it_hangs_on(
    site, where: str, words: str
) -> None:
    told = lived(site, where)
    assert discrepancies(told["calm"]) == {}
    found = discrepancies(told["late"])
    assert found.pop("site").startswith("the meter counted")
    assert found.pop("twin") == "reference"
    assert found == {where: words}

    raised = [one for one in site.records("alarm") if one["d"]["code"] == "UNSEEN_LOAD"]
    assert {one["s"] for one in raised} >= {where}
    learned = {one["s"] for one in site.records("learned")}
    assert learned >= {"mp-1/row-1", "mp-1/row-2", "mp-1/rest", "mp-1/twin"}
    quarters = [one["d"] for one in site.records("statement")]
    ends_ms = [one["end_ms"] for one in quarters if not one["unknown_wh"]]
    assert [told["edge_ms"] + n * QUARTER_MS for n in (1, 2, 3)] == ends_ms[-3:]
