"""Meters of other makers on real sockets, as our driver and pymodbus read them.

The simulator's maps and the driver's profiles were written apart: only the vendors' lists join
them.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.errors import BadReplyError, WrongDeviceError
from drivers.link.modbus import RegisterRefusedError
from drivers.meters.identification import propose
from drivers.meters.meter import ModbusMeter
from drivers.meters.registry import open_meter
from simulator.farm_file import MeterTable
from simulator.faults import FaultKind
from simulator.meter import Meter
from simulator.meter_maps import METER_MAPS
from simulator.meter_maps_more import MORE_METER_MAPS
from simulator.register_map import ILLEGAL_ADDRESS, ILLEGAL_VALUE, RegisterError
from simulator.sunspec_map import SUNSPEC_MAPS

START_KWH = 8_123_456.5
METER = {"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1, "start_kwh": START_KWH}
# Model, the step in which its register counts, and the serial that it tells.
MODELS = [
    ("sdm120", 500.0, "12345678"),  # float32 in kWh is that coarse at 8 GWh
    ("iem3000", 1.0, "12345678"),
    ("em340", 100.0, ""),
    ("abb-b23", 10.0, "12345678"),
    ("pac3200", 1.0, ""),
    ("countis-e", 10.0, ""),
    ("pm5000", 1.0, ""),
    ("umg96", 512.0, ""),  # float32 in Wh at 8 GWh
]
# Floats are rounded to the nearest, so that they may show half a step too much.
ROUNDED = {"sdm120", "umg96"}
EACH = pytest.mark.parametrize(("model", "step_wh", "serial"), MODELS)


@asynccontextmanager
async def driven(site, model: str) -> AsyncIterator[ModbusMeter]:
    meter = open_meter(
        f"modbus://127.0.0.1:{site.meter_port}/1?profile={model}",
        meter_id="site",
        serial=None,
        rated_power_w=None,
    )
    try:
        yield meter
    finally:
        await meter.close()


def true_wh(site) -> float:
    site.farm.step(site.farm.clock.now_s())
    return START_KWH * 1000.0 + site.farm.plant.energy_wh


def test_every_model_of_the_farm_file_has_a_map() -> None:
    choices = MeterTable.model_fields["model"].annotation.__args__
    assert set(choices) == {"sdm630", *METER_MAPS, *MORE_METER_MAPS, *SUNSPEC_MAPS}
    assert {model for model, _, _ in MODELS} == set(METER_MAPS)


@EACH
async def test_our_driver_reads_what_flows(open_site, model, step_wh, serial) -> None:
    site = await open_site(meters=[{**METER, "model": model, "step_kwh": 0.001}])
    async with driven(site, model) as meter:
        assert (await meter.identify()).serial == serial
        before_wh = true_wh(site)
        reading = await meter.read()
        after_wh = true_wh(site)
    assert reading.power_w == pytest.approx(site.farm.plant.power_w, rel=0.02, abs=20.0)
    # Truncated to the step, at most a refresh old, and never more than there was.
    refresh_wh = 0.2 / 3600.0 * site.farm.plant.power_w
    assert before_wh - step_wh - refresh_wh - 1.0 <= reading.energy_import_wh
    assert reading.energy_import_wh <= after_wh + (step_wh / 2 if model in ROUNDED else 0.0)
    assert reading.voltage_v == pytest.approx(229.0, abs=2.0)


@EACH
async def test_the_register_rises_with_the_plant(open_site, model, step_wh, serial) -> None:
    tables = [{**METER, "model": model, "step_kwh": 0.001, "start_kwh": 10.0}]
    site = await open_site(meters=tables, base_load={"constant_w": 1.5e7})
    async with driven(site, model) as meter:
        first, true_first = await meter.read(), true_wh(site)
        await asyncio.sleep(0.6)
        last, true_last = await meter.read(), true_wh(site)
    rise_wh = last.energy_import_wh - first.energy_import_wh
    assert true_last - true_first > 2_000.0
    # One refresh at each end and the register's step.
    assert rise_wh == pytest.approx(true_last - true_first, abs=2 * 1.5e7 * 0.15 / 3600.0 + 100.0)


@EACH
async def test_everything_in_the_profile_is_served(open_site, model, step_wh, serial) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    async with driven(site, model) as meter:
        quantities = await meter.read_quantities()
    assert [one for one in quantities if one.fault] == []
    assert [one.name for one in quantities] == list(meter.profile.quantities)
    values = {one.name: one.value for one in quantities}
    assert values["energy_export"] == 0.0
    current = values.get("current_l1")
    watts = current * values.get("voltage_l1", values["voltage"]) * (1 if model == "sdm120" else 3)
    assert watts * 0.98 == pytest.approx(site.farm.plant.power_w, rel=0.03, abs=30.0)
    phases = [values[f"power_l{n}"] for n in (1, 2, 3) if f"power_l{n}" in values]
    assert not phases or sum(phases) == pytest.approx(values["power"], rel=0.02, abs=30.0)


@EACH
async def test_a_meter_without_a_value_is_not_believed(open_site, model, step_wh, serial) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    site.farm.switch_fault(FaultKind.METER_NAN, [0], is_active=True, value=None)
    async with driven(site, model) as meter:
        with pytest.raises(BadReplyError, match="no value"):
            await meter.read()
        absent = {one.name for one in await meter.read_quantities() if one.value is None}
    assert absent == {"energy", "power"}


async def test_power_beyond_the_type_saturates_and_is_not_believed(open_site) -> None:
    site = await open_site(meters=[{**METER, "model": "abb-b23"}], base_load={"constant_w": 4e7})
    async with driven(site, "abb-b23") as meter:
        with pytest.raises(BadReplyError, match="no value"):
            await meter.read()


async def test_both_tariffs_of_the_siemens_are_counted(open_site) -> None:
    site = await open_site(meters=[{**METER, "model": "pac3200"}])
    client = AsyncModbusTcpClient("127.0.0.1", port=site.meter_port)
    async with asyncio.timeout(5.0), driven(site, "pac3200") as meter:
        assert await client.connect()
        reply = await client.read_holding_registers(801, count=8, device_id=1)
        reading = await meter.read()
    client.close()
    tariffs = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT64)
    assert min(tariffs) > 1e9
    assert sum(tariffs) == pytest.approx(reading.energy_import_wh, abs=100.0)


async def test_the_wrong_profile_is_the_wrong_device_or_refused(open_site) -> None:
    site = await open_site(meters=[{**METER, "model": "em340"}])
    async with driven(site, "em24-e1") as meter:
        with pytest.raises(WrongDeviceError, match="identification code 341"):
            await meter.identify()
    async with driven(site, "abb-b23") as meter:
        with pytest.raises(RegisterRefusedError, match="no such register"):
            await meter.identify()


@pytest.mark.parametrize(
    "row",
    [
        ("iem3000", 4, 0x0BF3, 2, 1),
        ("iem3000", 3, 0x0BF3, 4, ILLEGAL_ADDRESS),
        ("iem3000", 3, 0x0BF4, 2, ILLEGAL_ADDRESS),
        ("pac3200", 3, 66, 2, ILLEGAL_ADDRESS),
        ("pac3200", 3, 801, 2, ILLEGAL_ADDRESS),
        ("em340", 3, 0x24, 22, ILLEGAL_VALUE),
        ("em340", 3, 0x0B, 2, ILLEGAL_ADDRESS),
        ("sdm120", 4, 0x0C, 3, ILLEGAL_VALUE),
        ("sdm120", 4, 0x0D, 2, ILLEGAL_ADDRESS),
        ("abb-b23", 3, 0x5B00, 126, ILLEGAL_VALUE),
        ("abb-b23", 3, 0x8F00, 2, ILLEGAL_ADDRESS),
    ],
)
def test_what_each_meter_refuses(row) -> None:
    model, function, address, count, code = row
    meter = Meter(
        meter_id="site",
        serial=1,
        refresh_s=1.0,
        step_kwh=0.01,
        start_kwh=1.0,
        gain_error=0.0,
        next_refresh_s=0.0,
    )
    with pytest.raises(RegisterError) as caught:
        METER_MAPS[model].read(meter, function, address, count, is_lost=False)
    assert caught.value.code == code


# Model, function, address of the energy, type, order, and what one of its counts is worth in Wh.
STRANGERS = [
    ("sdm120", 4, 0x0048, "FLOAT32", "big", 1000.0),
    ("iem3000", 3, 0x0C83, "INT64", "big", 1.0),
    ("em340", 3, 0x0034, "INT32", "little", 100.0),
    ("abb-b23", 3, 0x5000, "UINT64", "big", 10.0),
    ("countis-e", 3, 0xC702, "UINT32", "big", 10.0),
    ("pm5000", 3, 3203, "INT64", "big", 1.0),
    ("umg96", 3, 19068 + 32768, "FLOAT32", "little", 1.0),
]


@pytest.mark.strangers
@pytest.mark.parametrize("row", STRANGERS, ids=lambda row: row[0])
async def test_pymodbus_reads_the_same_energy(open_site, row) -> None:
    model, function, address, kind, order, unit_wh = row
    site = await open_site(meters=[{**METER, "model": model}])
    client = AsyncModbusTcpClient("127.0.0.1", port=site.meter_port)
    count = 4 if kind.endswith("64") else 2
    async with asyncio.timeout(5.0), driven(site, model) as meter:
        assert await client.connect()
        ask = client.read_holding_registers if function == 3 else client.read_input_registers
        reply = await ask(address, count=count, device_id=1)
        ours_wh = (await meter.read()).energy_import_wh
    client.close()
    value = client.convert_from_registers(reply.registers, client.DATATYPE[kind], word_order=order)
    assert value * unit_wh == pytest.approx(ours_wh, abs=520.0 if model in ROUNDED else 110.0)


async def test_a_write_is_refused_and_counted(open_site) -> None:
    site = await open_site(meters=[{**METER, "model": "pac3200"}])
    client = AsyncModbusTcpClient("127.0.0.1", port=site.meter_port)
    async with asyncio.timeout(5.0):
        assert await client.connect()
        reply = await client.write_registers(60004, list(struct.unpack(">H", b"\0\0")), device_id=1)
    client.close()
    assert reply.isError()
    assert site.network.meters[0].tampered == 1


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ("sdm630", {"sdm630"}),
        ("iem3000", {"iem3000"}),
        ("em340", {"em340"}),
        ("abb-b23", {"abb-b23"}),
        ("pac3200", {"pac2200", "pac3200"}),  # one map: the nameplate tells them apart
        ("countis-e", {"countis-e"}),
        ("pm5000", {"pm5000"}),
        ("umg96", {"umg96"}),
    ],
)
async def test_the_meters_own_profile_is_proposed_first(open_site, model, first) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    found = await propose(f"modbus://127.0.0.1:{site.meter_port}/1")
    most = len(found[0].signs)
    assert {one.profile for one in found if len(one.signs) == most} == first
