"""The state letters of meter values are ours; the Open Charge Metering Format has others."""

import re
from pathlib import Path

from agent.handover.ocmf import OCMF_METER_STATES
from agent.records import STATES
from drivers.readings import Quality

WIRE = Path(__file__).parents[3] / "docs" / "wire.md"


def test_every_state_letter_of_a_record_has_its_meaning_in_the_format() -> None:
    meanings = {
        "GOOD": "OK",
        "TIMED_OUT": "TIMEOUT",
        "SUSPECT": "OTHER_ERROR",
        "FAULTY": "READ_ERROR",
    }
    table_10 = {"G": "OK", "T": "TIMEOUT", "E": "OTHER_ERROR", "F": "READ_ERROR", "S": "SUBSTITUTE"}
    told = {one.name: table_10[OCMF_METER_STATES[one.value]] for one in Quality}
    assert told == meanings
    assert OCMF_METER_STATES.keys() == STATES
    (row,) = (line for line in WIRE.read_text().splitlines() if line.startswith("| `st` |"))
    letters = re.findall(r"`([A-Z])`", row)
    assert letters[:8] == [*"GTSF", *(OCMF_METER_STATES[one] for one in "GTSF")]
