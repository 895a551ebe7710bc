"""The simulated SunSpec meters as our driver, pysunspec2 and pymodbus by hand read them."""

import asyncio
import math
import struct

import pytest
from pymodbus.client import AsyncModbusTcpClient
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from drivers.errors import BadReplyError
from drivers.meters.identification import propose
from drivers.meters.registry import open_meter
from simulator.faults import FaultKind
from simulator.sunspec_map import SUNSPEC_MAPS, scale_of

START_KWH = 1_234.5
METER = {"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1, "start_kwh": START_KWH}
EACH = pytest.mark.parametrize("model", ["sunspec-203", "sunspec-213"])
EVERY = pytest.mark.parametrize("model", sorted(SUNSPEC_MAPS))
PHASES = {"1": 1, "2": 2, "3": 3, "4": 3}


def opened(site):
    uri = site.network.meter_uri(0)
    assert uri.endswith("?profile=sunspec")
    return open_meter(uri, meter_id="site", serial="12345678", rated_power_w=None)


def true_wh(site) -> float:
    site.farm.step(site.farm.clock.now_s())
    return START_KWH * 1000.0 + site.farm.plant.energy_wh


@EVERY
async def test_our_driver_reads_what_flows(open_site, model) -> None:
    site = await open_site(meters=[{**METER, "model": model, "step_kwh": 0.001}])
    meter = opened(site)
    identity = await meter.identify()
    assert (identity.serial, identity.model) == ("12345678", f"kwota-sim SunSpec {model[-3:]}")
    before_wh = true_wh(site)
    reading = await meter.read()
    after_wh = true_wh(site)
    quantities = {one.name: one for one in await meter.read_quantities()}
    await meter.close()
    assert before_wh - 10.0 <= reading.energy_import_wh <= after_wh
    assert reading.power_w == pytest.approx(site.farm.plant.power_w, rel=0.01, abs=1.0)
    assert reading.voltage_v == (None if model[-1] == "4" else pytest.approx(229.0, abs=2.0))
    phases = [quantities[f"power_l{n}"].value for n in (1, 2, 3)]
    phases = [watts for watts in phases if watts is not None]
    assert len(phases) == PHASES[model[-1]]
    assert sum(phases) == pytest.approx(reading.power_w, rel=0.01, abs=3.0)
    # Nothing has been exported: an integer accumulator says so by having no reading.
    assert quantities["energy_export"].value == (None if "-20" in model else 0.0)


def by_pysunspec2(port: int) -> tuple[list[int], dict[str, object], dict[str, object]]:
    """The chain, the common model's texts and the meter's scaled values, as pysunspec2 has them."""
    device = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=5.0)
    try:
        device.scan()
        chain = [model.model_id for model in device.model_list]
        common, meter = device.models[1][0], device.model_list[-1]
        names = ("Mn", "Md", "SN")
        texts = {name: common.points[name].cvalue for name in names}
        values = {name: point.cvalue for name, point in meter.points.items()}
    finally:
        device.close()
    return chain, texts, values


@pytest.mark.strangers
@EVERY
async def test_pysunspec2_reads_what_flows_and_so_do_we(open_site, model) -> None:
    number, phases = int(model.removeprefix("sunspec-")), PHASES[model[-1]]
    site = await open_site(meters=[{**METER, "model": model, "step_kwh": 0.001}])
    meter = opened(site)
    before_wh = true_wh(site)
    async with asyncio.timeout(10.0):
        chain, texts, values = await asyncio.to_thread(by_pysunspec2, site.meter_port)
    ours = await meter.read()
    after_wh = true_wh(site)
    await meter.close()
    assert chain == [1, 64001, number]
    assert texts == {"Mn": "kwota-sim", "Md": f"SunSpec {number}", "SN": "12345678"}
    assert before_wh - 10.0 <= values["TotWhImp"] <= after_wh
    assert values["TotWhImp"] <= ours.energy_import_wh
    assert values["W"] == pytest.approx(site.farm.plant.power_w, rel=0.01, abs=1.0)
    assert values["W"] == pytest.approx(ours.power_w, rel=0.01)
    assert values["Hz"] == pytest.approx(50.0, abs=0.1)
    told = [values[f"Wph{letter}"] for letter in "ABC"]
    told = [watts for watts in told if watts is not None and not math.isnan(watts)]
    assert len(told) == phases
    assert sum(told) == pytest.approx(values["W"], rel=0.01, abs=3.0)


@EACH
async def test_a_meter_without_a_value_is_not_believed(open_site, model) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    meter = opened(site)
    await meter.identify()
    site.farm.switch_fault(FaultKind.METER_NAN, [0], is_active=True, value=None)
    with pytest.raises(BadReplyError, match="no value"):
        await meter.read()
    await meter.close()


async def test_a_megawatt_is_read_by_the_scale_of_that_instant(open_site) -> None:
    meters = [{**METER, "model": "sunspec-203"}]
    site = await open_site(meters=meters, base_load={"constant_w": 2.5e6})
    meter = opened(site)
    reading = await meter.read()
    await meter.close()
    assert scale_of(2.5e6) == 2
    assert reading.power_w == pytest.approx(site.farm.plant.power_w, rel=0.001, abs=100.0)


@pytest.mark.strangers
@EACH
async def test_pymodbus_walks_the_chain_to_the_same_energy(open_site, model) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    client = AsyncModbusTcpClient("127.0.0.1", port=site.meter_port)
    async with asyncio.timeout(5.0):
        assert await client.connect()

        async def words(at: int, count: int) -> list[int]:
            reply = await client.read_holding_registers(at, count=count, device_id=1)
            assert not reply.isError()
            return reply.registers

        assert struct.pack(">2H", *await words(40000, 2)) == b"SunS"
        at, seen = 40002, []
        while (header := await words(at, 2))[0] != 0xFFFF:
            seen.append(header[0])
            if header[0] in {203, 213}:
                body = await words(at, 70 if header[0] == 213 else 55)
            at += 2 + header[1]
        meter = opened(site)
        ours = await meter.read()
        await meter.close()
    client.close()
    assert seen == [1, 64001, int(model[-3:])]
    kind, offset = ("FLOAT32", 68) if model == "sunspec-213" else ("UINT32", 46)
    theirs = client.convert_from_registers(body[offset : offset + 2], client.DATATYPE[kind])
    assert theirs == pytest.approx(ours.energy_import_wh, abs=20.0)


@EACH
async def test_a_sunspec_meter_is_proposed_for_what_it_is(open_site, model) -> None:
    site = await open_site(meters=[{**METER, "model": model}])
    found = await propose(f"modbus://127.0.0.1:{site.meter_port}/1")
    assert found[0].profile == "sunspec"
    assert "SunS at 40000" in found[0].signs
    assert found[0].unfit == ""
