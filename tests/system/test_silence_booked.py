"""What flows while the site meter is silent is booked when it speaks again."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]


def test_what_flowed_in_the_silence_is_attributed_to_the_watt_hour(site) -> None:
    site.start_broker()
    site.start_farm(6)
    site.buy(count=1, window_s=40, lead_in_s=30)  # up in time also where eight sites start at once
    site.start_agent()
    site.wait_until(site.judged[0].start_ms + 5_000)
    site.fault("meter_silent")
    site.wait_until(site.judged[0].start_ms + 15_000)
    site.fault("meter_silent", active=False)
    site.wait_until(site.judged[0].end_ms + 3_000)
    site.agent.stop()
    readings = [r["d"]["energy_import_wh"] for r in site.records("meter")]
    state = [r["d"] for r in site.records("ledger") if r["d"]["event"] == "state"][-1]
    lead_in, judged = [r["d"] for r in site.records("ledger") if r["d"]["event"] == "closed"]
    assert judged["id"] == site.judged[0].transaction_id
    assert lead_in["closed_at_wh"] == readings[0] + lead_in["allocated_wh"]
    assert judged["opened_at_wh"] == lead_in["closed_at_wh"]
    assert judged["closed_at_wh"] == judged["opened_at_wh"] + judged["allocated_wh"]
    assert abs(judged["allocated_wh"] - site.true_wh(site.judged[0])) < 12
    assert state["booked_wh"] - readings[0] == state["allocated_wh"] + state["over_wh"]
    assert state["over_wh"] == 0
