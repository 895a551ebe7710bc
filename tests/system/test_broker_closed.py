"""A broker that is not there, or does not let the agent in: the site is kept all the same."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


@pytest.mark.parametrize("lines", [None, ("allow_anonymous false",)])
def test_an_agent_that_no_broker_lets_in_keeps_its_site_and_says_so(site, lines) -> None:
    site.start_broker()
    site.start_farm(4)
    site.kill_broker()
    if lines is not None:
        site.start_broker(*lines)
    site.buy(count=1, window_s=20, lead_in_s=8)
    site.start_agent()
    site.wait_until(site.judged[0].end_ms + 2_000)
    status = site.api("status")
    assert status["delivery"]["broker"] == "connecting"
    assert status["delivery"]["cosigned_size"] == 0
    assert status["delivery"]["unsent"] == status["delivery"]["journal_size"] > 0
    assert [alarm["source"] for alarm in status["alarms"]].count("delivery") == 1
    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    site.agent.stop()
    assert site.agent.process.returncode == 0
    assert [d["d"]["mode"] for d in site.records("decision")].count("following") > 0
