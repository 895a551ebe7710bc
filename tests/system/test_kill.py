"""The daemon is killed in the middle of a purchase and started again."""

import signal

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def test_a_killed_agent_goes_on_without_losing_or_doubling_a_watt_hour(site) -> None:
    site.start_broker()
    site.start_farm(20)
    site.buy(count=2, window_s=45)
    first = site.start_agent()
    site.wait_until(site.judged[0].start_ms + 20_000)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    site.agent = None
    site.wait_until(site.judged[0].start_ms + 26_000)
    site.start_agent()
    site.wait_until(site.judged[-1].end_ms + 3_000)

    books, status = site.api("transactions"), site.api("status")
    site.wait_for_receipts()
    site.agent.stop()
    assert min(site.margins_wh().values()) >= 0, site.margins_wh()

    boots = site.records("boot")
    assert [boot["b"] for boot in boots] == [1, 2]
    assert boots[1]["d"]["previous_stop"] == "unclean"
    booked = [r["d"] for r in site.records("ledger") if r["d"]["event"] == "booked"]
    recovered = [entry for entry in booked if "recovered" in entry["flags"]]
    assert recovered
    assert recovered[0]["from_wh"] < recovered[-1]["to_wh"]

    readings = [r["d"]["energy_import_wh"] for r in site.records("meter")]
    state = [r["d"] for r in site.records("ledger") if r["d"]["event"] == "state"][-1]
    assert state["booked_wh"] - readings[0] == state["metered_wh"]
    assert state["metered_wh"] == state["allocated_wh"] + state["over_wh"]
    print(site.margins_wh(), state, recovered, status["over_wh"], books)
    assert site.verify()[0] == 0
