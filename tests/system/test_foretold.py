"""Before a window opens the running agent says whether it can be kept: shown, and on record."""

import pytest

from agent.demo.site import METER_POINT

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]


def test_what_is_said_of_a_window_is_shown_and_stands_in_the_log_before_it_opens(site) -> None:
    site.start_broker()
    site.start_farm(6)
    site.buy(count=1, window_s=120, lead_in_s=60)
    window = site.judged[0]

    def ahead():
        """What the status document says of the window; None while it speaks of no other."""
        said = site.api("status")["preflight"]
        return said if said and window.transaction_id in said["transactions"] else None

    site.start_agent()
    site.wait_for(lambda: (ahead() or {}).get("can_comply"), 30, "nothing good was said")
    kept = ahead()
    assert (kept["start_ms"], kept["purchased_wh"]) == (window.start_ms, window.energy_wh)
    assert 0 < kept["least_wh"] < kept["purchased_wh"]
    shown = site.kwota("status").stdout
    assert "can be kept" in shown
    assert "relay" not in shown
    assert site.api("status")["relays"] == []

    # At full power nobody can be reached any more, and nothing else could stop them.
    site.fault("miner_gone", list(range(6)))
    site.wait_for(lambda: not (ahead() or kept)["can_comply"], 40, "nobody said that it is lost")
    assert "CANNOT_COMPLY" in {alarm["code"] for alarm in site.api("status")["alarms"]}
    assert "CANNOT be kept" in site.kwota("status").stdout
    site.wait_until(window.start_ms + 2000)
    site.agent.stop()

    records = site.records("preflight")
    assert {record["s"] for record in records} == {METER_POINT}
    said = [record for record in records if record["d"]["start_ms"] == window.start_ms]
    assert all(record["t"] // 1000 < window.start_ms for record in said)
    assert said[0]["d"]["transactions"] == [window.transaction_id]
    verdicts = [record["d"]["can_comply"] for record in said]
    assert True in verdicts
    told = [(record["t"] // 1000 - window.start_ms, record["d"]["words"]) for record in said]
    assert not verdicts[-1], "\n".join(f"{at_ms} ms: {words}" for at_ms, words in told)
    code, report = site.verify()
    assert code == 0, report
