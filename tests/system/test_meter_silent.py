"""The site meter falls silent in the middle of a purchase and comes back."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SILENT_S = 30
FIRST_COMMAND_LIMIT_MS = 5_000


def test_a_silent_meter_throttles_at_once_and_overruns_nothing(site) -> None:
    site.start_broker()
    site.start_farm(20)
    site.buy(count=2, window_s=50)
    site.start_agent()
    site.wait_until(site.judged[0].start_ms + 12_000)
    before_w, silent_ms = site.truth()["power_w"], site.truth()["at_ms"]
    site.fault("meter_silent")
    site.wait_until(silent_ms + SILENT_S * 1000)
    status = site.api("status")
    assert status["mode"] == "blind"
    assert {alarm["code"] for alarm in status["alarms"]} >= {"METER"}
    assert site.truth()["power_w"] < before_w * 0.95
    site.fault("meter_silent", active=False)
    back_ms = site.truth()["at_ms"]
    site.wait_for(
        lambda: site.api("status")["mode"] == "following", 10, "the meter was not believed again"
    )
    site.wait_until(site.judged[-1].end_ms + 3_000)
    site.agent.stop()

    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    decisions = [r for r in site.records("decision") if r["d"]["commands"]]
    blind = [r for r in decisions if r["d"]["mode"] == "blind"]
    assert silent_ms < blind[0]["t"] // 1000 <= silent_ms + FIRST_COMMAND_LIMIT_MS
    gaps = [r for r in site.records("gap") if r["s"] == "site" and r["t"] // 1000 > silent_ms]
    assert [gap["st"] for gap in gaps] == ["T", "G"]
    assert 0 <= gaps[1]["t"] // 1000 - back_ms < 10_000
    assert site.verify()[0] == 0


def test_what_flowed_in_the_silence_is_attributed_to_the_watt_hour(site) -> None:
    site.start_broker()
    site.start_farm(6)
    site.buy(count=1, window_s=40)
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
