"""Counters that begin again at the end of their type, as our driver and its profiles see them."""

import asyncio
from contextlib import suppress

import pytest

from drivers.errors import BadReplyError
from drivers.meters.registry import open_meter

LOAD_W = 1.5e7


@pytest.mark.parametrize(
    ("model", "modulus_wh"),
    [
        ("em340", 2**31 * 100),  # 214 748 364.8 kWh
        ("em24-is", 2**31 * 100),
        ("countis-e", 2**32 * 10),
        ("adw300", 2**31 * 10),
    ],
)
async def test_a_register_begins_again_where_its_profile_says(
    open_site, model: str, modulus_wh: int
) -> None:
    meter = {"id": "site", "port": 0, "serial": 1, "refresh_s": 0.05, "step_kwh": 0.001}
    start_kwh = modulus_wh / 1000.0 - 1.5
    site = await open_site(
        meters=[meter | {"model": model, "start_kwh": start_kwh}],
        base_load={"constant_w": LOAD_W},
    )
    uri = f"modbus://127.0.0.1:{site.meter_port}/1?profile={model}"
    device = open_meter(uri, meter_id="site", serial=None, rated_power_w=None)
    assert device.profile.modulus_wh == modulus_wh
    read_wh = []
    async with asyncio.timeout(8.0):
        while not read_wh or read_wh[-1] > modulus_wh / 2:
            with suppress(BadReplyError):  # the very last count is the mark of an overflow
                read_wh.append((await device.read()).energy_import_wh)
            await asyncio.sleep(0.05)
    await device.close()
    true_wh = site.farm.plant.energy_wh
    assert read_wh[0] >= modulus_wh - 1_600
    assert modulus_wh + read_wh[-1] == pytest.approx(start_kwh * 1000.0 + true_wh, abs=1_500.0)
