"""The daemon is killed in the middle of a purchase and started again."""

import signal

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def test_a_killed_agent_goes_on_without_losing_or_doubling_a_watt_hour(site) -> None:
    site.start_broker()
    site.start_farm(20)
    site.buy(count=2, window_s=45, lead_in_s=30)  # up in time also where eight sites start at once
    first = site.start_agent()
    site.wait_until(site.judged[0].start_ms + 20_000)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    killed_ms = site.truth()["at_ms"]
    site.agent = None
    site.wait_until(site.judged[0].start_ms + 26_000)
    started_ms = site.truth()["at_ms"]
    site.start_agent()
    site.wait_until(site.judged[-1].end_ms + 3_000)
    site.wait_for_receipts()
    site.agent.stop()
    register_wh = site.truth("/v1/farm")["meters"][0]["energy_kwh"] * 1000
    assert min(site.margins_wh().values()) >= 0, site.margins_wh()

    boots = site.records("boot")
    assert [boot["b"] for boot in boots] == [1, 2]
    assert boots[1]["d"]["previous_stop"] == "unclean"
    ledger = [record["d"] for record in site.records("ledger")]
    booked = [data for data in ledger if data["event"] == "booked"]
    recovered = [entry for entry in booked if "recovered" in entry["flags"]]
    assert len(recovered) in (1, 2)  # two where a quarter of an hour ended meanwhile
    assert recovered[0]["start_ms"] <= killed_ms < started_ms <= recovered[-1]["end_ms"]
    for away in recovered:
        assert sum(share for _, share in away["shares"]) == away["to_wh"] - away["from_wh"]
    assert recovered[-1]["to_wh"] > recovered[0]["from_wh"]

    readings = [record["d"]["energy_import_wh"] for record in site.records("meter")]
    state = [data for data in ledger if data["event"] == "state"][-1]
    assert state["booked_wh"] - readings[0] == state["metered_wh"]
    assert state["metered_wh"] == state["allocated_wh"] + state["over_wh"]
    assert state["over_wh"] == 0
    closed = {data["id"]: data for data in ledger if data["event"] == "closed"}
    assert len(closed) == len([d for d in ledger if d["event"] == "closed"]) == 3
    still_open = sum(allocated_wh for _, allocated_wh, _, _ in state["open"])
    attributed_wh = sum(one["allocated_wh"] for one in closed.values()) + still_open
    assert attributed_wh == state["metered_wh"]
    for window in site.judged:
        assert abs(closed[window.transaction_id]["allocated_wh"] - site.true_wh(window)) < 15
    assert abs(state["booked_wh"] - register_wh) < 100
    assert site.verify()[0] == 0
