"""Half of the machines accept every command and change nothing."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


def test_when_half_of_the_machines_disobey_the_others_give_way(site) -> None:
    site.start_broker()
    site.start_farm(24)
    hit = {site.name_of(index) for index in site.fault("miner_ignores", "share:0.5")}
    assert len(hit) == 12
    site.buy(count=2, window_s=50, lead_in_s=15)
    site.start_agent()
    named: set[str] = set()
    while site.truth()["at_ms"] < site.judged[-1].end_ms:
        alarms = site.api("status")["alarms"]
        named |= {alarm["source"] for alarm in alarms if alarm["code"] == "MINER_DISOBEYS"}
        site.wait_until(site.truth()["at_ms"] + 1_000)
    rows = site.truth("/v1/truth/machines")["machines"]
    machines = {site.name_of(row["index"]): row for row in rows}
    site.wait_until(site.judged[-1].end_ms + 3_000)
    site.agent.stop()

    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    told = {r["s"] for r in site.records("throttle") if r["d"]["stage"] == "ineffective"}
    assert told
    assert named == told
    assert told <= hit
    assert all(machines[name]["board_switches"] == 0 for name in hit)
    gave_way = [name for name in machines.keys() - hit if machines[name]["board_switches"]]
    assert len(gave_way) >= 6
    raised = {r["s"] for r in site.records("alarm") if r["d"]["code"] == "MINER_DISOBEYS"}
    assert raised >= named
