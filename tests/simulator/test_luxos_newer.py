"""Simulated LuxOS of 2026 as a caller without our driver sees it: supply, power target, events."""

from typing import Any

import pytest


@pytest.fixture
def open_newer(open_site):
    """A farm without a bias; the arguments are the [luxos] table."""

    async def make(**table: Any) -> Any:
        return await open_site(luxos=table, spread={"reporting": 0.0, "tolerance": 0.0})

    return make


async def test_older_firmware_does_not_know_the_newer_commands(open_newer) -> None:
    site = await open_newer()
    assert (await site.ask(0, "psuget"))["STATUS"][0]["Code"] == 14
    assert (await site.order(0, "powertargetset", "power=2000"))["STATUS"][0]["Code"] == 14
    assert "PowerTarget" not in (await site.ask(0, "atm"))["ATM"][0]
    assert (await site.ask(0, "power"))["POWER"][0] == {"PSU": False, "Watts": 2794}


async def test_the_supply_reports_who_it_is_and_what_troubles_it(open_newer) -> None:
    site = await open_newer(has_supply_report=True, has_metering_supply=True)
    luxos = site.network.dialects["luxos"]
    luxos.troubles[0] = [("FanFault", "", None), ("FAN_PANIC", "Fan panic.", None)]
    report = await site.ask(0, "psuget")
    label = site.farm.labels[0]
    assert report["PSUINFORMATION"][0]["SerialNumber"] == f"PS{label.serial}"
    assert report["PSUMONITORING"][0]["InputPower"] == "2794"
    assert (report["PSUFLAGS"][0]["FanFault"], report["PSUFLAGS"][0]["FanWarning"]) == (
        "true",
        "false",
    )
    events = (await site.ask(0, "events"))["EVENTS"]
    assert [(row["Code"], row["Target"]) for row in events] == [("FAN_PANIC", "MINER")]
    assert (await site.ask(0, "power"))["POWER"][0]["PSU"] is True


async def test_a_power_target_moves_the_plant_to_what_keeps_it(open_newer) -> None:
    site = await open_newer(has_power_target=True)
    atm = (await site.ask(0, "atm"))["ATM"][0]
    assert (atm["PowerMin"], atm["PowerTarget"], atm["PowerLimit"]) == (784, 2794, 4195)
    assert (await site.order(0, "powertargetset", "power=2000"))["STATUS"][0]["STATUS"] == "S"
    assert site.farm.plant.machines[0].point.watts == 1916
    assert (await site.ask(0, "atm"))["ATM"][0]["PowerTarget"] == 1916


@pytest.mark.parametrize("words", ["power=783", "power=9000", "power=-1", "watts=2000", "2000"])
async def test_a_target_out_of_range_or_without_its_key_is_refused(open_newer, words: str) -> None:
    site = await open_newer(has_power_target=True)
    assert (await site.order(0, "powertargetset", words))["STATUS"][0]["STATUS"] == "E"
    assert site.farm.plant.machines[0].point.name == "default"
