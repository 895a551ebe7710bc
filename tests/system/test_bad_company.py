"""Devices that answer nonsense, nothing, or as somebody else."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

GARBAGE, SILENT, GONE = 0, 1, 2


def test_three_bad_machines_are_named_and_the_rest_goes_on(site) -> None:
    site.start_broker()
    site.start_farm(8)
    site.buy(count=1, window_s=45, lead_in_s=10)
    site.start_agent()
    site.wait_until(site.judged[0].start_ms + 2_000)
    site.fault("miner_garbage", [GARBAGE])
    site.fault("miner_silent", [SILENT])
    site.fault("miner_gone", [GONE])
    bad = {site.name_of(index) for index in (GARBAGE, SILENT, GONE)}

    def faulty() -> dict[str, str]:
        rows = site.api("miners")
        return {row["miner_id"]: row["fault"] for row in rows if row["fault"] is not None}

    site.wait_for(lambda: faulty().keys() == bad, 25, "the bad machines were not marked")
    reasons = faulty()
    assert "answer" in reasons[site.name_of(GARBAGE)]
    assert "did not answer" in reasons[site.name_of(SILENT)]
    assert "No connection" in reasons[site.name_of(GONE)]
    rows = {row["miner_id"]: row for row in site.api("miners")}
    assert all(reasons[name] in rows[name]["why"] for name in bad)
    site.wait_until(site.judged[0].start_ms + 30_000)
    good = [row for row in site.api("miners") if row["miner_id"] not in bad]
    assert all(row["fault"] is None and row["age_s"] < 6.0 for row in good)
    alarms = site.api("status")["alarms"]
    assert {a["source"] for a in alarms if a["code"] == "MINER_UNREACHABLE"} == bad
    for kind in ("miner_garbage", "miner_silent", "miner_gone"):
        site.fault(kind, active=False)
    site.wait_for(lambda: not faulty(), 45, "the machines were not believed again")
    site.wait_until(site.judged[0].end_ms + 1_000)
    assert min(site.margins_wh().values()) >= 0, site.margins_wh()
    site.agent.stop()
    assert site.agent.process.returncode == 0


def test_a_meter_with_another_serial_is_named_and_nothing_is_done_by_it(site) -> None:
    site.start_broker()
    site.start_farm(4)
    serial = site.ready["meters"][0]["serial"]
    site.change_config(f'serial = "{serial}"', 'serial = "99999999"')
    site.start_agent()
    site.wait_for(lambda: bool(site.api("meters")[0]["fault"]), 10, "the meter was not refused")
    site.wait_until(site.truth()["at_ms"] + 8_000)
    (meter,) = site.api("meters")
    assert serial in meter["fault"]
    assert meter["power_w"] is None
    status = site.api("status")
    assert status["mode"] == "failsafe"
    assert {a["code"] for a in status["alarms"]} >= {"METER"}
    assert all(row["fault"] is None for row in site.api("miners"))
    site.agent.stop()
    assert site.agent.process.returncode == 0
    assert site.records("meter") == []
