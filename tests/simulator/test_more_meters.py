"""The other simulated meters by their profiles: what flows, all that is named, and no value."""

import asyncio

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.errors import BadReplyError, DriverError
from drivers.meters.profile import BUILT_IN_DIRECTORY
from drivers.meters.registry import open_meter
from simulator.faults import FaultKind
from simulator.meter_maps import METER_MAPS
from simulator.meter_maps_more import MORE_METER_MAPS

START_KWH = 123_456.5
METER = {"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1, "start_kwh": START_KWH}
# Model, and by how much what it shows may be off: its step, and the spacing of its floats.
STEPS = {
    "sdm72d-m-2": 8.0,
    "pac2200": 2.0,
    "em530": 100.0,
    "em24-e1": 100.0,
    "em24-is": 100.0,
    "abb-m4m": 10.0,
    "dtsu666": 16.0,
    "adw300": 10.0,
    "pro380": 8.0,
    "diris-b30": 1.0,
    "satec-pm130": 1000.0,
}
POWER_STEPS_W = {"satec-pm130": 1000.0}
EACH = pytest.mark.parametrize("model", sorted(MORE_METER_MAPS))


def opened(site, model: str, rated_power_w: float | None = None):
    uri = f"modbus://127.0.0.1:{site.meter_port}/1?profile={model}"
    return open_meter(uri, meter_id="site", serial=None, rated_power_w=rated_power_w)


def test_every_simulated_meter_has_a_profile() -> None:
    profiles = {path.stem for path in BUILT_IN_DIRECTORY.glob("*.toml")}
    assert profiles >= {"sdm630", *METER_MAPS, *MORE_METER_MAPS}
    assert set(STEPS) == set(MORE_METER_MAPS)


@EACH
async def test_its_profile_reads_what_flows(open_site, model) -> None:
    site = await open_site(meters=[{**METER, "model": model, "step_kwh": 0.001}])
    meter = opened(site, model)
    await meter.identify()
    reading = await meter.read()
    quantities = await meter.read_quantities()
    await meter.close()
    site.farm.step(site.farm.clock.now_s())
    true_wh = START_KWH * 1000.0 + site.farm.plant.energy_wh
    assert true_wh - 20.0 - STEPS[model] <= reading.energy_import_wh <= true_wh + STEPS[model] / 2
    step_w = POWER_STEPS_W.get(model, 20.0)
    assert reading.power_w == pytest.approx(site.farm.plant.power_w, rel=0.02, abs=step_w)
    assert [one for one in quantities if one.fault] == []
    values = {one.name: one.value for one in quantities}
    phases = [values[f"power_l{n}"] for n in (1, 2, 3) if f"power_l{n}" in values]
    assert not phases or sum(phases) == pytest.approx(values["power"], rel=0.02, abs=3 * step_w)
    if "current_l1" in values:
        volt_amperes = 3 * values["current_l1"] * values["voltage"]
        flows_w = site.farm.plant.power_w
        assert volt_amperes * 0.98 == pytest.approx(flows_w, rel=0.03, abs=1.5 * step_w)


@EACH
async def test_a_meter_without_a_value_is_not_believed(open_site, model) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    site.farm.switch_fault(FaultKind.METER_NAN, [0], is_active=True, value=None)
    meter = opened(site, model)
    with pytest.raises(BadReplyError, match="no value"):
        await meter.read()
    await meter.close()


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("em530", "em24-e1"),
        ("em24-is", "em24-e1"),
        ("abb-m4m", "abb-b23"),
        ("em340", "em24-is"),
        ("satec-pm130", "adw300"),
    ],
)
async def test_its_neighbours_profile_is_not_taken_for_its_own(open_site, model, profile) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    meter = opened(site, profile, rated_power_w=100_000.0)

    async def met() -> None:
        await meter.identify()
        await meter.read()

    with pytest.raises(DriverError):
        await met()
    await meter.close()


@pytest.mark.strangers
@pytest.mark.parametrize(
    ("model", "address", "kind", "order", "unit_wh"),
    [
        ("em24-is", 0x0042, "INT32", "little", 100.0),
        ("abb-m4m", 0x5000, "UINT64", "big", 10.0),
        ("diris-b30", 0x4D83, "UINT32", "big", 1000.0),
        ("pro380", 0x600C, "FLOAT32", "big", 1000.0),
    ],
)
async def test_pymodbus_reads_the_same_energy(
    *, open_site, model, address, kind, order, unit_wh
) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    client = AsyncModbusTcpClient("127.0.0.1", port=site.meter_port)
    async with asyncio.timeout(5.0):
        assert await client.connect()
        count = 4 if kind.endswith("64") else 2
        reply = await client.read_holding_registers(address, count=count, device_id=1)
        meter = opened(site, model)
        ours_wh = (await meter.read()).energy_import_wh
        await meter.close()
    client.close()
    value = client.convert_from_registers(reply.registers, client.DATATYPE[kind], word_order=order)
    assert value * unit_wh == pytest.approx(ours_wh, abs=unit_wh + 20.0)
