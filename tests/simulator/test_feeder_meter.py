"""A meter at a feeder shows its machines and nothing else of the plant, to our driver."""

import asyncio

import pytest
from pydantic import ValidationError

from drivers.meters.registry import open_meter
from simulator.farm_file import FarmFile

SITE = {"id": "site", "port": 0, "serial": 1, "refresh_s": 0.1, "step_kwh": 0.001}
ROW = SITE | {"id": "row", "serial": 2, "model": "abb-b23", "feeds": [0, 1], "start_kwh": 10.0}


async def test_a_feeders_meter_counts_its_own_machines(open_site) -> None:
    site = await open_site(meters=[SITE, ROW])
    machines = site.farm.plant.machines
    uris = [site.network.meter_uri(place) for place in (0, 1)]
    whole, row = [open_meter(uri, meter_id=uri, serial=None, rated_power_w=None) for uri in uris]
    own_w = sum(machine.watts.final for machine in machines[:2])
    first_w = machines[0].watts.final - site.farm.file.timings.standby_w
    first = await row.read()
    assert first.power_w == pytest.approx(own_w, rel=0.01)
    assert (await whole.read()).power_w > own_w + 1_000.0  # the third machine, and base load
    assert 10_000 <= first.energy_import_wh <= 10_020
    site.farm.act(0, lambda machine, at_s: machine.sleep(now_s=at_s))
    await asyncio.sleep(0.6)  # its ramp, and a refresh
    last = await row.read()
    await whole.close()
    await row.close()
    assert last.power_w == pytest.approx(own_w - first_w, rel=0.05)
    assert last.energy_import_wh >= first.energy_import_wh


async def test_all_feeders_together_count_what_the_machines_draw(open_site) -> None:
    rows = [ROW | {"id": f"row{at}", "serial": at, "feeds": [at]} for at in range(3)]
    site = await open_site(meters=[SITE, *rows])
    for index in (0, 2):
        site.farm.act(index, lambda machine, at_s: machine.sleep(now_s=at_s))
    await asyncio.sleep(0.5)
    site.farm.step(site.farm.clock.now_s())
    plant = site.farm.plant
    parts = [plant.part([at]) for at in range(3)]
    assert sum(wh for wh, _ in parts) == pytest.approx(plant.machine_energy_ws / 3600.0, rel=1e-6)
    assert sum(watts for _, watts in parts) == pytest.approx(plant.machines_w, rel=1e-6)


def test_a_feeder_of_machines_that_are_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="feeds machine 1, and there are 1"):
        FarmFile.model_validate({"machines": [{"model": "s21", "count": 1}], "meters": [ROW]})
