"""A controller whose disk was set back to an older state, as a restored backup does it."""

import json
import shutil

import pytest

from agent.core.note import VerifierKey, parse_vkey

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def test_a_journal_that_was_set_back_goes_on_in_a_new_epoch_with_its_books(site, schemas) -> None:
    site.start_broker()
    site.start_farm(3)
    site.start_agent()
    site.wait_for_receipts()
    site.agent.stop()
    backup = site.directory / "backup.sqlite"
    shutil.copy(site.journal, backup)
    before = site.records()
    site.start_agent()
    site.wait_for_receipts()
    site.agent.stop()
    lost = len(site.records())
    shutil.copy(backup, site.journal)

    site.start_agent()
    origin = site.api("status")["delivery"]["origin"]
    assert origin.endswith("/2")
    (alarm,) = [one for one in site.api("status")["alarms"] if one["code"] == "LOG_EPOCH"]
    assert f"{lost} of {origin[:-1]}1 were signed" in alarm["words"]
    assert [one["transaction_id"] for one in site.api("transactions")] == ["long"]

    # The pool knows the key by another name, and is told so by a person.
    first = parse_vkey((site.directory / "log.vkey").read_text())
    second = VerifierKey(name=origin, algorithm=first.algorithm, public_key=first.public_key)
    assert second.text in alarm["remedy"]
    registry = site.directory / "pool" / "registry.json"
    (agent,) = json.loads(registry.read_text())
    registry.write_text(json.dumps({agent: [first.text, second.text]}))
    site.wait_for_receipts(90.0)
    site.wait_for(
        lambda: all(one["code"] != "LOG_EPOCH" for one in site.api("status")["alarms"]),
        10.0,
        "the alarm did not clear",
    )
    site.agent.stop()

    code, report = site.verify()
    assert (code, report["origin"], report["defects"]) == (0, origin, [])
    assert any("This is epoch 2 of the log" in remark for remark in report["remarks"])
    records = site.records()
    assert [(r["i"], fault) for r in records for fault in schemas.faults(r)] == []
    carried = {record["ci"]: record["d"] for record in records if "ci" in record}
    for index, data in carried.items():
        if before[index]["d"].get("event") != "state":
            assert before[index]["d"] == data
    (aside,) = site.directory.glob("journal-epoch-1-*.sqlite")
    assert site.verify(aside)[0] == 0
