"""Receipts, as an auditor reads them out of a bundle."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.handover.selection import SelectionError, Wanted
from agent.handover.shape import members_of


def receipt_in(bundle: Path) -> tuple[dict[str, Any], str]:
    members = members_of(bundle)
    (name,) = (name for name in members if name.endswith(".json") and name.startswith("receipts/"))
    page = members[name.removesuffix("json") + "html"].decode()
    return json.loads(members[name]), page


@pytest.fixture(scope="module")
def receipt(farm) -> dict[str, Any]:
    return receipt_in(farm.export(Wanted(transactions=("tx-1",)))[0])[0]


@pytest.fixture(scope="module")
def page(farm) -> str:
    return receipt_in(farm.export(Wanted(transactions=("tx-1",)))[0])[1]


def test_it_says_what_was_bought_used_and_left(receipt) -> None:
    assert receipt["status"] == "closed"
    assert receipt["purchase"]["energy_wh"] == receipt["purchased_wh"] == 10_000
    assert (receipt["allocated_wh"], receipt["unused_wh"]) == (9_900, 100)
    assert receipt["over_wh"] == 7, "what flowed after the window is not this window's"


def test_it_has_the_register_at_both_ends_by_the_books_and_by_the_meter(receipt) -> None:
    register = receipt["register"]
    assert (register["opened_at_wh"], register["closed_at_wh"]) == (1_000_000, 1_009_900)
    assert (register["serial"], register["offset_wh"]) == ("4711", 0)
    read = [(r["edge"], r["side"], r["meter"], r["energy_import_wh"]) for r in register["readings"]]
    assert read == [
        ("start", "before", "site", 999_990),
        ("start", "after", "site", 1_000_010),
        ("end", "before", "site", 1_009_890),
        ("end", "after", "site", 1_009_910),
    ]


def test_commands_alarms_and_limits_are_those_of_its_own_meter_point(receipt) -> None:
    assert receipt["commands"]["stages"] == {"confirmed": 1, "sent": 1}
    assert receipt["decisions"] == {"following": 1}
    assert [alarm["code"] for alarm in receipt["alarms"]] == ["STANDS", "METER"]
    assert [limit["source"] for limit in receipt["limits"]] == ["o-7"]
    assert [gap["reason"] for gap in receipt["gaps"]] == ["silent"]


def test_it_tells_how_well_the_time_was_known(receipt) -> None:
    time = receipt["time"]
    assert sum(time["quality"].values()) == time["records"] > 0
    assert [step["what"] for step in time["steps"]] == ["set"]
    assert len(receipt["quarters"]) == len(receipt["preflight"]) == 1


def test_every_entry_names_the_record_that_it_comes_from(farm, receipt) -> None:
    bundle, _ = farm.export(Wanted(transactions=("tx-1",)))
    records = {
        r["i"]: r for r in map(json.loads, members_of(bundle)["records.ndjson"].splitlines())
    }
    lists = [receipt[name] for name in ("booked", "quarters", "preflight", "limits", "alarms")]
    for entry in (e for entries in [*lists, receipt["gaps"]] for e in entries):
        record = records[entry["record"]]
        assert {name: entry[name] for name in record["d"]} == record["d"]
    assert records[receipt["figures_from"]]["d"]["event"] == "closed"
    assert records[receipt["purchase"]["record"]]["d"]["event"] == "purchase"


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_devices_say(page) -> None:
    assert "&lt;b&gt;METER&lt;/b&gt; &amp; more" in page
    assert "<b>" not in page
    for foreign in ("http:", "https:", "src=", "href=", "<script", "url(", "@import"):
        assert foreign not in page
    for figure in ("10.000 kWh", "9.900 kWh", "0.100 kWh", "1000.000", "1009.900"):
        assert figure in page


def test_one_that_is_not_closed_says_so(farm) -> None:
    receipt, page = receipt_in(farm.export(Wanted(transactions=("tx/2 <x>",)))[0])
    assert receipt["status"] == "not closed yet"
    assert (receipt["purchased_wh"], receipt["allocated_wh"]) == (10_000, 0)
    assert [alarm["code"] for alarm in receipt["alarms"]] == ["FOREIGN"]
    assert receipt["commands"]["stages"] == {"refused": 1}
    assert "tx/2 &lt;x&gt;" in page


def test_a_purchase_that_was_never_made_has_none(farm) -> None:
    with pytest.raises(SelectionError, match="no purchase 'tx-9'"):
        farm.export(Wanted(transactions=("tx-1", "tx-9")))


def test_a_selection_and_the_whole_log_give_the_same_receipt(farm, receipt) -> None:
    members = members_of(farm.export(Wanted())[0])
    (name,) = (name for name in members if name.endswith("tx-1.json"))
    of_all = json.loads(members[name])
    assert of_all.pop("checkpoint") != receipt["checkpoint"]
    assert of_all == {key: value for key, value in receipt.items() if key != "checkpoint"}
