"""The site meter falls silent in the middle of a purchase and comes back."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SILENT_S = 30
LOOKED_S = 20  # before the window ends: the next one has energy of its own
FIRST_COMMAND_LIMIT_MS = 5_000


def test_a_silent_meter_throttles_at_once_and_overruns_nothing(site) -> None:
    site.start_broker()
    site.start_farm(20)
    site.buy(count=2, window_s=50, lead_in_s=30)  # eight sites may come up at once beside it
    site.start_agent()
    site.wait_until(site.judged[0].start_ms + 20_000)
    assert site.api("status")["mode"] == "following"
    before_w, silent_ms = site.truth()["power_w"], site.truth()["at_ms"]
    site.fault("meter_silent")
    site.wait_until(silent_ms + LOOKED_S * 1000)
    status = site.api("status")
    assert status["mode"] == "blind"
    assert {alarm["code"] for alarm in status["alarms"]} >= {"METER"}
    assert site.truth()["power_w"] < before_w * 0.95
    site.wait_until(silent_ms + SILENT_S * 1000)
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
