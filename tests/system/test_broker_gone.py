"""The broker dies in the middle of a purchase and comes back."""

import json

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

GONE_S = 60


def test_what_was_written_without_a_broker_arrives_in_order_afterwards(site) -> None:
    site.start_broker()
    site.start_farm(20)
    site.buy(count=2, window_s=52)
    site.start_agent()
    site.wait_until(site.judged[0].start_ms + 10_000)
    assert site.api("status")["delivery"]["broker"] == "connected"
    site.kill_broker()
    gone_ms = site.truth()["at_ms"]
    site.wait_until(gone_ms + GONE_S * 1000)
    meanwhile = site.api("status")
    assert meanwhile["delivery"]["broker"] != "connected"
    assert meanwhile["delivery"]["unsent"] > 0
    site.start_broker()
    back_ms = site.truth()["at_ms"]
    site.wait_until(site.judged[-1].end_ms + 3_000)
    site.wait_for_receipts(130)  # agents come back at any instant within two minutes
    cosigned = site.api("status")["delivery"]["cosigned_size"]
    pool = site.truth("/v1/pool")
    site.agent.stop()

    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    decided = [r["d"] for r in site.records("decision") if gone_ms < r["t"] // 1000 < back_ms]
    assert any(decision["commands"] for decision in decided)
    assert pool["equivocations"] == 0
    assert pool["rejects"] == {}
    (kept,) = (site.directory / "pool").glob("*.ndjson")
    arrived = [json.loads(line) for line in kept.read_bytes().splitlines()]
    written = site.records()
    assert [record["i"] for record in arrived] == list(range(len(arrived)))
    assert len(arrived) >= cosigned
    assert arrived == written[: len(arrived)]
    code, report = site.verify()
    assert code == 0, report
    assert report["cosigned_size"] >= cosigned
